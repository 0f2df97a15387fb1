//! Another user of the machine asks the domain what only its owner may.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use ringmail_model::defence::Defence;
use ringmail_node::admin::SOCKET_FILE;

use crate::case::{Case, Claimed, Row, Switch, Trial};
use crate::lab::Lab;

pub(super) const CASES: &[Case] = &[Case {
    attack: "admin-socket-of-another-user",
    row: Row::LeastPrivilege,
    claimed: Claimed::Always,
    given: &[],
    switch: Some(Switch::Off(&[Defence::AdminUser])),
    expected: "the admin socket tells another user nothing, even where he can reach it",
    run: other_user,
}];

/// Asks a socket for its status and writes what comes.
const ASK: &str = "import socket, sys
link = socket.socket(socket.AF_UNIX)
link.connect(sys.argv[1])
try:
    link.sendall(b'\"status\"\\n')
except BrokenPipeError:
    pass
sys.stdout.write(link.recv(4096).decode(errors='replace'))";

/// The directories on the way are opened, as by a mistake of the operator's: they are the first defence, this is the second.
fn other_user(lab: &mut Lab) -> Result<Trial> {
    let socket = lab.runtime_dir()?.join(SOCKET_FILE);
    for folder in socket.ancestors().take_while(|folder| *folder != Path::new("/tmp")) {
        let open = if folder == socket { 0o777 } else { 0o755 };
        fs::set_permissions(folder, Permissions::from_mode(open))
            .with_context(|| folder.display().to_string())?;
    }
    let own = ask(&socket, 0)?;
    ensure!(own.contains("elements"), "the owner is told: {own}");
    let told = ask(&socket, 65_534)?;
    let beginning: String = told.chars().take(80).collect();
    Ok(Trial::of(told.contains("elements"), format!("another user is told: {}", beginning.trim())))
}

fn ask(socket: &Path, uid: u32) -> Result<String> {
    let mut python = Command::new("setpriv");
    let user = uid.to_string();
    python
        .args(["--reuid", &user, "--regid", &user, "--clear-groups", "/usr/bin/python3", "-c", ASK])
        .arg(socket);
    let output = python
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .context("setpriv and python3 are needed")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
