//! Whoever may speak to an element as control does, but cannot sign, has it follow other paths.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use rcgen::{KeyPair, PKCS_ED25519, SigningKey};
use ringmail_model::PathVersion;
use ringmail_model::defence::Defence;
use ringmail_model::pathset::{PathSet, SignedPathSet};
use ringmail_node::control::{FromElement, ToElement};
use ringmail_trust::Authority;

use crate::case::{Case, Claimed, Row, Switch, Trial};
use crate::lab::Lab;

pub(super) const CASES: &[Case] = &[
    Case {
        attack: "path-set-of-another-signer",
        row: Row::SfcIntegrity,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::PathSetSignature])),
        expected: "an element follows no path set that the domain did not sign",
        run: other_signer,
    },
    Case {
        attack: "old-path-set-served-again",
        row: Row::SfcIntegrity,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::PathSetVersion])),
        expected: "an element goes back to no path set that is older than one that it has seen",
        run: old,
    },
];

/// The element that is lied to.
const VICTIM: &str = "sf1";

/// The same paths with this version, valid now.
fn set(lab: &Lab, version: PathVersion) -> Result<PathSet> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    Ok(PathSet {
        version,
        not_before_unix_s: now - 60,
        not_after_unix_s: now + 3_600,
        ..lab.set.clone()
    })
}

/// Has the element stage this version, and forget it again: why it would not, if it would not.
fn staged(lab: &Lab, version: PathVersion, signed: &SignedPathSet) -> Result<Option<String>> {
    let handle = lab.handle();
    let stage = handle.ask(VICTIM, Duration::from_secs(15), |request| ToElement::Stage {
        request,
        text: lab.text().to_owned(),
        document: signed.bytes.clone().into(),
        signature: signed.signature.clone().into(),
        listeners: Vec::new(),
        services: Vec::new(),
        counts: true,
    });
    let answer = match lab.block_on(stage) {
        Ok(FromElement::Staged { nack, .. }) => nack.map(|nack| nack.reason),
        Ok(other) => bail!("the element answers {other:?}"),
        Err(error) => return Err(error).context("the element does not answer"),
    };
    let abandon = |request| ToElement::Abandon { request, version: version.0 };
    lab.block_on(handle.ask(VICTIM, Duration::from_secs(15), abandon))?;
    Ok(answer)
}

/// A version that nobody has seen yet.
fn later(running: PathVersion) -> PathVersion {
    static AHEAD: AtomicU64 = AtomicU64::new(1);
    PathVersion(running.0 + AHEAD.fetch_add(1, Relaxed))
}

/// The control: a version signed by the domain and newer than the one that runs is taken.
fn honest(lab: &Lab) -> Result<PathVersion> {
    let running = PathVersion(lab.status(VICTIM)?.version);
    let next = later(running);
    let signed = lab.authority().sign_path_set(&set(lab, next)?)?;
    let refused = staged(lab, next, &signed)?;
    ensure!(refused.is_none(), "an honest version is refused: {}", refused.unwrap_or_default());
    Ok(running)
}

fn other_signer(lab: &mut Lab) -> Result<Trial> {
    let running = honest(lab)?;
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    let version = later(running);
    let signed = SignedPathSet::sign(&set(lab, version)?, |message| key.sign(message))?;
    judged(staged(lab, version, &signed)?)
}

fn old(lab: &mut Lab) -> Result<Trial> {
    let running = honest(lab)?;
    let version = PathVersion(running.0 - 1);
    let signed = lab.authority().sign_path_set(&set(lab, version)?)?;
    judged(staged(lab, version, &signed)?)
}

fn judged(refused: Option<String>) -> Result<Trial> {
    Ok(match refused {
        Some(why) => Trial::of(false, format!("the element says: {why}")),
        None => Trial::of(true, "the element takes it"),
    })
}
