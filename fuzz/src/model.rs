//! The bodies of the fuzz targets of `ringmail-model`: each takes any bytes and panics where the crate breaks a promise.
//! `crates/model/tests` calls them too, with the committed corpus.

use std::net::Ipv4Addr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use ringmail_model::check;
use ringmail_model::domain::{self, ApplicationProtocol};
use ringmail_model::ids::PathVersion;
use ringmail_model::metadata::{Facts, Kind, Kinds, Said};
use ringmail_model::pathset::{Issue, PathSet, PublicKey, SignedPathSet};
use ringmail_model::pdp::look::{Look, Seen};
use ringmail_model::pdp::{
    Absent, Follower, FollowerConfig, FollowerEvent, Framer, Held, Message, Publisher,
    PublisherConfig, PublisherEvent, SessionId,
};
use ringmail_model::rules::{CertificateFacts, RequestFacts, RuleSet, host, url};
use ringmail_model::summary::{SummaryFile, audit};

/// The body of one target.
pub type Body = fn(&[u8]);

/// Every target by name; the name is the corpus's folder too.
pub const TARGETS: [(&str, Body); 6] = [
    ("model_domain", fuzz_domain),
    ("model_metadata", fuzz_metadata),
    ("model_pathset", fuzz_pathset),
    ("model_pdp", fuzz_pdp),
    ("model_request", fuzz_request),
    ("model_summary", fuzz_summary),
];

/// Rules with every kind of condition.
static RULES: LazyLock<RuleSet> = LazyLock::new(|| {
    let text = include_str!("../../examples/departments.yaml");
    let loaded = check::load(text, "departments.yaml").expect("the example is good");
    let issue = Issue { version: PathVersion(1), not_before_unix_s: 0, not_after_unix_s: 1 };
    let set = PathSet::compile(&loaded.domain, issue).expect("a path set");
    RuleSet::compile(&loaded.domain, &set).expect("rules")
});

/// A domain file: whatever parses prints and parses to itself; whatever passes the checks compiles, and its path set
/// decodes to itself.
pub fn fuzz_domain(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(parsed) = domain::parse(text, "fuzz") else { return };
    let printed = parsed.to_yaml().expect("a parsed domain prints");
    let again = domain::parse(&printed, "printed").expect("a printed domain parses");
    assert_eq!(again, parsed, "{printed}");
    let Ok(loaded) = check::load(text, "fuzz") else { return };
    let issue = Issue { version: PathVersion(1), not_before_unix_s: 0, not_after_unix_s: u64::MAX };
    let set = PathSet::compile(&loaded.domain, issue).expect("a checked domain compiles");
    assert_eq!(PathSet::decode(&set.encode()).as_ref(), Ok(&set));
    RuleSet::compile(&loaded.domain, &set).expect("rules of a checked domain compile");
}

/// What a reader is granted, and the items of a header: whatever is taken is of granted kinds, has values that can be read, and
/// is written again as it was.
pub fn fuzz_metadata(data: &[u8]) {
    let Some((bits, items)) = data.split_first() else { return };
    let Some(granted) = Kinds::from_bits(bits & Kinds::ALL.bits()) else { return };
    let Ok(said) = Said::parse(items, granted) else { return };
    let kinds: Kinds = said.items().map(|(kind, _)| kind).collect();
    assert!(kinds.without(granted).is_empty(), "{kinds} of {granted}");
    let read = [
        (Kind::Identity, said.identity().is_some()),
        (Kind::Ports, said.ports().is_some()),
        (Kind::Authorization, said.authorization().is_some()),
        (Kind::Tenant, said.tenant().is_some()),
        (Kind::Reason, said.reason().is_some()),
        (Kind::Trace, said.trace().is_some()),
    ];
    let read: Kinds = read.into_iter().filter(|(_, there)| *there).map(|(kind, _)| kind).collect();
    assert_eq!(read, kinds);
    if let Some(identity) = said.identity() {
        assert!(!identity.to_string().is_empty());
    }
    let facts = Facts::of(&said);
    let mut again = vec![0xff; granted.len_bytes()];
    facts.write(granted, &mut again);
    let len = said.as_bytes().len();
    assert_eq!(&again[..len], said.as_bytes());
    assert!(again[len..].iter().all(|byte| *byte == 0));
    assert_eq!(Said::parse(&again, granted), Ok(said));
}

/// Bytes of a path set: whatever decodes encodes to the same bytes.
pub fn fuzz_pathset(data: &[u8]) {
    if let Ok(set) = PathSet::decode(data) {
        assert_eq!(set.encode(), data);
    }
    if let Ok(signed) = SignedPathSet::from_bytes(data) {
        assert_eq!(signed.to_bytes(), data);
    }
}

