//! `ringmail wireguard key`, beside `wg`.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use std::io::Write;

use crate::run::ringmail;

#[test]
fn a_key_is_made_once_for_its_owner_alone_and_is_one_of_wg() {
    let folder = std::env::temp_dir().join(format!("ringmail-wgkey-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a new folder");
    let file = folder.join("key");
    let name = file.to_str().expect("UTF-8");
    let first = ringmail(&["wireguard", "key", name]);
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let again = ringmail(&["wireguard", "key", name]);
    assert_eq!(first.stdout, again.stdout, "it stays");
    let mode = std::fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let private = std::fs::read(&file).expect("a file");
    let mut wg = Command::new("wg");
    wg.arg("pubkey").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut wg = wg.spawn().expect("wg is installed");
    wg.stdin.take().expect("a pipe").write_all(&private).expect("it reads");
    let output = wg.wait_with_output().expect("it ends");
    assert_eq!(output.stdout, first.stdout);
    std::fs::remove_dir_all(&folder).expect("it is there");
}
