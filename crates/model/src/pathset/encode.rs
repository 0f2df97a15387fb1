//! The canonical encoding of a path set and the digest of a path (`docs/formats/pathset.md`).
//!
//! Numbers are big-endian and of fixed width; a text is its length in bytes (16 bits) and UTF-8; a list is its count and
//! its entries. There is one encoding of each path set: decoding refuses everything else.

use super::wire::{Reader, Writer};
use super::{Direction, Element, Hop, LinkSet, Path, PathSet, Role, Segment};
use crate::domain::{Keying, LinkKind, Profile, Suite};
use crate::ids::{ElementId, PathDigest, PathId, PathVersion};
use crate::integrity::{Integrity, Scope};
use crate::limits;
use crate::metadata::Kinds;
use crate::names::{Name, TrustDomain};
use crate::overhead::EspMode;

const MAGIC: &[u8; 4] = b"RMPS";
const FORMAT: u16 = 1;
/// The byte of each profile and kind of link; whether the code of headers is that of RFC 9145.
const PROFILES: [(Profile, LinkKind, bool, u8); 10] = [
    (Profile::Mpls, LinkKind::Udp, false, 1),
    (Profile::Mpls, LinkKind::Ethernet, false, 2),
    (Profile::MplsNsh, LinkKind::Udp, false, 3),
    (Profile::MplsNsh, LinkKind::Ethernet, false, 4),
    (Profile::Nsh, LinkKind::Udp, false, 5),
    (Profile::Nsh, LinkKind::Ethernet, false, 6),
    (Profile::MplsNsh, LinkKind::Udp, true, 7),
    (Profile::MplsNsh, LinkKind::Ethernet, true, 8),
    (Profile::Nsh, LinkKind::Udp, true, 9),
    (Profile::Nsh, LinkKind::Ethernet, true, 10),
];
/// Bits of a hop.
const INTRUSIVE: u8 = 1;
const ORIGINATES: u8 = 2;
/// Two bytes follow: what it reads and what it adds.
const GRANTED: u8 = 4;
const DIGEST_CONTEXT: &str = "ringmail path 1";

