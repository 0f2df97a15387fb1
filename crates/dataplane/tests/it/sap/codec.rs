//! Messages, leases and exporter contexts: golden bytes, one encoding, no panic on any bytes.

use proptest::prelude::*;
use ringmail_dataplane::sa::{SegmentIndex, Suite};
use ringmail_dataplane::sap::limits::MESSAGE_BYTES_MAX;
use ringmail_dataplane::sap::message::{
    DecodeError, Goodbye, Hello, Installed, Offer, OfferId, Refusal,
};
use ringmail_dataplane::sap::{
    AgreedKey, BootId, Framer, KeyContext, Lease, Message, Profile, SignedLease, Use, VerifyLease,
    fuzz::fuzz_sap,
};
use ringmail_model::{ElementId, Epoch, PathDigest, SaSpi, WorkerId};

use super::support::{Secret, key_hex, path_key, sign};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn lease() -> Lease {
    Lease {
        element: ElementId(0x0102),
        digest: PathDigest([0xd1; 32]),
        not_after_unix_s: 0x1112_1314_1516_1718,
        serial: 0x2122_2324_2526_2728,
    }
}

const LEASE_HEX: &str = concat!(
    "0102",
    "d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1",
    "1112131415161718",
    "2122232425262728",
);

#[test]
fn golden_bytes_of_every_message() {
    let signed = lease().signed([0xee; 64]);
    let signed_hex = format!("{LEASE_HEX}{}", "ee".repeat(64));
    let (offer, spi) = (OfferId(0x0a0b_0c0d), SaSpi(0x5161_7181));
    let hello = Hello {
        element: ElementId(7),
        boot: BootId([0xb0; 16]),
        epoch: Epoch(0x0304_0506),
        heard: true,
    };
    let offered = Offer {
        offer,
        epoch: Epoch(0x0304_0506),
        digest: PathDigest([0xd2; 32]),
        usage: Use::Esp,
        segment: SegmentIndex(3),
        profile: 1,
        suite: 2,
        worker: WorkerId(0x0405),
        lease: signed,
    };
    let golden = [
        (Message::Hello(hello), format!("0019 01 01 01 0007 {} 03040506", "b0".repeat(16))),
        (
            Message::Offer(offered),
            format!("00a0 02 0a0b0c0d 03040506 {} 03 01 02 0405 {signed_hex}", "d2".repeat(32)),
        ),
        (
            Message::Installed(Installed { offer, spi, lease: signed }),
            format!("007b 03 0a0b0c0d 51617181 {signed_hex}"),
        ),
        (Message::Refused { offer, reason: Refusal::NoLease }, "0006 04 0a0b0c0d 0a".into()),
        (Message::Lease(signed), format!("0073 05 {signed_hex}")),
        (
            Message::Last { spi, sequence: 0x0102_0304_0506_0708 },
            "000d 06 51617181 0102030405060708".into(),
        ),
        (Message::Deleted { spi }, "0005 07 51617181".into()),
        (Message::Close(Goodbye::NoPaths), "0002 08 04".into()),
    ];
    for (message, expected) in golden {
        assert_eq!(hex(&message.encode()), expected.replace(' ', ""), "{}", message.name());
        assert_eq!(Message::decode(&message.encode()), Ok(message));
        assert!(message.encode().len() <= MESSAGE_BYTES_MAX);
    }
}

#[test]
fn golden_bytes_of_reasons() {
    let codes = |all: &[Refusal]| all.iter().map(|r| r.code()).collect::<Vec<_>>();
    assert_eq!(codes(Refusal::ALL), (1..=11).collect::<Vec<_>>());
    let codes = |all: &[Goodbye]| all.iter().map(|g| g.code()).collect::<Vec<_>>();
    assert_eq!(codes(Goodbye::ALL), (1..=5).collect::<Vec<_>>());
}

#[test]
fn golden_bytes_of_what_a_lease_signs() {
    let context = hex(b"ringmail-lease/1");
    assert_eq!(hex(&lease().signed_bytes()), format!("{context}{LEASE_HEX}"));
    // RFC 8032: an Ed25519 signature is a function of key and message.
    let signed = sign(lease());
    let golden = concat!(
        "6848fcb31c17c4508a8538a4b80756d816ce695f95dfa37b452b5c0542de172d",
        "eb9f7f19c3ad681981afa692b244391fb09c8fb46a27117debdf27d027e9b908",
    );
    assert_eq!(hex(&signed.signature), golden);
    assert!(path_key().verify_lease(&signed));
    assert_eq!(SignedLease::from_bytes(&signed.to_bytes()), Some(signed));
    assert_eq!(SignedLease::from_bytes(&signed.to_bytes()[1..]), None);
}

