//! A random domain prints and parses to itself, whatever its texts hold.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use ringmail_model::domain::{
    self, AddressEntry, AddressSet, BodyMatch, CertificateMatch, Client, Day, DecisionCache,
    DecisionPoint, Domain, DpiAction, DpiRule, DpiSettings, FirewallAction, FirewallLimits,
    FirewallRule, FirewallSettings, FlowExport, FlowTransport, Function, FunctionKind, HeaderMatch,
    Hours, IcmpType, Identity, Keying, Limits, LogKeeping, LogRotation, LogSelector,
    LoggerSettings, Observer, OnFailure, Opener, PacketMatch, Path, Peer, PeerKey, Per, PortEntry,
    PortSet, Protocol, Psk, Rate, ReturnPath, Rule, Suite, UrlPath, When,
};
use ringmail_model::metadata::Kind;
use ringmail_model::overhead::EspMode;
use ringmail_model::{Label, Name, check};

use crate::examples::campus;

fn name() -> impl Strategy<Value = Name> {
    // Words that YAML takes for something else are names too.
    let words = prop_oneof!["[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", "null|true|no|y|1|0x1|1e3|007"];
    words.prop_map(|text| text.parse().expect("a name"))
}

/// Texts that are hard to print as YAML.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ -~]{0,20}",
        "[-:#&*!|>'\"%@`{}\\[\\], \n\t]{0,6}",
        "null|true|~|1|0o7|1_000|.inf|- a|a: b|<<|\u{85}|\u{2028}|\u{feff}a| a|a |\n|a\n\n|---|\\.\\.\\.",
    ]
}

fn function() -> impl Strategy<Value = Function> {
    let action = prop_oneof![Just(DpiAction::Alert), Just(DpiAction::Drop), Just(DpiAction::Reset)];
    let fields = (name(), option::of(text()), option::of(text()), option::of(text()));
    let rule = (fields, any::<bool>(), vec(any::<u16>(), 0..3), action).prop_map(
        |((name, bytes, hex, regex), ignore_case, ports, action)| DpiRule {
            name,
            bytes,
            hex,
            regex,
            ignore_case,
            ports,
            action,
        },
    );
    let dpi = vec(rule, 0..3).prop_map(|rules| DpiSettings { rules, limits: Default::default() });
    let kind = prop_oneof![
        Just(FunctionKind::Forward),
        Just(FunctionKind::Dpi),
        Just(FunctionKind::Firewall),
        Just(FunctionKind::Logger)
    ];
    let own = (
        option::of(any::<u16>()),
        option::of(any::<std::net::Ipv4Addr>()),
        option::of(16..1u32 << 20),
    );
    (
        name(),
        kind,
        any::<bool>(),
        (option::of(dpi), option::of(firewall()), option::of(logger())),
        (kinds(), kinds()),
        own,
    )
        .prop_map(
            |(name, kind, intrusive, of_kind, (metadata, may_add), (workers, address, label))| {
                let (dpi, firewall, logger) = of_kind;
                Function {
                    name,
                    kind,
                    intrusive,
                    dpi,
                    attached: None,
                    firewall,
                    logger,
                    metadata,
                    may_add,
                    replicas: None,
                    workers,
                    address,
                    label: label.and_then(Label::new),
                }
            },
        )
}

fn kinds() -> impl Strategy<Value = Vec<Kind>> {
    vec(prop::sample::select(&Kind::ALL[..]), 0..3)
}

