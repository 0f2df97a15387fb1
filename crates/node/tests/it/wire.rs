//! What earlier releases say on the admin socket is still understood (docs/manual/src/versions.md): a file a release, never
//! changed. The replies are those of a running domain.

use std::fs;
use std::path::Path;

use ringmail_node::admin::{AdminReply, AdminRequest};
use serde_json::Value;

#[test]
fn what_earlier_releases_say_is_understood() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    let (mut requests, mut replies) = (0, 0);
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        for line in fs::read_to_string(&path).unwrap().lines() {
            let said: Value = serde_json::from_str(line).unwrap();
            let what = format!("{}: {}", path.display(), &line[..line.len().min(60)]);
            if let Some(request) = said.get("request") {
                let read: AdminRequest = serde_json::from_value(request.clone())
                    .unwrap_or_else(|error| panic!("{what}: {error}"));
                // An older server takes what is asked: nothing is in it that it does not know.
                assert_eq!(serde_json::to_value(read).unwrap(), *request, "{what}");
                requests += 1;
            } else {
                let reply = said["reply"].clone();
                let read: AdminReply =
                    serde_json::from_value(reply).unwrap_or_else(|error| panic!("{what}: {error}"));
                if let AdminReply::Status(status) = read {
                    assert!(status.elements.iter().all(|element| element.status.is_some()));
                }
                replies += 1;
            }
        }
    }
    assert_eq!((requests, replies), (6, 5));
}
