//! The audit log's encoding, its chain, and heads that notice a rolled-back database.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use proptest::prelude::*;
use ringmail_trust_core::manager::audit::{Act, ChainError, Entry, Issued, NOTHING, Walk, link};
use ringmail_trust_core::manager::head::{Head, Receipt, ReceiptError, Rollback, SignedHead};
use ringmail_trust_core::manager::merkle::{self, Kept, consistency, inclusion};
use ringmail_trust_core::manager::{Serial, Standing};

use super::harness::{function, host, name};

fn issued() -> Issued {
    Issued {
        subject: function("sf1"),
        host: name("h1"),
        spiffe_id: "spiffe://campus.example/element/sf1".to_owned(),
        serial: Serial([0xa5; 16]),
        certificate: [0xc1; 32],
        evidence: [0xe1; 32],
        not_after_unix_s: 1_800_000_300,
    }
}

fn acts() -> Vec<Act> {
    vec![
        Act::Opened { trust_domain: "campus.example".parse().unwrap() },
        Act::PolicySet { policy: [2; 32], by: "spiffe://campus.example/client/op".to_owned() },
        Act::Enrolled { host: name("h1"), anchor: [3; 32] },
        Act::Stands {
            subject: host("h1"),
            from: Standing::Trusted,
            to: Standing::Revoked,
            cause: "a file that policy does not know".to_owned(),
        },
        Act::Issued(issued()),
        Act::Revoked {
            subject: function("sf1"),
            serials: vec![Serial([0xa5; 16]), Serial([0xa6; 16])],
            cause: "its host h1 is not trusted".to_owned(),
        },
        Act::Said {
            by: "spiffe://campus.example/client/op".to_owned(),
            subject: host("h1"),
            word: "recover".to_owned(),
            why: "mended".to_owned(),
        },
        Act::TookOver { term: 2, by: "manager-b".to_owned() },
    ]
}

/// A log of all kinds of entries.
fn log() -> Vec<Vec<u8>> {
    let mut previous = NOTHING;
    let encode = |(index, act): (usize, Act)| {
        let index = index as u64;
        let entry = Entry { index, at_unix_ms: 1_800_000_000_000 + index, previous, act };
        let encoded = entry.encode();
        previous = link(&encoded);
        encoded
    };
    acts().into_iter().enumerate().map(encode).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whoever changes the encoding makes every log that there is worthless: these bytes stay.
#[test]
fn entries_are_the_bytes_that_they_were() {
    let log = log();
    assert_eq!(
        hex(&log[0]),
        concat!(
            "72696e676d61696c2d61756469742f31", // ringmail-audit/1
            "0000000000000000",                 // index
            "000001a3185c5000",                 // at
            "0000000000000000000000000000000000000000000000000000000000000000",
            "01",                               // opened
            "000e63616d7075732e6578616d706c65", // campus.example
        )
    );
    let all = log.iter().map(|entry| hex(&link(entry))).collect::<Vec<_>>();
    assert_eq!(all, GOLDEN);
}

/// SHA-256 of each: the links of the chain.
const GOLDEN: [&str; 8] = [
    "75841a3e78b838d80ee8e932722bd606e222665a07009856e8bc7ebbc6d8fe80",
    "d6133740ca646260332cd402c4973daf95b667bcf2f71967b846b5b47ad7e000",
    "c54b3722f2ce2be6fc1051a4a45ea7a366cfc635457779344ede07e0b82f2d4e",
    "3603d9ecdc238dd3ed1583af5bfca7624abb0d20e419e9445299d45d79daa045",
    "bb068ff9c92a10cf34eaaa7eb776b42a0b1b52637acdd9dffc6bd1339c7be241",
    "3b2790caedd0f81d1770fbc2c62e71b5806f8f9be677225595c3adc91e025340",
    "e9fcaca0c1fbb7a64cc2b28ad5ae703b90ee1bf34e6606447f1184058776568e",
    "687dafa504d615dff5fd7dcb3d073f3d93fa56cf143fabeff7434ea210df3f91",
];

#[test]
fn entries_are_read_as_they_were_written_and_in_no_other_encoding() {
    for encoded in log() {
        let entry = Entry::decode(&encoded).unwrap();
        assert_eq!(entry.encode(), encoded);
        assert_eq!(Entry::decode(&encoded[..encoded.len() - 1]), None);
        assert_eq!(Entry::decode(&[&encoded[..], &[0]].concat()), None);
    }
}

#[test]
fn a_chain_notices_what_was_edited_removed_moved_or_put_in() {
    let log = log();
    let walk = |entries: &[Vec<u8>]| {
        let mut walk = Walk::START;
        entries.iter().try_for_each(|entry| walk.step(entry).map(drop)).map(|()| walk)
    };
    let end = walk(&log).unwrap();
    assert_eq!((end.next, end.last), (8, link(&log[7])));
    for at in 0..log.len() {
        let mut edited = log.clone();
        // The time: the entry itself is as good as before.
        edited[at][30] ^= 1;
        match walk(&edited) {
            Err(error) => assert_eq!(error, ChainError::Link(at as u64 + 1)),
            Ok(other) => assert!(at == 7 && other.last != end.last),
        }
        let mut removed = log.clone();
        removed.remove(at);
        assert_eq!(walk(&removed).is_ok(), at == 7, "only the end can be cut off");
        let mut twice = log.clone();
        twice.insert(at, log[at].clone());
        assert!(walk(&twice).is_err());
        if at > 0 {
            let mut moved = log.clone();
            moved.swap(at - 1, at);
            assert!(walk(&moved).is_err());
        }
    }
}

fn key() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[5; 32]).unwrap()
}

