//! Keylime's library from PyPI, for the test that compares verdicts with it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// The test that asks it.
pub(crate) const TEST: &str = "host::keylime::verdicts_are_those_of_keylime";

/// Whether it is there, installed when it is missing and may be.
pub(crate) fn ensure(may_install: bool) -> Result<bool> {
    let place = crate::stages::target_dir()?.join("xtask/keylime");
    let python = place.join("bin/python");
    let works = || {
        let import = ["-c", "import keylime.failure, cryptography, jsonschema, lark, yaml"];
        run(&python, &import).is_ok_and(|done| done)
    };
    if works() {
        return Ok(true);
    }
    if !may_install {
        return Ok(false);
    }
    eprintln!("xtask: installing Keylime from PyPI");
    let place = place.display().to_string();
    let requirements = concat!(env!("CARGO_MANIFEST_DIR"), "/../interop/keylime/requirements.txt");
    let pip = ["-m", "pip", "install", "--quiet", "--requirement", requirements];
    let made = run(&PathBuf::from("python3"), &["-m", "venv", &place])? && run(&python, &pip)?;
    Ok(made && works())
}

fn run(program: &PathBuf, args: &[&str]) -> Result<bool> {
    let status = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .with_context(|| format!("{}", program.display()))?;
    Ok(status.success())
}
