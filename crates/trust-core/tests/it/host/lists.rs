//! Both forms of the measurement list, each template, byte for byte.

use ringmail_trust_core::host::encoding::Base64;
use ringmail_trust_core::host::ima::{Entry, EntryError, Event, Replay, entries, entry_lengths};
use ringmail_trust_core::host::tpm::Hash;
use ringmail_trust_core::host::{Check, ImaEntries};

use super::world::{World, failed};

/// As kernels wrote them (the kernel's IMA-templates.rst and dm-ima.rst, and logs of releases 5.4 to 5.15): their hashes prove
/// what was hashed.
pub(super) const OF_KERNELS: [&str; 7] = [
    "10 7971593a7ad22a7cce5b234e4bc5d71b04696af4 ima b5a166c10d153b7cc3e5b4f1eab1f71672b7c524 boot_aggregate",
    "10 2c7020ad8cab6b7419e4973171cb704bdbf52f77 ima e09e048c48301268ff38645f4c006137e42951d0 /init",
    "10 1d8d532d463c9f8c205d0df7787669a85f93e260 ima-ng sha1:0000000000000000000000000000000000000000 boot_aggregate",
    "10 0c8a706a75a5689c1e168f0a573a3cbec33061b5 ima-sig sha256:e4cb9f5709c88376b5fc3743cd88e76b9aae8f3d992d845678de5215edb31216 boot_aggregate ",
    "10 5426cf3031a43f5bfca183d79950698a95a728f6 ima-sig sha256:f1125b940480d20ad841d26d5ea253edc0704b5ec1548c891edf212cb1a9365e /lib/modules/5.4.48-openpower1/kernel/drivers/usb/common/usb-common.ko ",
    "10 06e804489a77ddab51b9ef27e17053c0e5d503bd ima-sig sha1:1cb84b12db45d7da8de58ba6744187db84082f0e /usr/bin/zmore 030202531f402500483046022100bff9c02dc7b270c83cc94bfec10eecd42831de2cdcb04f024369a14623bc3a91022100cc4d015ae932fb98d6846645ed7d1bb1afd4621ec9089bc087126f191886dd31",
    "10 b7862dbbf1383ac6c7cca7f02d981a081aacb1f1 ima-buf sha1:6e0e6fc8a188ef4f059638949adca4d221946906 device_resume 6e616d653d544553543b757569643d43525950542d5645524954592d39656633326535623635623034343234613561386562343436636630653731332d544553543b63617061636974793d303b6d616a6f723d3235333b6d696e6f723d303b6d696e6f725f636f756e743d313b6e756d5f746172676574733d313b6163746976655f7461626c655f686173683d346565383065333365353635643336333430356634303238393436653837623365396563306335383661666639656630656436663561653762656237326431333b",
];

/// The binary form of a line, as `ima_measurements_show` of the kernel writes it.
pub(super) fn binary(line: &str) -> Vec<u8> {
    let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).expect("hexadecimal");
    let number = |length: usize| (length as u32).to_le_bytes().to_vec();
    let field = |bytes: &[u8]| [number(bytes.len()), bytes.to_vec()].concat();
    let columns: Vec<&str> = line.split(' ').collect();
    let [pcr, hash, template, digest, name, third @ ..] = &columns[..] else { panic!("{line}") };
    let pcr: u32 = pcr.parse().expect("a register");
    let head = [pcr.to_le_bytes().to_vec(), hex(hash), field(template.as_bytes())].concat();
    if *template == "ima" {
        return [head, hex(digest), field(name.as_bytes())].concat();
    }
    let (label, digest) = digest.rsplit_once(':').expect("an algorithm");
    let digest = [label.as_bytes(), b":\0", &hex(digest)].concat();
    let name = [name.as_bytes(), b"\0"].concat();
    let third = third.first().map(|third| field(&hex(third))).unwrap_or_default();
    let data = [field(&digest), field(&name), third].concat();
    [head, field(&data)].concat()
}

fn read(list: &ImaEntries) -> Vec<Result<Entry<'_>, EntryError>> {
    entries(list, Hash::Sha1).collect()
}

#[test]
fn entries_hash_to_what_kernels_said_in_both_forms() {
    let text = ImaEntries::Text(OF_KERNELS.join("\n") + "\n");
    let bytes = ImaEntries::Binary(Base64(OF_KERNELS.map(binary).concat()));
    let (text, bytes) = (read(&text), read(&bytes));
    assert_eq!((text.len(), bytes.len()), (OF_KERNELS.len(), OF_KERNELS.len()));
    for (number, (text, bytes)) in text.iter().zip(&bytes).enumerate() {
        let (text, bytes) = (text.as_ref().expect("an entry"), bytes.as_ref().expect("an entry"));
        assert_eq!(text.template_digest(Hash::Sha1), text.template_hash, "{number}");
        assert_eq!(text, bytes, "{number}");
    }
    let Event::File { path, signature, .. } = &text[5].as_ref().expect("an entry").event else {
        panic!("a file");
    };
    assert_eq!(path.as_ref(), b"/usr/bin/zmore");
    assert_eq!(signature.as_ref().map(|signature| signature.len()), Some(81));
    let Event::Buffer { name, data, .. } = &text[6].as_ref().expect("an entry").event else {
        panic!("a buffer");
    };
    assert_eq!(name.as_ref(), b"device_resume");
    assert!(data.starts_with(b"name=TEST;"));
}

