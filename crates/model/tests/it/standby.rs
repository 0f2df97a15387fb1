//! The standby gateway: an element and paths of its own beside the gateway's, and the domain as each of them sees it.

use ringmail_model::check;
use ringmail_model::domain::{Domain, STANDBY};
use ringmail_model::pathset::{DecodeError, Direction, Path, PathSet, Role};
use ringmail_model::rules::RuleSet;

use crate::examples::ISSUE;
use crate::golden;

const STANDBY_OF_CAMPUS: &str = "  standby: {inner: [10.81.0.0/24]}\n  listeners:\n";

fn campus(more: &str) -> Domain {
    let text = golden::read(&golden::repository_path("examples/campus.yaml"));
    let text = text.replacen("  listeners:\n", more, 1);
    check::load(&text, "campus").unwrap_or_else(|wrong| panic!("{wrong}")).domain
}

fn compiled(domain: &Domain) -> PathSet {
    PathSet::compile(domain, ISSUE).expect("a path set")
}

fn named<'a>(set: &'a PathSet, name: &str) -> &'a Path {
    set.path_named(name).unwrap_or_else(|| panic!("no path `{name}`"))
}

#[test]
fn every_path_comes_from_each_gateway_and_leads_back_to_it() {
    let set = compiled(&campus(STANDBY_OF_CAMPUS));
    let standby = set.element_named(STANDBY).expect("an element");
    assert_eq!(standby.role, Role::Gateway);
    assert_eq!(standby.spiffe_id, "spiffe://campus.example/element/standby");
    for name in ["plain", "inspected"] {
        let (own, other) = (named(&set, name), named(&set, &format!("{name}-standby")));
        assert_eq!(own.hops, other.hops);
        assert_eq!(own.service, other.service);
        assert_ne!(own.digest, other.digest);
        assert_eq!(set.element(own.origin).expect("an element").name, "gateway");
        assert_eq!(other.origin, standby.id);
    }
    for path in set.paths.iter().filter(|path| path.direction == Direction::Forward) {
        let back = set.path(path.return_path.expect("a way back")).expect("it is there");
        assert_eq!(back.end.element, path.origin, "{}", path.name);
    }
    assert_eq!(PathSet::decode(&set.encode()).as_ref(), Ok(&set));
}

#[test]
fn a_domain_that_gets_a_standby_keeps_its_numbers() {
    let (without, with) =
        (compiled(&campus("  listeners:\n")), compiled(&campus(STANDBY_OF_CAMPUS)));
    for element in &without.elements {
        assert_eq!(with.element(element.id), Some(element));
    }
}

#[test]
fn replicas_and_a_standby_go_together() {
    let mut domain = campus("  listeners:\n");
    domain.functions[0].replicas = Some(2);
    domain.gateway.standby = campus(STANDBY_OF_CAMPUS).gateway.standby;
    let domain = domain.expanded();
    assert_eq!(domain.clone().expanded(), domain, "once is enough");
    let set = compiled(&domain);
    assert!(set.path_named("inspected-2-standby").is_some());
    let seen = domain.seen_by(STANDBY);
    let of = |name: &str| seen.paths.iter().find(|path| *path.name == *name).expect("a path");
    assert_eq!(
        of("inspected-2-standby").replica_of.as_ref().map(|name| name.as_str()),
        Some("inspected-standby")
    );
}

#[test]
fn each_gateway_sees_its_own_inner_side_and_rules_lead_to_its_own_paths() {
    let domain = campus(STANDBY_OF_CAMPUS);
    let set = compiled(&domain);
    let inner = |domain: &Domain| domain.gateway.inner[0].to_string();
    let paths =
        |domain: &Domain| domain.paths.iter().map(|path| path.name.to_string()).collect::<Vec<_>>();
    let gateway = domain.clone().seen_by("gateway");
    assert_eq!(inner(&gateway), "10.78.0.0/24");
    assert_eq!(paths(&gateway), ["plain", "inspected"]);
    let standby = domain.clone().seen_by(STANDBY);
    assert_eq!(inner(&standby), "10.81.0.0/24");
    assert_eq!(paths(&standby), ["plain-standby", "inspected-standby"]);
    assert_eq!(standby.clone().seen_by(STANDBY), standby, "once is enough");
    for seen in [&gateway, &standby] {
        let all: Vec<_> = seen.inner_networks().map(ToString::to_string).collect();
        assert_eq!(all.len(), 2, "{all:?}");
    }
    let rules = RuleSet::compile(&standby, &set).expect("rules");
    let path = named(&set, "plain-standby").id;
    assert_eq!(rules.path_name(path), Some("plain-standby"));
    assert_eq!(domain.clone().seen_by("egress"), domain);
}

#[test]
fn a_path_set_whose_way_back_leads_to_the_other_gateway_is_refused() {
    let mut set = compiled(&campus(STANDBY_OF_CAMPUS));
    let other = named(&set, "plain.return").id;
    let at = set.paths.iter().position(|path| path.name == "plain-standby").expect("a path");
    set.paths[at].return_path = Some(other);
    let refused = PathSet::decode(&set.encode());
    assert!(matches!(refused, Err(DecodeError::Inconsistent(_))), "{refused:?}");
}
