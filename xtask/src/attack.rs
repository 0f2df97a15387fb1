//! `cargo xtask attack`: the adversarial suite (crates/attack), against the program as it is or against one with switches.
//!
//! The weakened program is an example of a crate that nothing depends on, built beside the others with a feature that does
//! not compile in release: what is shipped cannot come to have it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::stages;

/// The environment variable that names the file of switches.
const SWITCHES: &str = "RINGMAIL_DANGER_WEAKEN";

/// Whether this user may: the attacker stands in network namespaces.
pub(crate) fn possible() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.contains("\nUid:\t0\t0\t")
}

/// Builds what is needed and runs the suite, whose exit code is this task's.
pub(crate) fn run(args: &[&str]) -> Result<i32> {
    let weaken = args.contains(&"--weaken");
    let target = stages::target_dir()?.join("debug");
    // The same choice of packages and targets as that of `test`: dependencies are not built again with other features.
    stages::cargo(&["build", "--workspace", "--all-targets", "--locked", "--quiet"])?;
    let mut suite = if weaken {
        stages::cargo(&[
            "build",
            "--workspace",
            "--locked",
            "--quiet",
            "--features",
            "ringmail-attack/weaken",
            "--example",
            "weakened",
        ])?;
        let mut suite = Command::new(target.join("examples").join("weakened"));
        suite.arg("attack");
        suite
    } else {
        Command::new(target.join("ringmail-attack"))
    };
    let folder = Folder::new()?;
    suite.args(args).env(SWITCHES, folder.0.join("switches"));
    let status = suite.status().context("the suite cannot be started")?;
    Ok(status.code().unwrap_or(1))
}

/// A folder that goes with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder> {
        let folder = std::env::temp_dir().join(format!("ringmail-switches-{}", std::process::id()));
        std::fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        Ok(Folder(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
