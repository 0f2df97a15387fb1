//! The rules, compiled: one look at each field of a packet, whatever the number of rules and the size of sets.
//!
//! Each field's values are cut into stretches within which the same rules hold; a stretch knows them as a row of bits
//! (Lakshman, Stiliadis, "High-speed policy-based packet forwarding using efficient multi-dimensional range matching",
//! 1998). The rows of a packet's fields are intersected word by word; the first bit that is left is the rule.

use std::collections::{BTreeMap, HashMap};

use ringmail_model::Cidr;
use ringmail_model::domain::Opener;
use ringmail_model::metadata::{Identity, Said};

use super::settings::{FirewallRule, bounds};

/// What rules are asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Whether the side of the gateway opens.
    pub(super) from_client: bool,
    /// 4 or 6.
    pub(super) version: u8,
    /// In the low 32 bits for IPv4.
    pub(super) src: u128,
    pub(super) dst: u128,
    pub(super) protocol: u8,
    /// 0 where there are none.
    pub(super) src_port: u16,
    pub(super) dst_port: u16,
    /// ICMP's or ICMPv6's type.
    pub(super) icmp_type: Option<u8>,
    /// Whose the connection is.
    pub(super) whose: Whose,
}

/// Numbers of the identity and the tenant that a firewall was told, among those that its rules speak of: 0 for any other, and
/// where it was told none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Whose {
    identity: u32,
    tenant: u32,
}

/// The compiled rules.
pub(super) struct Rules {
    /// 64-bit words of a row.
    words: usize,
    from_client: Axis,
    /// By IP version.
    src: [Axis; 2],
    dst: [Axis; 2],
    protocol: Axis,
    src_port: Axis,
    dst_port: Axis,
    icmp_type: Axis,
    identity: Axis,
    tenant: Axis,
    identities: HashMap<String, u32>,
    /// The same by their SHA-256, as those are told that are long.
    digests: HashMap<[u8; 32], u32>,
    tenants: HashMap<String, u32>,
}

/// The stretches of one field, each with its row. Rows that are the same are there once.
struct Axis {
    /// The first value of each stretch, ascending from 0.
    starts: Vec<u128>,
    /// Where the row of each stretch begins in `bits`.
    rows: Vec<u32>,
    bits: Vec<u64>,
}

/// What of a field's values a rule holds for, first and last of each range; `None` for all.
type Ranges = Option<Vec<(u128, u128)>>;

/// Where ICMPv6's types begin on the axis of types; behind them lies the value of what has no type.
const ICMPV6_TYPES: u128 = 256;
const NO_TYPE: u128 = 512;

impl Rules {
    pub(super) fn new(rules: &[FirewallRule]) -> Rules {
        let words = rules.len().div_ceil(64).max(1);
        let axis =
            |ranges: &dyn Fn(&FirewallRule) -> Ranges| Axis::new(words, rules.iter().map(ranges));
        let networks = |networks: &Option<Vec<Cidr>>, v4: bool| {
            let of_version = networks.as_ref()?.iter().filter(|network| network.is_ipv4() == v4);
            Some(of_version.map(|network| bounds(*network)).collect())
        };
        let ports = |ports: &Option<Vec<(u16, u16)>>| {
            let each = ports.as_ref()?.iter();
            Some(each.map(|(first, last)| (u128::from(*first), u128::from(*last))).collect())
        };
        let identities = numbered(rules.iter().map(|rule| &rule.identities));
        let tenants = numbered(rules.iter().map(|rule| &rule.tenants));
        let of = |numbers: &HashMap<String, u32>, names: &Option<Vec<String>>| -> Ranges {
            let each = names.as_ref()?.iter();
            let each = each.filter_map(|name| numbers.get(Identity::told_as(name)));
            Some(each.map(|number| (u128::from(*number), u128::from(*number))).collect())
        };
        Rules {
            words,
            identity: axis(&|rule| of(&identities, &rule.identities)),
            tenant: axis(&|rule| of(&tenants, &rule.tenants)),
            digests: rules
                .iter()
                .flat_map(|rule| rule.identities.iter().flatten())
                .filter_map(|name| {
                    let number = identities.get(Identity::told_as(name))?;
                    Some((Identity::digest_of(name), *number))
                })
                .collect(),
            identities,
            tenants,
            from_client: axis(&|rule| match rule.from {
                Opener::Client => Some(vec![(1, 1)]),
                Opener::Service => Some(vec![(0, 0)]),
                Opener::Any => None,
            }),
            src: [true, false].map(|v4| axis(&|rule| networks(&rule.sources, v4))),
            dst: [true, false].map(|v4| axis(&|rule| networks(&rule.destinations, v4))),
            protocol: axis(&|rule| {
                let each = rule.protocols.as_ref()?.iter();
                Some(each.map(|protocol| (u128::from(*protocol), u128::from(*protocol))).collect())
            }),
            src_port: axis(&|rule| ports(&rule.source_ports)),
            dst_port: axis(&|rule| ports(&rule.ports)),
            icmp_type: axis(&|rule| {
                let each = rule.icmp_types.as_ref()?.iter();
                let value = |(protocol, kind): &(u8, u8)| type_value(*protocol, Some(*kind));
                Some(each.map(value).map(|value| (value, value)).collect())
            }),
        }
    }

