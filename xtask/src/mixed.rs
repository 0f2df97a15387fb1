//! `cargo xtask mixed`: elements of two builds as neighbours (docs/manual/src/versions.md).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::stages;

/// Builds a revision in a scratch worktree, and runs the tests that want another build with it.
pub(crate) fn run(against: Option<&str>) -> Result<()> {
    let root = stages::root()?;
    let revision = match against {
        Some(revision) => commit(&root, revision)?,
        None => match git(&root, &["describe", "--tags", "--abbrev=0"]) {
            Ok(tag) => commit(&root, &tag)?,
            Err(_) => commit(&root, "HEAD^")?,
        },
    };
    let folder = stages::target_dir()?.join("mixed").join(&revision);
    if !folder.join("ringmail").exists() {
        build(&root, &revision, &folder)?;
    }
    eprintln!("xtask: this build beside that of {revision}");
    let mut test = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    test.args(["test", "--locked", "--package", "ringmail", "--test", "it", "--"]);
    test.args(["--ignored", "--exact", "--nocapture", "--test-threads=1"]);
    test.args([
        "live::machines::mixed::neighbours_of_two_builds",
        "running::a_domain_of_another_build",
    ]);
    test.env("RINGMAIL_OTHER", std::path::absolute(&folder)?).current_dir(&root);
    let status = test.status().context("cargo could not be started")?;
    ensure!(status.success(), "neighbours of two builds do not work together: {status}");
    Ok(())
}

/// Puts the program of a revision into a folder. Third-party crates are shared with the usual build.
fn build(root: &Path, revision: &str, folder: &Path) -> Result<()> {
    eprintln!("xtask: building {revision}");
    let target = std::path::absolute(stages::target_dir()?)?;
    let tree = Tree::new(root, revision, &target.join("mixed/tree"))?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--locked", "--package", "ringmail"]).current_dir(&tree.path);
    let status = cargo.env("CARGO_TARGET_DIR", &target).status();
    if !status.context("cargo could not be started")?.success() {
        bail!("{revision} cannot be built");
    }
    fs::create_dir_all(folder)?;
    // Renamed when it is whole.
    let unfinished = folder.join("unfinished");
    fs::copy(target.join("debug/ringmail"), &unfinished)?;
    Ok(fs::rename(&unfinished, folder.join("ringmail"))?)
}

/// A worktree that goes when it is no longer needed.
struct Tree {
    root: PathBuf,
    path: PathBuf,
}

impl Tree {
    fn new(root: &Path, revision: &str, path: &Path) -> Result<Tree> {
        let tree = Tree { root: root.to_owned(), path: path.to_owned() };
        tree.remove();
        let place = path.to_str().context("the target folder's path is no UTF-8")?;
        git(root, &["worktree", "add", "--detach", "--force", place, revision])?;
        Ok(tree)
    }

    fn remove(&self) {
        if let Some(path) = self.path.to_str() {
            // There may be none.
            drop(git(&self.root, &["worktree", "remove", "--force", path]));
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.remove();
    }
}

fn commit(root: &Path, revision: &str) -> Result<String> {
    git(root, &["rev-parse", "--short=12", "--verify", &format!("{revision}^{{commit}}")])
}

fn git(root: &Path, args: &[&str]) -> Result<String> {
    let output = Command::new("git").args(args).current_dir(root).output();
    let output = output.context("git could not be started")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "git {}: {said}", args.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
