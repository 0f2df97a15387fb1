//! What `ringmail domain show` prints.

use ringmail_model::{PathSet, show};

use crate::examples::{ISSUE, campus};
use crate::golden;

#[test]
fn the_campus_is_shown() {
    let domain = campus();
    let set = PathSet::compile(&domain, ISSUE).expect("a path set");
    let text = show::text(&domain, &set);
    let json = serde_json::to_string_pretty(&show::shown(&domain, &set)).expect("JSON") + "\n";
    for (name, actual) in [("campus.show.txt", text), ("campus.show.json", json)] {
        let path = golden::crate_path("tests/golden").join(name);
        if let Err(difference) = golden::compare(&path, &actual) {
            panic!("{difference}");
        }
    }
}
