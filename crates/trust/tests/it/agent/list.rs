//! Reading a list on from where the verifier stopped.

use std::fs;

use ringmail_trust::agent::{ImaFile, ImaForm};
use ringmail_trust_core::host::tpm::{Hash, Writer};
use ringmail_trust_core::host::{ImaEntries, ImaList};

use crate::harness::Place;

fn text(list: ImaList) -> (u64, String) {
    match list.entries {
        ImaEntries::Text(text) => (list.first_entry, text),
        ImaEntries::Binary(_) => panic!("a list of text"),
    }
}

#[test]
fn a_list_is_read_on_back_and_over() {
    let place = Place::new();
    let path = place.path().join("list");
    fs::write(&path, "zero\none\ntwo\n").expect("a list");
    let mut file = ImaFile::new(&path, ImaForm::Text);
    let read = |file: &mut ImaFile, first| text(file.read_from(first).expect("a list"));
    assert_eq!(read(&mut file, 0), (0, "zero\none\ntwo\n".to_owned()));
    assert_eq!(read(&mut file, 3), (3, String::new()));
    fs::write(&path, "zero\none\ntwo\nthree\nfo").expect("a list");
    assert_eq!(read(&mut file, 2), (2, "two\nthree\n".to_owned()));
    fs::write(&path, "zero\none\ntwo\nthree\nfour\n").expect("a list");
    assert_eq!(read(&mut file, 4), (4, "four\n".to_owned()));
    assert_eq!(read(&mut file, 1), (1, "one\ntwo\nthree\nfour\n".to_owned()));
    assert_eq!(read(&mut ImaFile::new(&path, ImaForm::Text), 4), (4, "four\n".to_owned()));
    let short = read(&mut ImaFile::new(&path, ImaForm::Text), 9);
    assert_eq!(short, (0, "zero\none\ntwo\nthree\nfour\n".to_owned()), "another boot's");
    assert!(ImaFile::new("/nowhere", ImaForm::Text).read_from(0).is_err());
}

#[test]
fn a_binary_list_is_read_by_whole_records() {
    let record = |name: &str| {
        let field = |bytes: &[u8]| [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat();
        let digest = [b"sha256:\0".as_slice(), &[7; 32]].concat();
        let name = [name.as_bytes(), b"\0"].concat();
        let data = [field(&digest), field(&name)].concat();
        let head = Writer::new().raw(&10u32.to_le_bytes()).raw(&[1; 20]).into_bytes();
        [head, field(b"ima-ng"), field(&data)].concat()
    };
    let place = Place::new();
    let path = place.path().join("list");
    let whole = [record("/a"), record("/bb"), record("/ccc")].concat();
    fs::write(&path, [&whole[..], &record("/dddd")[..30]].concat()).expect("a list");
    let mut file = ImaFile::new(&path, ImaForm::Binary(Hash::Sha1));
    let bytes = |list: ImaList| match list.entries {
        ImaEntries::Binary(bytes) => bytes.0,
        ImaEntries::Text(_) => panic!("a binary list"),
    };
    assert_eq!(bytes(file.read_from(0).expect("a list")), whole);
    assert_eq!(bytes(file.read_from(2).expect("a list")), record("/ccc"));
    let fresh = ImaFile::new(&path, ImaForm::Binary(Hash::Sha1)).read_from(1).expect("a list");
    assert_eq!(bytes(fresh), [record("/bb"), record("/ccc")].concat());
}
