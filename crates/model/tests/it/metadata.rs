//! Metadata in path sets: who is told what, by whom, in how many bytes; and what a path set does not say.

use ringmail_model::metadata::{Kind, Kinds};
use ringmail_model::nsh::Context;
use ringmail_model::pathset::{DecodeError, Path, PathSet, Reader};
use ringmail_model::{Domain, check};

use crate::examples::{ISSUE, campus};
use crate::golden;

/// A chain of `first` and `second` both ways, with what the file says of them besides.
fn domain(functions: &str, egress: &str) -> Domain {
    let text = format!(
        "domain: campus.example
links: {{network: 10.77.0.0/24}}
gateway:
  outside: [192.0.2.0/24]
  inner: [10.78.0.0/24]
  listeners:
    - {{name: web, address: '192.0.2.1:443', certificates: [{{server_names: [www.a.example]}}]}}
egress: {{networks: [10.79.0.0/24]{egress}}}
clients: [{{name: alice, address: 192.0.2.11, tenant: physics}}]
services: [{{name: www, addresses: ['10.79.0.10:80'], server_names: [www.a.example]}}]
functions:
{functions}
paths: [{{name: through, hops: [first, second], service: www}}]
rules: [{{name: all, path: through, when: {{clients: [alice]}}}}]
"
    );
    check::load(&text, "test.yaml").unwrap_or_else(|wrong| panic!("{wrong}")).domain
}

fn compiled(functions: &str, egress: &str) -> PathSet {
    PathSet::compile(&domain(functions, egress), ISSUE).expect("a path set")
}

fn path<'a>(set: &'a PathSet, name: &str) -> &'a Path {
    set.path_named(name).expect("the path")
}

fn reader(position: u8, writer: u8, kinds: &[Kind]) -> Reader {
    Reader { position, writer, kinds: kinds.iter().copied().collect() }
}

use Kind::{Identity, Ports, Tenant, Trace};

const GRANTED: &str =
    "  - {name: first, kind: forward, intrusive: false, metadata: [ports, identity]}
  - {name: second, kind: forward, intrusive: true, metadata: [trace]}";

/// With the egress there would be no room for what `second` is told.
const LESS: &str = "  - {name: first, kind: forward, intrusive: false, metadata: [ports, identity]}
  - {name: second, kind: forward, intrusive: true}";

#[test]
fn the_gateway_tells_every_function_what_it_is_granted() {
    let set = compiled(GRANTED, "");
    let through = path(&set, "through");
    assert_eq!(through.readers(), [reader(1, 0, &[Identity, Ports]), reader(2, 0, &[Trace])]);
    let layout = set.layout(through).expect("a header");
    let headers: Vec<usize> = layout.metadata().map(|range| range.len()).collect();
    assert_eq!(headers, [4 + 42 + 7 + 16, 4 + 18 + 16]);
    let order: Vec<Context> = layout.contexts().map(|(context, _)| context).collect();
    use Context::{Mac, Marks, Metadata, Proof};
    assert_eq!(order, [Proof, Marks, Metadata, Metadata, Mac]);
}

#[test]
fn on_the_way_back_it_is_what_the_egress_learned_and_ports() {
    let set = compiled(GRANTED, "");
    assert_eq!(path(&set, "through.return").readers(), [reader(2, 0, &[Ports])]);
    let set = compiled(LESS, ", metadata: [identity]");
    assert_eq!(path(&set, "through").readers()[1], reader(3, 0, &[Identity]));
    assert_eq!(path(&set, "through.return").readers(), [reader(2, 0, &[Identity, Ports])]);
}

#[test]
fn behind_an_attached_function_it_is_what_that_one_adds() {
    let attached = |grants: &str| {
        compiled(
            &format!(
                "  - {{name: first, kind: attached, intrusive: true, attached: {{socket: s}}{grants}}}
  - {{name: second, kind: forward, intrusive: true, metadata: [identity, tenant]}}"
            ),
            "",
        )
    };
    assert_eq!(path(&attached(""), "through").readers(), []);
    let set = attached(", metadata: [identity], may_add: [tenant]");
    let expected = [reader(1, 0, &[Identity]), reader(2, 1, &[Tenant])];
    assert_eq!(path(&set, "through").readers(), expected);
}

#[test]
fn who_is_told_what_is_shown() {
    let domain = domain(LESS, ", metadata: [identity]");
    let set = PathSet::compile(&domain, ISSUE).expect("a path set");
    let text = ringmail_model::show::text(&domain, &set);
    let lines: Vec<String> = text
        .lines()
        .skip_while(|line| !line.contains("METADATA"))
        .take(4)
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let expected = [
        "PATH TOLD METADATA BY",
        "through first identity, ports gateway",
        "through egress identity gateway",
        "through.return first identity, ports egress",
    ];
    assert_eq!(lines, expected);
}

/// The headers take room from inner packets, and nothing where nobody is granted anything.
#[test]
fn what_is_granted_takes_its_room_and_nothing_else_does() {
    let plain =
        GRANTED.replace(", metadata: [ports, identity]", "").replace(", metadata: [trace]", "");
    let (with, without) = (compiled(GRANTED, ""), compiled(&plain, ""));
    let bytes = (4 + 72) + (4 + 40);
    assert_eq!(path(&without, "through").inner_mtu - path(&with, "through").inner_mtu, bytes);
    let hop = |set: &PathSet| path(set, "through").hops[0];
    assert_eq!((hop(&without).reads, hop(&without).adds), (Kinds::NONE, Kinds::NONE));
    assert_ne!(path(&with, "through").digest, path(&without, "through").digest);
}

#[test]
fn the_bytes_are_golden_and_decode_to_the_same_and_nothing_else_does() {
    let set = compiled(LESS, ", metadata: [identity]");
    let bytes = set.encode();
    let lines: Vec<String> = bytes
        .chunks(16)
        .map(|line| line.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ") + "\n")
        .collect();
    let at = golden::crate_path("tests/golden/metadata.pathset.txt");
    if let Err(difference) = golden::compare(&at, &lines.concat()) {
        panic!("{difference}");
    }
    assert_eq!(PathSet::decode(&bytes), Ok(set));
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(other) = PathSet::decode(&flipped) {
            assert_eq!(other.encode(), flipped, "bit {bit}");
        }
    }
}

#[test]
fn a_path_set_that_grants_what_nobody_can_have_is_refused() {
    let refused = |mut set: PathSet, change: &dyn Fn(&mut PathSet)| {
        change(&mut set);
        match PathSet::decode(&set.encode()) {
            Err(DecodeError::Inconsistent(why)) => assert!(why.contains("metadata"), "{why}"),
            other => panic!("{other:?}"),
        }
    };
    let identity = Kinds::only(Identity);
    let through = |set: &mut PathSet, back: bool| {
        let name = if back { "through.return" } else { "through" };
        set.paths.iter().position(|path| path.name == name).expect("the path")
    };
    // Who does not begin packets says nothing; the gateway is told nothing.
    refused(compiled(GRANTED, ""), &|set| {
        let at = through(set, false);
        set.paths[at].hops[1].adds = identity;
    });
    refused(compiled(GRANTED, ""), &|set| {
        let at = through(set, true);
        set.paths[at].end.reads = identity;
    });
    let mut mpls = campus();
    mpls.profile = ringmail_model::domain::Profile::Mpls;
    refused(PathSet::compile(&mpls, ISSUE).expect("a path set"), &|set| {
        set.paths[0].hops[0].reads = identity;
    });
}
