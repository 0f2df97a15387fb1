//! What is known of a function, and what one can see of it.

use ringmail_model::Name;

use super::effect::FunctionRecord;
use super::host::Trust;

/// A function.
#[derive(Clone, Debug)]
pub(super) struct Function {
    pub(super) host: Name,
    pub(super) trust: Trust,
}

/// A function as reports show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionView {
    /// What is remembered.
    pub record: FunctionRecord,
    /// When its last evidence was found good, in milliseconds since 1970; not known after a restart.
    pub attested_unix_ms: Option<u64>,
    /// Certificates that hold.
    pub certificates: usize,
    /// Whether it takes part: it and its host are trusted.
    pub takes_part: bool,
}

impl Function {
    pub(super) fn record(&self, name: &Name) -> FunctionRecord {
        let Trust { standing, refusals, held, cause, since_unix_ms, .. } = &self.trust;
        FunctionRecord {
            name: name.clone(),
            host: self.host.clone(),
            standing: *standing,
            refusals: *refusals,
            held: *held,
            cause: cause.clone(),
            since_unix_ms: *since_unix_ms,
        }
    }
}
