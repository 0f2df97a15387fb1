//! Asks all elements what they passed, once in a while, and writes down what they sign.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use futures_util::future::{BoxFuture, join_all};
use ringmail_model::summary::{Signed, Silent, Summary};
use ringmail_trust::Identity;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::book::Book;
use super::seal_summary;
use crate::control::{Observe, Observed};
use crate::limits::{STATEMENTS_AT_ONCE, SUMMARY_LOOKED_AT_EVERY};

/// What the domain says of summaries now.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The domain.
    pub(crate) domain: String,
    /// From one file to the next.
    pub(crate) every: Duration,
    /// Files that stay.
    pub(crate) kept: u32,
    /// Where they go.
    pub(crate) directory: PathBuf,
}

/// Whom to ask, and who signs the file.
pub(crate) trait Ask: Send + Sync {
    /// As of now; `None`: none are written.
    fn settings(&self) -> BoxFuture<'_, Option<Settings>>;

    /// Who signs the file.
    fn identity(&self) -> BoxFuture<'_, Result<Identity>>;

    /// The names of elements that run.
    fn elements(&self) -> BoxFuture<'_, Vec<String>>;

    /// Looks into one.
    fn observe(
        &self,
        element: String,
        question: Observe,
    ) -> BoxFuture<'_, Result<Observed, String>>;
}

/// Writes summaries of one domain on this machine.
pub(crate) struct Keeper {
    ask: Arc<dyn Ask>,
    began_ms: u64,
    /// One at a time.
    writing: tokio::sync::Mutex<()>,
    book: Arc<Mutex<Option<(PathBuf, Book)>>>,
}

impl Keeper {
    pub(crate) fn new(ask: Arc<dyn Ask>) -> Keeper {
        let (writing, book) = Default::default();
        Keeper { ask, began_ms: unix_ms(), writing, book }
    }

    /// Writes one whenever it is time, for as long as it is asked.
    pub(crate) async fn run(&self) {
        let mut waited = Duration::ZERO;
        loop {
            let every = self.ask.settings().await.map(|settings| settings.every);
            let step = every.map_or(SUMMARY_LOOKED_AT_EVERY, |every| {
                every.saturating_sub(waited).min(SUMMARY_LOOKED_AT_EVERY)
            });
            sleep(step).await;
            waited += step;
            if every.is_some_and(|every| waited >= every) {
                waited = Duration::ZERO;
                self.write().await;
            }
        }
    }

    /// Writes one now, if any are written. What keeps it from that is logged: traffic does not depend on it.
    pub(crate) async fn write(&self) {
        let Some(settings) = self.ask.settings().await else { return };
        let _one = self.writing.lock().await;
        match self.collect(settings).await {
            Ok(Some(path)) => tracing::info!(path = %path.display(), "a summary of proofs"),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "no summary of proofs is written");
            }
        }
    }

    async fn collect(&self, settings: Settings) -> Result<Option<PathBuf>> {
        let elements = self.ask.elements().await;
        let asked = elements.into_iter().map(async |element| {
            let mut said = Vec::new();
            for _ in 0..STATEMENTS_AT_ONCE {
                match self.ask.observe(element.clone(), Observe::Statement).await {
                    Ok(Observed::Statement { signed, more }) => {
                        said.extend(signed.map(|signed| *signed));
                        if !more {
                            return (said, None);
                        }
                    }
                    Ok(_) => {
                        return (said, Some((element, "it answered another question".to_owned())));
                    }
                    Err(reason) => return (said, Some((element, reason))),
                }
            }
            (said, Some((element, "it has more to say than fits".to_owned())))
        });
        let (mut statements, mut silent) = (Vec::new(), Vec::new());
        for (said, fault) in join_all(asked).await {
            statements.extend(said);
            silent.extend(fault.map(|(element, reason)| Silent { element, reason }));
        }
        if statements.is_empty() && silent.is_empty() {
            return Ok(None);
        }
        let identity = self.ask.identity().await.context("nobody signs it")?;
        let (book, began_ms) = (Arc::clone(&self.book), self.began_ms);
        let write = move || write(&book, &settings, &identity, began_ms, statements, silent);
        spawn_blocking(write).await?.map(Some)
    }
}

fn write(
    book: &Mutex<Option<(PathBuf, Book)>>,
    settings: &Settings,
    identity: &Identity,
    began_ms: u64,
    statements: Vec<Signed>,
    silent: Vec<Silent>,
) -> Result<PathBuf> {
    let mut open = book.lock().unwrap_or_else(PoisonError::into_inner);
    let place = || format!("cannot write to {}", settings.directory.display());
    if open.as_ref().is_none_or(|(directory, _)| *directory != settings.directory) {
        let book = Book::open(&settings.directory).with_context(place)?;
        *open = Some((settings.directory.clone(), book));
    }
    let (_, book) = open.as_mut().context("no book is open")?;
    let (number, previous) = book.last;
    let summary = Summary {
        domain: settings.domain.clone(),
        number: number + 1,
        previous,
        from_ms: book.last_ms.unwrap_or(began_ms),
        to_ms: unix_ms(),
        statements,
        silent,
    };
    let file = seal_summary(summary, identity)?;
    book.write(&file, settings.kept).with_context(place)
}

pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