#[test]
fn digests_of_the_second_version_say_what_they_are_of() {
    let digest = "8c2eff0b45fc9815b94350f7a913683ef34085c734229bcf1345c31b07ac61b8";
    let mut world = World::new();
    world.host.measure("ima-ngv2", &format!("ima:sha256:{digest} /usr/bin/a"));
    world.host.measure("ima-ngv2", &format!("verity:sha256:{digest} /usr/bin/b"));
    world.host.measure("ima-sigv2", &format!("ima:sha256:{digest} /usr/bin/c "));
    let lines = &world.host.lines[6..];
    // A digest's label is a part of what is hashed: the four templates' entries differ in nothing else.
    let list = ImaEntries::Text(lines.join("\n"));
    let hashes: Vec<String> = read(&list)
        .iter()
        .map(|entry| entry.as_ref().expect("an entry").template_hash.to_string())
        .collect();
    assert_eq!(hashes.len(), 3);
    let bytes = ImaEntries::Binary(Base64(
        lines.iter().map(|line| binary(line)).collect::<Vec<_>>().concat(),
    ));
    assert_eq!(read(&list), read(&bytes));
    let field = b"\x2c\0\0\0ima:sha256:\0".to_vec();
    let digest = data_encoding::HEXLOWER.decode(digest.as_bytes()).expect("a digest");
    let data = [field, digest, b"\x0b\0\0\0/usr/bin/a\0".to_vec()].concat();
    assert_eq!(hashes[0], Hash::Sha1.digest(&[&data]).to_string());
    let other = ImaEntries::Text(lines[0].replace("ima:sha256", "other:sha256"));
    assert!(matches!(read(&other)[..], [Err(EntryError::Fields(_))]));
}

#[test]
fn a_host_that_sends_binary_lists_is_appraised_the_same() {
    let mut world = World::new();
    world.host.measure_violation("/usr/bin/bash");
    let mut evidence = world.ask();
    let list = world.host.lines.iter().map(|line| binary(line)).collect::<Vec<_>>().concat();
    evidence.ima.entries = ImaEntries::Binary(Base64(list.clone()));
    let verdict = world.appraise(&evidence).verdict;
    assert_eq!(failed(&verdict), [Check::ImaViolation]);
    assert_eq!(verdict.failed[0].entry, Some(6));
    evidence.ima.entries = ImaEntries::Binary(Base64(list[..list.len() - 1].to_vec()));
    let cut = world.appraise(&evidence).verdict;
    assert_eq!(failed(&cut), [Check::ImaForm, Check::ImaReplay]);
}

/// The kernel extends ones where the list has zeros, in each bank.
#[test]
fn a_violation_extends_ones() {
    let line = format!("10 {} ima-ng sha256:{} /x", Hash::Sha1.zeros(), Hash::Sha256.zeros());
    let list = ImaEntries::Text(line);
    let entry = read(&list).remove(0).expect("an entry");
    let mut replay = Replay::of_boot([Hash::Sha1, Hash::Sha256], Hash::Sha1);
    replay.extend(&entry);
    for (bank, value) in replay.values() {
        assert_eq!(*value, bank.digest(&[bank.zeros().as_bytes(), bank.ones().as_bytes()]));
    }
}

#[test]
fn what_is_no_entry_is_said_to_be_none() {
    let ng = OF_KERNELS[2];
    for (what, line) in [
        ("a register", ng.replacen("10", "ten", 1)),
        ("a template hash", ng.replacen("1d8d", "1g8d", 1)),
        ("a template", ng.replace("ima-ng", "ima-new")),
        ("a digest", ng.replace("sha1:00", "sha1:0")),
        ("a name", ng.replace(" boot_aggregate", "")),
        ("a third field", OF_KERNELS[3].trim_end().to_owned()),
        ("a signature", OF_KERNELS[5].replace("0302", "03 2")),
        (
            "a short name",
            format!("10 {} ima {} {}", "00".repeat(20), "00".repeat(20), "x".repeat(256)),
        ),
        (
            "a digest's length",
            format!("10 {} ima-ng sha256:{} /x", "00".repeat(20), "00".repeat(65)),
        ),
    ] {
        let list = ImaEntries::Text(line.clone());
        assert!(read(&list)[0].is_err(), "{what}: {line}");
    }
    let whole = binary(ng);
    for length in 1..whole.len() {
        let list = ImaEntries::Binary(Base64(whole[..length].to_vec()));
        assert_eq!(read(&list), [Err(EntryError::Short)], "{length} bytes");
    }
    // A length that nothing could hold.
    let mut huge = whole.clone();
    huge[34..38].copy_from_slice(&u32::MAX.to_le_bytes());
    let list = ImaEntries::Binary(Base64(huge));
    assert!(matches!(read(&list)[..], [Err(EntryError::Long { .. })]));
}

#[test]
fn whole_entries_are_told_from_a_rest() {
    let text = OF_KERNELS.join("\n") + "\n10 08";
    let lengths: Vec<usize> = entry_lengths(text.as_bytes(), None).collect();
    assert_eq!(lengths, OF_KERNELS.map(|line| line.len() + 1));
    let mut bytes = OF_KERNELS.map(binary).concat();
    bytes.extend([10, 0, 0]);
    let lengths: Vec<usize> = entry_lengths(&bytes, Some(Hash::Sha1)).collect();
    assert_eq!(lengths, OF_KERNELS.map(|line| binary(line).len()));
}
