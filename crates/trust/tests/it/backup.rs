//! An authority in one encrypted file: it comes back whole, or not at all.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringmail_dataplane::sap::Lease;
use ringmail_model::{ElementId, PathDigest};
use ringmail_trust::{Authority, AuthorityError, EmbeddedCa, Password};

use crate::harness::{Hands, Place, authority, client, domain, server};

fn password(text: &str) -> Password {
    text.parse().expect("a password")
}

fn usual() -> Password {
    password("correct horse")
}

/// What makes a directory: every path below it, and the content of files.
fn content(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let name = path.strip_prefix(dir).unwrap().to_owned();
            all.push((name, fs::read(&path).unwrap()));
        }
    }
    all.sort();
    all
}

/// Those that a restore does not change: the rest holds the revocation list, which is made anew, or is of processes.
fn lasting(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = content(dir);
    all.retain(|(name, _)| !["state.json", "crl.pem", "lock"].map(Path::new).contains(&&**name));
    all
}

fn lease_serial(ca: &EmbeddedCa) -> u64 {
    let signed = ca.sign_lease(ElementId(1), PathDigest([7; 32]), Duration::from_secs(60));
    let lease: Lease = signed.expect("a lease").lease;
    lease.serial
}

#[test]
fn an_authority_comes_back_whole_and_repeats_no_number() {
    let place = Place::new();
    let hands = Hands::at(1_800_000_000);
    let ca = EmbeddedCa::init_at(&place.ca(), &domain(), hands.clock()).unwrap();
    ca.issue(&server("web", &["www.campus.example"])).unwrap();
    let alice = ca.issue(&client("alice", &[])).unwrap();
    ca.write_p12(&alice, &usual(), None).unwrap();
    ca.issue(&client("mallory", &[])).unwrap();
    ca.revoke("mallory").unwrap();
    let (listed, kept) = (ca.list().unwrap(), lasting(&place.ca()));
    let file = place.path().join("backup");
    let made = ca.backup(&file, &usual()).unwrap();
    assert_eq!((made.made_unix_s, made.files), (1_800_000_000, 13));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // The authority goes on, and then its disk is lost.
    let (lease, (_, crl)) = (lease_serial(&ca), ca.crl_pem(true).unwrap());
    drop(ca);
    fs::remove_dir_all(place.ca()).unwrap();

    hands.turn(Duration::from_secs(3600));
    let back = EmbeddedCa::restore_at(&file, &place.ca(), &usual(), hands.clock());
    let (back, found) = back.unwrap();
    assert_eq!(found, made);
    assert_eq!(back.list().unwrap(), listed);
    assert!(lasting(&place.ca()) == kept, "other files came back");
    assert!(back.crl_pem(false).unwrap().1 > crl, "a number of a revocation list repeats");
    assert!(lease_serial(&back) > lease, "a lease's serial number repeats");
    let (pem, _) = back.crl_pem(false).unwrap();
    assert_eq!(fs::read_to_string(place.ca().join("crl.pem")).unwrap(), pem);
    back.issue(&client("bob", &[])).unwrap();
}

#[test]
fn a_backup_that_was_changed_is_refused_and_leaves_nothing() {
    let place = Place::new();
    let file = place.path().join("backup");
    authority(&place).backup(&file, &usual()).unwrap();
    let whole = fs::read(&file).unwrap();
    let other = Place::new();
    let refused = |bytes: &[u8], password: &Password| {
        fs::write(&file, bytes).unwrap();
        match EmbeddedCa::restore(&file, &other.ca(), password) {
            Err(AuthorityError::BackupRefused { reason, .. }) => reason,
            restored => panic!("{restored:?}"),
        }
    };
    let changed = "the password is another, or the file was changed";
    assert_eq!(refused(&whole, &password("correct house")), changed);
    // Magic, time, salt, nonce, content, tag.
    for (place, reason) in [
        (0, "it is no backup of an authority"),
        (15, "a later release made it"),
        (16, changed),
        (24, "it asks for more work than any backup"),
        (30, changed),
        (50, changed),
        (100, changed),
        (whole.len() - 1, changed),
    ] {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x80;
        assert_eq!(refused(&bytes, &usual()), reason, "byte {place}");
    }
    assert_eq!(refused(&whole[..whole.len() - 1], &usual()), changed);
    assert_eq!(refused(&whole[..40], &usual()), "it is no backup of an authority");
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0, "something was left behind");
}

#[test]
fn nothing_is_overwritten() {
    let place = Place::new();
    let ca = authority(&place);
    let file = place.path().join("backup");
    ca.backup(&file, &usual()).unwrap();
    let before = (fs::read(&file).unwrap(), content(&place.ca()));
    let again = ca.backup(&file, &usual());
    assert!(matches!(again, Err(AuthorityError::FileExists { .. })), "{again:?}");
    let over = EmbeddedCa::restore(&file, &place.ca(), &usual());
    assert!(matches!(over, Err(AuthorityError::AuthorityExists { .. })), "{over:?}");
    assert!((fs::read(&file).unwrap(), content(&place.ca())) == before);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2, "something was left behind");
}

#[test]
fn what_would_not_come_back_is_not_backed_up() {
    let place = Place::new();
    let ca = authority(&place);
    let file = place.path().join("backup");
    let stranger = Place::new();
    drop(authority(&stranger));
    for name in ["root.key", "path.pub"] {
        let path = place.ca().join(name);
        let own = fs::read(&path).unwrap();
        fs::copy(stranger.ca().join(name), &path).unwrap();
        let ca = EmbeddedCa::open(&place.ca()).unwrap();
        let made = ca.backup(&file, &usual());
        assert!(matches!(made, Err(AuthorityError::Damaged { .. })), "{name}: {made:?}");
        assert!(!file.exists());
        fs::write(&path, own).unwrap();
    }
    std::os::unix::fs::symlink("/etc/passwd", place.ca().join("client")).unwrap();
    assert!(matches!(ca.backup(&file, &usual()), Err(AuthorityError::Damaged { .. })));
}

/// Bytes that an earlier release wrote; this one reads them.
#[test]
fn a_backup_of_the_first_format_is_read() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/backup-1.bin");
    let place = Place::new();
    if std::env::var_os("RINGMAIL_UPDATE").is_some() && !golden.exists() {
        let ca = EmbeddedCa::init_at(&place.ca(), &domain(), Hands::at(1_800_000_000).clock());
        ca.unwrap().backup(&golden, &usual()).unwrap();
        fs::remove_dir_all(place.ca()).unwrap();
    }
    let hands = Hands::at(1_800_000_000);
    let (ca, backup) =
        EmbeddedCa::restore_at(&golden, &place.ca(), &usual(), hands.clock()).unwrap();
    assert_eq!((backup.made_unix_s, backup.files), (1_800_000_000, 6));
    assert_eq!(ca.trust_domain(), &domain());
}
