//! Stages of a task: run one after the other, each timed, the times kept for `ci-times`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// The stages of one run and the seconds that each took.
#[derive(Default)]
pub(crate) struct Stages {
    done: Vec<(String, f64)>,
}

impl Stages {
    /// Runs one stage and notes its time, whether it fails or not.
    pub(crate) fn run(&mut self, name: &str, stage: impl FnOnce() -> Result<()>) -> Result<()> {
        eprintln!("xtask: {name}");
        let started = Instant::now();
        let outcome = stage();
        self.done.push((name.to_owned(), started.elapsed().as_secs_f64()));
        self.keep()?;
        outcome.with_context(|| format!("stage `{name}` failed"))
    }

    /// The table of stages.
    pub(crate) fn table(&self) -> String {
        let total: f64 = self.done.iter().map(|(_, seconds)| seconds).sum();
        let rows = self.done.iter().map(|(name, s)| format!("{s:>8.1} s  {name}\n"));
        rows.chain([format!("{total:>8.1} s  all stages\n")]).collect()
    }

    fn keep(&self) -> Result<()> {
        let path = last()?;
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        fs::write(&path, self.table()).with_context(|| format!("{} not written", path.display()))
    }
}

/// Prints the stages of the last run.
pub(crate) fn print_last() -> Result<()> {
    let path = last()?;
    let table = fs::read_to_string(&path).context("no run yet: call `cargo xtask test` first")?;
    eprint!("{table}");
    Ok(())
}

/// Runs cargo in the workspace.
pub(crate) fn cargo(args: &[&str]) -> Result<()> {
    let status = cargo_command().args(args).status().context("cargo could not be started")?;
    if status.success() { Ok(()) } else { bail!("`cargo {}` ended with {status}", args.join(" ")) }
}

/// Whether `cargo SUBCOMMAND` is installed.
pub(crate) fn has_cargo(subcommand: &str) -> bool {
    cargo_command().args([subcommand, "--version"]).output().is_ok_and(|out| out.status.success())
}

/// Where cargo builds to.
pub(crate) fn target_dir() -> Result<PathBuf> {
    Ok(match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => folder.into(),
        None => root()?.join("target"),
    })
}

fn cargo_command() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    if let Ok(root) = root() {
        command.current_dir(root);
    }
    command
}

pub(crate) fn root() -> Result<PathBuf> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(PathBuf::from).context("xtask has no parent folder")
}

fn last() -> Result<PathBuf> {
    Ok(target_dir()?.join("xtask").join("stages.txt"))
}
