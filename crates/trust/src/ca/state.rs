//! What an authority remembers: `state.json`, versioned.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use ringmail_model::names::{Name, TrustDomain};
use serde::{Deserialize, Serialize};

use super::roots::Root;
use super::store::Store;
use super::{ROOT, certificate};
use crate::error::AuthorityError;
use crate::limits::{CRL_LASTS, RECORDS_OUTLIVE};

/// The file.
pub(crate) const STATE: &str = "state.json";

/// The newest format that this release knows. It writes the first as long as its authority has its first root alone, and
/// the second until there is an intermediate, so that the release before can take over again.
const VERSION: u32 = 3;

/// The number of an authority's first root.
const FIRST: u32 = 1;

/// What is remembered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    version: u32,
    pub(crate) trust_domain: TrustDomain,
    /// The root that signs what is issued. Version 1 of the format had no other.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub(crate) issuing: u32,
    /// Its certificate, in PEM; version 1 of the format had it in its own file only.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) root_pem: String,
    /// The root beside it, while one takes the place of another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) other: Option<OtherRoot>,
    /// The number of the revocation lists made last, one of each root (RFC 5280 section 5.2.3).
    pub(crate) crl_number: u64,
    /// Those lists, in PEM, the issuing root's first.
    pub(crate) crl_pem: String,
    /// Seconds since 1970 until which those lists are valid.
    pub(crate) crl_not_after_unix_s: u64,
    /// Leases have serial numbers below this one.
    pub(crate) lease_serials: u64,
    /// Every certificate but the root, by serial number.
    pub(crate) certificates: BTreeMap<Serial, Record>,
}

/// A root that takes the place of the issuing one, or gave its place to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OtherRoot {
    pub(crate) number: u32,
    pub(crate) pem: String,
    pub(crate) stage: Stage,
    /// Seconds since 1970 since when it is in this stage.
    pub(crate) since_unix_s: u64,
}

/// How far a rotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The new root is made known, and signs nothing yet.
    Announced,
    /// The new root signs, and the old one is still believed.
    Switched,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// What it is for.
    pub kind: Kind,
    /// The number of the root that signed it.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub root: u32,
    /// The name it was asked for under.
    pub name: Name,
    /// Its subject alternative names, as `uri:…`, `dns:…`, `ip:…` or `email:…`.
    pub names: Vec<String>,
    /// Seconds since 1970 from which on it holds.
    pub not_before_unix_s: u64,
    /// Seconds since 1970 after which it does not hold any more.
    pub not_after_unix_s: u64,
    /// Seconds since 1970 at which it was revoked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_unix_s: Option<u64>,
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A server that clients connect to: the gateway.
    Server,
    /// Someone who may come.
    Client,
    /// A gateway, hop or egress towards its neighbours.
    Element,
    /// Whoever distributes the domain's paths, towards elements.
    Control,
    /// A CA below the root: the Verification Manager's. Version 3 of the format has it.
    Intermediate,
}

impl Kind {
    /// The word in files, paths and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Server => "server",
            Kind::Client => "client",
            Kind::Element => "element",
            Kind::Control => "control",
            Kind::Intermediate => "intermediate",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A certificate's serial number: 128 random bits, printed as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial([u8; 16]);

impl Serial {
    /// A new one. A leading zero byte would be lost in DER, so there is none.
    pub(crate) fn random() -> Result<Serial, AuthorityError> {
        let mut bytes = [0; 16];
        while bytes[0] == 0 {
            aws_lc_rs::rand::fill(&mut bytes).map_err(|_| AuthorityError::Signature)?;
        }
        Ok(Serial(bytes))
    }

