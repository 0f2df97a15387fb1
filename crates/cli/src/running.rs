//! The running domain that a verb is about.

use std::path::{Path, PathBuf};

use ringmail_node::admin::{AdminError, Client, SOCKET_FILE};
use ringmail_node::runtime::{Place, Record, RuntimeError};

use crate::error::Failure;

/// Which running domain is meant.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// The domain; can be left out while only one is up
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
}

/// Which running domain, control or lone element is meant.
#[derive(Debug, clap::Args)]
pub(crate) struct Whom {
    #[command(flatten)]
    which: Which,

    /// Ask the control or the element on a machine of its own that runs with this state directory
    #[arg(long, value_name = "DIR", conflicts_with = "domain")]
    state: Option<PathBuf>,
}

/// Who answers: a running domain, or a control or element with a state directory.
#[derive(Debug)]
pub(crate) struct Answering {
    dir: PathBuf,
    /// The process of a running domain.
    pid: Option<u32>,
    /// What to call it.
    pub(crate) name: String,
}

/// A running domain.
#[derive(Debug)]
pub(crate) struct Running {
    dir: PathBuf,
    /// What it holds on this machine.
    pub(crate) record: Record,
}

impl Which {
    pub(crate) fn find(&self) -> Result<Running, Failure> {
        let (dir, record) = Place::usual().find(self.domain.as_deref()).map_err(failed_to_find)?;
        Ok(Running { dir, record })
    }
}

impl Whom {
    /// The state directory of whoever is meant, if one was named.
    pub(crate) fn state(&self) -> Option<&Path> {
        self.state.as_deref()
    }

    pub(crate) fn find(&self) -> Result<Answering, Failure> {
        let Some(dir) = &self.state else {
            let Running { dir, record } = self.which.find()?;
            return Ok(Answering { dir, pid: Some(record.owner.pid), name: record.domain });
        };
        if !dir.join(SOCKET_FILE).exists() {
            return Err(Failure::new(format!("nothing runs with {}", dir.display())).hint(
                "the directory is that of `--state` of ringmail control, gateway, hop or egress",
            ));
        }
        let name = dir.display().to_string();
        Ok(Answering { dir: dir.clone(), pid: None, name })
    }
}

impl Answering {
    /// Its admin socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join(SOCKET_FILE)
    }

    /// Asks it something, over its admin socket.
    pub(crate) fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&mut Client) -> Result<T, AdminError>,
    ) -> Result<T, Failure> {
        ask(&self.dir, self.pid, question)
    }
}

fn ask<T>(
    dir: &Path,
    pid: Option<u32>,
    question: impl AsyncFnOnce(&mut Client) -> Result<T, AdminError>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = runtime.block_on(async {
        let mut client = Client::connect(&dir.join(SOCKET_FILE)).await?;
        question(&mut client).await
    });
    asked.map_err(|error| {
        let hangs = matches!(error, AdminError::Late { .. } | AdminError::Connect { .. });
        let failure = Failure::from(error);
        match pid.filter(|_| hangs) {
            Some(pid) => failure.hint(format!(
                "if it does not recover, `kill -9 {pid}`; the next `up` removes what it leaves"
            )),
            None => failure,
        }
    })
}

/// The error with the hint that belongs to it.
fn failed_to_find(error: RuntimeError) -> Failure {
    let hint = error.hint();
    Failure::from(error).hint_if(hint)
}
