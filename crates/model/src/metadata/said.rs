//! What a reader of metadata was told: the items of one header, read without trust.
//!
//! ```text
//! | type 1 | length 1 | value | type 1 | length 1 | value | … | zeros |
//! ```

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};

use super::{Authorization, Decision, Facts, Kind, Kinds, Ports};

/// How the identities begin that are written without it.
const SPIFFE: &str = "spiffe://";

/// The type of an identity's SHA-256, in the place of the identity.
pub(super) const DIGEST: u8 = 7;

/// Items of one header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Said<'a>(&'a [u8]);

/// The writer's fault: these are no items, or not those that the reader may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are no items of metadata that the reader is granted")]
pub struct Malformed;

/// Whose a flow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity<'a> {
    /// The trust domain and path of a SPIFFE id.
    Spiffe(&'a str),
    /// `dns:…`, `email:…` or `uri:…`.
    Other(&'a str),
    /// The SHA-256 of one that is too long.
    Digest(&'a [u8; 32]),
}

impl Identity<'_> {
    /// What an identity is said as where it is short enough: a SPIFFE id without its beginning.
    pub fn told_as(identity: &str) -> &str {
        identity.strip_prefix(SPIFFE).unwrap_or(identity)
    }

    /// What an identity is said as where it is too long.
    pub fn digest_of(identity: &str) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, identity.as_bytes()).as_ref());
        bytes
    }

    /// Whether it is this one, as rules write it.
    pub fn is(&self, identity: &str) -> bool {
        match self {
            Identity::Spiffe(rest) => identity.strip_prefix(SPIFFE) == Some(rest),
            Identity::Other(text) => identity == *text,
            Identity::Digest(it) => Identity::digest_of(identity) == **it,
        }
    }
}

impl fmt::Display for Identity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Spiffe(rest) => write!(f, "{SPIFFE}{rest}"),
            Identity::Other(text) => f.write_str(text),
            Identity::Digest(it) => {
                f.write_str("sha256:")?;
                it.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

impl<'a> Said<'a> {
    /// Nothing.
    pub const NOTHING: Said<'static> = Said(&[]);

    /// The items of a header for a reader that is granted these kinds.
    ///
    /// # Errors
    /// [`Malformed`]: cut, out of order, twice, of no kind or one that is not granted, of a wrong length, no text where
    /// there should be one, or anything but zeros behind.
    pub fn parse(bytes: &'a [u8], granted: Kinds) -> Result<Said<'a>, Malformed> {
        let (mut rest, mut least) = (bytes, 0);
        loop {
            match *rest {
                [] => break,
                [0, ..] if rest.iter().all(|byte| *byte == 0) => break,
                [code, len, ..] => {
                    let kind = kind_of(code).ok_or(Malformed)?;
                    let value = rest.get(2..2 + usize::from(len)).ok_or(Malformed)?;
                    if (kind as u8) <= least || !granted.has(kind) || !fits(code, kind, value) {
                        return Err(Malformed);
                    }
                    least = kind as u8;
                    rest = &rest[2 + value.len()..];
                }
                _ => return Err(Malformed),
            }
        }
        Ok(Said(&bytes[..bytes.len() - rest.len()]))
    }

    /// Whether there are items of this type.
    pub fn is_known(code: u16) -> bool {
        u8::try_from(code).is_ok_and(|code| kind_of(code).is_some())
    }

    /// Whose the flow is.
    pub fn identity(&self) -> Option<Identity<'a>> {
        let (code, value) = self.raw().find(|(code, _)| kind_of(*code) == Some(Kind::Identity))?;
        if code == DIGEST {
            return Some(Identity::Digest(value.try_into().ok()?));
        }
        let text = text(value)?;
        // The domain of a SPIFFE id has no colon.
        Some(if text.contains(':') { Identity::Other(text) } else { Identity::Spiffe(text) })
    }

    /// The packet's ports.
    pub fn ports(&self) -> Option<Ports> {
        let [a, b, c, d, protocol] = *self.value(Kind::Ports)?.first_chunk()?;
        let (source, destination) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        Some(Ports { source, destination, protocol })
    }

    /// What let the flow in.
    pub fn authorization(&self) -> Option<Authorization> {
        let [a, b, c, d, decision] = *self.value(Kind::Authorization)?.first_chunk()?;
        let decision = decision_of(decision)?;
        Some(Authorization { rule: u32::from_be_bytes([a, b, c, d]), decision })
    }

    /// The client's tenant.
    pub fn tenant(&self) -> Option<&'a str> {
        text(self.value(Kind::Tenant)?)
    }

    /// Why the flow takes this path.
    pub fn reason(&self) -> Option<&'a str> {
        text(self.value(Kind::Reason)?)
    }

    /// What it is called in traces.
    pub fn trace(&self) -> Option<[u8; 16]> {
        self.value(Kind::Trace)?.first_chunk().copied()
    }

    /// The items as they are written.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Each item: its kind and its value.
    pub fn items(&self) -> impl Iterator<Item = (Kind, &'a [u8])> + use<'a> {
        self.raw().filter_map(|(code, value)| Some((kind_of(code)?, value)))
    }

    /// Each item: its type and its value.
    pub fn raw(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let [code, len, behind @ ..] = rest else { return None };
            let (value, behind) = behind.split_at_checked(usize::from(*len))?;
            rest = behind;
            Some((*code, value))
        })
    }

    fn value(&self, kind: Kind) -> Option<&'a [u8]> {
        self.raw().find(|(code, _)| *code == kind as u8).map(|(_, value)| value)
    }
}

