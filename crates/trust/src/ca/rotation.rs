//! One root takes the place of another, with a time between in which both are believed (RFC 4210 section 4.4 has the
//! cases; the stages here need no cross certificate).
//!
//! ```text
//!             begin                 switch                     finish
//!   old root  signs ──────────────── signs │ is believed ───────────│ gone, with its key
//!   new root                │ is believed  │ signs ──────────────────  signs
//! ```
//!
//! Whoever believes the authority must learn of the new root before it signs, and may forget the old one when nothing
//! that it signed holds any more. Both have a revocation list all the while.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use aws_lc_rs::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::state::{Kind, OtherRoot, Record, Serial, Stage, State};
use super::{EmbeddedCa, certificate, roots};
use crate::error::AuthorityError;
use crate::limits;
use crate::secret::SigningKey;

/// How far a rotation is, and what it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The roots to be believed, the one first that signs.
    pub anchors: Vec<Anchor>,
    /// Its stage, if one is under way.
    pub stage: Option<Stage>,
    /// Seconds since 1970 from which on the new root may sign, or the old one may go: when the next stage may begin.
    pub ready_unix_s: Option<u64>,
    /// What the old root signed, still holds and nothing took the place of, in the order of its end: what it is believed for.
    pub waits_for: Vec<(Serial, Record)>,
}

/// A root certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The first root of an authority is 1, the next 2.
    pub number: u32,
    /// SHA-256 of its DER.
    pub sha256: [u8; 32],
    /// Seconds since 1970 from which on it holds.
    pub not_before_unix_s: u64,
    /// Seconds since 1970 after which it does not hold any more.
    pub not_after_unix_s: u64,
}

impl EmbeddedCa {
    /// How far a rotation is.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn rotation(&self) -> Result<Rotation, AuthorityError> {
        let _locked = self.store.lock()?;
        self.status(&State::load(&self.store)?)
    }

    /// Makes a new root, which is believed from now on and signs nothing yet.
    ///
    /// # Errors
    /// [`AuthorityError::BadRequest`] where a rotation is under way.
    pub fn rotate_begin(&self) -> Result<Rotation, AuthorityError> {
        let _locked = self.store.lock()?;
        let mut state = State::load(&self.store)?;
        if state.other.is_some() {
            return Err(wrong("a rotation is under way already"));
        }
        let number = state.issuing.saturating_add(1);
        let (key, now_unix_s) = (SigningKey::generate()?, self.now_unix_s());
        let params = certificate::root(&self.trust_domain, number, Serial::random()?, now_unix_s)?;
        let pem = params.self_signed(key.pair())?.pem();
        // A key without a root, after a crash, is overwritten by the next.
        self.store.write(&roots::key_file(number), &key.pem())?;
        let stage = Stage::Announced;
        state.other = Some(OtherRoot { number, pem, stage, since_unix_s: now_unix_s });
        self.put_roots(&mut state)?;
        self.status(&state)
    }

    /// Lets the new root sign from now on. `early` does so before every element can know it.
    ///
    /// # Errors
    /// [`AuthorityError::TooEarly`]; [`AuthorityError::BadRequest`] where that is not the next stage.
    pub fn rotate_switch(&self, early: bool) -> Result<Rotation, AuthorityError> {
        let _locked = self.store.lock()?;
        let mut state = State::load(&self.store)?;
        let ready = self.status(&state)?.ready_unix_s;
        let Some(other) = state.other.as_mut().filter(|o| o.stage == Stage::Announced) else {
            return Err(wrong("no new root waits to sign"));
        };
        if !early && ready.is_some_and(|ready| self.now_unix_s() < ready) {
            return Err(AuthorityError::TooEarly { what: "the new root is not known everywhere" });
        }
        std::mem::swap(&mut other.number, &mut state.issuing);
        std::mem::swap(&mut other.pem, &mut state.root_pem);
        other.stage = Stage::Switched;
        other.since_unix_s = self.now_unix_s();
        self.put_roots(&mut state)?;
        self.status(&state)
    }

    /// Believes the old root no longer and destroys its key. `early` does so while something that it signed still
    /// holds, and revokes that.
    ///
    /// # Errors
    /// [`AuthorityError::TooEarly`]; [`AuthorityError::BadRequest`] where that is not the next stage.
    pub fn rotate_finish(&self, early: bool) -> Result<Rotation, AuthorityError> {
        let _locked = self.store.lock()?;
        let mut state = State::load(&self.store)?;
        let waits_for = self.status(&state)?.waits_for;
        let now_unix_s = self.now_unix_s();
        let old = state.other.as_ref().map_or(0, |other| other.number);
        let held = held_by(old, &state.certificates, now_unix_s);
        let Some(other) = state.other.take_if(|other| other.stage == Stage::Switched) else {
            return Err(wrong("no old root waits to go"));
        };
        if !early && !waits_for.is_empty() {
            return Err(AuthorityError::TooEarly { what: "the old root signed what still holds" });
        }
        for (serial, mut record) in held {
            record.revoked_unix_s = Some(now_unix_s);
            state.certificates.insert(serial, record);
        }
        self.put_roots(&mut state)?;
        self.forget_key(other.number)?;
        self.status(&state)
    }

    /// Takes a new root back that signs nothing yet.
    ///
    /// # Errors
    /// [`AuthorityError::BadRequest`] where there is none.
    pub fn rotate_cancel(&self) -> Result<Rotation, AuthorityError> {
        let _locked = self.store.lock()?;
        let mut state = State::load(&self.store)?;
        let Some(other) = state.other.take_if(|other| other.stage == Stage::Announced) else {
            return Err(wrong("no new root waits to sign"));
        };
        self.put_roots(&mut state)?;
        self.forget_key(other.number)?;
        self.status(&state)
    }

    /// Saves other roots, with a list of each. The caller holds the lock.
    fn put_roots(&self, state: &mut State) -> Result<(), AuthorityError> {
        self.renew_crl(state)?;
        self.copy_roots(state)
    }

    /// A key that signs nothing any more is no use to anybody but thieves.
    fn forget_key(&self, number: u32) -> Result<(), AuthorityError> {
        let path = self.store.path(&roots::key_file(number));
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(AuthorityError::File { doing: "remove", path, source })
            }
            _ => Ok(()),
        }
    }

    fn status(&self, state: &State) -> Result<Rotation, AuthorityError> {
        let numbers = [Some(state.issuing), state.other.as_ref().map(|other| other.number)];
        let certificates = self.certificates_of(state)?;
        let anchors = numbers.into_iter().flatten().zip(&certificates);
        let anchors = anchors.map(|(number, der)| anchor(number, der)).collect::<Result<_, _>>()?;
        let Some(other) = &state.other else {
            return Ok(Rotation {
                anchors,
                stage: None,
                ready_unix_s: None,
                waits_for: Vec::new(),
            });
        };
        let mut waits_for = Vec::new();
        let ready_unix_s = match other.stage {
            Stage::Announced => other.since_unix_s + limits::ROOT_KNOWN_AFTER.as_secs(),
            Stage::Switched => {
                waits_for = held_by(other.number, &state.certificates, self.now_unix_s());
                waits_for.retain(|(_, record)| !is_replaced(record, &state.certificates));
                let last = waits_for.last().map(|(_, record)| record.not_after_unix_s);
                last.map_or(other.since_unix_s, |last| last + 1)
            }
        };
        let (stage, ready_unix_s) = (Some(other.stage), Some(ready_unix_s));
        Ok(Rotation { anchors, stage, ready_unix_s, waits_for })
    }
}

