//! The systemd units that ship: systemd takes them, they give away little, and the program takes what they start it with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAM: &str = "/usr/bin/ringmail";

/// The most that `systemd-analyze security` may say of any of them, times ten.
const EXPOSURE: &str = "22";

fn units() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd");
    let entries = fs::read_dir(folder).expect("the units");
    let mut units: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    units.sort();
    assert_eq!(units.len(), 4, "{units:?}");
    units
}

/// A copy of the units that starts the program under test.
fn installed(name: &str) -> (PathBuf, Vec<String>) {
    let folder = std::env::temp_dir().join(format!("ringmail-{name}-{}", std::process::id()));
    fs::create_dir(&folder).expect("a new folder");
    let mut names = Vec::new();
    for unit in units() {
        let text = fs::read_to_string(&unit).expect("a unit");
        let name = unit.file_name().expect("a name").to_string_lossy().into_owned();
        let text = text.replace(PROGRAM, env!("CARGO_BIN_EXE_ringmail"));
        fs::write(folder.join(&name), text).expect("a file");
        names.push(name);
    }
    (folder, names)
}

#[test]
fn systemd_takes_the_units_without_a_word() {
    let (folder, names) = installed("units");
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]).current_dir(&folder);
    verify.args(names.iter().map(|name| format!("./{name}")));
    let output = verify.output().expect("systemd-analyze is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    // It speaks of units of the machine, too.
    let ours: Vec<_> = said.lines().filter(|line| line.contains("ringmail")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
    for name in &names {
        let mut security = Command::new("systemd-analyze");
        security.args(["security", "--offline=true", "--threshold", EXPOSURE]);
        let output = security.arg(format!("./{name}")).current_dir(&folder).output();
        let output = output.expect("systemd-analyze is installed");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{name}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    fs::remove_dir_all(folder).expect("it is ours");
}

/// The manual's drop-in for links and functions that want frames.
#[test]
fn systemd_takes_the_right_to_send_frames() {
    let manual = crate::manual::blocks::folder().join("three-machines.md");
    let manual = fs::read_to_string(manual).expect("the chapter");
    let blocks = crate::manual::blocks::blocks(&manual);
    let drop_in = blocks.iter().find(|block| block.language == "ini").expect("the drop-in");
    let (folder, names) = installed("raw");
    for name in names.iter().filter(|name| !name.contains("control")) {
        let place = folder.join(format!("{name}.d"));
        fs::create_dir(&place).expect("a new folder");
        fs::write(place.join("raw.conf"), &drop_in.text).expect("a file");
        let mut verify = Command::new("systemd-analyze");
        verify.args(["verify", "--man=no", &format!("./{name}")]).current_dir(&folder);
        let output = verify.output().expect("systemd-analyze is installed");
        let said = String::from_utf8_lossy(&output.stderr);
        let ours: Vec<_> = said.lines().filter(|line| line.contains("ringmail")).collect();
        assert!(output.status.success() && ours.is_empty(), "{name}: {said}");
    }
    fs::remove_dir_all(folder).expect("it is ours");
}

#[test]
fn the_program_takes_what_the_units_start_it_with() {
    for unit in units() {
        let text = fs::read_to_string(&unit).expect("a unit");
        let line = text.lines().find_map(|line| line.strip_prefix("ExecStart="));
        let line = line.expect("it starts something");
        let arguments = line.strip_prefix(PROGRAM).expect("it starts the program");
        let mut arguments =
            arguments.replace("%i", "sf1").replace("${STATE_DIRECTORY}", "/nowhere");
        // What the unit itself sets.
        let set = text.lines().filter_map(|line| line.strip_prefix("Environment="));
        for (name, value) in set.filter_map(|set| set.split_once('=')) {
            arguments = arguments.replace(&format!("${{{name}}}"), value);
        }
        let mut ringmail = Command::new(env!("CARGO_BIN_EXE_ringmail"));
        let output = ringmail.args(arguments.split_whitespace()).arg("--help").output();
        let output = output.expect("the program starts");
        assert!(output.status.success(), "{}: {output:?}", unit.display());
    }
}
