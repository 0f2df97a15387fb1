//! Versions over restarts of control.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::assemble;

/// A folder that goes with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringmail-press-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a new folder");
        Folder(path)
    }

    fn press(&self) -> Press {
        let dir = self.0.join("ca");
        let authority = match dir.exists() {
            true => EmbeddedCa::open(&dir),
            false => EmbeddedCa::init(&dir, &file().domain.domain),
        };
        let authority = Arc::new(authority.expect("an authority"));
        Press::open(authority, &self.0.join("control")).expect("a press")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn file() -> assemble::DomainFile {
    crate::demo::campus().expect("the built-in file")
}

/// Makes the file's version count.
fn commit(press: &Press, text: &str) -> Arc<Pressed> {
    let pressed = press.press(text).expect("a version");
    press.commit(pressed.set.version).expect("it counts");
    pressed
}

#[test]
fn what_counts_is_there_after_a_restart_and_paths_that_stay_keep_their_digests() {
    let (folder, text) = (Folder::new(), file().text);
    let first = commit(&folder.press(), &text);
    let press = folder.press();
    let again = press.committed().expect("it counts");
    assert_eq!((&again.set, &again.documents), (&first.set, &first.documents));
    assert!(press.is_current(&text) && !press.is_current("another"));
    let next = commit(&press, &format!("{text}\n# nothing new\n"));
    assert!(next.set.version > first.set.version);
    assert_eq!(next.set.paths, first.set.paths);
}

#[test]
fn a_path_that_changes_gets_a_number_that_no_element_knows_even_after_a_restart() {
    let (folder, text) = (Folder::new(), file().text);
    let numbers = |pressed: &Pressed| {
        let ids = pressed.set.paths.iter().map(|path| path.id);
        ids.collect::<BTreeSet<_>>()
    };
    let changed = |word: &str| text.replace("bytes: test", &format!("bytes: {word}"));
    assert_ne!(changed("x"), text, "the file has such a pattern");
    let press = folder.press();
    let first = numbers(&commit(&press, &text));
    let second = numbers(&commit(&press, &changed("one")));
    assert!(second.difference(&first).next().is_some());
    assert_eq!(numbers(&commit(&press, &text)), first, "back again");
    drop(press);
    // An element may still run the second one.
    let third = numbers(&commit(&folder.press(), &changed("two")));
    let new: Vec<_> = third.difference(&first).collect();
    assert!(!new.is_empty() && new.iter().all(|id| !second.contains(id)), "{new:?}");
}

#[test]
fn what_was_reloaded_from_another_file_outlives_a_restart() {
    let (folder, text) = (Folder::new(), file().text);
    let press = folder.press();
    assert!(press.is_new(&text).expect("the disk"));
    commit(&press, &text);
    commit(&press, &format!("{text}\n# from another file\n"));
    drop(press);
    let press = folder.press();
    assert!(!press.is_new(&text).expect("the disk"), "it was replaced");
    assert!(press.is_new(&format!("{text}\n# edited\n")).expect("the disk"));
}

#[test]
fn what_was_only_proposed_does_not_count() {
    let (folder, text) = (Folder::new(), file().text);
    let first = commit(&folder.press(), &text);
    let press = folder.press();
    let proposed = press.press(&format!("{text}\n")).expect("a version").set.version;
    press.abandon();
    assert!(press.commit(proposed).is_err());
    drop(press);
    assert_eq!(folder.press().committed().expect("it counts").set.version, first.set.version);
}

#[test]
fn a_lease_is_for_those_on_the_path() {
    let (folder, text) = (Folder::new(), file().text);
    let press = folder.press();
    let set = &commit(&press, &text).set;
    for path in &set.paths {
        for element in &set.elements {
            let on_it =
                path.origin == element.id || path.visits().any(|hop| hop.element == element.id);
            let lease = press.lease(&element.name, path.digest);
            assert_eq!(lease.is_ok(), on_it, "{} on {}", element.name, path.name);
        }
    }
    assert!(press.lease("sf1", PathDigest([0; 32])).is_err());
}

#[test]
fn paths_that_drain_get_leases_and_their_elements_sessions_over_a_restart() {
    let (folder, text) = (Folder::new(), file().text);
    let press = folder.press();
    let first = commit(&press, &text);
    let changed = text.replace("bytes: test", "bytes: other");
    let next = commit(&press, &changed);
    let gone: Vec<_> = first
        .set
        .paths
        .iter()
        .filter(|path| !next.set.paths.iter().any(|other| other.digest == path.digest))
        .collect();
    assert!(!gone.is_empty() && gone.len() < first.set.paths.len(), "some paths stay");
    drop(press);
    let press = folder.press();
    for path in gone {
        for element in &first.set.elements {
            let on_it = past::on_it(path).any(|id| id == element.id);
            let lease = press.lease(&element.name, path.digest);
            assert_eq!(lease.is_ok(), on_it, "{} on {}", element.name, path.name);
            if let Ok(lease) = lease {
                assert_eq!(lease.lease.element, element.id);
            }
            let known = press.element(&element.spiffe_id);
            assert_eq!(known.as_deref(), Some(element.name.as_str()));
        }
    }
    // Nobody needs them when their time is over.
    let kept = folder.0.join("control").join(DRAINING);
    let mut past: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&kept).expect("it is kept")).expect("JSON");
    past[0]["until_unix_s"] = 1.into();
    drop(press);
    std::fs::write(&kept, past.to_string()).expect("a file");
    let press = folder.press();
    let drained = |path: &&ringmail_model::pathset::Path| {
        let origin = first.set.element(path.origin).expect("it is there");
        press.lease(&origin.name, path.digest).is_err()
    };
    assert!(first.set.paths.iter().any(|path| drained(&path)));
}

#[test]
fn a_version_is_signed_anew_above_what_was_seen_but_not_in_the_far_future() {
    let (folder, text) = (Folder::new(), file().text);
    let press = folder.press();
    let first = commit(&press, &text).set.version;
    let seen = PathVersion(first.0 + 1_000_000);
    let again = press.reissue(seen).expect("a version");
    assert!(again.set.version > seen);
    assert_eq!(folder_version(&folder, press), again.set.version);
    let press = folder.press();
    assert!(press.reissue(PathVersion(u64::MAX - 1)).is_err());
}

fn folder_version(folder: &Folder, press: Press) -> PathVersion {
    drop(press);
    folder.press().committed().expect("it counts").set.version
}

#[test]
fn another_domain_and_keying_psk_are_refused() {
    let (folder, text) = (Folder::new(), file().text);
    let press = folder.press();
    let other = text.replace("campus.example", "other.example");
    assert!(press.press(&other).is_err());
    let psk = {
        let text = text.replace("keying: sap\n", "").replace("profile: mpls-nsh\n", "");
        format!("profile: mpls\nkeying: psk\n{text}")
    };
    let error = press.press(&psk).expect_err("psk");
    assert!(format!("{error:#}").contains("one machine"), "{error:#}");
}
