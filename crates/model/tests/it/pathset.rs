//! Path sets: what a file comes to, its bytes, its signature, and what is refused.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use ringmail_model::domain::{Function, LinkKind, Profile};
use ringmail_model::integrity::{IntegrityKind, Rfc9145Settings};
use ringmail_model::overhead::{EspMode, Steering, frame_bytes};
use ringmail_model::pathset::{
    CompileError, DecodeError, Direction, Expected, LinkSet, PathSet, PublicKey, Role,
    SignedPathSet, VerifyError,
};
use ringmail_model::{Domain, MacAddress, PathVersion, domain};

use crate::examples::{ISSUE, campus};
use crate::golden;

fn set() -> PathSet {
    PathSet::compile(&campus(), ISSUE).expect("a path set")
}

fn names<'a>(set: &'a PathSet, path: &ringmail_model::pathset::Path) -> Vec<&'a str> {
    let ids = (0..path.hops.len() + 2).filter_map(|n| path.element_at(n));
    ids.map(|id| set.element(id).expect("an element").name.as_str()).collect()
}

#[test]
fn the_campus_compiles_to_elements_and_paths() {
    let set = set();
    let elements: Vec<_> = set.elements.iter().map(|e| (e.id.0, e.name.as_str(), e.role)).collect();
    assert_eq!(
        elements,
        [
            (0, "gateway", Role::Gateway),
            (1, "sf1", Role::Hop),
            (2, "sf2", Role::Hop),
            (3, "egress", Role::Egress)
        ]
    );
    assert_eq!(set.elements[1].spiffe_id, "spiffe://campus.example/element/sf1");
    assert_eq!(set.elements[1].link.to_string(), "10.77.0.2:6635");
    assert_eq!(set.elements[1].control.to_string(), "10.77.0.2:6637");

    let inspected = set.path_named("inspected").expect("the path");
    assert_eq!(names(&set, inspected), ["gateway", "sf1", "sf2", "egress"]);
    assert_eq!(inspected.direction, Direction::Forward);
    assert_eq!(inspected.service.as_deref(), Some("www"));
    // sf1 is not intrusive: the gateway seals for sf2, and sf2 for the egress.
    let segments: Vec<_> =
        inspected.segments.iter().map(|s| (s.sender.0, s.receiver.0, s.from, s.to)).collect();
    assert_eq!(segments, [(0, 2, 0, 2), (2, 3, 2, 3)]);
    let labels: Vec<u32> = inspected.labels().map(|l| l.get()).collect();
    assert_eq!(labels, [1001, 1002, 1003]);
    let after: Vec<u32> = inspected.labels_after(1).map(|l| l.get()).collect();
    assert_eq!(after, [1002, 1003]);
    // 1406 in profile `mpls`; the label of the SFF and 88 bytes of NSH.
    assert_eq!(inspected.inner_mtu, 1406 - 4 - 88);

    let back = set.path(inspected.return_path.expect("a way back")).expect("the path");
    assert_eq!(back.name, "inspected.return");
    assert_eq!(back.direction, Direction::Return);
    assert_eq!(names(&set, back), ["egress", "sf2", "sf1", "gateway"]);
    assert_eq!(set.inner_mtu(), Some(1314));
}