fn public(key: &Ed25519KeyPair) -> [u8; 32] {
    key.public_key().as_ref().try_into().unwrap()
}

/// The head of the first `size` entries, and the tree below it.
fn head(entries: &[Vec<u8>], size: usize) -> (Head, Kept) {
    let mut kept = Kept::default();
    entries[..size].iter().for_each(|entry| kept.push(merkle::leaf(entry)));
    let head = Head {
        trust_domain: "campus.example".parse().unwrap(),
        term: 1,
        size: size as u64,
        last: size.checked_sub(1).map_or(NOTHING, |last| link(&entries[last])),
        root: merkle::root(&kept, size as u64).unwrap(),
        at_unix_ms: 1_800_000_000_000,
    };
    (head, kept)
}

fn sign(head: Head) -> SignedHead {
    let signature = key().sign(&head.signed_bytes());
    head.signed(signature.as_ref().try_into().unwrap())
}

#[test]
fn a_peer_notices_a_database_that_was_rolled_back_or_changed() {
    let log = log();
    let (kept, _) = head(&log, 5);
    let (newer, tree) = head(&log, 8);
    let proof = consistency(&tree, 5, 8).unwrap();
    assert_eq!(kept.continued_by(&newer, &proof), Ok(()));
    assert_eq!(kept.continued_by(&kept, &[]), Ok(()));

    let (older, _) = head(&log, 3);
    assert_eq!(kept.continued_by(&older, &[]), Err(Rollback::Shorter { kept: 5, offered: 3 }));
    // Rolled back and then filled up again: as long as before, and longer.
    let mut other = log.clone();
    other[4][30] ^= 1;
    for size in [5, 8] {
        let (forked, tree) = head(&other, size);
        let proof = consistency(&tree, 5, size as u64).unwrap();
        let forked_error = Rollback::Forked { kept: 5, offered: size as u64 };
        assert_eq!(kept.continued_by(&forked, &proof), Err(forked_error));
    }
    let deposed = Head { term: 0, ..newer.clone() };
    let error = Rollback::Deposed { kept: 1, offered: 0 };
    assert_eq!(kept.continued_by(&deposed, &proof), Err(error));
    let elsewhere = Head { trust_domain: "other.example".parse().unwrap(), ..newer };
    assert!(matches!(kept.continued_by(&elsewhere, &proof), Err(Rollback::AnotherDomain(_))));
}

#[test]
fn a_certificate_counts_only_under_a_receipt_of_the_log() {
    let log = log();
    let (newest, tree) = head(&log, 8);
    let proof = inclusion(&tree, 4, 8).unwrap();
    let good = Receipt { head: sign(newest), entry: log[4].clone(), proof };
    let (key, other_key) = (public(&key()), [6; 32]);
    assert_eq!(good.check(&key, &[0xc1; 32]), Ok(issued()));
    assert_eq!(Receipt::from_bytes(&good.to_bytes()), Some(good.clone()));

    assert_eq!(good.check(&other_key, &[0xc1; 32]), Err(ReceiptError::Signature));
    let another = ReceiptError::AnotherCertificate(Serial([0xa5; 16]));
    assert_eq!(good.check(&key, &[0xc2; 32]), Err(another));
    let entry =
        Entry { act: Act::Issued(Issued { host: name("h2"), ..issued() }), ..decode(&log[4]) };
    let forged = Receipt { entry: entry.encode(), ..good.clone() };
    assert_eq!(forged.check(&key, &[0xc1; 32]), Err(ReceiptError::NotIncluded));
    let no_certificate = Receipt { entry: log[3].clone(), ..good.clone() };
    assert_eq!(no_certificate.check(&key, &[0xc1; 32]), Err(ReceiptError::NoCertificate));
    let mut longer = good;
    longer.head.head.size += 1;
    assert_eq!(longer.check(&key, &[0xc1; 32]), Err(ReceiptError::Signature));
}

fn decode(entry: &[u8]) -> Entry {
    Entry::decode(entry).unwrap()
}

proptest! {
    #[test]
    fn hostile_bytes_are_no_entry_no_head_and_no_receipt(
        bytes in prop::collection::vec(any::<u8>(), 0..400), at in 0_usize..8, place in 0_usize..400,
        bit in 0_u8..8,
    ) {
        let _ = (Entry::decode(&bytes), SignedHead::from_bytes(&bytes), Receipt::from_bytes(&bytes));
        let mut entry = log()[at].clone();
        let place = place % entry.len();
        entry[place] ^= 1 << bit;
        if let Some(read) = Entry::decode(&entry) {
            prop_assert_eq!(read.encode(), entry);
        }
    }
}
