//! The bytes that a proof is bound to: what every enclave and agent has to hash in the same way.

use ringmail_trust_core::function::{Binding, Bytes, EvidenceKind, Program};

fn binding<'a>(kind: EvidenceKind, program: Option<&'a Program>) -> Binding<'a> {
    Binding {
        kind,
        nonce: b"nonce of sixteen",
        public_key: b"key",
        spiffe_id: "spiffe://campus.example/element/dpi1",
        host_ak: b"host",
        program,
    }
}

/// `docs/evidence.md` gives this example; Python's hashlib agrees with the digest.
#[test]
fn the_bytes_are_these() {
    let bytes = binding(EvidenceKind::Sgx, None);
    let mut expected = b"ringmail function binding/1".to_vec();
    for field in [
        &b"sgx"[..],
        b"nonce of sixteen",
        b"key",
        b"spiffe://campus.example/element/dpi1",
        b"host",
        b"",
        b"",
    ] {
        expected.extend([0, 0, 0, field.len() as u8]);
        expected.extend(field);
    }
    assert_eq!(bytes.encode(), expected);
    let hex: String = bytes.digest().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "bb7664a01e44e4e9676a35278b792e79ad1bbe6ed90b8267378b244a2972de9a");
    assert_eq!(bytes.report_data()[..32], bytes.digest());
    assert_eq!(bytes.report_data()[32..], [0; 32]);

    let program = Program { path: "/usr/bin/dpi".to_owned(), sha256: Bytes(vec![7; 32]) };
    let hex: String = binding(EvidenceKind::Tpm, Some(&program))
        .digest()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(hex, "ea1c9d63e296fff1a4283c07d4e4455dfe6ecb42c9f4aed6ff76e9bf381af126");
}

/// No two bindings have the same bytes: lengths stand before what they measure.
#[test]
fn bytes_that_move_between_fields_are_another_binding() {
    let one = Binding { nonce: b"ab", public_key: b"c", ..binding(EvidenceKind::Sgx, None) };
    let other = Binding { nonce: b"a", public_key: b"bc", ..one };
    assert_ne!(one.digest(), other.digest());
    let kinds = [EvidenceKind::Sgx, EvidenceKind::Tdx, EvidenceKind::Snp, EvidenceKind::Software];
    for kind in kinds {
        let digest = binding(kind, None).digest();
        assert_eq!(kinds.iter().filter(|k| binding(**k, None).digest() == digest).count(), 1);
    }
}
