//! The directory: who can read it, what is never overwritten, and many users at a time.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ringmail_trust::{AuthorityError, EmbeddedCa};

use crate::harness::{Place, authority, client, domain, server};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn everything_is_for_the_owner_alone() {
    let place = Place::new();
    let ca = authority(&place);
    ca.issue(&client("alice", &[])).unwrap();
    let mut seen = 0;
    let mut open = vec![place.ca()];
    while let Some(path) = open.pop() {
        seen += 1;
        let wanted = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(&path), wanted, "{}", path.display());
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    assert_eq!(seen, 12);
}

#[test]
fn an_exposed_key_is_not_used() {
    for exposed in ["root.key", "path.key", "state.json", ""] {
        let place = Place::new();
        drop(authority(&place));
        let path = place.ca().join(exposed);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        let error = EmbeddedCa::open(&place.ca()).unwrap_err();
        assert!(matches!(error, AuthorityError::Exposed { mode: 0o750, .. }), "{exposed}: {error}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn an_authority_is_never_overwritten() {
    let place = Place::new();
    let root = authority(&place).roots_pem().unwrap();
    let again = EmbeddedCa::init(&place.ca(), &domain());
    assert!(matches!(again, Err(AuthorityError::AuthorityExists { .. })));
    // Not even one that lost its state.
    fs::remove_file(place.ca().join("state.json")).unwrap();
    let again = EmbeddedCa::init(&place.ca(), &domain());
    assert!(matches!(again, Err(AuthorityError::AuthorityExists { .. })));
    assert_eq!(fs::read_to_string(place.ca().join("root.pem")).unwrap(), root);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "something was left behind");
}

#[test]
fn a_directory_with_other_things_in_it_is_left_alone() {
    let place = Place::new();
    fs::create_dir(place.ca()).unwrap();
    EmbeddedCa::init(&place.ca(), &domain()).expect("an empty directory will do");
    let other = Place::new();
    fs::create_dir(other.ca()).unwrap();
    fs::write(other.ca().join("diary"), "dear diary").unwrap();
    assert!(EmbeddedCa::init(&other.ca(), &domain()).is_err());
    assert_eq!(fs::read_dir(other.ca()).unwrap().count(), 1);
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 1, "something was left behind");
}

#[test]
fn a_key_is_replaced_only_on_demand_and_with_its_certificate() {
    let place = Place::new();
    let ca = authority(&place);
    let request = server("web", &["www.campus.example"]);
    let dir = ca.issue(&request).unwrap().dir;
    let read = || ["key.pem", "cert.pem"].map(|file| fs::read(dir.join(file)).unwrap());
    let before = read();
    let error = ca.issue(&request).unwrap_err();
    assert!(matches!(error, AuthorityError::KeyExists { .. }));
    assert_eq!(read(), before);
    assert_eq!(ca.list().unwrap().len(), 1, "the refused one is remembered");

    let mut forced = request;
    forced.replace = true;
    ca.issue(&forced).unwrap();
    let after = read();
    assert!(after[0] != before[0] && after[1] != before[1]);
    assert_eq!(fs::read_dir(dir.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn a_directory_without_an_authority_says_how_to_make_one() {
    let place = Place::new();
    let error = EmbeddedCa::open(&place.ca()).unwrap_err();
    assert!(matches!(error, AuthorityError::NotFound { .. }));
    assert_eq!(error.hint(), Some("make one with: ringmail ca init"));
}

#[test]
fn damaged_and_later_state_is_refused_by_name() {
    let place = Place::new();
    drop(authority(&place));
    let path = place.ca().join("state.json");
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let error = EmbeddedCa::open(&place.ca()).unwrap_err();
    assert!(matches!(error, AuthorityError::Damaged { .. }), "{error}");
    fs::write(&path, whole.replace("\"version\": 1", "\"version\": 4, \"new\": true")).unwrap();
    let error = EmbeddedCa::open(&place.ca()).unwrap_err();
    assert!(matches!(error, AuthorityError::Newer { found: 4, known: 3, .. }), "{error}");
}

/// The release before knows the first format alone.
#[test]
fn a_state_without_a_second_root_is_in_the_first_format() {
    let place = Place::new();
    let ca = authority(&place);
    ca.issue(&client("alice", &[])).unwrap();
    let keys = || {
        let text = fs::read_to_string(place.ca().join("state.json")).unwrap();
        let state: serde_json::Value = serde_json::from_str(&text).unwrap();
        let fields = |value: &serde_json::Value| -> Vec<String> {
            value.as_object().unwrap().keys().cloned().collect()
        };
        let record = state["certificates"].as_object().unwrap().values().next().unwrap();
        (state["version"].clone(), fields(&state), fields(record))
    };
    let first = keys();
    assert_eq!(first.0, 1);
    assert_eq!(
        first.1,
        [
            "certificates",
            "crl_not_after_unix_s",
            "crl_number",
            "crl_pem",
            "lease_serials",
            "trust_domain",
            "version"
        ]
    );
    assert_eq!(first.2, ["kind", "name", "names", "not_after_unix_s", "not_before_unix_s"]);
    ca.rotate_begin().unwrap();
    assert_eq!(keys().0, 2);
    ca.rotate_cancel().unwrap();
    assert_eq!(keys(), first);
}

#[test]
fn many_use_it_at_a_time_and_nothing_is_lost() {
    const USERS: usize = 8;
    const EACH: usize = 5;
    let place = Place::new();
    drop(authority(&place));
    std::thread::scope(|scope| {
        for user in 0..USERS {
            let dir = place.ca();
            scope.spawn(move || {
                let ca = EmbeddedCa::open(&dir).unwrap();
                for n in 0..EACH {
                    ca.issue(&client(&format!("user-{user}-{n}"), &[])).unwrap();
                }
                ca.revoke(&format!("user-{user}-0")).unwrap();
            });
        }
    });
    let ca = EmbeddedCa::open(&place.ca()).unwrap();
    let all = ca.list().unwrap();
    assert_eq!(all.len(), USERS * EACH);
    assert_eq!(all.iter().filter(|(_, r)| r.revoked_unix_s.is_some()).count(), USERS);
    assert_eq!(ca.crl_pem(false).unwrap().1 as usize, 1 + USERS);
}

#[test]
fn only_one_of_many_inits_makes_the_authority() {
    let place = Place::new();
    let made: usize = std::thread::scope(|scope| {
        let init = |_| scope.spawn(|| EmbeddedCa::init(&place.ca(), &domain()).is_ok());
        let threads: Vec<_> = (0..6).map(init).collect();
        threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
    });
    assert_eq!(made, 1);
    EmbeddedCa::open(&place.ca()).unwrap();
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "something was left behind");
}
