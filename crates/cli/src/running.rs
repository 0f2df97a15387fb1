//! The running domain that a verb is about.

use std::path::PathBuf;

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

impl Running {
    /// Its admin socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join(SOCKET_FILE)
    }

    /// Asks the domain something, over its admin socket.
    pub(crate) fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&mut Client) -> Result<T, AdminError>,
    ) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let asked = runtime.block_on(async {
            let mut client = Client::connect(&self.socket()).await?;
            question(&mut client).await
        });
        asked.map_err(|error| {
            let hangs = matches!(error, AdminError::Late { .. } | AdminError::Connect { .. });
            let failure = Failure::from(error);
            if !hangs {
                return failure;
            }
            let pid = self.record.owner.pid;
            failure.hint(format!(
                "if it does not recover, `kill -9 {pid}`; the next `up` removes what it leaves"
            ))
        })
    }
}

/// The error with the hint that belongs to it.
fn failed_to_find(error: RuntimeError) -> Failure {
    let hint = error.hint();
    Failure::from(error).hint_if(hint)
}
