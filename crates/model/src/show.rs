//! A domain as people and programs look at it: elements, paths, segments, inner MTUs, rules.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::{Domain, Keying, LinkKind, Profile, Rule, Suite, When};
use crate::mac::MacAddress;
use crate::metadata::Kind;
use crate::pathset::{Direction, Element, LinkSet, Path, PathSet, Reader, Role};

/// A domain as programs look at it: the report `ringmail.domain/1`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Shown {
    /// The SPIFFE trust domain.
    pub domain: String,
    /// What stands in front of ESP on the wire.
    pub profile: Profile,
    /// The AEAD of every segment.
    pub suite: Suite,
    /// Where traffic keys come from.
    pub keying: Keying,
    /// How frames travel between elements.
    pub link_kind: LinkKind,
    /// The VLAN of links of Ethernet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// Bytes of the longest IP packet on a link.
    pub link_mtu: u16,
    /// Bytes of the largest inner packet that every path carries.
    pub inner_mtu: Option<u16>,
    /// Gateway, hops and egresses.
    pub elements: Vec<ShownElement>,
    /// All paths, both directions.
    pub paths: Vec<ShownPath>,
    /// The rules in their order, as the file has them.
    pub rules: Vec<Rule>,
}

/// One element.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ShownElement {
    /// Its number.
    pub id: u16,
    /// Its name.
    pub name: String,
    /// gateway, hop or egress.
    pub role: Role,
    /// Its identity.
    pub spiffe_id: String,
    /// Its link address; with links of UDP where it receives encapsulated packets, address and port.
    pub link: String,
    /// Where it receives encapsulated packets with links of Ethernet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
    /// Where it agrees on keys, TCP address and port.
    pub control: String,
    /// The label that names it.
    pub label: u32,
    /// Its workers.
    pub workers: u16,
}

/// One path, one direction.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ShownPath {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// forward or return.
    pub direction: Direction,
    /// The service at the end of a forward path.
    pub service: Option<String>,
    /// The number of a forward path's way back.
    pub return_path: Option<u32>,
    /// Names of the elements on it, origin and end included.
    pub elements: Vec<String>,
    /// Names of those that only forward ESP, unopened.
    pub not_intrusive: Vec<String>,
    /// The label stack as the origin pushes it, top first.
    pub labels: Vec<u32>,
    /// Stretches between elements that hold plaintext.
    pub segments: Vec<ShownSegment>,
    /// Who is told what of its packets, by whom.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<ShownTold>,
    /// Bytes of the largest inner packet.
    pub inner_mtu: u16,
    /// SHA-256 of the path, in hex.
    pub digest: String,
}

/// One segment.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ShownSegment {
    /// The name of the element that seals.
    pub sender: String,
    /// The name of the element that opens.
    pub receiver: String,
    /// The sender's position on the path; 0 is the origin.
    pub from: u8,
    /// The receiver's position.
    pub to: u8,
}

/// What one element is told of packets, which nobody else on the path can read.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ShownTold {
    /// The name of the element that is told.
    pub reader: String,
    /// The name of the element that tells it.
    pub writer: String,
    /// What it is told.
    pub metadata: Vec<Kind>,
}

/// A domain and its path set for programs.
pub fn shown(domain: &Domain, set: &PathSet) -> Shown {
    Shown {
        domain: set.domain.to_string(),
        profile: set.profile,
        suite: set.suite,
        keying: set.keying,
        link_kind: set.link.kind(),
        vlan: match set.link {
            LinkSet::Udp => None,
            LinkSet::Ethernet { vlan } => vlan,
        },
        link_mtu: set.link_mtu,
        inner_mtu: set.inner_mtu(),
        elements: set.elements.iter().map(element).collect(),
        paths: set.paths.iter().map(|p| path(set, p)).collect(),
        rules: domain.rules.clone(),
    }
}

fn element(element: &Element) -> ShownElement {
    ShownElement {
        id: element.id.0,
        name: element.name.clone(),
        role: element.role,
        spiffe_id: element.spiffe_id.clone(),
        link: element.link.to_string(),
        mac: element.mac,
        control: element.control.to_string(),
        label: element.label.get(),
        workers: element.workers,
    }
}

fn path(set: &PathSet, path: &Path) -> ShownPath {
    let named = |id| name(set, id).to_owned();
    let visits = path.visits().map(|hop| hop.element);
    let passing = path.hops.iter().filter(|hop| !hop.intrusive);
    let segments = path.segments.iter().map(|s| ShownSegment {
        sender: named(s.sender),
        receiver: named(s.receiver),
        from: s.from,
        to: s.to,
    });
    ShownPath {
        id: path.id.0,
        name: path.name.clone(),
        direction: path.direction,
        service: path.service.as_ref().map(ToString::to_string),
        return_path: path.return_path.map(|id| id.0),
        elements: std::iter::once(path.origin).chain(visits).map(named).collect(),
        not_intrusive: passing.map(|hop| named(hop.element)).collect(),
        labels: path.labels().map(|label| label.get()).collect(),
        segments: segments.collect(),
        told: told(set, path),
        inner_mtu: path.inner_mtu,
        digest: path.digest.0.iter().map(|b| format!("{b:02x}")).collect(),
    }
}

