//! `cargo xtask test`: everything that CI checks, in the order that fails soonest.

use std::thread;

use anyhow::{Context, Result, anyhow, bail};

use crate::attack;
use crate::keylime;
use crate::packages;
use crate::stages::{Stages, cargo, has_cargo};

/// The test whose program not every Debian has.
const IDS_TEST: &str = "live::attached::ids::an_ids_drops_what_its_rule_names_and_passes_the_rest";

/// Runs every check. Debian packages are installed beside the build when `may_install` and this is root.
pub(crate) fn run(may_install: bool) -> Result<()> {
    let mut stages = Stages::default();
    let outcome = all(&mut stages, may_install);
    eprint!("\n{}", stages.table());
    outcome
}

fn all(stages: &mut Stages, may_install: bool) -> Result<()> {
    let install = thread::spawn(move || {
        packages::ensure(may_install).and_then(|()| packages::has_suricata(may_install))
    });
    stages.run("format", || cargo(&["fmt", "--all", "--check"]))?;
    stages.run("build", || cargo(&["build", "--workspace", "--all-targets", "--locked"]))?;
    let mut has_suricata = false;
    stages.run("packages", || {
        let installed = install.join().map_err(|_| anyhow!("the installer panicked"));
        has_suricata = installed.context("packages")??;
        Ok(())
    })?;
    stages.run("tests", || {
        if has_cargo("nextest") {
            cargo(&[
                "nextest",
                "run",
                "--workspace",
                "--locked",
                "--no-fail-fast",
                "--status-level",
                "slow",
            ])
        } else {
            cargo(&["test", "--workspace", "--locked", "--no-fail-fast", "--all-targets"])
        }
    })?;
    if has_suricata {
        stages.run("intrusion detection in line", || {
            let test = ["test", "-p", "ringmail", "--locked", "--test", "it"];
            let named = ["--", "--exact", IDS_TEST, "--ignored"];
            cargo(&[&test[..], &named].concat())
        })?;
    } else {
        eprintln!("xtask: suricata is not installed; `{IDS_TEST}` was NOT run here");
    }
    verdicts(stages, may_install)?;
    attacks(stages)?;
    stages.run("doc tests", || cargo(&["test", "--workspace", "--locked", "--doc", "--quiet"]))?;
    stages.run("lints", || {
        cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ])
    })?;
    if has_cargo("deny") {
        stages.run("licences and sources", || {
            // What no build of this machine needs is looked at, too.
            cargo(&["fetch", "--locked"])?;
            cargo(&[
                "deny",
                "--offline",
                "--log-level",
                "error",
                "check",
                "licenses",
                "bans",
                "sources",
            ])
        })?;
    } else {
        eprintln!("xtask: cargo-deny is not installed; licences and sources were NOT checked here");
    }
    Ok(())
}

/// Verdicts of hosts beside Keylime's own.
fn verdicts(stages: &mut Stages, may_install: bool) -> Result<()> {
    if !keylime::ensure(may_install).unwrap_or(false) {
        eprintln!(
            "xtask: Keylime could not be had from PyPI; `{}` was NOT run here",
            keylime::TEST
        );
        return Ok(());
    }
    stages.run("verdicts as Keylime's", || {
        let test = ["test", "-p", "ringmail-trust-core", "--locked", "--test", "it"];
        cargo(&[&test[..], &["--", "--exact", keylime::TEST, "--ignored"]].concat())
    })
}

/// The adversarial suite on what is shipped, and then with each attack's defence switched off, so that it is seen to bite:
/// that is of a build that nobody ships. In profile `mpls` it is seen which attacks succeed without NSH.
fn attacks(stages: &mut Stages) -> Result<()> {
    if !attack::possible() {
        eprintln!("xtask: this is not root; the adversarial suite was NOT run here");
        return Ok(());
    }
    let attack = |args: &[&str]| match attack::run(args)? {
        0 => Ok(()),
        code => bail!("`cargo xtask attack {}` ended with {code}", args.join(" ")),
    };
    stages.run("attacks", || {
        ["mpls-nsh", "nsh"].iter().try_for_each(|profile| attack(&["--profile", profile]))
    })?;
    stages.run("attacks, without their defences", || {
        let profiles = ["mpls-nsh", "mpls"];
        profiles.iter().try_for_each(|profile| attack(&["--weaken", "--profile", profile]))
    })
}
