//! What is known of one flow, as it is kept by who writes metadata: set once, written with every packet.

use std::fmt;

use super::said::DIGEST;
use super::{Identity, Kind, Kinds, Said};

/// Bytes of all values together.
const VALUES_BYTES: usize = 94;

/// What is known of one flow. It is small and of one size: it stands in tables of flows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    lens: [u8; Kind::ALL.len()],
    values: [u8; VALUES_BYTES],
    /// The identity is the SHA-256 of one.
    digested: bool,
}

/// Ports and protocol of a packet, in the direction in which it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Its source port; 0 where the protocol has none.
    pub source: u16,
    /// Its destination port.
    pub destination: u16,
    /// Its protocol.
    pub protocol: u8,
}

/// What let a flow in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// The place of the rule in the domain file: 1 is the first.
    pub rule: u32,
    /// Who decided.
    pub decision: Decision,
}

/// Who let a flow in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Decision {
    /// The rule alone.
    Rule = 1,
    /// The rule, and the decision point that it asks.
    Asked = 2,
}

impl Facts {
    /// Nothing is known.
    pub const NONE: Facts =
        Facts { lens: [0; Kind::ALL.len()], values: [0; VALUES_BYTES], digested: false };

    /// Whose flow it is. One that is too long is said by its SHA-256.
    pub fn set_identity(&mut self, identity: &str) {
        let text = Identity::told_as(identity);
        self.digested = text.len() > Kind::Identity.most_bytes();
        match self.digested {
            true => self.set(Kind::Identity, &Identity::digest_of(identity)),
            false => self.set(Kind::Identity, text.as_bytes()),
        }
    }

    /// The ports of a packet.
    pub fn set_ports(&mut self, Ports { source, destination, protocol }: Ports) {
        let ([a, b], [c, d]) = (source.to_be_bytes(), destination.to_be_bytes());
        self.set(Kind::Ports, &[a, b, c, d, protocol]);
    }

    /// What let it in.
    pub fn set_authorization(&mut self, Authorization { rule, decision }: Authorization) {
        let [a, b, c, d] = rule.to_be_bytes();
        self.set(Kind::Authorization, &[a, b, c, d, decision as u8]);
    }

    /// The tenant of the client; one that is too long is not said at all.
    pub fn set_tenant(&mut self, tenant: &str) {
        if tenant.len() <= Kind::Tenant.most_bytes() {
            self.set(Kind::Tenant, tenant.as_bytes());
        }
    }

    /// Why it takes this path: the beginning of this text.
    pub fn set_reason(&mut self, reason: &str) {
        let mut end = reason.len().min(Kind::Reason.most_bytes());
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        self.set(Kind::Reason, &reason.as_bytes()[..end]);
    }

    /// What it is called in traces.
    pub fn set_trace(&mut self, trace: [u8; 16]) {
        self.set(Kind::Trace, &trace);
    }

    /// All that somebody else said of a flow.
    pub fn of(said: &Said<'_>) -> Facts {
        let mut facts = Facts::NONE;
        for (kind, value) in said.items() {
            facts.set(kind, value);
        }
        facts.digested = matches!(said.identity(), Some(Identity::Digest(_)));
        facts
    }

    /// Leaves out what is none of these.
    pub fn keep(&mut self, kinds: Kinds) {
        for kind in Kinds::ALL.without(kinds).iter() {
            self.set(kind, &[]);
        }
    }

    /// The kinds that something is known of.
    pub fn kinds(&self) -> Kinds {
        Kind::ALL.into_iter().filter(|kind| self.lens[kind.index()] > 0).collect()
    }

    /// Writes what is known of these kinds into `out`, which has room for all of them, and fills the rest with zeros.
    pub fn write(&self, kinds: Kinds, out: &mut [u8]) {
        let mut at = 0;
        for (kind, value) in self.items().filter(|(kind, _)| kinds.has(*kind)) {
            let code = self.code(kind);
            let Some(room) = out.get_mut(at..at + 2 + value.len()) else { break };
            room[..2].copy_from_slice(&[code, value.len() as u8]);
            room[2..].copy_from_slice(value);
            at += room.len();
        }
        if let Some(rest) = out.get_mut(at..) {
            rest.fill(0);
        }
    }

    /// Each that is known, with its value.
    fn items(&self) -> impl Iterator<Item = (Kind, &[u8])> {
        let mut at = 0;
        Kind::ALL.into_iter().filter_map(move |kind| {
            let start = at;
            at += kind.most_bytes();
            let len = usize::from(self.lens[kind.index()]);
            (len > 0).then(|| (kind, &self.values[start..start + len]))
        })
    }