fn context() -> KeyContext {
    KeyContext {
        usage: Use::Esp,
        digest: PathDigest([0xd3; 32]),
        profile: Profile::Mpls,
        suite: Suite::Aes256Gcm,
        sender: ElementId(0x0102),
        receiver: ElementId(0x0304),
        worker: WorkerId(0x0506),
        epoch: Epoch(0x0708_090a),
        spi: SaSpi(0x0b0c_0d0e),
    }
}

#[test]
fn golden_bytes_of_the_exporter_context_and_label() {
    let expected = format!("{} 01 02 0102 0304 0506 0708090a 0b0c0d0e", "d3".repeat(32));
    assert_eq!(hex(&context().encode()), expected.replace(' ', ""));
    for (profile, code) in [(Profile::MplsNsh, "02"), (Profile::Nsh, "03")] {
        let context = KeyContext { profile, ..context() };
        assert_eq!(hex(&context.encode()[32..33]), code);
    }
}

#[test]
fn golden_bytes_of_an_offer_and_a_key_of_each_use() {
    let offer = Offer {
        offer: OfferId(0x0a0b_0c0d),
        epoch: Epoch(0x0304_0506),
        digest: PathDigest([0xd2; 32]),
        usage: Use::Esp,
        segment: SegmentIndex(5),
        profile: 2,
        suite: 1,
        worker: WorkerId(0),
        lease: lease().signed([0xee; 64]),
    };
    let golden = [
        (
            Use::Esp,
            "05",
            "esp",
            "8ce740cd7cce06ae1ef653ce57e20dfeb5ae03d5f2466b06a4fd2e93040d417c7e1df053",
        ),
        (Use::Link, "45", "mac", "bdbda23c38914913f170607f62ad11db"),
        (Use::Proof, "85", "proof", "3b7ee271db828d830709633bf377b4ce"),
        (Use::Metadata, "c5", "metadata", "a744f9dba1af570915588bd1f86ab13d7f9a2ed0"),
    ];
    for (usage, byte, label, key) in golden {
        let offer = Message::Offer(Offer { usage, ..offer });
        let front = format!("00a0 02 0a0b0c0d 03040506 {} {byte} 02 01 0000", "d2".repeat(32));
        let front = front.replace(' ', "");
        assert_eq!(hex(&offer.encode())[..front.len()], front);
        assert_eq!(Message::decode(&offer.encode()), Ok(offer));

        assert_eq!(usage.label(), format!("EXPERIMENTAL ringmail-sap/1 {label}").as_bytes());
        let context = KeyContext { usage, ..context() };
        assert_eq!(context.encode(), self::context().encode(), "the use is in the label");
        let agreed = context.key(&Secret([1; 32])).unwrap();
        assert_eq!(agreed.usage(), usage);
        assert_eq!(key_hex(&agreed), format!("\"0x{key}\""), "{usage}");
        match agreed {
            AgreedKey::Esp(key) => assert_eq!(key.suite(), Suite::Aes256Gcm, "the path's"),
            AgreedKey::Metadata(key) => assert_eq!(key.suite(), Suite::Aes128Gcm),
            AgreedKey::Link(_) | AgreedKey::Proof(_) => {}
        }
    }
}

#[test]
fn whatever_differs_gives_another_key() {
    let secret = Secret([1; 32]);
    let c = context();
    let contexts = [
        c,
        KeyContext { digest: PathDigest([0xd4; 32]), ..c },
        KeyContext { sender: c.receiver, receiver: c.sender, ..c },
        KeyContext { worker: WorkerId(0), ..c },
        KeyContext { epoch: Epoch(0), ..c },
        KeyContext { spi: SaSpi(300), ..c },
        KeyContext { suite: Suite::ChaCha20Poly1305, ..c },
        KeyContext { profile: Profile::Nsh, ..c },
    ];
    let keys = contexts.map(|context| key_hex(&context.key(&secret).unwrap()));
    assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), keys.len());
    assert_eq!(key_hex(&c.key(&secret).unwrap()), keys[0]);
    assert_ne!(key_hex(&c.key(&Secret([2; 32])).unwrap()), keys[0]);
    assert_eq!(keys[0].trim_matches('"').len(), 2 + 2 * 36, "key and 4 bytes of salt");
}

