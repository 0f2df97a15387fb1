//! What can go wrong between a parent and its elements.

use std::error::Error;
use std::io;
use std::time::Duration;

use super::exit::Exit;

/// An element could not be started. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// Two elements of one name.
    #[error("an element {element} runs already")]
    Twice {
        /// Which.
        element: String,
    },
    /// The kernel: no descriptor, process or thread left, no right to enter the namespace, or no such program.
    #[error("element {element}: {step}")]
    System {
        /// Which.
        element: String,
        /// What was being done, e.g. `its program cannot be started`.
        step: &'static str,
        /// The kernel's word.
        source: io::Error,
    },
}

/// The elements did not all become ready.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The element's own fault; its last words are in the [`Exit`].
    #[error("element {element} {exit}")]
    Ended {
        /// Which.
        element: String,
        /// How, and why as far as is known.
        exit: Exit,
    },
    /// They take too long.
    #[error("not ready within {}: {}", seconds(*within), elements.join(", "))]
    Late {
        /// Which ones.
        elements: Vec<String>,
        /// What they had.
        within: Duration,
    },
    /// What an element asked for cannot be given.
    #[error("element {element} cannot be given what it asked for")]
    Conduct {
        /// Which.
        element: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// An element cannot be reached.
    #[error("element {element} cannot be answered")]
    Request {
        /// Which.
        element: String,
        /// Why.
        source: RequestError,
    },
}

/// An element did not take a message, or did not answer a question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The caller's fault.
    #[error("there is no element {element}")]
    Unknown {
        /// As it was given.
        element: String,
    },
    /// It ended.
    #[error("it does not run any more")]
    Ended,
    /// It does not read its messages, or has too many questions open.
    #[error("it is not keeping up")]
    Busy,
    /// It does not answer.
    #[error("it does not answer within {}", seconds(*within))]
    Late {
        /// What it had.
        within: Duration,
    },
    /// It answers that it cannot.
    #[error("it refuses: {reason}")]
    Refused {
        /// In its words.
        reason: String,
    },
    /// The element's fault: it answers another question.
    #[error("its answer is to another question")]
    Mismatch,
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f32())
}
