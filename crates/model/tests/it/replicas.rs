//! Replicas: the paths that a path over them becomes, and that each leads back through the same ones.

use ringmail_model::check;
use ringmail_model::pathset::{Direction, PathSet};

use crate::examples::ISSUE;
use crate::golden;

/// The campus with so many replicas of each function.
fn campus(sf1: u16, sf2: u16) -> PathSet {
    let text = golden::read(&golden::repository_path("examples/campus.yaml"));
    let mut domain = check::load(&text, "campus").expect("a good file").domain;
    domain.functions[0].replicas = Some(sf1);
    domain.functions[1].replicas = Some(sf2);
    PathSet::compile(&domain.expanded(), ISSUE).expect("a path set")
}

fn hops(set: &PathSet, path: &str) -> Vec<String> {
    let path = set.path_named(path).unwrap_or_else(|| panic!("no path `{path}`"));
    let name = |hop: &ringmail_model::pathset::Hop| {
        set.element(hop.element).expect("an element").name.clone()
    };
    path.hops.iter().map(name).collect()
}

#[test]
fn every_replica_is_an_element_and_gets_equally_many_paths() {
    let set = campus(2, 3);
    let elements: Vec<_> = set.elements.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(elements, ["gateway", "sf1-1", "sf1-2", "sf2-1", "sf2-2", "sf2-3", "egress"]);
    let inspected: Vec<_> = set
        .paths
        .iter()
        .filter(|p| p.direction == Direction::Forward && p.name.starts_with("inspected"))
        .collect();
    assert_eq!(inspected.len(), 6);
    let mut pairs: Vec<_> = inspected.iter().map(|path| hops(&set, &path.name)).collect();
    pairs.sort();
    pairs.dedup();
    assert_eq!(pairs.len(), 6, "every pair of replicas once");
    assert_eq!(hops(&set, "inspected"), ["sf1-1", "sf2-1"]);
}

#[test]
fn every_path_leads_back_through_the_replicas_that_it_came_by() {
    let set = campus(2, 4);
    for path in set.paths.iter().filter(|path| path.direction == Direction::Forward) {
        let back = set.path(path.return_path.expect("a return path")).expect("it is there");
        let mut there = hops(&set, &path.name);
        there.reverse();
        assert_eq!(there, hops(&set, &back.name), "{}", path.name);
    }
}

#[test]
fn one_replica_changes_nothing() {
    let text = golden::read(&golden::repository_path("examples/campus.yaml"));
    let domain = check::load(&text, "campus").expect("a good file").domain;
    assert_eq!(domain.clone().expanded(), domain);
    assert_eq!(PathSet::compile(&domain, ISSUE), Ok(campus(1, 1)));
}