/// As [`Facts`], of which this is a view.
impl fmt::Debug for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Said").field(&Facts::of(self).kinds().to_string()).finish()
    }
}

fn kind_of(code: u8) -> Option<Kind> {
    match code {
        DIGEST => Some(Kind::Identity),
        _ => Kind::ALL.into_iter().find(|kind| *kind as u8 == code),
    }
}

fn fits(code: u8, kind: Kind, value: &[u8]) -> bool {
    match (code, kind) {
        (DIGEST, _) => value.len() == 32,
        (_, Kind::Identity | Kind::Tenant | Kind::Reason) => {
            (1..=kind.most_bytes()).contains(&value.len()) && text(value).is_some()
        }
        (_, Kind::Authorization) => {
            value.len() == kind.most_bytes() && decision_of(value[4]).is_some()
        }
        (_, Kind::Ports | Kind::Trace) => value.len() == kind.most_bytes(),
    }
}

fn decision_of(code: u8) -> Option<Decision> {
    [Decision::Rule, Decision::Asked].into_iter().find(|decision| *decision as u8 == code)
}

fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<Said<'_>, Malformed> {
        Said::parse(bytes, Kinds::ALL)
    }

    #[test]
    fn items_are_read_as_they_were_written() {
        let mut facts = Facts::NONE;
        facts.set_identity("spiffe://campus.example/client/alice");
        facts.set_ports(Ports { source: 1, destination: 53, protocol: 17 });
        facts.set_authorization(Authorization { rule: 7, decision: Decision::Rule });
        facts.set_trace([9; 16]);
        let mut bytes = [0; 106];
        facts.write(Kinds::ALL, &mut bytes);
        let said = parse(&bytes).expect("well-formed");
        let identity = said.identity().expect("an identity");
        assert_eq!(identity.to_string(), "spiffe://campus.example/client/alice");
        assert!(identity.is("spiffe://campus.example/client/alice"));
        assert!(!identity.is("campus.example/client/alice"));
        assert_eq!(said.ports(), Some(Ports { source: 1, destination: 53, protocol: 17 }));
        let authorization = Authorization { rule: 7, decision: Decision::Rule };
        assert_eq!(said.authorization(), Some(authorization));
        assert_eq!((said.tenant(), said.reason(), said.trace()), (None, None, Some([9; 16])));
        assert_eq!(parse(said.as_bytes()), Ok(said));
    }

    #[test]
    fn other_identities_are_told_from_spiffe_ids() {
        for identity in ["dns:a.example", "email:a@b.example", "uri:https://a/"] {
            let mut facts = Facts::NONE;
            facts.set_identity(identity);
            let mut bytes = [0; 42];
            facts.write(Kinds::ALL, &mut bytes);
            let said = parse(&bytes).expect("well-formed").identity().expect("one");
            assert_eq!((said.to_string().as_str(), said.is(identity)), (identity, true));
        }
    }

    #[test]
    fn what_nobody_writes_is_refused() {
        let ports = [2, 5, 0, 1, 0, 2, 6];
        let with = |behind: &[u8]| [&ports[..], behind].concat();
        assert!(parse(&ports).is_ok() && parse(&with(&[0, 0, 0])).is_ok());
        for wrong in [
            with(&[2, 5, 0, 1, 0, 2, 6]),
            with(&[1, 1, b'a']),
            with(&[0, 0, 1]),
            with(&[4]),
            with(&[4, 0]),
            with(&[4, 2, b'a']),
            with(&[4, 1, 0xff]),
            with(&[
                4, 13, b'a', b'a', b'a', b'a', b'a', b'a', b'a', b'a', b'a', b'a', b'a', b'a', 1,
            ]),
            with(&[8, 1, 1]),
            with(&[3, 5, 0, 0, 0, 1, 0]),
            with(&[6, 15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            vec![7, 31],
            vec![2, 4, 0, 0, 0, 0],
        ] {
            assert_eq!(parse(&wrong), Err(Malformed), "{wrong:?}");
        }
        assert_eq!(Said::parse(&ports, Kinds::only(Kind::Trace)), Err(Malformed));
    }
}
