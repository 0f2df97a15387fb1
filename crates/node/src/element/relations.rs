//! Whom an element agrees with on keys, and on which: what the profile asks of each path (`docs/sap.md`, "Uses").

use std::collections::{BTreeMap, BTreeSet};
use std::iter::once;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use ringmail_dataplane::sa::{SegmentIndex, Suite};
use ringmail_dataplane::sap::{Profile, SegmentView, Use};
use ringmail_model::ElementId;
use ringmail_model::domain;
use ringmail_model::integrity::Integrity;
use ringmail_model::pathset::{Path, PathSet, Reader};

use crate::sap::Neighbour;

/// The elements that this one shares keys with in any of the path sets, with what they agree on.
///
/// # Errors
/// When a path set contradicts itself, which a verified one does not.
pub(crate) fn neighbours<'a>(
    sets: impl Iterator<Item = &'a PathSet>,
    element: ElementId,
) -> Result<Vec<Neighbour>> {
    let mut by_other: BTreeMap<ElementId, Neighbour> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for set in sets {
        for (other, mut views) in relations(set, profile(set), element)? {
            views.retain(|view| !seen.contains(&view.digest));
            if views.is_empty() {
                continue;
            }
            let other = set.element(other).context("an element of a path is unknown")?;
            let neighbour = by_other.entry(other.id).or_insert_with(|| Neighbour {
                element: other.id,
                spiffe_id: other.spiffe_id.clone(),
                control: SocketAddr::V4(other.control),
                segments: Vec::new(),
            });
            neighbour.segments.append(&mut views);
        }
        seen.extend(set.paths.iter().map(|path| path.digest));
    }
    Ok(by_other.into_values().collect())
}

/// What `element` agrees on with each other element, either direction, by that element.
///
/// # Errors
/// When the path set contradicts itself, which a verified one does not.
pub(crate) fn relations(
    set: &PathSet,
    profile: Profile,
    element: ElementId,
) -> Result<BTreeMap<ElementId, Vec<SegmentView>>> {
    let mut by_other: BTreeMap<ElementId, Vec<SegmentView>> = BTreeMap::new();
    for path in &set.paths {
        for view in views(set, profile, path)? {
            let other = match element {
                id if id == view.sender => view.receiver,
                id if id == view.receiver => view.sender,
                _ => continue,
            };
            if other != element {
                by_other.entry(other).or_default().push(view);
            }
        }
    }
    Ok(by_other)
}

/// Every relation between two elements of one path: ESP in each segment; with NSH also the MAC of each link, and proof of
/// transit from all before the end to the end, and metadata from who tells to each who is told.
fn views(set: &PathSet, profile: Profile, path: &Path) -> Result<Vec<SegmentView>> {
    let segments = path.segments.iter().map(|segment| (segment.sender, segment.receiver));
    let mut relations: Vec<_> = (0u8..).zip(segments).map(|one| (Use::Esp, one)).collect();
    if profile != Profile::Mpls {
        let senders = once(path.origin).chain(path.hops.iter().map(|hop| hop.element));
        let links = senders.clone().zip(path.visits().map(|hop| hop.element));
        relations.extend((0u8..).zip(links).map(|one| (Use::Link, one)));
        let proofs = senders.map(|sender| (sender, path.end.element));
        relations.extend((0u8..).zip(proofs).map(|one| (Use::Proof, one)));
        for Reader { position, writer, .. } in path.readers() {
            let element = |at: u8| path.element_at(at.into()).context("a reader is nowhere");
            let pair = (element(writer)?, element(position)?);
            relations.push((Use::Metadata, (position, pair)));
        }
    }
    let view = |(usage, (index, (sender, receiver)))| {
        let workers = set.element(sender).context("the sender of a key is unknown")?.workers;
        Ok(SegmentView {
            path: path.id,
            digest: path.digest,
            usage,
            index: SegmentIndex(index),
            profile,
            suite: suite(set.suite),
            sender,
            receiver,
            sender_workers: workers.max(1),
        })
    };
    relations.into_iter().map(view).collect()
}

/// The protocol's profile of the path set's.
pub(crate) fn profile(set: &PathSet) -> Profile {
    match (set.profile, set.integrity) {
        (domain::Profile::Mpls, _) => Profile::Mpls,
        (domain::Profile::MplsNsh, Integrity::Segment) => Profile::MplsNsh,
        (domain::Profile::Nsh, Integrity::Segment) => Profile::Nsh,
        (domain::Profile::MplsNsh, Integrity::Rfc9145 { .. }) => Profile::MplsNshRfc9145,
        (domain::Profile::Nsh, Integrity::Rfc9145 { .. }) => Profile::NshRfc9145,
    }
}

/// The data plane's suite of the domain file's.
pub(crate) fn suite(suite: domain::Suite) -> Suite {
    match suite {
        domain::Suite::Aes128Gcm => Suite::Aes128Gcm,
        domain::Suite::Aes256Gcm => Suite::Aes256Gcm,
        domain::Suite::ChaCha20Poly1305 => Suite::ChaCha20Poly1305,
    }
}

