//! `cargo xtask deb`: the arguments, and the judgement of lintian.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use xtask::deb::{Deb, epoch_s};

use crate::stages;

/// Builds the package of `--program FILE`, or of a release build. `--lint` fails where lintian finds an error.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    let (program, lint) = match args {
        [] => (None, false),
        ["--lint"] => (None, true),
        ["--program", file] => (Some(PathBuf::from(file)), false),
        ["--program", file, "--lint"] => (Some(PathBuf::from(file)), true),
        _ => bail!("`deb` takes --program FILE and --lint"),
    };
    let (root, target) = (stages::root()?, stages::target_dir()?);
    let program = match program {
        Some(program) => program,
        None => {
            stages::cargo(&["build", "--release", "--locked", "--package", "ringmail"])?;
            target.join("release/ringmail")
        }
    };
    let to = target.join("debian");
    let epoch_s = epoch_s(&root)?;
    let deb = Deb { root: &root, program: &program, to: &to, epoch_s, compression: "xz" };
    let package = deb.build()?;
    eprintln!("xtask: {}", package.display());
    if lint {
        let mut lintian = Command::new("lintian");
        lintian.args(["--allow-root", "--fail-on", "error"]).arg(&package);
        let status = lintian.status().context("the Debian package `lintian` is needed")?;
        if !status.success() {
            bail!("lintian found errors");
        }
    }
    Ok(())
}
