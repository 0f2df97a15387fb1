//! The audit log: whatever the manager did, entry behind entry, each with the hash of the one before.
//!
//! ```text
//! "ringmail-audit/1" │ index u64 │ at, ms since 1970 u64 │ hash of the entry before, 32 │ kind u8 │ fields of the kind
//! ```
//!
//! Integers are big-endian, a text stands behind its length in 16 bits, a list behind its count. An entry has one encoding
//! only, and [`Entry::decode`] takes no other. The hash of an entry in the chain is SHA-256 of it; in the tree it is
//! [`merkle::leaf`](super::merkle::leaf). The first entry has zeros for the hash before it.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use ringmail_model::{Name, TrustDomain};

use super::bytes::{Reader, Writer};
use super::merkle::Hash;
use super::subject::{Kind, Serial, Standing, Subject};
use crate::limits::{CAUSE_BYTES, LIVE_CERTIFICATES};

/// What every entry begins with.
pub const CONTEXT: &[u8; 16] = b"ringmail-audit/1";

/// What stands for the hash of the entry before the first.
pub const NOTHING: Hash = [0; 32];

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The first is 0.
    pub index: u64,
    /// Milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The hash of the entry before.
    pub previous: Hash,
    /// What was done.
    pub act: Act,
}

/// What the manager did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// The log begins.
    Opened {
        /// Of this domain.
        trust_domain: TrustDomain,
    },
    /// The rules from here on.
    PolicySet {
        /// SHA-256 of the policy's text.
        policy: Hash,
        /// Who set it.
        by: String,
    },
    /// A host was taken in.
    Enrolled {
        /// The host.
        host: Name,
        /// SHA-256 of what its evidence is bound to: its attestation key.
        anchor: Hash,
    },
    /// A host or function stands differently.
    Stands {
        /// Who.
        subject: Subject,
        /// Before.
        from: Standing,
        /// Now.
        to: Standing,
        /// Why.
        cause: String,
    },
    /// A certificate was made. It was handed out after this entry was durable.
    Issued(Issued),
    /// Certificates hold no longer.
    Revoked {
        /// Whose they were.
        subject: Subject,
        /// Which.
        serials: Vec<Serial>,
        /// Why.
        cause: String,
    },
    /// An operator said something.
    Said {
        /// The operator's SPIFFE id.
        by: String,
        /// About whom.
        subject: Subject,
        /// `warn`, `quarantine`, `revoke` or `recover`.
        word: String,
        /// Why, in the operator's words.
        why: String,
    },
    /// Another manager took over; what an earlier one signs does not count any more.
    TookOver {
        /// Grows by one with every take-over.
        term: u64,
        /// Who leads now.
        by: String,
    },
}

/// A certificate as the log knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Whose.
    pub subject: Subject,
    /// The host that it is on.
    pub host: Name,
    /// The one name in it.
    pub spiffe_id: String,
    /// Its serial number.
    pub serial: Serial,
    /// SHA-256 of the certificate in DER.
    pub certificate: Hash,
    /// SHA-256 of the evidence on which it was issued; zeros for an agent that enrolled by a token.
    pub evidence: Hash,
    /// Seconds since 1970 after which it does not hold.
    pub not_after_unix_s: u64,
}

impl Entry {
    /// The one encoding.
    pub fn encode(&self) -> Vec<u8> {
        let writer = Writer::default().bytes(CONTEXT).u64(self.index).u64(self.at_unix_ms);
        self.act.write(writer.bytes(&self.previous)).finish()
    }

    /// The entry of an encoding; `None` for bytes that are none.
    pub fn decode(bytes: &[u8]) -> Option<Entry> {
        let mut reader = Reader::new(bytes);
        if reader.bytes(CONTEXT.len())? != CONTEXT {
            return None;
        }
        let (index, at_unix_ms, previous) = (reader.u64()?, reader.u64()?, reader.array()?);
        let act = Act::read(&mut reader)?;
        reader.is_empty().then_some(Entry { index, at_unix_ms, previous, act })
    }
}

/// The hash of an encoded entry in the chain.
pub fn link(entry: &[u8]) -> Hash {
    let mut hash = NOTHING;
    hash.copy_from_slice(digest(&SHA256, entry).as_ref());
    hash
}

/// Why entries are no chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Somebody changed the bytes.
    #[error("entry {0} is not in the encoding of an entry")]
    Encoding(u64),
    /// An entry is missing, or was put in.
    #[error("entry {found} stands where entry {expected} should")]
    Order {
        /// What was due.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// The entry before is not the one that it continued.
    #[error("entry {0} does not continue the entry before it")]
    Link(u64),
}

/// Walks along a chain, from its beginning or from a head that is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The index that comes next.
    pub next: u64,
    /// The hash of the last entry.
    pub last: Hash,
}

impl Walk {
    /// Before the first entry.
    pub const START: Walk = Walk { next: 0, last: NOTHING };

    /// Takes the next entry.
    ///
    /// # Errors
    /// [`ChainError`]; the walk stays where it was.
    pub fn step(&mut self, encoded: &[u8]) -> Result<Entry, ChainError> {
        let entry = Entry::decode(encoded).ok_or(ChainError::Encoding(self.next))?;
        if entry.index != self.next {
            return Err(ChainError::Order { expected: self.next, found: entry.index });
        }
        if entry.previous != self.last {
            return Err(ChainError::Link(entry.index));
        }
        *self = Walk { next: self.next + 1, last: link(encoded) };
        Ok(entry)
    }
}

