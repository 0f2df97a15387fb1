//! What an authority remembers: `state.json`, versioned.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use rcgen::{Issuer, KeyPair};
use ringmail_model::names::{Name, TrustDomain};
use serde::{Deserialize, Serialize};

use super::certificate;
use super::store::Store;
use crate::error::AuthorityError;
use crate::limits::{CRL_LASTS, RECORDS_OUTLIVE};

/// The file.
pub(crate) const STATE: &str = "state.json";

/// The format that this release writes.
const VERSION: u32 = 1;

/// What is remembered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    version: u32,
    pub(crate) trust_domain: TrustDomain,
    /// The number of the revocation list made last (RFC 5280 section 5.2.3).
    pub(crate) crl_number: u64,
    /// That list, in PEM.
    pub(crate) crl_pem: String,
    /// Seconds since 1970 until which that list is valid.
    pub(crate) crl_not_after_unix_s: u64,
    /// Leases have serial numbers below this one.
    pub(crate) lease_serials: u64,
    /// Every certificate but the root, by serial number.
    pub(crate) certificates: BTreeMap<Serial, Record>,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// What it is for.
    pub kind: Kind,
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
}

impl Kind {
    /// The word in files, paths and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Server => "server",
            Kind::Client => "client",
            Kind::Element => "element",
            Kind::Control => "control",
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

impl State {
    /// What a new authority remembers.
    pub(crate) fn new(trust_domain: TrustDomain) -> State {
        State {
            version: VERSION,
            trust_domain,
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
        serde_json::from_str(&text).map_err(damaged)
    }

    pub(crate) fn save(&self, store: &Store) -> Result<(), AuthorityError> {
        let mut text = serde_json::to_string_pretty(self).map_err(|error| {
            AuthorityError::Damaged { path: store.path(STATE), reason: error.to_string() }
        })?;
        text.push('\n');
        store.write(STATE, &text)
    }

    /// Makes the next revocation list.
    pub(crate) fn renew_crl(
        &mut self,
        issuer: &Issuer<'_, &KeyPair>,
        now_unix_s: u64,
    ) -> Result<(), AuthorityError> {
        self.prune(now_unix_s);
        self.crl_number += 1;
        let params = certificate::revocations(self, now_unix_s);
        self.crl_pem = params.signed_by(issuer)?.pem()?;
        self.crl_not_after_unix_s = now_unix_s + CRL_LASTS.as_secs();
        Ok(())
    }

    /// Forgets what nobody can ask about any more.
    pub(crate) fn prune(&mut self, now_unix_s: u64) {
        let outlive_s = RECORDS_OUTLIVE.as_secs();
        self.certificates.retain(|_, record| record.not_after_unix_s + outlive_s >= now_unix_s);
    }
}
