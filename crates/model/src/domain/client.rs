//! Clients and how their certificates name them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Peer;
use crate::names::{HostName, Name, TrustDomain, shorten};

/// Someone who may come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// The name that rules use.
    pub name: Name,
    /// What its certificate says: `ca` (the embedded authority gives it spiffe://DOMAIN/client/NAME), a SPIFFE id,
    /// `dns:NAME` or `email:ADDRESS`.
    #[serde(default)]
    pub identity: Identity,
    /// Whose it is, for functions that are granted `tenant`. At most 12 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Name>,
    /// The address of its namespace, where `ringmail up` builds one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub address: Option<IpAddr>,
    /// How it comes by a listener of kind `wireguard`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wireguard: Option<Peer>,
}

impl Client {
    /// The identity as rules compare it: `spiffe://…`, `dns:…` or `email:…`.
    pub fn identity_in(&self, domain: &TrustDomain) -> String {
        match &self.identity {
            Identity::Ca => domain.client_id(&self.name),
            other => other.to_string(),
        }
    }
}

/// What a client's certificate says in its subject alternative name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Identity {
    /// The embedded authority issues it: spiffe://DOMAIN/client/NAME.
    #[default]
    Ca,
    /// A URI that is a SPIFFE id.
    Spiffe(String),
    /// A DNS name.
    Dns(HostName),
    /// An RFC 822 name; compared without regard to case.
    Email(String),
}

/// Why a text is no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// None of the forms.
    #[error(
        "`{0}` is no identity: use `ca`, `spiffe://DOMAIN/PATH`, `dns:NAME` or `email:ADDRESS`"
    )]
    Form(String),
    /// Not a SPIFFE id (SPIFFE-ID section 2).
    #[error(
        "`{0}` is no SPIFFE id: use spiffe://DOMAIN/PATH without query, fragment, port, empty or dot segments"
    )]
    Spiffe(String),
    /// Not a DNS name.
    #[error("`{0}` is no DNS identity: use `dns:` and a host name in lower case")]
    Dns(String),
    /// Not an address.
    #[error("`{0}` is no e-mail identity: use `email:NAME@HOST`")]
    Email(String),
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Identity, IdentityError> {
        if text == "ca" {
            return Ok(Identity::Ca);
        }
        if let Some(rest) = text.strip_prefix("spiffe://") {
            let spiffe = is_spiffe(rest).then(|| Identity::Spiffe(text.to_owned()));
            return spiffe.ok_or_else(|| IdentityError::Spiffe(shorten(text)));
        }
        if let Some(name) = text.strip_prefix("dns:") {
            let name = name.parse().map_err(|_| IdentityError::Dns(shorten(text)))?;
            return Ok(Identity::Dns(name));
        }
        if let Some(address) = text.strip_prefix("email:") {
            let email = is_email(address).then(|| Identity::Email(address.to_ascii_lowercase()));
            return email.ok_or_else(|| IdentityError::Email(shorten(text)));
        }
        Err(IdentityError::Form(shorten(text)))
    }
}

fn is_spiffe(rest: &str) -> bool {
    let mut parts = rest.split('/');
    let domain = parts.next().unwrap_or_default();
    let segment = |s: &str| {
        !s.is_empty()
            && s != "."
            && s != ".."
            && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    };
    rest.len() <= 2048 - 9
        && domain.parse::<TrustDomain>().is_ok()
        && rest.contains('/')
        && parts.all(segment)
}

fn is_email(address: &str) -> bool {
    address.rsplit_once('@').is_some_and(|(user, host)| {
        !user.is_empty()
            && user.bytes().all(|b| b.is_ascii_graphic() && b != b'@')
            && host.to_ascii_lowercase().parse::<HostName>().is_ok()
    })
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Ca => f.write_str("ca"),
            Identity::Spiffe(id) => f.write_str(id),
            Identity::Dns(name) => write!(f, "dns:{name}"),
            Identity::Email(address) => write!(f, "email:{address}"),
        }
    }
}

impl TryFrom<String> for Identity {
    type Error = IdentityError;

    fn try_from(text: String) -> Result<Identity, IdentityError> {
        text.parse()
    }
}

impl From<Identity> for String {
    fn from(identity: Identity) -> String {
        identity.to_string()
    }
}

impl JsonSchema for Identity {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Identity".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "`ca`, spiffe://DOMAIN/PATH, dns:NAME or email:ADDRESS.",
            "pattern": "^(ca|spiffe://.+|dns:.+|email:.+@.+)$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_print_as_they_are_written() {
        for text in ["ca", "spiffe://campus.example/client/a", "dns:a.example", "email:a@b.example"]
        {
            assert_eq!(text.parse::<Identity>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn bad_identities_are_refused() {
        for text in [
            "",
            "client1",
            "spiffe://",
            "spiffe://a",
            "spiffe://a/",
            "spiffe://a//b",
            "spiffe://a/../b",
            "spiffe://a/b?c",
            "spiffe://a:1/b",
            "spiffe://A/b",
            "dns:",
            "dns:A.example",
            "email:a",
            "email:@b",
        ] {
            assert!(text.parse::<Identity>().is_err(), "{text}");
        }
    }
}