/// The biggest inner packet of each path gives a frame that fits the link.
#[test]
fn inner_mtus_fill_the_link_exactly() {
    let mut domain = campus();
    for n in 3..=6 {
        let mut function = domain.functions[0].clone();
        function.name = format!("sf{n}").parse().expect("a name");
        domain.functions.push(function);
    }
    let all = [1000, 1280, 1500, 9000].into_iter().flat_map(|mtu| (1..=6).map(move |n| (mtu, n)));
    for (link_mtu, functions) in all {
        domain.links.mtu = link_mtu;
        let names = domain.functions.iter().map(|f| f.name.clone());
        domain.paths[0].hops = names.take(functions).collect();
        for profile in Profile::ALL {
            domain.profile = profile;
            let set = PathSet::compile(&domain, ISSUE).expect("a path set");
            let path = set.path_named("plain").expect("the path");
            let labels = set.labels_on_wire(path, 0).len();
            let nsh_bytes = set.layout(path).map_or(0, |layout| layout.len_bytes());
            assert_eq!(nsh_bytes > 0, profile != Profile::Mpls);
            let (inner, steering) = (usize::from(path.inner_mtu), Steering { labels, nsh_bytes });
            let frame = |inner| frame_bytes(LinkKind::Udp, inner, steering, EspMode::Tunnel);
            assert!(frame(inner) <= link_mtu.into(), "{functions} functions, {link_mtu}");
            assert!(frame(inner + 1) > link_mtu.into(), "{functions} functions, {link_mtu}");
        }
    }
}

/// Addresses and labels that the file sets are not given out again.
#[test]
fn what_the_file_sets_is_not_given_to_another() {
    let mut domain = campus();
    domain.functions[1].address = Some("10.77.0.2".parse().expect("an address"));
    domain.functions[1].label = ringmail_model::Label::new(1001);
    let set = PathSet::compile(&domain, ISSUE).expect("a path set");
    let given: Vec<_> =
        set.elements.iter().map(|e| (e.link.ip().octets()[3], e.label.get())).collect();
    assert_eq!(given, [(1, 1000), (3, 1002), (2, 1001), (4, 1003)]);
    assert_eq!(PathSet::decode(&set.encode()), Ok(set));
}

#[test]
fn the_order_of_the_file_changes_nothing() {
    let mut domain = campus();
    domain.functions.reverse();
    domain.paths.reverse();
    domain.services.reverse();
    assert_eq!(PathSet::compile(&domain, ISSUE), Ok(set()));
}

#[test]
fn a_path_that_stays_keeps_its_digest_and_one_that_changes_does_not() {
    let old = set();
    let newer = ringmail_model::pathset::Issue { version: PathVersion(2), ..ISSUE };
    let same = PathSet::compile(&campus(), newer).expect("a path set");
    let digest = |set: &PathSet, name: &str| set.path_named(name).expect("the path").digest;
    assert_eq!(digest(&old, "plain"), digest(&same, "plain"));
    assert_ne!(digest(&old, "plain"), digest(&old, "inspected"));

    let mut changed = campus();
    changed.suite = domain::Suite::Aes256Gcm;
    let changed = PathSet::compile(&changed, ISSUE).expect("a path set");
    assert_ne!(digest(&old, "plain"), digest(&changed, "plain"));

    let mut intrusive = campus();
    intrusive.functions[0].intrusive = true;
    let intrusive = PathSet::compile(&intrusive, ISSUE).expect("a path set");
    assert_ne!(digest(&old, "plain"), digest(&intrusive, "plain"));
}

/// Bytes and digests, for people.
fn text(set: &PathSet) -> String {
    let mut text = String::new();
    for line in set.encode().chunks(16) {
        let hex: Vec<String> = line.iter().map(|b| format!("{b:02x}")).collect();
        text.push_str(&hex.join(" "));
        text.push('\n');
    }
    for path in &set.paths {
        let hex: String = path.digest.0.iter().map(|b| format!("{b:02x}")).collect();
        text.push_str(&format!("{} {hex}\n", path.name));
    }
    text
}

fn is_golden(name: &str, text: &str) {
    let path = golden::crate_path("tests/golden").join(name);
    if let Err(difference) = golden::compare(&path, text) {
        panic!("{difference}");
    }
}

#[test]
fn the_bytes_are_golden() {
    let text = text(&set());
    is_golden("campus.pathset.txt", &text);
    let page = golden::read(&golden::repository_path("docs/formats/pathset.md"));
    assert!(page.contains(&text), "docs/formats/pathset.md has other golden bytes");
}