/// Why bytes are no path set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It ends too early.
    #[error("the path set ends within {0}")]
    Truncated(&'static str),
    /// Something follows its end.
    #[error("{0} bytes follow the path set")]
    Trailing(usize),
    /// Another format, or none.
    #[error("these are not bytes of a path set of format {FORMAT}")]
    Format,
    /// A value that the field cannot have.
    #[error("the path set's {0} has a value that does not exist")]
    Value(&'static str),
    /// Parts that contradict each other.
    #[error("the path set contradicts itself: {0}")]
    Inconsistent(&'static str),
}

impl PathSet {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer(Vec::with_capacity(1024));
        out.0.extend_from_slice(MAGIC);
        out.u16(FORMAT);
        out.text(&self.domain);
        out.u64(self.version.0);
        out.u64(self.not_before_unix_s);
        out.u64(self.not_after_unix_s);
        self.write_suite(&mut out);
        if let LinkSet::Ethernet { vlan } = self.link {
            out.u16(vlan.unwrap_or(0));
        }
        out.u16(self.link_mtu);
        out.u16(self.elements.len() as u16);
        for element in &self.elements {
            write_element(&mut out, element);
        }
        out.u16(self.paths.len() as u16);
        for path in &self.paths {
            write_path(&mut out, path);
        }
        out.0
    }

    /// The path set of these bytes; path digests are computed anew.
    ///
    /// # Errors
    /// Bytes that [`PathSet::encode`] never makes.
    pub fn decode(bytes: &[u8]) -> Result<PathSet, DecodeError> {
        let mut input = Reader(bytes);
        if input.take(MAGIC.len(), "its magic")? != MAGIC || input.u16("its format")? != FORMAT {
            return Err(DecodeError::Format);
        }
        let domain = input.parsed::<TrustDomain>("trust domain")?;
        let version = PathVersion(input.u64("its version")?);
        let not_before_unix_s = input.u64("its validity")?;
        let not_after_unix_s = input.u64("its validity")?;
        let byte = input.u8("its profile")?;
        let known = PROFILES.into_iter().find(|(_, _, _, code)| *code == byte);
        let (profile, kind, rfc9145, _) = known.ok_or(DecodeError::Value("profile"))?;
        let ethernet = kind == LinkKind::Ethernet;
        let suite = match input.u8("its suite")? {
            1 => Suite::Aes128Gcm,
            2 => Suite::Aes256Gcm,
            3 => Suite::ChaCha20Poly1305,
            _ => return Err(DecodeError::Value("suite")),
        };
        let keying = match input.u8("its keying")? {
            1 => Keying::Sap,
            2 => Keying::Psk,
            _ => return Err(DecodeError::Value("keying")),
        };
        let esp_mode = match input.u8("its ESP mode")? {
            1 => EspMode::Tunnel,
            2 => EspMode::Transport,
            _ => return Err(DecodeError::Value("ESP mode")),
        };
        let integrity = match rfc9145 {
            false => Integrity::Segment,
            true => read_rfc9145(&mut input)?,
        };
        let link = match ethernet {
            false => LinkSet::Udp,
            true => LinkSet::Ethernet { vlan: read_vlan(&mut input)? },
        };
        let link_mtu = input.u16("its link MTU")?;
        let mut set = PathSet {
            domain,
            version,
            not_before_unix_s,
            not_after_unix_s,
            profile,
            integrity,
            suite,
            keying,
            esp_mode,
            link,
            link_mtu,
            elements: Vec::new(),
            paths: Vec::new(),
        };
        for _ in 0..input.u16("its elements")? {
            set.elements.push(read_element(&mut input, ethernet)?);
        }
        for _ in 0..input.u16("its paths")? {
            set.paths.push(read_path(&mut input)?);
        }
        if !input.0.is_empty() {
            return Err(DecodeError::Trailing(input.0.len()));
        }
        set.check_consistent()?;
        for index in 0..set.paths.len() {
            let digest = set.path_digest(&set.paths[index]);
            set.paths[index].digest = digest;
        }
        Ok(set)
    }

    /// SHA-256 over what both ends of a segment mean when they name this path: domain, profile, suite, the path, and
    /// the identity of every element on it. Not version and validity: a path that stays keeps its keys.
    pub(super) fn path_digest(&self, path: &Path) -> PathDigest {
        let mut out = Writer(Vec::with_capacity(256));
        out.text(DIGEST_CONTEXT);
        out.text(&self.domain);
        self.write_suite(&mut out);
        write_path(&mut out, path);
        let visits = path.visits().map(|hop| hop.element);
        for id in std::iter::once(path.origin).chain(visits) {
            out.text(self.element(id).map_or("", |e| &e.spiffe_id));
        }
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &out.0);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        PathDigest(bytes)
    }

    pub(super) fn write_suite(&self, out: &mut Writer) {
        let mine = (self.profile, self.link.kind(), self.integrity.scope().is_some());
        let known = PROFILES.iter().find(|(profile, kind, rfc, _)| (*profile, *kind, *rfc) == mine);
        out.u8(known.map_or(0, |(_, _, _, code)| *code));
        out.u8(match self.suite {
            Suite::Aes128Gcm => 1,
            Suite::Aes256Gcm => 2,
            Suite::ChaCha20Poly1305 => 3,
        });
        out.u8(match self.keying {
            Keying::Sap => 1,
            Keying::Psk => 2,
        });
        out.u8(match self.esp_mode {
            EspMode::Tunnel => 1,
            EspMode::Transport => 2,
        });
        if let Integrity::Rfc9145 { scope, window_ms } = self.integrity {
            out.u8(match scope {
                Scope::Mac1 => 1,
                Scope::Mac2 => 2,
            });
            out.u32(window_ms);
        }
    }
}

fn read_rfc9145(input: &mut Reader<'_>) -> Result<Integrity, DecodeError> {
    let scope = match input.u8("its integrity")? {
        1 => Scope::Mac1,
        2 => Scope::Mac2,
        _ => return Err(DecodeError::Value("scope of integrity")),
    };
    let (least, most) = (limits::TIMESTAMP_WINDOW_MS_MIN, limits::TIMESTAMP_WINDOW_MS_MAX);
    match input.u32("its integrity")? {
        window_ms if (least..=most).contains(&window_ms) => {
            Ok(Integrity::Rfc9145 { scope, window_ms })
        }
        _ => Err(DecodeError::Value("window of timestamps")),
    }
}

fn read_vlan(input: &mut Reader<'_>) -> Result<Option<u16>, DecodeError> {
    match input.u16("its VLAN")? {
        0 => Ok(None),
        vlan @ 1..=limits::VLAN_MAX => Ok(Some(vlan)),
        _ => Err(DecodeError::Value("VLAN")),
    }
}

fn write_element(out: &mut Writer, element: &Element) {
    out.u16(element.id.0);
    out.u8(match element.role {
        Role::Gateway => 1,
        Role::Hop => 2,
        Role::Egress => 3,
    });
    out.text(&element.name);
    out.text(&element.spiffe_id);
    out.address(element.link);
    out.address(element.control);
    out.u32(element.label.get());
    out.u16(element.workers);
    if let Some(mac) = element.mac {
        out.0.extend_from_slice(&mac.bytes());
    }
}