    /// Whose a connection is, by what the firewall was told of its first packet.
    pub(super) fn whose(&self, said: Option<Said<'_>>) -> Whose {
        let Some(said) = said else { return Whose::default() };
        let identity = said.identity().and_then(|identity| match identity {
            Identity::Digest(digest) => self.digests.get(digest),
            Identity::Spiffe(rest) | Identity::Other(rest) => self.identities.get(rest),
        });
        let tenant = said.tenant().and_then(|tenant| self.tenants.get(tenant));
        let number = |number: Option<&u32>| number.copied().unwrap_or(0);
        Whose { identity: number(identity), tenant: number(tenant) }
    }

    /// The first rule that holds.
    pub(super) fn first(&self, asked: &Asked) -> Option<u32> {
        let version = usize::from(asked.version != 4);
        let rows = [
            self.from_client.row(asked.from_client.into(), self.words),
            self.protocol.row(asked.protocol.into(), self.words),
            self.dst_port.row(asked.dst_port.into(), self.words),
            self.dst[version].row(asked.dst, self.words),
            self.src[version].row(asked.src, self.words),
            self.src_port.row(asked.src_port.into(), self.words),
            self.icmp_type.row(type_value(asked.protocol, asked.icmp_type), self.words),
            self.identity.row(asked.whose.identity.into(), self.words),
            self.tenant.row(asked.whose.tenant.into(), self.words),
        ];
        (0..self.words).find_map(|word| {
            let left = rows.iter().fold(u64::MAX, |left, row| left & row[word]);
            (left != 0).then(|| word as u32 * 64 + left.trailing_zeros())
        })
    }
}

/// A number for each name, from 1, by what it is told without: the beginning of SPIFFE ids.
fn numbered<'a>(names: impl Iterator<Item = &'a Option<Vec<String>>>) -> HashMap<String, u32> {
    let mut numbers = HashMap::new();
    for name in names.flatten().flatten() {
        let next = numbers.len() as u32 + 1;
        numbers.entry(Identity::told_as(name).to_owned()).or_insert(next);
    }
    numbers
}

fn type_value(protocol: u8, kind: Option<u8>) -> u128 {
    match kind {
        Some(kind) if protocol == ringmail_packet::ip::protocol::ICMPV6 => {
            ICMPV6_TYPES + u128::from(kind)
        }
        Some(kind) => kind.into(),
        None => NO_TYPE,
    }
}

impl Axis {
    /// The axis of one field.
    fn new(words: usize, rules: impl Iterator<Item = Ranges>) -> Axis {
        // At each value where something changes: by how much each rule's count of ranges does.
        let mut changes: BTreeMap<u128, Vec<(usize, i32)>> = BTreeMap::from([(0, Vec::new())]);
        for (rule, ranges) in rules.enumerate() {
            for (first, last) in ranges.unwrap_or_else(|| vec![(0, u128::MAX)]) {
                changes.entry(first).or_default().push((rule, 1));
                if let Some(behind) = last.checked_add(1) {
                    changes.entry(behind).or_default().push((rule, -1));
                }
            }
        }
        let mut axis = Axis { starts: Vec::new(), rows: Vec::new(), bits: Vec::new() };
        let mut known: HashMap<Vec<u64>, u32> = HashMap::new();
        let mut counts = vec![0i32; words * 64];
        let mut row = vec![0u64; words];
        for (start, changed) in changes {
            for (rule, by) in changed {
                counts[rule] += by;
                let bit = 1 << (rule % 64);
                match counts[rule] {
                    0 => row[rule / 64] &= !bit,
                    _ => row[rule / 64] |= bit,
                }
            }
            let at = *known.entry(row.clone()).or_insert_with(|| {
                axis.bits.extend_from_slice(&row);
                (axis.bits.len() - words) as u32
            });
            axis.starts.push(start);
            axis.rows.push(at);
        }
        axis
    }

