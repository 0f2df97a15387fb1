//! What earlier releases say is still understood (docs/manual/src/versions.md): a file a release, never changed.

use std::fs;
use std::path::Path;

use ringmail_dataplane::sap::Message;

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("ASCII"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hex digits")).collect()
}

#[test]
fn what_earlier_releases_say_is_understood_and_said_the_same() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    let mut names = std::collections::BTreeSet::new();
    for file in fs::read_dir(folder).expect("the releases") {
        let path = file.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("a file");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let ["sap", name, hex] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{}: {line}", path.display());
            };
            let (bytes, what) = (unhex(hex), format!("{}: {name}", path.display()));
            let message = Message::decode(&bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!((message.name(), message.encode().to_vec()), (name, bytes), "{what}");
            names.insert(name.to_owned());
        }
    }
    assert_eq!(names.len(), 8, "{names:?}");
}