/// The campus with codes of RFC 9145.
fn rfc9145(foreign_forwarders: bool, window_ms: u32) -> PathSet {
    let mut domain = campus();
    domain.integrity = IntegrityKind::Rfc9145;
    domain.rfc9145 = Some(Rfc9145Settings { foreign_forwarders, window_ms });
    PathSet::compile(&domain, ISSUE).expect("a path set")
}

#[test]
fn codes_of_rfc_9145_have_bytes_of_their_own() {
    let theirs = rfc9145(true, 1_500);
    is_golden("campus-rfc9145.pathset.txt", &text(&theirs));
    let (bytes, ours) = (theirs.encode(), set());
    assert_eq!(PathSet::decode(&bytes), Ok(theirs.clone()));
    for len in 0..bytes.len() {
        assert!(PathSet::decode(&bytes[..len]).is_err(), "{len} bytes");
    }
    // The header is longer by 12 bytes; keys are never those of another code, scope or window.
    let path = |set: &PathSet| set.path_named("plain").expect("a path").clone();
    assert!(path(&theirs).inner_mtu < path(&ours).inner_mtu);
    for other in [ours, rfc9145(false, 1_500), rfc9145(true, 1_501)] {
        assert_ne!(path(&other).digest, path(&theirs).digest);
    }
    // Scope and window behind profile, suite, keying and mode.
    let at = bytes.windows(9).position(|part| part == [7, 1, 1, 1, 1, 0, 0, 5, 220]).expect("it");
    for (offset, value, what) in [
        (4, 3, DecodeError::Value("scope of integrity")),
        (5, 1, DecodeError::Value("window of timestamps")),
        (0, 11, DecodeError::Value("profile")),
    ] {
        let mut wrong = bytes.clone();
        wrong[at + offset] = value;
        assert_eq!(PathSet::decode(&wrong), Err(what));
    }
    // Nor has a profile without a header any.
    let mut bare = campus();
    bare.profile = Profile::Mpls;
    let mut bare = PathSet::compile(&bare, ISSUE).expect("a path set");
    bare.integrity = theirs.integrity;
    assert!(PathSet::decode(&bare.encode()).is_err());
}

#[test]
fn bytes_decode_to_the_same_and_nothing_else_decodes() {
    let set = set();
    let bytes = set.encode();
    assert_eq!(PathSet::decode(&bytes), Ok(set));
    for len in 0..bytes.len() {
        assert!(PathSet::decode(&bytes[..len]).is_err(), "{len} bytes");
    }
    let trailing = [bytes.as_slice(), &[0]].concat();
    assert_eq!(PathSet::decode(&trailing), Err(DecodeError::Trailing(1)));
    // Whatever a flipped bit still decodes to is canonical: it encodes to the flipped bytes.
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(other) = PathSet::decode(&flipped) {
            assert_eq!(other.encode(), flipped, "bit {bit}");
        }
    }
}

#[test]
fn a_path_set_that_contradicts_itself_is_refused() {
    let inconsistent = |change: &dyn Fn(&mut PathSet)| {
        let mut set = set();
        change(&mut set);
        match PathSet::decode(&set.encode()) {
            Err(DecodeError::Inconsistent(why)) => why,
            other => panic!("{other:?}"),
        }
    };
    assert!(inconsistent(&|s| s.elements.swap(1, 2)).contains("in its place"));
    assert!(inconsistent(&|s| s.elements[2].label = s.elements[1].label).contains("share"));
    assert!(inconsistent(&|s| s.elements[1].spiffe_id.push('x')).contains("identity"));
    assert!(inconsistent(&|s| s.paths.swap(0, 1)).contains("in its place"));
    assert!(inconsistent(&|s| s.paths[0].hops[0].intrusive ^= true).contains("segments"));
    assert!(inconsistent(&|s| s.paths[0].end.label = s.elements[1].label).contains("label"));
    assert!(inconsistent(&|s| s.paths[0].origin = s.elements[1].id).contains("begins or ends"));
    assert!(inconsistent(&|s| s.paths[0].service = None).contains("service"));
    assert!(
        inconsistent(&|s| s.paths[0].return_path = Some(s.paths[1].id)).contains("return path")
    );
}