fn firewall() -> impl Strategy<Value = FirewallSettings> {
    let network = (any::<std::net::IpAddr>(), 0u8..=32);
    let network =
        network.prop_map(|(ip, len)| ringmail_model::Cidr::around(ip, len).expect("a prefix"));
    // A number alone would be read as a port.
    let set = "[a-z][a-z0-9]{0,5}|null|true|y|1e3";
    let set = move || set.prop_map(|text| text.parse::<Name>().expect("a name"));
    let address =
        prop_oneof![network.prop_map(AddressEntry::Network), name().prop_map(AddressEntry::Set)];
    let addresses = option::of(vec(address, 0..3));
    let port = prop_oneof![
        (any::<u16>(), 0u16..9).prop_map(|(a, b)| PortEntry::Range(a, a.saturating_add(b))),
        set().prop_map(PortEntry::Set)
    ];
    let ports = option::of(vec(port, 0..3));
    let icmp = prop_oneof![
        Just(IcmpType::EchoRequest),
        Just(IcmpType::TimestampRequest),
        any::<u8>().prop_map(IcmpType::Number)
    ];
    let action = || {
        prop_oneof![
            Just(FirewallAction::Allow),
            Just(FirewallAction::Drop),
            Just(FirewallAction::Reject)
        ]
    };
    let from = prop_oneof![Just(Opener::Client), Just(Opener::Service), Just(Opener::Any)];
    let rule = (
        (name(), from, action(), any::<bool>()),
        (addresses.clone(), addresses.clone()),
        (ports.clone(), ports.clone()),
        (option::of(vec(any::<u8>().prop_map(Protocol), 0..3)), option::of(vec(icmp, 0..3))),
    );
    let rule = rule.prop_map(
        |((name, from, action, log), (sources, destinations), ports, (protocols, icmp_types))| {
            FirewallRule {
                name,
                from,
                sources,
                destinations,
                protocols,
                source_ports: ports.0,
                ports: ports.1,
                icmp_types,
                identities: None,
                tenants: None,
                action,
                log,
            }
        },
    );
    let address_set = (name(), addresses).prop_map(|(name, addresses)| AddressSet {
        name,
        addresses: addresses.unwrap_or_default(),
    });
    let port_set = (name(), ports)
        .prop_map(|(name, ports)| PortSet { name, ports: ports.unwrap_or_default() });
    let sets = (vec(address_set, 0..2), vec(port_set, 0..2));
    let own = (action(), any::<bool>(), any::<bool>(), any::<u32>());
    (own, sets, vec(rule, 0..3)).prop_map(
        |((default, log, pick_up, connections), (address_sets, port_sets), rules)| {
            FirewallSettings {
                default,
                log,
                pick_up,
                address_sets,
                port_sets,
                rules,
                limits: FirewallLimits { connections },
            }
        },
    )
}

fn logger() -> impl Strategy<Value = LoggerSettings> {
    let network = any::<std::net::Ipv4Addr>();
    let network = network
        .prop_map(|ip| ringmail_model::Cidr::around(ip.into(), 32).expect("a prefix"))
        .prop_map(AddressEntry::Network);
    let only = (vec(network, 0..2), vec(any::<u16>(), 0..2), vec(any::<u8>(), 0..2));
    let only = only.prop_map(|(addresses, ports, protocols)| LogSelector {
        addresses,
        ports: ports.into_iter().map(|port| PortEntry::Range(port, port)).collect(),
        protocols: protocols.into_iter().map(Protocol).collect(),
    });
    let rotate = (any::<u64>(), any::<u32>());
    let rotate = rotate.prop_map(|(bytes, seconds)| LogRotation { bytes, seconds });
    let keep = (any::<u32>(), any::<u64>()).prop_map(|(files, bytes)| LogKeeping { files, bytes });
    ("/[ -~]{0,20}", any::<u32>(), rotate, keep, vec(only, 0..3), any::<bool>()).prop_map(
        |(directory, snap_len, rotate, keep, only, danger_plaintext)| LoggerSettings {
            directory: directory.into(),
            snap_len,
            rotate,
            keep,
            only,
            danger_plaintext,
        },
    )
}

fn client() -> impl Strategy<Value = Client> {
    let identity = prop_oneof![
        Just("ca".to_owned()),
        "spiffe://[a-z]{1,5}/[A-Za-z0-9_-]{1,5}",
        "dns:[a-z]{1,5}\\.[a-z]{1,5}",
        "email:[a-z!#]{1,5}@[a-z]{1,5}",
    ];
    let identity = identity.prop_map(|text| text.parse::<Identity>().expect("an identity"));
    let address = option::of(any::<std::net::IpAddr>());
    (name(), identity, option::of(name()), address, option::of(peer())).prop_map(
        |(name, identity, tenant, address, wireguard)| Client {
            name,
            identity,
            tenant,
            address,
            wireguard,
        },
    )
}

fn peer() -> impl Strategy<Value = Peer> {
    let addresses = vec(any::<std::net::IpAddr>(), 0..3);
    (any::<[u8; 32]>(), addresses, option::of("[ -~]{1,20}")).prop_map(|(key, addresses, file)| {
        Peer { public_key: PeerKey(key), addresses, preshared_key_file: file.map(Into::into) }
    })
}

