//! The tree against the recursive definition of RFC 9162 section 2.1, and against roots that others published.

use proptest::prelude::*;
use ringmail_trust_core::manager::merkle::{
    Kept, consistency, continues, empty, includes, inclusion, leaf, node, root,
};

/// The entries and roots that the certificate-transparency project tests its own trees with.
const ENTRIES: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn tree(entries: u64) -> Kept {
    let mut kept = Kept::default();
    (0..entries).for_each(|n| kept.push(leaf(&n.to_be_bytes())));
    kept
}

/// MTH of section 2.1.1, as it stands there.
fn defined(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [] => empty(),
        [one] => *one,
        many => {
            let split = many.len().next_power_of_two() / 2;
            node(&defined(&many[..split]), &defined(&many[split..]))
        }
    }
}

#[test]
fn roots_are_those_that_others_published() {
    let mut kept = Kept::default();
    assert_eq!(hex(&root(&kept, 0).unwrap()), ROOTS[0]);
    for (entry, published) in ENTRIES.iter().zip(&ROOTS[1..]) {
        kept.push(leaf(&unhex(entry)));
        assert_eq!(hex(&root(&kept, kept.size()).unwrap()), *published);
    }
}

#[test]
fn every_root_is_the_one_of_the_definition_at_any_later_time() {
    let kept = tree(70);
    let leaves: Vec<_> = (0..70_u64).map(|n| leaf(&n.to_be_bytes())).collect();
    for size in 0..=70 {
        assert_eq!(root(&kept, size), Some(defined(&leaves[..size as usize])), "{size}");
    }
    assert_eq!(root(&kept, 71), None);
}

#[test]
fn every_entry_of_every_state_has_a_proof_and_no_other_entry_does() {
    let kept = tree(40);
    for size in 1..=40_u64 {
        let root = root(&kept, size).unwrap();
        for index in 0..size {
            let proof = inclusion(&kept, index, size).unwrap();
            let here = leaf(&index.to_be_bytes());
            assert!(includes(&root, size, index, &here, &proof), "{index} of {size}");
            for other in 0..size {
                let there = leaf(&other.to_be_bytes());
                let passes = includes(&root, size, index, &there, &proof)
                    || includes(&root, size, other, &here, &proof);
                assert_eq!(passes, other == index, "{index} as {other} of {size}");
            }
        }
        assert_eq!(inclusion(&kept, size, size), None);
    }
}

#[test]
fn every_state_continues_every_earlier_one_and_no_other() {
    let (kept, mut forked) = (tree(40), Kept::default());
    (0..40_u64).for_each(|n| forked.push(leaf(&(n + u64::from(n == 3)).to_be_bytes())));
    for new in 1..=40_u64 {
        let new_root = root(&kept, new).unwrap();
        for old in 1..=new {
            let old_root = root(&kept, old).unwrap();
            let proof = consistency(&kept, old, new).unwrap();
            assert!(continues(&old_root, old, &new_root, new, &proof), "{old} to {new}");
            if old > 3 {
                let bent = root(&forked, old).unwrap();
                assert!(!continues(&bent, old, &new_root, new, &proof), "{old} to {new}");
                let bent_proof = consistency(&forked, old, new).unwrap();
                let bent_new = root(&forked, new).unwrap();
                assert!(!continues(&old_root, old, &bent_new, new, &bent_proof));
            }
            if old < new {
                assert!(!continues(&old_root, old + 1, &new_root, new, &proof));
                assert!(!continues(&old_root, old, &old_root, new, &proof));
            }
        }
        assert_eq!(consistency(&kept, new + 1, new), None);
        assert_eq!(consistency(&kept, 1, 41), None);
    }
}

proptest! {
    /// One bit of a proof, root or leaf changed, a hash dropped or added: refused.
    #[test]
    fn a_proof_that_was_touched_is_refused(
        size in 2_u64..200, index in 0_u64..200, which in 0_usize..9, bit in 0_usize..256,
    ) {
        let kept = tree(size);
        let index = index % size;
        let root = root(&kept, size).unwrap();
        let here = leaf(&index.to_be_bytes());
        let proof = inclusion(&kept, index, size).unwrap();
        let flip = |hash: &[u8; 32]| {
            let mut hash = *hash;
            hash[bit / 8] ^= 1 << (bit % 8);
            hash
        };
        prop_assert!(includes(&root, size, index, &here, &proof));
        prop_assert!(!includes(&flip(&root), size, index, &here, &proof));
        prop_assert!(!includes(&root, size, index, &flip(&here), &proof));
        let mut touched = proof.clone();
        let place = which % touched.len();
        touched[place] = flip(&touched[place]);
        prop_assert!(!includes(&root, size, index, &here, &touched));
        prop_assert!(!includes(&root, size, index, &here, &proof[1..]));
        let longer = [&proof[..], &[here]].concat();
        prop_assert!(!includes(&root, size, index, &here, &longer));
    }

    /// Whatever comes as a proof is judged without a panic.
    #[test]
    fn hostile_proofs_are_judged(
        old: u64, new: u64, index: u64, hashes in prop::collection::vec(any::<[u8; 32]>(), 0..70),
    ) {
        let root = [1; 32];
        prop_assert!(!includes(&root, new, index, &[2; 32], &hashes));
        let _ = continues(&root, old, &[3; 32], new, &hashes);
    }
}
