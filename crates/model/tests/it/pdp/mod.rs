//! The Path Distribution Protocol, transition by transition, and all of it at once under faults.

mod follower;
mod publisher;
mod simulation;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use ringmail_model::PathVersion;
use ringmail_model::domain::{Domain, Profile};
use ringmail_model::pathset::{Issue, PathSet, PublicKey, SignedPathSet};
use ringmail_model::pdp::look::{Fate, Passage};
use ringmail_model::pdp::{Documents, FollowerConfig, Held, Message, Published};

use crate::examples::{ISSUE, campus};

/// A time at which the documents hold.
pub(super) const NOW_UNIX_S: u64 = ISSUE.not_before_unix_s + 10;

static KEY: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::generate().expect("a key"));

/// The campus with this many functions.
pub(super) fn domain(functions: usize) -> Domain {
    let mut domain = campus();
    let pattern = domain.functions[0].clone();
    for number in domain.functions.len()..functions {
        let mut function = pattern.clone();
        function.name = format!("more{number}").parse().expect("a name");
        (function.address, function.label) = (None, None);
        domain.functions.push(function);
    }
    domain
}

pub(super) fn path_key() -> PublicKey {
    PublicKey(KEY.public_key().as_ref().try_into().expect("32 bytes"))
}

/// The signed documents of a version.
pub(super) fn documents(domain: &Domain, version: u64) -> Documents {
    documents_of(domain, Issue { version: PathVersion(version), ..ISSUE }, "file")
}

pub(super) fn documents_of(domain: &Domain, issue: Issue, text: &str) -> Documents {
    let set = PathSet::compile(domain, issue).expect("a path set");
    let sign = |message: &[u8]| KEY.sign(message).as_ref().to_vec();
    let paths = SignedPathSet::sign(&set, |message| Ok::<_, ()>(sign(message)));
    Documents {
        paths: paths.expect("a signature"),
        domain_file: text.to_owned(),
        domain_signature: sign(&Documents::domain_message(issue.version, text)),
    }
}

pub(super) fn members(domain: &Domain) -> Vec<String> {
    let set = PathSet::compile(domain, ISSUE).expect("a path set");
    set.elements.into_iter().map(|element| element.name).collect()
}

pub(super) fn published(domain: &Domain, version: u64) -> Published {
    let documents = documents(domain, version);
    let last = ["gateway".to_owned()];
    Published::new(PathVersion(version), documents, members(domain), last).expect("it fits")
}

pub(super) fn config(element: &str) -> FollowerConfig {
    FollowerConfig {
        domain: campus().domain,
        element: element.to_owned(),
        path_key: path_key(),
        profiles: Profile::ALL.to_vec(),
        life: [1; 16],
        jitter_seed: 7,
    }
}

pub(super) fn held(active: u64, highest: u64, of: &Documents) -> Held {
    Held {
        active: PathVersion(active),
        highest: PathVersion(highest),
        fingerprint: of.fingerprint(),
    }
}

pub(super) fn decoded(bytes: &[u8]) -> Message {
    Message::decode(&bytes[4..]).expect("a message")
}

pub(super) fn body(message: &Message) -> Vec<u8> {
    message.encode().split_off(4)
}

/// A clock that stands still until it is turned.
pub(super) struct Clock(pub(super) Instant);

impl Clock {
    pub(super) fn new() -> Clock {
        Clock(Instant::now())
    }

    pub(super) fn turn(&mut self, by: Duration) -> Instant {
        self.0 += by;
        self.0
    }
}

/// A packet that passed.
pub(super) fn passage() -> Passage {
    Passage {
        flow: None,
        arrived: None,
        left: None,
        in_ns: 1,
        out_ns: 2,
        bytes_in: 3,
        bytes_out: 4,
        fate: Fate::Sent,
        reason: String::new(),
    }
}