#[test]
fn only_what_the_domain_signed_is_accepted() {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
    let key = PublicKey(pair.public_key().as_ref().try_into().expect("32 bytes"));
    let set = set();
    let sign =
        |message: &[u8]| Ok::<_, std::convert::Infallible>(pair.sign(message).as_ref().to_vec());
    let Ok(signed) = SignedPathSet::sign(&set, sign);
    let expected = Expected {
        domain: &set.domain,
        highest_version: PathVersion(1),
        now_unix_s: ISSUE.not_before_unix_s,
    };
    assert_eq!(signed.verify(&key, &expected).as_ref(), Ok(&set));
    assert_eq!(SignedPathSet::from_bytes(&signed.to_bytes()).as_ref(), Ok(&signed));

    let mut changed = signed.clone();
    changed.bytes[30] ^= 1;
    assert_eq!(changed.verify(&key, &expected), Err(VerifyError::Signature));
    let bare =
        SignedPathSet { signature: pair.sign(&signed.bytes).as_ref().to_vec(), ..signed.clone() };
    assert_eq!(bare.verify(&key, &expected), Err(VerifyError::Signature), "signed without context");
    assert_eq!(signed.verify(&PublicKey([9; 32]), &expected), Err(VerifyError::Signature));

    let other = "other.example".parse().expect("a domain");
    let elsewhere = Expected { domain: &other, ..expected };
    assert_eq!(signed.verify(&key, &elsewhere), Err(VerifyError::Domain(set.domain.clone())));
    let later = Expected { highest_version: PathVersion(2), ..expected };
    let older = VerifyError::Older { offered: PathVersion(1), seen: PathVersion(2) };
    assert_eq!(signed.verify(&key, &later), Err(older));
    let early = Expected { now_unix_s: ISSUE.not_before_unix_s - 1, ..expected };
    assert_eq!(signed.verify(&key, &early), Err(VerifyError::NotYet(ISSUE.not_before_unix_s)));
    let late = Expected { now_unix_s: ISSUE.not_after_unix_s, ..expected };
    assert_eq!(signed.verify(&key, &late), Err(VerifyError::Expired(ISSUE.not_after_unix_s)));
}

#[test]
fn what_check_would_refuse_does_not_compile_either() {
    let error = |change: &dyn Fn(&mut Domain)| {
        let mut domain = campus();
        change(&mut domain);
        PathSet::compile(&domain, ISSUE).expect_err("no path set")
    };
    let name = |text: &str| text.parse().expect("a name");
    let unknown = error(&|d| d.paths[0].hops = vec![name("sf9")]);
    assert!(matches!(unknown, CompileError::UnknownFunction { .. }), "{unknown}");
    let twice = error(&|d| d.paths[0].hops = vec![name("sf1"), name("sf1")]);
    assert!(matches!(twice, CompileError::FunctionTwice { .. }), "{twice}");
    let service = error(&|d| d.paths[0].service = name("ftp"));
    assert!(matches!(service, CompileError::UnknownService { .. }), "{service}");
    let back = error(&|d| d.paths[0].return_path = Some(name("back")));
    assert!(matches!(back, CompileError::UnknownReturnPath { .. }), "{back}");
    let reserved = error(&|d| d.functions[0].name = name("egress"));
    assert!(matches!(reserved, CompileError::DuplicateName { .. }), "{reserved}");
    let mtu = error(&|d| d.links.mtu = 600);
    assert!(matches!(mtu, CompileError::MtuTooSmall { left_bytes: 414, .. }), "{mtu}");
    let long = error(&|d| {
        let function = Function { intrusive: true, ..d.functions[0].clone() };
        let functions =
            (1..=16).map(|n| Function { name: name(&format!("i{n}")), ..function.clone() });
        d.functions.extend(functions);
        d.paths[0].hops = (1..=16).map(|n| name(&format!("i{n}"))).collect();
    });
    assert!(matches!(long, CompileError::NshTooLong { .. }), "{long}");
    let full = error(&|d| d.links.network = "10.77.0.0/30".parse().expect("a network"));
    assert!(matches!(full, CompileError::NoAddress(_)), "{full}");
    let label = error(&|d| {
        d.functions[0].label = ringmail_model::Label::new(16);
        d.functions[1].label = ringmail_model::Label::new(16);
    });
    assert!(matches!(label, CompileError::DuplicateLabel(_)), "{label}");
}