    fn code(&self, kind: Kind) -> u8 {
        if kind == Kind::Identity && self.digested { DIGEST } else { kind as u8 }
    }

    /// What is longer than its kind allows is cut; callers see to it that nothing is.
    fn set(&mut self, kind: Kind, value: &[u8]) {
        let start: usize = Kind::ALL[..kind.index()].iter().map(|kind| kind.most_bytes()).sum();
        let len = value.len().min(kind.most_bytes());
        let place = &mut self.values[start..start + kind.most_bytes()];
        // Nothing of what was there before stays behind.
        place.fill(0);
        place[..len].copy_from_slice(&value[..len]);
        self.lens[kind.index()] = len as u8;
    }
}

impl Default for Facts {
    fn default() -> Facts {
        Facts::NONE
    }
}

/// Who may see the kinds may not see the values.
impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Facts").field(&self.kinds().to_string()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Facts {
        let mut facts = Facts::NONE;
        facts.set_identity("spiffe://campus.example/client/alice");
        facts.set_ports(Ports { source: 40_000, destination: 443, protocol: 6 });
        facts.set_authorization(Authorization { rule: 3, decision: Decision::Asked });
        facts.set_tenant("physics");
        facts.set_reason("staff-may-read-everything");
        facts.set_trace([0xab; 16]);
        facts
    }

    fn written(facts: &Facts, kinds: Kinds) -> Vec<u8> {
        let mut out = vec![0xff; kinds.len_bytes()];
        facts.write(kinds, &mut out);
        out
    }

    /// By hand: type, length, value, one behind the other, zeros behind.
    #[test]
    fn the_bytes_of_two_items() {
        let kinds = [Kind::Ports, Kind::Tenant].into_iter().collect();
        let mut expected = vec![2, 5, 0x9c, 0x40, 0x01, 0xbb, 6, 4, 7];
        expected.extend(b"physics");
        expected.resize(7 + 14, 0);
        assert_eq!(written(&all(), kinds), expected);
    }

    #[test]
    fn the_length_says_nothing_of_what_is_in_it() {
        let mut short = Facts::NONE;
        short.set_identity("dns:a.example");
        for kinds in (0..=Kinds::ALL.bits()).filter_map(Kinds::from_bits) {
            assert_eq!(written(&short, kinds).len(), written(&all(), kinds).len());
            assert_eq!(written(&Facts::NONE, kinds), vec![0; kinds.len_bytes()]);
        }
    }

    #[test]
    fn a_reader_is_told_what_it_is_granted_and_nothing_else() {
        let everything = all();
        for kinds in (0..=Kinds::ALL.bits()).filter_map(Kinds::from_bits) {
            let bytes = written(&everything, kinds);
            let said = Said::parse(&bytes, kinds).expect("well-formed");
            let mut expected = everything;
            expected.keep(kinds);
            assert_eq!(Facts::of(&said).kinds(), kinds);
            assert_eq!(written(&Facts::of(&said), Kinds::ALL), written(&expected, Kinds::ALL));
        }
    }

    #[test]
    fn an_identity_that_is_too_long_is_said_by_its_digest() {
        let long = format!("spiffe://campus.example/{}", "a".repeat(40));
        let mut facts = Facts::NONE;
        facts.set_identity(&long);
        let bytes = written(&facts, Kinds::only(Kind::Identity));
        let said = Said::parse(&bytes, Kinds::ALL).expect("well-formed");
        let identity = said.identity().expect("an identity");
        assert!(matches!(identity, Identity::Digest(_)) && identity.is(&long));
        assert!(!identity.is("spiffe://campus.example/a"));
        assert_eq!(Facts::of(&said), facts);
        // A shorter one later leaves nothing of it behind.
        facts.set_identity("dns:a.example");
        let mut other = Facts::NONE;
        other.set_identity("dns:a.example");
        assert_eq!(facts, other);
    }

    #[test]
    fn a_reason_is_cut_between_characters_and_a_tenant_never() {
        let mut facts = Facts::NONE;
        facts.set_reason("fünfzehn-zeichen-ß");
        facts.set_tenant("thirteenbytes");
        let bytes = written(&facts, Kinds::ALL);
        let said = Said::parse(&bytes, Kinds::ALL).expect("well-formed");
        assert_eq!((said.reason(), said.tenant()), (Some("fünfzehn-zeiche"), None));
    }

    #[test]
    fn no_value_is_shown_by_debug() {
        let shown = format!("{:?}", all());
        assert!(shown.contains("identity") && !shown.contains("alice"), "{shown}");
    }
}
