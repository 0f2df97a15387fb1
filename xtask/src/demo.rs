//! `cargo xtask demo`: the main job, from a clone to a running chain.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::stages;

/// Builds what is shipped in release and runs `ringmail demo` with `args`.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    stages::cargo(&["build", "--release", "--package", "ringmail"])?;
    let program = stages::target_dir()?.join("release").join("ringmail");
    let status = Command::new(&program)
        .arg("demo")
        .args(args)
        .status()
        .with_context(|| format!("{} could not be started", program.display()))?;
    match status.success() {
        true => Ok(()),
        false => bail!("`ringmail demo` ended with {status}"),
    }
}