#[test]
fn each_service_can_have_an_egress_of_its_own() {
    let mut domain = campus();
    let mut api = domain.services[0].clone();
    api.name = "api".parse().expect("a name");
    domain.services.push(api);
    domain.paths[1].service = "api".parse().expect("a name");
    domain.egress.per_service = true;
    let set = PathSet::compile(&domain, ISSUE).expect("a path set");
    let end = |name: &str| {
        let path = set.path_named(name).expect("the path");
        set.element(path.end.element).expect("an element").name.clone()
    };
    assert_eq!(
        (end("plain"), end("inspected")),
        ("egress-www".to_owned(), "egress-api".to_owned())
    );

    let shared =
        domain::ReturnPath { name: "back".parse().expect("a name"), hops: vec![], standby: false };
    for path in &mut domain.paths {
        path.return_path = Some(shared.name.clone());
    }
    domain.return_paths.push(shared);
    let error = PathSet::compile(&domain, ISSUE).expect_err("one return path of two egresses");
    assert!(matches!(error, CompileError::ReturnPathOfTwoEgresses { .. }), "{error}");
}

#[test]
fn links_of_ethernet_have_mac_addresses_and_more_room() {
    let mut domain = campus();
    domain.links.kind = LinkKind::Ethernet;
    domain.links.vlan = Some(77);
    let own: MacAddress = "52:54:00:12:34:56".parse().expect("a MAC address");
    domain.links.macs.insert("sf2".parse().expect("a name"), own);
    let set = PathSet::compile(&domain, ISSUE).expect("a path set");
    assert_eq!(set.link, LinkSet::Ethernet { vlan: Some(77) });
    let macs: Vec<_> =
        set.elements.iter().filter_map(|e| e.mac).map(|mac| mac.to_string()).collect();
    assert_eq!(
        macs,
        ["02:00:0a:4d:00:01", "02:00:0a:4d:00:02", "52:54:00:12:34:56", "02:00:0a:4d:00:04"]
    );
    let (udp, ethernet) = (self::set(), &set.paths);
    for (with, without) in ethernet.iter().zip(&udp.paths) {
        assert_eq!(with.inner_mtu, without.inner_mtu + 28);
        // Who agrees on keys over another kind of link means another path.
        assert_ne!(with.digest, without.digest);
    }
    let bytes = set.encode();
    assert_eq!(PathSet::decode(&bytes), Ok(set.clone()));
    for end in 0..bytes.len() {
        assert!(PathSet::decode(&bytes[..end]).is_err(), "{end} bytes");
    }
    // The VLAN stands before the link MTU, behind profile, suite, keying and ESP mode.
    let mtu = bytes.windows(4).position(|part| part == [0, 77, 0x05, 0xdc]).expect("77, 1500");
    let mut wrong = bytes.clone();
    wrong[mtu..mtu + 2].copy_from_slice(&4095_u16.to_be_bytes());
    assert_eq!(PathSet::decode(&wrong), Err(DecodeError::Value("VLAN")));
    let mac = bytes.windows(6).position(|part| part == own.bytes()).expect("the address");
    let mut wrong = bytes.clone();
    wrong[mac] |= 1;
    assert_eq!(PathSet::decode(&wrong), Err(DecodeError::Value("MAC address")));
    let mut wrong = bytes;
    wrong[mac..mac + 6].copy_from_slice(&[0x02, 0, 10, 77, 0, 1]);
    assert!(matches!(PathSet::decode(&wrong), Err(DecodeError::Inconsistent(_))));
}