#[cfg(test)]
mod tests {
    use ringmail_model::PathVersion;
    use ringmail_model::metadata::Kind;
    use ringmail_model::pathset::Issue;

    use super::*;

    fn campus() -> PathSet {
        let file = crate::demo::campus().expect("the built-in file");
        let issue =
            Issue { version: PathVersion(1), not_before_unix_s: 0, not_after_unix_s: u64::MAX };
        PathSet::compile(&file.domain, issue).expect("a path set")
    }

    /// What an element shares with others on one path: use, index, sender and receiver.
    fn on_path(profile: Profile, name: &str, path: &str) -> Vec<String> {
        shared(&campus(), profile, name, path)
    }

    fn shared(set: &PathSet, profile: Profile, name: &str, path: &str) -> Vec<String> {
        let element = set.element_named(name).expect("an element").id;
        let path = set.path_named(path).expect("a path").id;
        let name = |id| &set.element(id).expect("an element").name;
        let all = relations(set, profile, element).expect("relations").into_values().flatten();
        let mut lines: Vec<_> = all
            .filter(|view| view.path == path)
            .map(|view| {
                let SegmentView { usage, index, sender, receiver, .. } = view;
                format!("{usage} {}: {} > {}", index.0, name(sender), name(receiver))
            })
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn with_labels_alone_elements_agree_on_esp_and_those_that_do_not_open_on_nothing() {
        let mpls = |name| on_path(Profile::Mpls, name, "inspected");
        assert_eq!(mpls("gateway"), ["esp 0: gateway > sf2"]);
        assert_eq!(mpls("sf1"), [""; 0]);
        assert_eq!(mpls("sf2"), ["esp 0: gateway > sf2", "esp 1: sf2 > egress"]);
        assert_eq!(mpls("egress"), ["esp 1: sf2 > egress"]);
    }

    #[test]
    fn with_nsh_every_link_has_a_mac_and_everybody_proves_transit_to_the_end() {
        for profile in [Profile::MplsNsh, Profile::Nsh] {
            let nsh = |name| on_path(profile, name, "inspected");
            assert_eq!(
                nsh("gateway"),
                ["esp 0: gateway > sf2", "link 0: gateway > sf1", "proof 0: gateway > egress"]
            );
            assert_eq!(
                nsh("sf1"),
                ["link 0: gateway > sf1", "link 1: sf1 > sf2", "proof 1: sf1 > egress"]
            );
            assert_eq!(
                nsh("egress"),
                [
                    "esp 1: sf2 > egress",
                    "link 2: sf2 > egress",
                    "proof 0: gateway > egress",
                    "proof 1: sf1 > egress",
                    "proof 2: sf2 > egress",
                ]
            );
        }
    }

    /// Who is granted nothing shares no key of metadata with anybody.
    #[test]
    fn metadata_has_keys_between_who_tells_and_who_is_told() {
        let mut domain = crate::demo::campus().expect("the built-in file").domain;
        let second = domain.functions.iter_mut().find(|function| function.name.as_str() == "sf2");
        second.expect("the function").metadata = vec![Kind::Identity, Kind::Ports];
        domain.egress.metadata = vec![Kind::Identity];
        let issue =
            Issue { version: PathVersion(1), not_before_unix_s: 0, not_after_unix_s: u64::MAX };
        let set = PathSet::compile(&domain, issue).expect("a path set");
        let of = |name: &str, path: &str| {
            let mut all = shared(&set, Profile::MplsNsh, name, path);
            all.retain(|line| line.starts_with("metadata"));
            all
        };
        let (two, three) = ("metadata 2: gateway > sf2", "metadata 3: gateway > egress");
        assert_eq!(of("gateway", "inspected"), [two, three]);
        assert_eq!(of("sf1", "inspected"), [""; 0]);
        assert_eq!(
            (of("sf2", "inspected"), of("egress", "inspected")),
            (vec![two.into()], vec![three.into()])
        );
        assert_eq!(of("sf2", "inspected.return"), ["metadata 1: egress > sf2"]);
        assert_eq!(of("sf1", "inspected.return"), [""; 0]);
    }

    #[test]
    fn both_ends_of_every_relation_see_the_same() {
        let set = campus();
        for profile in [Profile::Mpls, Profile::MplsNsh, Profile::Nsh] {
            let of = |element| relations(&set, profile, element).expect("relations");
            for element in &set.elements {
                for (other, views) in of(element.id) {
                    assert_ne!(other, element.id, "an element agrees with itself");
                    assert_eq!(of(other)[&element.id], views, "{profile:?}");
                    assert!(views.iter().all(|view| view.profile == profile));
                }
            }
        }
    }

    #[test]
    fn a_path_of_two_versions_is_agreed_on_once() {
        let set = campus();
        let gateway = set.element_named("gateway").expect("an element").id;
        let count = |sets: &[&PathSet]| {
            let neighbours = neighbours(sets.iter().copied(), gateway).expect("neighbours");
            neighbours.iter().map(|one| one.segments.len()).collect::<Vec<_>>()
        };
        assert!(!count(&[&set]).is_empty());
        assert_eq!(count(&[&set]), count(&[&set, &set]));
    }
}
