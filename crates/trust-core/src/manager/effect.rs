//! What the driver has to do after a call, in this order and before it answers.

use ringmail_model::Name;

use super::audit::Act;
use super::merkle::Hash;
use super::subject::{Serial, Standing, Subject};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Put it into the log. Nothing that follows from it may be seen before it is durable.
    Log(Act),
    /// Remember a host; the record takes the place of an earlier one.
    KeepHost(HostRecord),
    /// Remember a function.
    KeepFunction(FunctionRecord),
    /// The revocation list has to name these.
    Revoked {
        /// Whose.
        subject: Subject,
        /// Which.
        serials: Vec<Serial>,
    },
    /// Take it out of its paths.
    Withdraw(Subject),
    /// It may stand in its paths again.
    Readmit(Subject),
    /// Neighbours close sessions with it and forget its keys.
    CloseLeases(Subject),
}

/// What is remembered of a host over a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRecord {
    /// Its name.
    pub name: Name,
    /// How it stands.
    pub standing: Standing,
    /// SHA-256 of what its evidence is bound to.
    pub anchor: Hash,
    /// Refusals in a row.
    pub refusals: u32,
    /// Whether an operator put it there, so that evidence alone does not bring it back.
    pub held: bool,
    /// Why it stands so.
    pub cause: String,
    /// Since when, in milliseconds since 1970.
    pub since_unix_ms: u64,
}

/// What is remembered of a function over a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionRecord {
    /// Its name.
    pub name: Name,
    /// The host that it is on.
    pub host: Name,
    /// How it stands.
    pub standing: Standing,
    /// Refusals in a row.
    pub refusals: u32,
    /// Whether an operator put it there.
    pub held: bool,
    /// Why it stands so.
    pub cause: String,
    /// Since when, in milliseconds since 1970.
    pub since_unix_ms: u64,
}
