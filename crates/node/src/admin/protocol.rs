//! What can be asked of a running domain, and its answers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::distribution::{Distribution, VersionReport};
use crate::change::ReloadReport;
use crate::control::{ElementStatus, KeyExport, ListenerLists, Rekeyed};
use crate::see::prove::{Proofs, ProveWish};
use crate::see::trace::{Trace, TraceWish};

/// A question to a running domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AdminRequest {
    /// How is everything?
    Status,
    /// The keys of all security associations.
    ExportKeys,
    /// Elements agree on new keys with their neighbours.
    Rekey {
        /// Their names; of all if there are none.
        elements: Vec<String>,
    },
    /// The gateway is to read its revocation lists now.
    ReadLists,
    /// What becomes of packets along a path.
    Trace(TraceWish),
    /// What the ends of paths said last of the way that packets came.
    Prove(ProveWish),
    /// A copy of what one element sees in plain on a path; pcapng follows the answer until one side ends it.
    Tap {
        /// The path's name.
        path: String,
        /// The element's name.
        element: String,
    },
    /// Run by another domain file.
    Reload {
        /// The file.
        text: String,
        /// Where its relative paths begin.
        folder: PathBuf,
        /// Only try whether every element could.
        dry_run: bool,
        /// Elements that cannot change while they run may start again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        restart: bool,
    },
    /// End.
    Down,
}

/// An answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AdminReply {
    /// To [`AdminRequest::Status`].
    Status(DomainStatus),
    /// To [`AdminRequest::ExportKeys`].
    Keys(Vec<KeyExport>),
    /// To [`AdminRequest::Rekey`], whether all keys changed or not.
    Rekeyed(Vec<ElementRekeyed>),
    /// To [`AdminRequest::ReadLists`]; lists that are refused are in there.
    Lists(Vec<ListenerLists>),
    /// To [`AdminRequest::Trace`].
    Traced(Trace),
    /// To [`AdminRequest::Prove`].
    Proofs(Proofs),
    /// To [`AdminRequest::Tap`]; what follows is no line any more.
    Tapping,
    /// To [`AdminRequest::Reload`], whether it was activated or not.
    Reloaded(ReloadReport),
    /// To [`AdminRequest::Down`]; the domain ends afterwards.
    Stopping,
    /// Not done, and why.
    Refused {
        /// For people.
        reason: String,
    },
}

/// New keys of one element, by neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ElementRekeyed {
    /// Its name.
    pub element: String,
    /// With whom, and what changed.
    pub neighbours: Vec<Rekeyed>,
    /// Why nothing is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A running domain as of now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DomainStatus {
    /// Its name.
    pub domain: String,
    /// `processes` or `single`; `control`: the elements are on other machines; `machine`: this one is on a machine of its own.
    pub layout: String,
    /// The process that runs it.
    pub pid: u32,
    /// Whether it runs in a user namespace.
    pub rootless: bool,
    /// How long it has been up, in seconds.
    pub up_s: u64,
    /// The network namespaces, by name; `ringmail exec` enters them.
    pub namespaces: Vec<String>,
    /// What lays traffic open, and how often it was done: `keys_exported`, `tap`, `tap_refused`.
    #[serde(default)]
    pub audit: BTreeMap<String, u64>,
    /// Of control: which version counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<Distribution>,
    /// The elements, by name.
    pub elements: Vec<ElementReport>,
}

/// An element of a running domain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ElementReport {
    /// Its name.
    pub name: String,
    /// Its process, in layout `processes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// `starting`, `ready` or `ended`; of an element on another machine `connected` or `away`.
    pub state: String,
    /// How often it ended by itself and was started again.
    #[serde(default)]
    pub restarts: u64,
    /// How it ended, or why it does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Which version it runs, where elements are on machines of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionReport>,
    /// What it says, where it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<ElementStatus>,
}