fn told(set: &PathSet, path: &Path) -> Vec<ShownTold> {
    let named = |position: u8| {
        path.element_at(position.into()).map_or_else(String::new, |id| name(set, id).to_owned())
    };
    let readers = path.readers().into_iter();
    let told = readers.map(|Reader { position, writer, kinds }| ShownTold {
        reader: named(position),
        writer: named(writer),
        metadata: kinds.iter().collect(),
    });
    told.collect()
}

/// A domain and its path set as tables.
pub fn text(domain: &Domain, set: &PathSet) -> String {
    let mut out = String::new();
    let inner = set.inner_mtu().map_or("none".to_owned(), |mtu| mtu.to_string());
    let _ = writeln!(
        out,
        "domain {}: profile {}, suite {}, keying {}, link MTU {}, inner MTU {inner}\n",
        set.domain,
        word(&set.profile),
        word(&set.suite),
        word(&set.keying),
        set.link_mtu,
    );
    let elements = set.elements.iter().map(|e| {
        vec![
            e.id.to_string(),
            e.name.clone(),
            word(&e.role),
            e.label.to_string(),
            e.mac.map_or_else(|| e.link.to_string(), |mac| mac.to_string()),
            e.control.to_string(),
            e.workers.to_string(),
        ]
    });
    let link = match set.link {
        LinkSet::Udp => "LINK (UDP)".to_owned(),
        LinkSet::Ethernet { vlan: None } => "LINK (ETHERNET)".to_owned(),
        LinkSet::Ethernet { vlan: Some(vlan) } => format!("LINK (VLAN {vlan})"),
    };
    let head = ["ID", "ELEMENT", "ROLE", "LABEL", &link, "CONTROL (TCP)", "WORKERS"];
    table(&mut out, &head, elements);
    let paths = set.paths.iter().map(|p| {
        let back = p.return_path.and_then(|id| set.path(id)).map_or("", |back| &back.name);
        let labels: Vec<String> = p.labels().map(|label| label.to_string()).collect();
        vec![
            p.id.to_string(),
            p.name.clone(),
            word(&p.direction),
            route(set, p),
            labels.join(" "),
            segments(set, p),
            p.inner_mtu.to_string(),
            p.service.as_deref().unwrap_or("").to_owned(),
            back.to_owned(),
            p.digest.to_string(),
        ]
    });
    let head = [
        "ID",
        "PATH",
        "DIRECTION",
        "ROUTE",
        "LABELS",
        "SEGMENTS",
        "INNER MTU",
        "SERVICE",
        "RETURN",
        "DIGEST",
    ];
    table(&mut out, &head, paths);
    out.push_str("(a hop in brackets is not intrusive: it forwards ESP unopened)\n\n");
    let told: Vec<Vec<String>> = set
        .paths
        .iter()
        .flat_map(|path| told(set, path).into_iter().map(|told| (path.name.clone(), told)))
        .map(|(path, ShownTold { reader, writer, metadata })| {
            let kinds: Vec<&str> = metadata.iter().map(|kind| kind.name()).collect();
            vec![path, reader, kinds.join(", "), writer]
        })
        .collect();
    if !told.is_empty() {
        table(&mut out, &["PATH", "TOLD", "METADATA", "BY"], told.into_iter());
    }
    let rules = domain.rules.iter().enumerate().map(|(index, r)| {
        vec![(index + 1).to_string(), r.name.to_string(), when(&r.when), r.path.to_string()]
    });
    table(&mut out, &["#", "RULE", "WHEN", "PATH"], rules);
    out.push_str("(the first rule that matches decides; none means no access)\n");
    out
}

fn name(set: &PathSet, id: crate::ElementId) -> &str {
    set.element(id).map_or("?", |e| &e.name)
}

fn route(set: &PathSet, path: &Path) -> String {
    let mut route = name(set, path.origin).to_owned();
    for hop in path.visits() {
        let name = name(set, hop.element);
        let _ =
            if hop.intrusive { write!(route, " > {name}") } else { write!(route, " > [{name}]") };
    }
    route
}

fn segments(set: &PathSet, path: &Path) -> String {
    let segments = path.segments.iter();
    let each = segments.map(|s| format!("{}-{}", name(set, s.sender), name(set, s.receiver)));
    each.collect::<Vec<_>>().join(" ")
}

/// The word of the file for one of its values.
fn word<T: Serialize>(value: &T) -> String {
    let json = serde_json::to_value(value).unwrap_or_default();
    json.as_str().unwrap_or_default().to_owned()
}

fn when(when: &When) -> String {
    let json = serde_json::to_value(when).unwrap_or_default();
    let conditions = json.as_object().into_iter().flatten();
    let each = conditions.map(|(key, value)| {
        let value = match value.as_array() {
            Some(list) => list.iter().map(plain).collect::<Vec<_>>().join(", "),
            None => plain(value),
        };
        format!("{key}: {value}")
    });
    let text = each.collect::<Vec<_>>().join("; ");
    if text.is_empty() { "always".to_owned() } else { text }
}

fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn table(out: &mut String, head: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let head: Vec<String> = head.iter().map(|text| (*text).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max().unwrap_or(0)
    };
    for row in &rows {
        let cells = row.iter().enumerate().map(|(i, cell)| format!("{cell:<w$}", w = width(i)));
        let line = cells.collect::<Vec<_>>().join("  ");
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out.push('\n');
}