    /// The rules that hold for this value.
    fn row(&self, value: u128, words: usize) -> &[u64] {
        let stretch = self.starts.partition_point(|start| *start <= value) - 1;
        let at = self.rows[stretch] as usize;
        &self.bits[at..at + words]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ringmail_model::domain::FirewallAction;
    use ringmail_model::metadata::{Facts, Kinds};

    use super::*;

    /// The rule that a reader of the file would find.
    fn naive(rules: &[FirewallRule], asked: &Asked) -> Option<u32> {
        let inside = |networks: &Option<Vec<Cidr>>, address: u128| {
            networks.as_ref().is_none_or(|networks| {
                networks.iter().any(|network| {
                    let (first, last) = bounds(*network);
                    network.is_ipv4() == (asked.version == 4) && (first..=last).contains(&address)
                })
            })
        };
        let port = |ports: &Option<Vec<(u16, u16)>>, port: u16| {
            ports.as_ref().is_none_or(|ports| ports.iter().any(|(a, b)| (*a..=*b).contains(&port)))
        };
        let holds = |rule: &FirewallRule| {
            (match rule.from {
                Opener::Client => asked.from_client,
                Opener::Service => !asked.from_client,
                Opener::Any => true,
            }) && inside(&rule.sources, asked.src)
                && inside(&rule.destinations, asked.dst)
                && rule.protocols.as_ref().is_none_or(|these| these.contains(&asked.protocol))
                && port(&rule.source_ports, asked.src_port)
                && port(&rule.ports, asked.dst_port)
                && rule.icmp_types.as_ref().is_none_or(|these| {
                    asked.icmp_type.is_some_and(|kind| these.contains(&(asked.protocol, kind)))
                })
                && rule.identities.is_none()
                && rule.tenants.is_none()
        };
        rules.iter().position(holds).map(|index| index as u32)
    }

    /// Few values, so that rules meet packets.
    fn address(v4: bool) -> impl Strategy<Value = u128> {
        prop_oneof![0u128..8, Just(if v4 { u32::MAX.into() } else { u128::MAX })]
    }

    fn network() -> impl Strategy<Value = Cidr> {
        any::<bool>().prop_flat_map(|v4| {
            let longest: u8 = if v4 { 32 } else { 128 };
            let len = prop_oneof![Just(0), longest - 3..=longest];
            (address(v4), len).prop_map(move |(bits, len)| {
                let address = match v4 {
                    true => std::net::Ipv4Addr::from_bits(bits as u32).into(),
                    false => std::net::Ipv6Addr::from_bits(bits).into(),
                };
                Cidr::around(address, len).expect("a prefix")
            })
        })
    }

    fn rule() -> impl Strategy<Value = FirewallRule> {
        let networks = || prop::option::of(prop::collection::vec(network(), 1..4));
        let port = prop_oneof![0u16..6, 65_533u16..=65_535];
        let ports = (port, 0u16..4).prop_map(|(first, more)| (first, first.saturating_add(more)));
        let ports = move || prop::option::of(prop::collection::vec(ports.clone(), 1..3));
        let from = prop_oneof![Just(Opener::Client), Just(Opener::Service), Just(Opener::Any)];
        let icmp = (prop_oneof![Just(1u8), Just(58u8)], 0u8..3);
        (
            from,
            (networks(), networks()),
            prop::option::of(prop::collection::vec(
                prop_oneof![Just(1u8), Just(6), Just(17), Just(58)],
                1..3,
            )),
            (ports(), ports()),
            prop::option::weighted(0.2, prop::collection::vec(icmp, 1..3)),
        )
            .prop_map(|(from, (sources, destinations), protocols, ports, icmp_types)| {
                FirewallRule {
                    from,
                    sources,
                    destinations,
                    protocols,
                    source_ports: ports.0,
                    ports: ports.1,
                    icmp_types,
                    ..FirewallRule::any("r", FirewallAction::Allow)
                }
            })
    }

    fn asked() -> impl Strategy<Value = Asked> {
        let port = || prop_oneof![0u16..8, 65_532u16..=65_535];
        any::<(bool, bool)>().prop_flat_map(move |(from_client, v4)| {
            let protocol = prop_oneof![Just(1u8), Just(6), Just(17), Just(58), any::<u8>()];
            (address(v4), address(v4), protocol, port(), port(), 0u8..4).prop_map(
                move |(src, dst, protocol, src_port, dst_port, kind)| Asked {
                    from_client,
                    version: if v4 { 4 } else { 6 },
                    src,
                    dst,
                    protocol,
                    src_port,
                    dst_port,
                    icmp_type: [1, 58].contains(&protocol).then_some(kind),
                    whose: Whose::default(),
                },
            )
        })
    }

    proptest! {
        /// Whatever the rules, more than one word of them too: the compiled ones find what a reader finds.
        #[test]
        fn the_first_rule_is_found(
            rules in prop_oneof![
                prop::collection::vec(rule(), 0..8),
                prop::collection::vec(rule(), 60..140),
            ],
            packets in prop::collection::vec(asked(), 1..40),
        ) {
            let compiled = Rules::new(&rules);
            for asked in &packets {
                prop_assert_eq!(compiled.first(asked), naive(&rules, asked), "{:?}", asked);
            }
        }
    }

    /// A rule of an identity or a tenant holds for those that the firewall was told of, and for nobody else.
    #[test]
    fn whose_a_connection_is_decides() {
        let long = format!("spiffe://campus.example/client/{}", "a".repeat(40));
        let named = |name: &str, identities: &[&str], tenants: &[&str]| {
            let some = |these: &[&str]| {
                let these: Vec<String> = these.iter().map(|this| this.to_string()).collect();
                (!these.is_empty()).then_some(these)
            };
            FirewallRule {
                identities: some(identities),
                tenants: some(tenants),
                ..FirewallRule::any(name, FirewallAction::Allow)
            }
        };
        let alice = "spiffe://campus.example/client/alice";
        let rules = [
            named("both", &[alice], &["physics"]),
            named("people", &[alice, "dns:bob.example"], &[]),
            named("tenant", &[], &["physics", "biology"]),
            named("long", &[&long], &[]),
        ];
        let rules = Rules::new(&rules);
        let first = |identity: Option<&str>, tenant: Option<&str>| {
            let mut facts = Facts::NONE;
            identity.into_iter().for_each(|identity| facts.set_identity(identity));
            tenant.into_iter().for_each(|tenant| facts.set_tenant(tenant));
            let mut items = [0; 106];
            facts.write(Kinds::ALL, &mut items);
            let said = Said::parse(&items, Kinds::ALL).expect("well-formed");
            let asked = Asked {
                from_client: true,
                version: 4,
                src: 1,
                dst: 2,
                protocol: 6,
                src_port: 1,
                dst_port: 2,
                icmp_type: None,
                whose: rules.whose(Some(said)),
            };
            let untold = Asked { whose: rules.whose(None), ..asked };
            assert_eq!(rules.first(&untold), None, "nobody told the firewall anything");
            rules.first(&asked)
        };
        assert_eq!(first(Some(alice), Some("physics")), Some(0));
        assert_eq!(first(Some(alice), Some("chemistry")), Some(1));
        assert_eq!(first(Some("dns:bob.example"), None), Some(1));
        assert_eq!(first(Some("dns:carol.example"), Some("biology")), Some(2));
        assert_eq!(first(Some(&long), None), Some(3));
        assert_eq!(first(Some("campus.example/client/alice:"), None), None);
        assert_eq!(first(None, None), None);
    }

    #[test]
    fn a_prefix_has_bounds() {
        let bounds = |text: &str| bounds(text.parse().expect("a prefix"));
        assert_eq!(bounds("0.0.0.0/0"), (0, u32::MAX.into()));
        assert_eq!(bounds("10.0.0.0/31"), (0x0a00_0000, 0x0a00_0001));
        assert_eq!(bounds("::/0"), (0, u128::MAX));
        assert_eq!(bounds("::8/128"), (8, 8));
    }
}
