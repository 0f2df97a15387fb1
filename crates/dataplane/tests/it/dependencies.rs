//! Cores take packets, time and keys by call: what a core links must not be able to open a socket or start a runtime.

use std::collections::BTreeSet;
use std::process::Command;

const CORES: [&str; 5] = [
    "ringmail-packet",
    "ringmail-model",
    "ringmail-dataplane",
    "ringmail-functions",
    "ringmail-trust-core",
];

const FORBIDDEN: [&str; 3] = ["tokio", "mio", "socket2"];

/// The names of everything that a crate links, itself included.
fn linked(package: &str) -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "tree",
        "--offline",
        "--locked",
        "-e",
        "normal",
        "--prefix",
        "none",
        "-f",
        "{lib}",
    ]);
    let output = cargo.args(["-p", package]).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let output = output.expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo tree -p {package}: {errors}");
    String::from_utf8_lossy(&output.stdout).lines().map(|line| line.trim().to_owned()).collect()
}

fn forbidden(package: &str) -> Vec<&'static str> {
    let linked = linked(package);
    assert!(linked.contains(&package.replace('-', "_")), "{package}: {linked:?}");
    FORBIDDEN.into_iter().filter(|name| linked.contains(*name)).collect()
}

#[test]
fn no_core_links_a_runtime_or_sockets() {
    for core in CORES {
        assert_eq!(forbidden(core), [""; 0], "{core}");
    }
}

/// The look would find them: a driver has all three.
#[test]
fn a_driver_links_what_a_core_must_not() {
    assert_eq!(forbidden("ringmail-gateway"), FORBIDDEN);
}