/// What a root signed and still holds, the last to end last.
fn held_by(
    root: u32,
    certificates: &BTreeMap<Serial, Record>,
    now_unix_s: u64,
) -> Vec<(Serial, Record)> {
    let holds = |record: &Record| {
        record.root == root
            && record.revoked_unix_s.is_none()
            && record.not_after_unix_s >= now_unix_s
    };
    let held = certificates.iter().filter(|(_, record)| holds(record));
    let mut held: Vec<_> = held.map(|(serial, record)| (*serial, record.clone())).collect();
    held.sort_by_key(|(serial, record)| (record.not_after_unix_s, *serial));
    held
}

/// Whether the element or server of a certificate has got another one, of another root. A client may have several.
fn is_replaced(record: &Record, certificates: &BTreeMap<Serial, Record>) -> bool {
    let same = |other: &Record| (other.kind, &other.name) == (record.kind, &record.name);
    let other = |other: &Record| {
        same(other)
            && other.root != record.root
            && other.not_before_unix_s >= record.not_before_unix_s
            && other.revoked_unix_s.is_none()
    };
    record.kind != Kind::Client && certificates.values().any(other)
}

fn anchor(number: u32, der: &CertificateDer<'_>) -> Result<Anchor, AuthorityError> {
    let (_, parsed) = X509Certificate::from_der(der).map_err(|_| AuthorityError::Signature)?;
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(digest(&SHA256, der).as_ref());
    let unix_s = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
    Ok(Anchor {
        number,
        sha256,
        not_before_unix_s: unix_s(parsed.validity().not_before),
        not_after_unix_s: unix_s(parsed.validity().not_after),
    })
}

fn wrong(reason: &str) -> AuthorityError {
    AuthorityError::BadRequest(reason.to_owned())
}