#[test]
fn anything_but_one_whole_known_message_is_an_error() {
    let cases: [(&[u8], DecodeError); 12] = [
        (&[], DecodeError::Frame),
        (&[0], DecodeError::Frame),
        (&[0, 0], DecodeError::Frame),
        (&[0, 2, 7], DecodeError::Frame),
        (&[0, 0, 7], DecodeError::Frame),
        (&[0, 1, 0], DecodeError::UnknownType(0)),
        (&[0, 1, 9], DecodeError::UnknownType(9)),
        (&[0, 1, 7], DecodeError::Length { kind: 7, found: 3 }),
        (&[0, 6, 7, 0, 0, 1, 0, 0], DecodeError::Length { kind: 7, found: 8 }),
        (&[0, 2, 8, 0], DecodeError::UnknownValue { field: "reason", value: 0 }),
        (&[0, 2, 8, 6], DecodeError::UnknownValue { field: "reason", value: 6 }),
        (&[0, 6, 4, 0, 0, 0, 0, 12], DecodeError::UnknownValue { field: "reason", value: 12 }),
    ];
    for (bytes, error) in cases {
        assert_eq!(Message::decode(bytes), Err(error), "{bytes:?}");
    }
    let hello =
        Hello { element: ElementId(1), boot: BootId([0; 16]), epoch: Epoch(1), heard: false };
    let mut bytes = Message::Hello(hello).encode();
    bytes[3] = 2;
    let version = DecodeError::UnknownValue { field: "version", value: 2 };
    assert_eq!(Message::decode(&bytes), Err(version));
    (bytes[3], bytes[4]) = (1, 2);
    let flags = DecodeError::UnknownValue { field: "flags", value: 2 };
    assert_eq!(Message::decode(&bytes), Err(flags));
}

fn any_lease() -> impl Strategy<Value = SignedLease> {
    (any::<u16>(), any::<[u8; 32]>(), any::<u64>(), any::<u64>(), any::<[u8; 32]>()).prop_map(
        |(element, digest, not_after_unix_s, serial, half)| {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&half);
            let digest = PathDigest(digest);
            Lease { element: ElementId(element), digest, not_after_unix_s, serial }
                .signed(signature)
        },
    )
}

fn any_message() -> impl Strategy<Value = Message> {
    let hello = (any::<u16>(), any::<[u8; 16]>(), any::<u32>(), any::<bool>()).prop_map(
        |(element, boot, epoch, heard)| {
            let (element, boot, epoch) = (ElementId(element), BootId(boot), Epoch(epoch));
            Message::Hello(Hello { element, boot, epoch, heard })
        },
    );
    let numbers = (any::<u32>(), any::<u32>(), any::<u16>());
    let offer = (numbers, any::<[u8; 32]>(), any::<[u8; 3]>(), any_lease()).prop_map(
        |((offer, epoch, worker), digest, [byte, profile, suite], lease)| {
            Message::Offer(Offer {
                offer: OfferId(offer),
                epoch: Epoch(epoch),
                digest: PathDigest(digest),
                usage: Use::ALL[usize::from(byte >> 6)],
                segment: SegmentIndex(byte & 0x3f),
                profile,
                suite,
                worker: WorkerId(worker),
                lease,
            })
        },
    );
    let installed = (any::<u32>(), any::<u32>(), any_lease()).prop_map(|(offer, spi, lease)| {
        Message::Installed(Installed { offer: OfferId(offer), spi: SaSpi(spi), lease })
    });
    let refused = (any::<u32>(), proptest::sample::select(Refusal::ALL))
        .prop_map(|(offer, reason)| Message::Refused { offer: OfferId(offer), reason });
    let last = (any::<u32>(), any::<u64>())
        .prop_map(|(spi, sequence)| Message::Last { spi: SaSpi(spi), sequence });
    let deleted = any::<u32>().prop_map(|spi| Message::Deleted { spi: SaSpi(spi) });
    let close = proptest::sample::select(Goodbye::ALL).prop_map(Message::Close);
    let lease = any_lease().prop_map(Message::Lease);
    prop_oneof![hello, offer, installed, refused, last, deleted, close, lease]
}

proptest! {
    #[test]
    fn what_is_decoded_is_what_was_encoded(message in any_message()) {
        prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn a_changed_byte_is_an_error_or_another_message(
        message in any_message(),
        at in any::<proptest::sample::Index>(),
        with in 1_u8..,
    ) {
        let mut bytes = message.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= with;
        if let Ok(other) = Message::decode(&bytes) {
            prop_assert_ne!(other, message);
            prop_assert_eq!(other.encode(), bytes);
        }
    }

    #[test]
    fn a_stream_is_cut_where_messages_end(
        messages in prop::collection::vec(any_message(), 0..20),
        pieces in prop::collection::vec(1_usize..200, 1..50),
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(Message::encode).collect();
        let (mut framer, mut found, mut rest) = (Framer::new(), Vec::new(), &stream[..]);
        for piece in pieces.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*piece).min(rest.len()));
            framer.push(now);
            rest = later;
            while let Some(message) = framer.next_message().unwrap() {
                found.push(Message::decode(message).unwrap());
            }
        }
        prop_assert_eq!(found, messages);
    }

    #[test]
    fn no_bytes_make_the_core_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzz_sap(&bytes);
    }
}

#[test]
fn a_length_that_no_message_has_is_refused_before_it_is_read() {
    let mut framer = Framer::new();
    framer.push(&[0xff, 0xff]);
    assert_eq!(framer.next_message(), Err(DecodeError::TooLong(0x1_0001)));
    let mut framer = Framer::new();
    framer.push(&[0, 0, 0, 0]);
    assert_eq!(framer.next_message(), Ok(Some(&[0, 0][..])), "decoding it fails");
}
