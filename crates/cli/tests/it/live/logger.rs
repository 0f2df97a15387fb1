//! A logger in a chain: tshark reads its files, plaintext where it is intrusive and outer headers where it is not.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::live::programs::{Curl, Nginx};
use crate::live::world::{Folder, Setting, live};

/// The files of a logger, oldest first.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// Lines of tshark over a file, one a packet that the filter leaves.
fn tshark(file: &Path, filter: &str, fields: &[&str]) -> Vec<String> {
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(file).args(["-Y", filter, "-T", "fields"]);
    for field in fields {
        tshark.args(["-e", field]);
    }
    let output = tshark.output().expect("tshark is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn what_passed_is_in_files_that_tshark_reads() {
    live(|privilege| {
        let folder = Folder::new(&format!("logs-{}", std::process::id()));
        let (plain, outer) = (folder.0.join("plain"), folder.0.join("outer"));
        let logger = |intrusive: bool, folder: &Path, more: &str| {
            format!(
                "kind: logger\n    intrusive: {intrusive}\n    logger: {{directory: {}{more}}}",
                folder.display()
            )
        };
        let dpi = "kind: dpi
    intrusive: true
    dpi:
      rules:
        - name: forbidden
          bytes: contraband
          action: reset";
        let more = ", danger_plaintext: true, rotate: {bytes: 1048576}, \
                    keep: {files: 3, bytes: 8388608}, only: [{ports: [80], protocols: [tcp]}]";
        let setting = Setting::new(privilege, "campus.yaml")
            .with("kind: forward\n    intrusive: false", &logger(false, &outer, ""))
            .with(dpi, &logger(true, &plain, more));
        let world = setting.up();
        let nginx = Nginx::start(&world, "www", "10.79.0.10:80");
        nginx.put("/page", b"a page of plain words");
        nginx.put("/large", &vec![b'.'; 6 << 20]);
        let curl = Curl::new(&world, "client2");
        let got = curl.get("/large", &[]);
        assert_eq!((got.verdict.as_str(), got.body.len()), ("2 200", 6 << 20), "{}", got.said);
        let got = curl.get("/page", &[]);
        assert_eq!(got.verdict, "2 200", "{}", got.said);
        let (begun, deleted) = (
            world.counter("sf2", "function_files"),
            world.counter("sf2", "function_deleted_files"),
        );
        assert!(
            begun > 3 && deleted > 0 && begun - deleted <= 3,
            "{begun} begun, {deleted} deleted"
        );
        assert_eq!(world.counter("sf2", "function_write_failed"), 0);
        // Ended, so that what was recorded last is written, too.
        drop(nginx);
        drop(world);

        let kept = files(&plain);
        assert!((1..=3).contains(&kept.len()), "{kept:?}");
        for file in kept.iter().chain(&files(&outer)) {
            let meta = std::fs::metadata(file).expect("a file");
            assert_eq!(meta.permissions().mode() & 0o777, 0o600, "{}", file.display());
        }
        assert!(kept.iter().all(|file| file.metadata().expect("a file").len() <= 1 << 20));
        let pages: usize = kept
            .iter()
            .map(|file| tshark(file, "tcp contains \"a page of plain words\"", &["ip.src"]))
            .inspect(|from| assert!(from.iter().all(|from| from == "10.79.0.10"), "{from:?}"))
            .map(|from| from.len())
            .sum();
        assert_eq!(pages, 1, "the page is there once");
        // Each says where it was seen, and who began it.
        let said = kept.iter().flat_map(|file| tshark(file, "tcp", &["frame.comment"]));
        let mut said: Vec<String> = said.collect();
        let back = "path=inspected.return element=sf2 position=1/3 origin=egress/0 sequence=";
        assert!(said.iter().any(|said| said.starts_with(back)), "{:?}", said.first());
        let not_the_end = said.iter().all(|said| said.ends_with(" proof=not_the_end"));
        assert!(not_the_end, "a hop is no end");
        let count = said.len();
        said.sort();
        said.dedup();
        assert_eq!(said.len(), count, "no two packets have one origin and sequence");
        // Outer headers: ESP between elements, both ways, of their full length, and nothing readable.
        let file = &files(&outer)[0];
        let seen =
            tshark(file, "esp", &["ip.src", "frame.len", "frame.cap_len", "frame.interface_name"]);
        assert!(seen.iter().any(|line| line.ends_with("\tforward")), "{seen:?}");
        assert!(seen.iter().any(|line| line.ends_with("\treturn")), "{seen:?}");
        let full = seen.iter().filter(|line| line.split('\t').nth(1).is_some_and(|n| n.len() == 4));
        assert!(full.count() > 1000, "large packets show as what they were");
        assert!(seen.iter().all(|line| line.contains("\t28\t")), "only headers are kept");
    });
}