fn packets() -> impl Strategy<Value = PacketMatch> {
    let ports = option::of(vec(any::<u16>().prop_map(|port| PortEntry::Range(port, port)), 0..3));
    let network = any::<std::net::IpAddr>().prop_map(|ip| {
        let bits = if ip.is_ipv4() { 32 } else { 128 };
        AddressEntry::Network(ringmail_model::Cidr::around(ip, bits).expect("a prefix"))
    });
    let protocols = option::of(vec(any::<u8>().prop_map(Protocol), 0..3));
    let dscp = option::of(vec(0u8..64, 0..3));
    (protocols, ports.clone(), ports, option::of(vec(network, 0..3)), dscp).prop_map(
        |(protocols, ports, source_ports, destinations, dscp)| PacketMatch {
            protocols,
            ports,
            source_ports,
            destinations,
            dscp,
        },
    )
}

fn when() -> impl Strategy<Value = When> {
    let url =
        prop_oneof!["/", "/[a-z]{1,5}", "/[a-z]{1,3}/\\*", "/[a-z]{1,3}/\\*\\*", "/\\*\\.[a-z]{2}"];
    let url = url.prop_map(|text| text.parse::<UrlPath>().expect("a pattern"));
    let host = prop_oneof!["[a-z]{1,5}\\.[a-z]{2}", "\\*\\.[a-z]{2,5}"];
    let host = host.prop_map(|text| text.parse().expect("a host"));
    let source = (any::<std::net::IpAddr>(), 0u8..=32);
    let source =
        source.prop_map(|(ip, len)| ringmail_model::Cidr::around(ip, len).expect("a short prefix"));
    let header = (text(), option::of(text()), option::of(text()), any::<bool>())
        .prop_map(|(name, exact, prefix, present)| HeaderMatch { name, exact, prefix, present });
    let body = (any::<u32>(), vec(text(), 0..3), vec(text(), 0..3))
        .prop_map(|(bytes, starts_with, contains)| BodyMatch { bytes, starts_with, contains });
    (
        option::of(vec(name(), 0..3)),
        option::of(vec(host, 0..3)),
        option::of(vec(source, 0..3)),
        option::of(vec(text(), 0..3)),
        option::of(vec(url, 0..3)),
        option::of(vec(header, 0..3)),
        option::of(body),
        (option::of(certificate()), option::of(vec(hours(), 0..3)), option::of(packets())),
    )
        .prop_map(|(clients, hosts, sources, methods, paths, headers, body_prefix, strict)| {
            When {
                certificate: strict.0,
                times: strict.1,
                packets: strict.2,
                protocols: None,
                clients,
                server_names: hosts.clone(),
                sources,
                hosts,
                methods,
                paths,
                headers,
                body_prefix,
            }
        })
}

fn path() -> impl Strategy<Value = Path> {
    (name(), vec(name(), 0..4), name(), option::of(name())).prop_map(
        |(name, hops, service, return_path)| Path {
            name,
            hops,
            service,
            return_path,
            replica_of: None,
            standby: false,
        },
    )
}

fn certificate() -> impl Strategy<Value = CertificateMatch> {
    let id = "spiffe://[a-z]{1,5}/[A-Za-z0-9_-]{1,5}(/\\*\\*)?";
    let id = id.prop_map(|text| text.parse().expect("a pattern"));
    let name =
        prop_oneof!["dns:(\\*\\.)?[a-z]{1,5}", "email:[*a-z!#]{1,5}@[a-z]{1,5}", "uri:[!-~]{1,9}"];
    let name = name.prop_map(|text| text.parse().expect("a pattern"));
    (
        option::of(vec(id, 0..3)),
        option::of(vec(name, 0..3)),
        option::of(vec(text(), 0..3)),
        option::of(any::<u64>()),
    )
        .prop_map(|(spiffe_ids, names, issuers, max_age_s)| CertificateMatch {
            spiffe_ids,
            names,
            issuers,
            max_age_s,
        })
}

fn hours() -> impl Strategy<Value = Hours> {
    let clock =
        || "([01][0-9]|2[0-3]):[0-5][0-9]|24:00".prop_map(|text| text.parse().expect("a time"));
    let zone = prop_oneof!["UTC", "[+-]0[0-9]:[0-5][0-9]", "Europe/Berlin|Asia/Tokyo"];
    let zone = zone.prop_map(|text| text.parse().expect("a zone"));
    let days = option::of(prop::sample::subsequence(&Day::ALL[..], 0..=7));
    (days, option::of(clock()), option::of(clock()), zone)
        .prop_map(|(days, from, to, zone)| Hours { days, from, to, zone })
}