/// A peer of the Path Distribution Protocol that says what it likes: what decodes encodes to the same bytes; an element
/// takes nothing that nobody signed, and neither end says what is no message.
pub fn fuzz_pdp(data: &[u8]) {
    if let Ok(message) = Message::decode(data) {
        assert_eq!(message.encode()[4..], *data);
    }
    let mut framer = Framer::new(64);
    framer.push(data);
    while let Ok(Some(message)) = framer.next_message() {
        assert!(message.len() <= 64);
    }
    let mut now = Instant::now();
    let config = FollowerConfig {
        domain: "fuzz.example".parse().expect("a trust domain"),
        element: "sf1".to_owned(),
        path_key: PublicKey([7; 32]),
        profiles: vec![domain::Profile::Mpls],
        life: [1; 16],
        jitter_seed: 1,
    };
    let mut follower = Follower::new(now, config, Held::default());
    let config = PublisherConfig { life: [2; 16], absent: Absent::GoOn };
    let mut publisher = Publisher::new(config, None);
    let mut left = data;
    while let Some(([step, length], rest)) = left.split_first_chunk::<2>() {
        let (bytes, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        left = rest;
        let session = SessionId(u64::from(step >> 4));
        match step & 0x0f {
            0 => follower.connected(now),
            1 => follower.disconnected(now),
            2 => publisher.connected(now, session, ["sf1", "sf2"][usize::from(step >> 7)]),
            3 => publisher.disconnected(now, session),
            4..=7 => now += Duration::from_millis((u64::from(*length) * 1000) >> (step & 3)),
            8..=11 => follower.handle_message(now, 1, bytes),
            // Whether it can be asked does not matter here.
            15 => drop(publisher.look(now, "sf1", Look::Stop)),
            _ => publisher.handle_message(now, 1, session, bytes),
        }
        follower.handle_timeout(now);
        publisher.handle_timeout(now);
        while let Some(said) = follower.poll_transmit() {
            assert!(Message::decode(&said[4..]).is_ok());
        }
        while let Some((_, said)) = publisher.poll_transmit() {
            assert!(Message::decode(&said[4..]).is_ok());
        }
        while let Some(event) = follower.poll_event() {
            assert!(!matches!(event, FollowerEvent::Stage { .. } | FollowerEvent::Activate(_)));
            if let FollowerEvent::Look { number, .. } = event {
                follower.seen(now, number, Seen::Done);
            }
        }
        while let Some(event) = publisher.poll_event() {
            assert!(!matches!(event, PublisherEvent::Commit(_) | PublisherEvent::Reissue { .. }));
        }
        assert_eq!(follower.held(), Held::default());
    }
}

/// A summary of proofs: whatever is read is written as it was; whoever audits what nobody checked says something of it, and
/// no more than was claimed.
pub fn fuzz_summary(data: &[u8]) {
    let Ok((file, _)) = SummaryFile::from_bytes(data) else { return };
    assert_eq!(file.to_bytes(), data);
    for path in audit([&file.summary, &file.summary]).paths {
        assert!(path.proved <= path.claimed);
        for element in path.elements {
            assert!(element.agrees.max(element.within).max(element.unsettled) <= path.claimed);
        }
    }
}

/// A request, its parts divided by the byte 0xff: host, URL path, method, client, source address, content type, body. Host
/// and path have one form, which is its own; and the rules say of a request what they explain.
pub fn fuzz_request(data: &[u8]) {
    let mut parts = data.split(|byte| *byte == 0xff);
    let mut text = || std::str::from_utf8(parts.next().unwrap_or_default()).unwrap_or("?");
    let (given_host, given_path) = (text(), text());
    if let Some(form) = host::canonical(given_host) {
        // An IPv6 address loses the brackets that it needs to be read again.
        if !form.contains(':') {
            assert_eq!(host::canonical(&form).as_deref(), Some(form.as_ref()));
        }
    }
    if let Ok(form) = url::normalise(given_path) {
        assert_eq!(url::normalise(&form).as_deref(), Ok(form.as_ref()), "{given_path}");
        assert!(!form.split('/').any(|segment| matches!(segment, "." | "..")), "{form}");
    }
    let (method, client) = (text(), text());
    let source = match *parts.next().unwrap_or_default() {
        [a, b, c, d] => Ipv4Addr::new(a, b, c, d),
        _ => Ipv4Addr::LOCALHOST,
    };
    let headers = [("content-type", parts.next().unwrap_or_default())];
    let facts = RequestFacts {
        client,
        certificate: CertificateFacts::default(),
        now_unix_s: 0,
        protocol: ApplicationProtocol::Http,
        sni: Some(given_host),
        source: source.into(),
        host: given_host,
        method,
        path: given_path,
        headers: &headers,
        body_prefix: parts.next(),
    };
    assert_eq!(RULES.explain(&facts).decision, RULES.evaluate(&facts));
}