fn read_element(input: &mut Reader<'_>, ethernet: bool) -> Result<Element, DecodeError> {
    Ok(Element {
        id: ElementId(input.u16("an element")?),
        role: match input.u8("an element")? {
            1 => Role::Gateway,
            2 => Role::Hop,
            3 => Role::Egress,
            _ => return Err(DecodeError::Value("role of an element")),
        },
        name: input.text("an element")?.to_owned(),
        spiffe_id: input.text("an element")?.to_owned(),
        link: input.address("an element")?,
        control: input.address("an element")?,
        label: input.label()?,
        workers: input.u16("an element")?,
        mac: match ethernet {
            false => None,
            true => Some(input.mac()?),
        },
    })
}

pub(super) fn write_path(out: &mut Writer, path: &Path) {
    out.u32(path.id.0);
    out.text(&path.name);
    out.u8(match path.direction {
        Direction::Forward => 1,
        Direction::Return => 2,
    });
    out.u16(path.origin.0);
    out.u8(path.hops.len() as u8);
    for hop in path.visits() {
        out.u16(hop.element.0);
        out.u32(hop.label.get());
        let granted = !hop.reads.or(hop.adds).is_empty();
        let bits = [(hop.intrusive, INTRUSIVE), (hop.originates, ORIGINATES), (granted, GRANTED)];
        out.u8(bits.into_iter().filter(|(set, _)| *set).map(|(_, bit)| bit).sum());
        if granted {
            out.u8(hop.reads.bits());
            out.u8(hop.adds.bits());
        }
    }
    out.u8(path.segments.len() as u8);
    for segment in &path.segments {
        out.u16(segment.sender.0);
        out.u16(segment.receiver.0);
        out.u8(segment.from);
        out.u8(segment.to);
    }
    out.u32(path.return_path.map_or(0, |id| id.0));
    out.text(path.service.as_deref().unwrap_or(""));
    out.u16(path.inner_mtu);
}

fn read_path(input: &mut Reader<'_>) -> Result<Path, DecodeError> {
    let id = PathId(input.u32("a path")?);
    let name = input.text("a path")?.to_owned();
    let direction = match input.u8("a path")? {
        1 => Direction::Forward,
        2 => Direction::Return,
        _ => return Err(DecodeError::Value("direction of a path")),
    };
    let origin = ElementId(input.u16("a path")?);
    let count = input.u8("a path")?;
    let hops = (0..count).map(|_| read_hop(input)).collect::<Result<Vec<Hop>, _>>()?;
    let end = read_hop(input)?;
    let count = input.u8("a path")?;
    let segments = (0..count).map(|_| read_segment(input)).collect::<Result<Vec<Segment>, _>>()?;
    let return_path = match input.u32("a path")? {
        0 => None,
        id => Some(PathId(id)),
    };
    let service = match input.text("a path")? {
        "" => None,
        name => Some(name.parse::<Name>().map_err(|_| DecodeError::Value("service of a path"))?),
    };
    let inner_mtu = input.u16("a path")?;
    let digest = PathDigest([0; 32]);
    Ok(Path {
        id,
        name,
        direction,
        origin,
        hops,
        end,
        segments,
        return_path,
        service,
        inner_mtu,
        digest,
    })
}

fn read_hop(input: &mut Reader<'_>) -> Result<Hop, DecodeError> {
    let (element, label) = (ElementId(input.u16("a hop")?), input.label()?);
    let bits = input.u8("a hop")?;
    if bits & !(INTRUSIVE | ORIGINATES | GRANTED) != 0 {
        return Err(DecodeError::Value("bits of a hop"));
    }
    let (intrusive, originates) = (bits & INTRUSIVE != 0, bits & ORIGINATES != 0);
    let [reads, adds] = match bits & GRANTED {
        0 => [Kinds::NONE; 2],
        _ => [read_kinds(input)?, read_kinds(input)?],
    };
    if bits & GRANTED != 0 && reads.or(adds).is_empty() {
        return Err(DecodeError::Value("metadata of a hop"));
    }
    Ok(Hop { element, label, intrusive, originates, reads, adds })
}

fn read_kinds(input: &mut Reader<'_>) -> Result<Kinds, DecodeError> {
    Kinds::from_bits(input.u8("a hop")?).ok_or(DecodeError::Value("metadata of a hop"))
}

fn read_segment(input: &mut Reader<'_>) -> Result<Segment, DecodeError> {
    Ok(Segment {
        sender: ElementId(input.u16("a segment")?),
        receiver: ElementId(input.u16("a segment")?),
        from: input.u8("a segment")?,
        to: input.u8("a segment")?,
    })
}
