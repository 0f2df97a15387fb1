//! What earlier releases say is still understood (docs/manual/src/versions.md): a file a release, never changed.

use ringmail_model::pathset::PathSet;
use ringmail_model::pdp::Message;

use crate::golden::{crate_path, read};

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("ASCII"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hex digits")).collect()
}

#[test]
fn what_earlier_releases_say_is_understood_and_said_the_same() {
    let mut kinds = std::collections::BTreeSet::new();
    for file in std::fs::read_dir(crate_path("tests/wire")).expect("the releases") {
        let path = file.expect("an entry").path();
        for line in read(&path).lines().filter(|line| !line.starts_with('#')) {
            let [protocol, name, hex] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{}: {line}", path.display());
            };
            let (bytes, what) = (unhex(hex), format!("{}: {protocol} {name}", path.display()));
            let again = match protocol {
                "pdp" => {
                    let message = Message::decode(&bytes).unwrap_or_else(|e| panic!("{what}: {e}"));
                    assert!(format!("{message:?}").starts_with(name), "{what}: {message:?}");
                    message.encode()[4..].to_vec()
                }
                "pathset" => {
                    PathSet::decode(&bytes).unwrap_or_else(|e| panic!("{what}: {e}")).encode()
                }
                _ => panic!("{what}: no such protocol"),
            };
            assert_eq!(again, bytes, "{what}");
            kinds.insert(format!("{protocol} {name}"));
        }
    }
    // 20 messages of the path distribution protocol, and path sets.
    assert_eq!(kinds.len(), 21, "{kinds:?}");
}
