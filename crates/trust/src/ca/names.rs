//! The names in a certificate besides its SPIFFE id (RFC 5280 section 4.2.1.6).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ringmail_model::names::HostPattern;

use crate::error::AuthorityError;

/// One subject alternative name. Written `dns:NAME`, `ip:ADDRESS` or `email:ADDRESS`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SubjectName {
    /// A host, or a star and a domain.
    Dns(HostPattern),
    /// An address.
    Ip(IpAddr),
    /// A mailbox (RFC 5321), ASCII only.
    Email(String),
}

impl SubjectName {
    pub(crate) fn san(&self) -> Result<rcgen::SanType, AuthorityError> {
        Ok(match self {
            SubjectName::Dns(host) => rcgen::SanType::DnsName(host.as_str().try_into()?),
            SubjectName::Ip(address) => rcgen::SanType::IpAddress(*address),
            SubjectName::Email(mailbox) => rcgen::SanType::Rfc822Name(mailbox.as_str().try_into()?),
        })
    }
}

impl fmt::Display for SubjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SubjectName::Dns(host) => write!(f, "dns:{host}"),
            SubjectName::Ip(address) => write!(f, "ip:{address}"),
            SubjectName::Email(mailbox) => write!(f, "email:{mailbox}"),
        }
    }
}

impl FromStr for SubjectName {
    type Err = String;

    /// Without a prefix, what reads as an address is one, and everything else is a host.
    fn from_str(text: &str) -> Result<SubjectName, String> {
        if let Some(mailbox) = text.strip_prefix("email:") {
            return email(mailbox).ok_or_else(|| format!("`{mailbox}` is no mailbox"));
        }
        if let Some(address) = text.strip_prefix("ip:") {
            let parsed = address.parse().map(SubjectName::Ip);
            return parsed.map_err(|_| format!("`{address}` is no IP address"));
        }
        if let Ok(address) = text.parse() {
            return Ok(SubjectName::Ip(address));
        }
        let host = text.strip_prefix("dns:").unwrap_or(text);
        if host.parse::<IpAddr>().is_ok() {
            return Err(format!("`{host}` is an address; write ip:{host}"));
        }
        host.parse().map(SubjectName::Dns).map_err(|error| format!("{error}"))
    }
}

fn email(mailbox: &str) -> Option<SubjectName> {
    let (local, host) = mailbox.rsplit_once('@')?;
    let plain = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'@')
    };
    (plain(local) && plain(host)).then(|| SubjectName::Email(mailbox.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::SubjectName;

    #[test]
    fn names_are_read_and_written_the_same() {
        for name in [
            "dns:www.campus.example",
            "dns:*.campus.example",
            "ip:192.0.2.1",
            "ip:2001:db8::1",
            "email:a@b.example",
        ] {
            assert_eq!(name.parse::<SubjectName>().expect(name).to_string(), name);
        }
        assert_eq!(
            "192.0.2.1".parse::<SubjectName>().expect("an address").to_string(),
            "ip:192.0.2.1"
        );
        assert_eq!(
            "a.example".parse::<SubjectName>().expect("a host").to_string(),
            "dns:a.example"
        );
        for bad in [
            "",
            "dns:",
            "dns:192.0.2.1",
            "ip:nowhere",
            "email:nobody",
            "email:@x",
            "A B",
            "dns:a.*.b",
        ] {
            assert!(bad.parse::<SubjectName>().is_err(), "{bad}");
        }
    }
}
