//! Numbers that stay from one path set to the next.

use ringmail_model::pathset::{Issue, Numbering, PathSet};
use ringmail_model::{Domain, PathVersion};

use crate::examples::{ISSUE, campus};

fn next(before: &Numbering, domain: &Domain, version: u64) -> PathSet {
    let issue = Issue { version: PathVersion(version), ..ISSUE };
    let set = PathSet::compile_after(domain, issue, before).expect("a path set");
    assert_eq!(PathSet::decode(&set.encode()).as_ref(), Ok(&set), "it is consistent");
    set
}

fn first(domain: &Domain) -> (Numbering, PathSet) {
    let mut numbers = Numbering::default();
    let set = next(&numbers, domain, 1);
    numbers.remember(domain, &set);
    (numbers, set)
}

/// A function whose name comes before all others, on a path of its own that does so, too.
fn with_more(mut domain: Domain) -> Domain {
    let mut function = domain.functions[0].clone();
    function.name = "a0".parse().expect("a name");
    domain.functions.push(function);
    let mut path = domain.paths[0].clone();
    path.name = "a0".parse().expect("a name");
    path.hops = vec!["a0".parse().expect("a name")];
    domain.paths.push(path);
    domain
}

#[test]
fn what_stays_keeps_its_numbers_and_digest_whatever_comes_beside_it() {
    let before = campus();
    let (mut numbers, old) = first(&before);
    let after = with_more(before.clone());
    let new = next(&numbers, &after, 2);
    for element in &old.elements {
        assert_eq!(new.element_named(&element.name), Some(element));
    }
    for path in &old.paths {
        assert_eq!(new.path_named(&path.name), Some(path), "its digest is among what is compared");
    }
    assert_eq!(new.paths.len(), old.paths.len() + 2);
    // And when what came goes again, nothing moves either.
    numbers.remember(&after, &new);
    let last = next(&numbers, &before, 3);
    assert_eq!((&last.elements, &last.paths), (&old.elements, &old.paths));
}

#[test]
fn a_path_that_changes_gets_another_number_and_its_old_one_back_when_it_is_as_before() {
    let before = campus();
    let (mut numbers, old) = first(&before);
    let mut after = before.clone();
    let inspected = after.paths.iter_mut().find(|path| &*path.name == "inspected").expect("it");
    inspected.hops.reverse();
    let new = next(&numbers, &after, 2);
    let id = |set: &PathSet, name: &str| set.path_named(name).expect("the path").id;
    for name in ["inspected", "inspected.return"] {
        assert!(old.path(id(&new, name)).is_none(), "`{name}` has a number of its own");
    }
    let others = old.paths.iter().filter(|path| !path.name.starts_with("inspected"));
    for path in others {
        assert_eq!(new.path_named(&path.name), Some(path));
    }
    numbers.remember(&after, &new);
    assert_eq!(next(&numbers, &before, 3).paths, old.paths);
    // Once nobody uses the old one any more, it counts as new.
    numbers.forget(PathVersion(1));
    let again = next(&numbers, &before, 4);
    assert!(old.path(id(&again, "inspected")).is_none(), "numbers rest before they come again");
}

#[test]
fn what_a_function_looks_for_and_where_a_service_listens_is_part_of_a_path() {
    let before = campus();
    let (numbers, old) = first(&before);
    let changed = |change: &dyn Fn(&mut Domain)| -> Vec<String> {
        let mut after = before.clone();
        change(&mut after);
        let new = next(&numbers, &after, 2);
        let others = new.paths.iter().filter(|path| old.path(path.id).is_none());
        others.map(|path| path.name.clone()).collect()
    };
    let dpi = changed(&|domain| {
        for dpi in domain.functions.iter_mut().filter_map(|function| function.dpi.as_mut()) {
            dpi.limits.connections += 1;
        }
    });
    assert!(dpi.contains(&"inspected".to_owned()), "{dpi:?}");
    let service = changed(&|domain| {
        domain.services.iter_mut().for_each(|service| {
            service.addresses.iter_mut().for_each(|address| address.set_port(8080));
        });
    });
    assert!(service.iter().all(|name| !name.ends_with(".return")), "{service:?}");
    assert!(!service.is_empty());
    let elsewhere = changed(&|domain| domain.functions[0].workers = Some(3));
    assert_eq!(elsewhere, Vec::<String>::new());
}