impl Act {
    /// The word in reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Act::Opened { .. } => "opened",
            Act::PolicySet { .. } => "policy-set",
            Act::Enrolled { .. } => "enrolled",
            Act::Stands { .. } => "stands",
            Act::Issued(_) => "issued",
            Act::Revoked { .. } => "revoked",
            Act::Said { .. } => "said",
            Act::TookOver { .. } => "took-over",
        }
    }

    /// Whom it is about, if it is about one.
    pub fn subject(&self) -> Option<Subject> {
        match self {
            Act::Enrolled { host, .. } => Some(Subject::host(host.clone())),
            Act::Issued(issued) => Some(issued.subject.clone()),
            Act::Stands { subject, .. }
            | Act::Revoked { subject, .. }
            | Act::Said { subject, .. } => Some(subject.clone()),
            Act::Opened { .. } | Act::PolicySet { .. } | Act::TookOver { .. } => None,
        }
    }

    fn write(&self, writer: Writer) -> Writer {
        match self {
            Act::Opened { trust_domain } => writer.u8(1).text(trust_domain),
            Act::PolicySet { policy, by } => writer.u8(2).bytes(policy).text(by),
            Act::Enrolled { host, anchor } => writer.u8(3).text(host).bytes(anchor),
            Act::Stands { subject, from, to, cause } => {
                let writer = write_subject(writer.u8(4), subject);
                writer.u8(from.code()).u8(to.code()).text(cut(cause))
            }
            Act::Issued(issued) => issued.write(writer.u8(5)),
            Act::Revoked { subject, serials, cause } => {
                let serials = &serials[..serials.len().min(LIVE_CERTIFICATES)];
                let writer = write_subject(writer.u8(6), subject).u16(serials.len() as u16);
                let writer = serials.iter().fold(writer, |writer, serial| writer.bytes(&serial.0));
                writer.text(cut(cause))
            }
            Act::Said { by, subject, word, why } => {
                write_subject(writer.u8(7).text(by), subject).text(word).text(cut(why))
            }
            Act::TookOver { term, by } => writer.u8(8).u64(*term).text(by),
        }
    }

    fn read(reader: &mut Reader<'_>) -> Option<Act> {
        Some(match reader.u8()? {
            1 => Act::Opened { trust_domain: reader.text()?.parse().ok()? },
            2 => Act::PolicySet { policy: reader.array()?, by: reader.text()?.to_owned() },
            3 => Act::Enrolled { host: reader.text()?.parse().ok()?, anchor: reader.array()? },
            4 => Act::Stands {
                subject: read_subject(reader)?,
                from: Standing::of_code(reader.u8()?)?,
                to: Standing::of_code(reader.u8()?)?,
                cause: short(reader)?,
            },
            5 => Act::Issued(Issued::read(reader)?),
            6 => {
                let subject = read_subject(reader)?;
                let count = usize::from(reader.u16()?);
                if count > LIVE_CERTIFICATES {
                    return None;
                }
                let serials = (0..count).map(|_| reader.array().map(Serial));
                Act::Revoked {
                    subject,
                    serials: serials.collect::<Option<_>>()?,
                    cause: short(reader)?,
                }
            }
            7 => Act::Said {
                by: reader.text()?.to_owned(),
                subject: read_subject(reader)?,
                word: reader.text()?.to_owned(),
                why: short(reader)?,
            },
            8 => Act::TookOver { term: reader.u64()?, by: reader.text()?.to_owned() },
            _ => return None,
        })
    }
}

impl Issued {
    fn write(&self, writer: Writer) -> Writer {
        write_subject(writer, &self.subject)
            .text(&self.host)
            .text(&self.spiffe_id)
            .bytes(&self.serial.0)
            .bytes(&self.certificate)
            .bytes(&self.evidence)
            .u64(self.not_after_unix_s)
    }

    fn read(reader: &mut Reader<'_>) -> Option<Issued> {
        Some(Issued {
            subject: read_subject(reader)?,
            host: reader.text()?.parse().ok()?,
            spiffe_id: reader.text()?.to_owned(),
            serial: Serial(reader.array()?),
            certificate: reader.array()?,
            evidence: reader.array()?,
            not_after_unix_s: reader.u64()?,
        })
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Act::Opened { trust_domain } => write!(f, "the log of {trust_domain} begins"),
            Act::PolicySet { by, .. } => write!(f, "{by} set the policy"),
            Act::Enrolled { host, .. } => write!(f, "host {host} enrolled"),
            Act::Stands { subject, from, to, cause } => {
                write!(f, "{subject}: {from} → {to}: {cause}")
            }
            Act::Issued(Issued { subject, serial, .. }) => write!(f, "{subject}: {serial} issued"),
            Act::Revoked { subject, serials, cause } => {
                write!(f, "{subject}: {} revoked: {cause}", serials.len())
            }
            Act::Said { by, subject, word, why } => write!(f, "{by}: {word} {subject}: {why}"),
            Act::TookOver { term, by } => write!(f, "{by} leads in term {term}"),
        }
    }
}

fn write_subject(writer: Writer, subject: &Subject) -> Writer {
    writer.u8(subject.kind.code()).text(&subject.name)
}

fn read_subject(reader: &mut Reader<'_>) -> Option<Subject> {
    Some(Subject { kind: Kind::of_code(reader.u8()?)?, name: reader.text()?.parse().ok()? })
}

/// As much of a cause as an entry holds.
pub(super) fn cut(cause: &str) -> &str {
    let mut end = cause.len().min(CAUSE_BYTES);
    while !cause.is_char_boundary(end) {
        end -= 1;
    }
    &cause[..end]
}

fn short(reader: &mut Reader<'_>) -> Option<String> {
    let text = reader.text()?;
    (text.len() <= CAUSE_BYTES).then(|| text.to_owned())
}