fn decision_point() -> impl Strategy<Value = DecisionPoint> {
    let url = "https?://([a-z]{1,5}|10\\.1\\.2\\.3|\\[::1\\])(:81)?/[a-z/]{1,9}";
    let url = url.prop_map(|text| text.parse().expect("a URL"));
    let address = prop_oneof!["10\\.0\\.0\\.[1-9]:[1-9]{2}", "unix:/[ -~]{0,20}"];
    let address = address.prop_map(|text| text.parse().expect("an address"));
    let cache = (any::<u32>(), any::<u32>());
    let cache = cache.prop_map(|(keep_ms, entries)| DecisionCache { keep_ms, entries });
    let failure = prop_oneof![Just(OnFailure::Deny), Just(OnFailure::Allow)];
    (
        (name(), url, option::of(address), option::of("[ -~]{1,20}")),
        (any::<u32>(), failure, option::of(cache), vec(text(), 0..3), any::<bool>()),
    )
        .prop_map(
            |((name, url, address, ca), (timeout_ms, on_failure, cache, headers, danger))| {
                DecisionPoint {
                    name,
                    url,
                    address,
                    ca: ca.map(Into::into),
                    certificate: None,
                    timeout_ms,
                    on_failure,
                    cache,
                    headers,
                    danger_plaintext: danger,
                }
            },
        )
}

fn flow_export() -> impl Strategy<Value = FlowExport> {
    let from = prop_oneof![Just(Observer::Gateway), Just(Observer::Egress)];
    let transport = prop_oneof![Just(FlowTransport::Udp), Just(FlowTransport::Tcp)];
    (from, any::<std::net::SocketAddr>(), transport, any::<[u32; 3]>(), any::<u16>()).prop_map(
        |(from, collector, transport, [idle_timeout_s, active_timeout_s, enterprise], bytes)| {
            // Neither is written.
            let collector = std::net::SocketAddr::new(collector.ip(), collector.port());
            FlowExport {
                from,
                collector,
                transport,
                idle_timeout_s,
                active_timeout_s,
                message_bytes: bytes,
                enterprise,
            }
        },
    )
}

fn rule() -> impl Strategy<Value = Rule> {
    let per = prop_oneof![Just(Per::Second), Just(Per::Minute), Just(Per::Hour)];
    let rate = (any::<u32>(), per, option::of(any::<u32>()));
    let rate = rate.prop_map(|(most, per, burst)| Rate { most, per, burst });
    let demands = (option::of(rate), option::of(name()));
    (name(), when(), name(), option::of(name()), demands).prop_map(
        |(name, when, path, service, (rate, ask))| Rule { name, when, path, service, rate, ask },
    )
}

fn domain() -> impl Strategy<Value = Domain> {
    let suite =
        prop_oneof![Just(Suite::Aes128Gcm), Just(Suite::Aes256Gcm), Just(Suite::ChaCha20Poly1305)];
    let mode = prop_oneof![Just(EspMode::Tunnel), Just(EspMode::Transport)];
    // A file name of printable characters: paths are texts in YAML.
    let psk = (mode, option::of("[ -~]{1,20}"), any::<bool>()).prop_map(|(mode, file, same)| Psk {
        mode,
        keys_file: file.map(Into::into),
        danger_same_keys_every_start: same,
    });
    let keying = prop_oneof![Just(Keying::Sap), Just(Keying::Psk)];
    let limits = (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(flows, lease_s, window)| {
        Limits { flows, lease_s, replay_window_packets: window, ..Limits::default() }
    });
    (
        (suite, keying, option::of(psk), any::<u16>(), limits),
        vec(function(), 0..4),
        vec(client(), 0..4),
        (vec(path(), 0..4), vec((name(), vec(name(), 0..3)), 0..3)),
        (vec(rule(), 0..4), vec(decision_point(), 0..3), vec(flow_export(), 0..3)),
    )
        .prop_map(
            |((suite, keying, psk, workers, limits), functions, clients, paths, rules)| {
                let (rules, decision_points, flow_exports) = rules;
                let return_paths = paths
                    .1
                    .into_iter()
                    .map(|(name, hops)| ReturnPath { name, hops, standby: false })
                    .collect();
                Domain {
                    suite,
                    keying,
                    psk,
                    workers,
                    limits,
                    functions,
                    clients,
                    paths: paths.0,
                    return_paths,
                    rules,
                    decision_points,
                    flow_exports,
                    ..campus()
                }
            },
        )
}