    /// The bytes, most significant first.
    pub fn bytes(&self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

impl FromStr for Serial {
    type Err = String;

    fn from_str(text: &str) -> Result<Serial, String> {
        let digits = text.replace(':', "");
        let well_formed =
            digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        match u128::from_str_radix(&digits, 16) {
            Ok(value) if well_formed => Ok(Serial(value.to_be_bytes())),
            _ => Err("a serial number is 32 hex digits".to_owned()),
        }
    }
}

impl TryFrom<String> for Serial {
    type Error = String;

    fn try_from(text: String) -> Result<Serial, String> {
        text.parse()
    }
}

impl From<Serial> for String {
    fn from(serial: Serial) -> String {
        serial.to_string()
    }
}

fn first() -> u32 {
    FIRST
}

fn is_first(number: &u32) -> bool {
    *number == FIRST
}

/// The first certificate of a PEM file.
fn first_of(pem: &str) -> String {
    const END: &str = "-----END CERTIFICATE-----\n";
    let end = pem.find(END).map_or(pem.len(), |at| at + END.len());
    pem.get(..end).unwrap_or_default().to_owned()
}

impl State {
    /// What a new authority remembers.
    pub(crate) fn new(trust_domain: TrustDomain, root_pem: String) -> State {
        State {
            version: VERSION,
            trust_domain,
            issuing: FIRST,
            root_pem,
            other: None,
            crl_number: 0,
            crl_pem: String::new(),
            crl_not_after_unix_s: 0,
            lease_serials: 1,
            certificates: BTreeMap::new(),
        }
    }

    pub(crate) fn load(store: &Store) -> Result<State, AuthorityError> {
        let text = store.read(STATE)?;
        let path = store.path(STATE);
        let damaged = |error: serde_json::Error| AuthorityError::Damaged {
            path: path.clone(),
            reason: error.to_string(),
        };
        // The version first: a later format may have keys that this one would refuse.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let found = serde_json::from_str::<Versioned>(&text).map_err(damaged)?.version;
        if found > VERSION {
            return Err(AuthorityError::Newer { path, found, known: VERSION });
        }
        let mut state: State = serde_json::from_str(&text).map_err(damaged)?;
        if state.root_pem.is_empty() {
            state.root_pem = first_of(&store.read(ROOT)?);
        }
        Ok(state)
    }

    /// The certificates of all roots that are to be believed, in PEM, the issuing one's first.
    pub(crate) fn roots_pem(&self) -> String {
        let other = self.other.as_ref().map_or("", |other| other.pem.as_str());
        format!("{}{other}", self.root_pem)
    }

    pub(crate) fn save(&self, store: &Store) -> Result<(), AuthorityError> {
        let mut written = self.clone();
        let intermediate =
            self.certificates.values().any(|record| record.kind == Kind::Intermediate);
        written.version = if intermediate { VERSION } else { 2 };
        if !intermediate && self.issuing == FIRST && self.other.is_none() {
            written.version = 1;
            written.root_pem.clear();
        }
        let mut text = serde_json::to_string_pretty(&written).map_err(|error| {
            AuthorityError::Damaged { path: store.path(STATE), reason: error.to_string() }
        })?;
        text.push('\n');
        store.write(STATE, &text)
    }

    /// Makes the next revocation lists, one of each root.
    pub(crate) fn renew_crl(
        &mut self,
        roots: &[Root],
        now_unix_s: u64,
    ) -> Result<(), AuthorityError> {
        self.prune(now_unix_s);
        self.crl_number += 1;
        self.crl_pem.clear();
        for root in roots {
            let params = certificate::revocations(self, root.number, now_unix_s);
            self.crl_pem += &params.signed_by(&root.issuer()?)?.pem()?;
        }
        self.crl_not_after_unix_s = now_unix_s + CRL_LASTS.as_secs();
        Ok(())
    }

    /// Forgets what nobody can ask about any more.
    pub(crate) fn prune(&mut self, now_unix_s: u64) {
        let outlive_s = RECORDS_OUTLIVE.as_secs();
        self.certificates.retain(|_, record| record.not_after_unix_s + outlive_s >= now_unix_s);
    }
}
