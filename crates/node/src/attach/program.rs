//! The program of an attached function: set-up commands first, then the program itself, which ends with its parent.

use std::io;
use std::os::fd::AsFd;
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};

use crate::control::{ControlChannel, ElementStatus, FromElement, Receiver, Sender, ToElement};
use crate::limits::PROGRAM_GRACE;

/// What is to be run in a function's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commands {
    /// One after the other, before the program.
    pub setup: Vec<Vec<String>>,
    /// The program; none where the kernel is the function.
    pub run: Vec<String>,
}

/// Runs them in the namespace of the calling thread, until the parent says shut down or is gone.
///
/// # Errors
/// A command cannot be started or fails, or the program ends by itself.
pub async fn run(commands: &Commands, control: ControlChannel) -> Result<()> {
    let (mut receiver, mut sender) = control.split();
    let outcome = serve(commands, &mut receiver, &mut sender).await;
    if let Err(error) = &outcome {
        let causes = error.chain().map(ToString::to_string).collect();
        // The parent may be gone; the log has it all the same.
        drop(sender.send(&FromElement::Failed { causes }).await);
    }
    outcome
}

async fn serve(
    commands: &Commands,
    receiver: &mut Receiver<ToElement>,
    sender: &mut Sender<FromElement>,
) -> Result<()> {
    for words in &commands.setup {
        let status = start(words)?.wait().await.with_context(|| words.join(" "))?;
        ensure!(status.success(), "`{}` failed: {status}", words.join(" "));
    }
    let mut program = match commands.run.is_empty() {
        true => None,
        false => Some(start(&commands.run)?),
    };
    sender.send(&FromElement::Ready).await?;
    let ended = loop {
        tokio::select! {
            message = receiver.recv() => match message {
                Ok(Some(ToElement::Shutdown { .. }) | None) | Err(_) => break None,
                Ok(Some(message)) => answer(message, sender).await,
            },
            ended = end(program.as_mut()) => break Some(ended?),
        }
    };
    if let Some(status) = ended {
        bail!("`{}` ended by itself: {status}", commands.run.join(" "));
    }
    if let Some(program) = &mut program {
        stop(program).await.context("the program does not end")?;
    }
    Ok(())
}

async fn answer(message: ToElement, sender: &mut Sender<FromElement>) {
    // A parent that is gone is noticed by the next receive.
    drop(match message {
        ToElement::Status { request } => {
            let role = "function".to_owned();
            let status = ElementStatus { role, ..ElementStatus::default() };
            sender.send(&FromElement::Status { request, status }).await
        }
        ToElement::ExportKeys { request } => {
            sender.send(&FromElement::Keys { request, keys: Vec::new() }).await
        }
        ToElement::Pin { request, .. } => {
            let reason = "a function has no paths of its own".to_owned();
            sender.send(&FromElement::Refused { request, reason }).await
        }
        _ => Ok(()),
    });
}

/// Starts a command in a process group of its own. What it writes goes where errors go.
fn start(words: &[String]) -> Result<Child> {
    let (program, args) = words.split_first().context("a command needs a program")?;
    let stderr = || -> io::Result<Stdio> { Ok(io::stderr().as_fd().try_clone_to_owned()?.into()) };
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(stderr()?).stderr(stderr()?);
    command.process_group(0).kill_on_drop(true);
    // SAFETY: between fork and exec one system call is made; nothing allocates, locks or may panic.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
    command.spawn().with_context(|| format!("`{}` cannot be started", words.join(" ")))
}

async fn end(program: Option<&mut Child>) -> io::Result<ExitStatus> {
    match program {
        Some(program) => program.wait().await,
        None => std::future::pending().await,
    }
}

/// Asks the program and all that it started to end, and makes them after a while.
async fn stop(program: &mut Child) -> io::Result<()> {
    let number = program.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    // Nobody has waited for it yet, so that the number is still its own.
    let Some(group) = number else { return Ok(()) };
    let _gone = kill_process_group(group, Signal::TERM);
    if tokio::time::timeout(PROGRAM_GRACE, program.wait()).await.is_err() {
        let _gone = kill_process_group(group, Signal::KILL);
        program.wait().await?;
    }
    Ok(())
}