/// Domains that make sense: functions and paths in any number, by any way back, alone or by service.
fn sensible() -> impl Strategy<Value = Domain> {
    let function = (any::<bool>(), option::of(16..900u32));
    let hops = || vec(any::<prop::sample::Index>(), 0..6);
    let path = (hops(), option::of(any::<prop::sample::Index>()), any::<bool>());
    (vec(function, 1..8), vec(path, 1..5), vec(hops(), 0..4), any::<bool>()).prop_map(
        |(functions, paths, returns, per_service)| {
            let mut domain = campus();
            let template = domain.functions[0].clone();
            let label = |n: usize, label: Option<u32>| {
                // Distinct: each function has labels of its own to choose from.
                label.and_then(|label| Label::new(label * 8 + n as u32))
            };
            let numbered = functions.iter().enumerate();
            domain.functions = numbered
                .map(|(n, (intrusive, wanted))| Function {
                    name: format!("f{n}").parse().expect("a name"),
                    intrusive: *intrusive,
                    label: label(n, *wanted),
                    ..template.clone()
                })
                .collect();
            let route = |indices: &[prop::sample::Index], functions: &[Function]| {
                let mut hops: Vec<Name> = Vec::new();
                for index in indices {
                    let name = &index.get(functions).name;
                    if !hops.contains(name) {
                        hops.push(name.clone());
                    }
                }
                hops
            };
            let numbered = returns.iter().enumerate();
            domain.return_paths = numbered
                .map(|(n, hops)| ReturnPath {
                    name: format!("back{n}").parse().expect("a name"),
                    hops: route(hops, &domain.functions),
                    standby: false,
                })
                .collect();
            let mut api = domain.services[0].clone();
            api.name = "api".parse().expect("a name");
            api.addresses = vec!["10.79.0.11:80".parse().expect("an address")];
            domain.services.push(api);
            domain.egress.per_service = per_service;
            domain.paths = paths
                .iter()
                .enumerate()
                .map(|(n, (hops, back, other))| Path {
                    name: format!("p{n}").parse().expect("a name"),
                    hops: route(hops, &domain.functions),
                    service: if *other { "api" } else { "www" }.parse().expect("a name"),
                    return_path: back
                        .filter(|_| !domain.return_paths.is_empty())
                        .map(|index| index.get(&domain.return_paths).name.clone()),
                    replica_of: None,
                    standby: false,
                })
                .collect();
            domain.rules.truncate(1);
            domain.rules[0].path = domain.paths[0].name.clone();
            domain
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_domain_prints_and_parses_to_itself(given in domain()) {
        let printed = given.to_yaml().expect("printable");
        let parsed = domain::parse(&printed, "printed");
        prop_assert!(parsed.as_ref() == Ok(&given), "{parsed:?}\n{printed}");
    }

    /// The checks and the compiler agree on what is right; what compiles travels unchanged.
    #[test]
    fn what_is_checked_compiles_and_what_compiles_travels(given in sensible()) {
        let said = check::check(&given, &Default::default(), "given");
        let compiled = ringmail_model::PathSet::compile(&given, crate::examples::ISSUE);
        prop_assert_eq!(compiled.is_ok(), !said.has_errors(), "{:?}\n{}", compiled, said);
        if let Ok(set) = compiled {
            prop_assert_eq!(ringmail_model::PathSet::decode(&set.encode()), Ok(set.clone()));
            prop_assert!(ringmail_model::RuleSet::compile(&given, &set).is_ok());
            for path in &set.paths {
                let mut at = 0;
                for segment in &path.segments {
                    prop_assert_eq!(segment.from, at, "segments join");
                    at = segment.to;
                }
                prop_assert_eq!(usize::from(at), path.hops.len() + 1, "and reach the end");
            }
        }
    }

    /// Whatever a domain holds, it is checked without panic, and what passes compiles.
    #[test]
    fn a_domain_is_checked_without_panic(given in domain()) {
        let printed = given.to_yaml().expect("printable");
        if let Ok(loaded) = check::load(&printed, "printed") {
            let set = ringmail_model::PathSet::compile(&loaded.domain, crate::examples::ISSUE);
            prop_assert!(set.is_ok(), "{set:?}\n{printed}");
        }
    }
}
