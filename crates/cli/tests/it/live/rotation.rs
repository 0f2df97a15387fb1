//! A new root takes the place of the old while the domain runs: whoever has a certificate of either is served, until the
//! old one goes; elements and listeners get others without a restart.

use std::path::Path;

use ringmail_trust::Kind;

use crate::live::programs::{Curl, Nginx};
use crate::live::world::{Papers, World, eventually, live};
use crate::run::{code, json, ringmail, stderr};

fn rotate(world: &World, args: &[&str]) -> serde_json::Value {
    let dir = world.authority().dir().to_str().expect("a path in UTF-8").to_owned();
    let args = [&["ca", "--dir", &dir, "rotate"], args, &["--output", "json"]].concat();
    let done = ringmail(&args);
    assert_eq!(code(&done), 0, "{args:?}: {}", stderr(&done));
    json(&done)
}

#[test]
fn a_root_is_replaced_under_a_running_gateway() {
    live(|privilege| {
        let world = World::new(privilege, "passing.yaml");
        let nginx = Nginx::start(&world, "www", "10.79.0.10:80");
        nginx.put("/page", b"a page");
        // The roots that clients know.
        let roots = world.folder().join("roots.pem");
        let verdict = |papers: &Path| {
            let papers = Papers {
                root: roots.clone(),
                cert: papers.join("cert.pem"),
                key: papers.join("key.pem"),
            };
            let roots = roots.to_str().expect("a path in UTF-8");
            Curl::with(&world, "client", Some(papers)).get("/page", &["--cacert", roots]).verdict
        };
        let papers_of = |name: &str| {
            let papers = Papers::of(world.authority(), "client");
            let own = world.folder().join(name);
            std::fs::create_dir(&own).expect("a folder");
            for (file, as_name) in [(papers.cert, "cert.pem"), (papers.key, "key.pem")] {
                std::fs::copy(file, own.join(as_name)).expect("a copy");
            }
            own
        };
        let old = papers_of("old");
        let begun = rotate(&world, &["begin"]);
        assert_eq!(
            (&begun["stage"], begun["roots"][0]["number"].as_u64()),
            (&"announced".into(), Some(1))
        );
        std::fs::copy(world.authority().dir().join("root.pem"), &roots).expect("a copy");
        let switched = rotate(&world, &["switch", "--early"]);
        assert_eq!(switched["roots"][0]["number"], 2);
        assert!(!switched["waits_for"].as_array().expect("a list").is_empty());
        let new = papers_of("new");
        // The gateway looks at the file twice a second.
        eventually("the new root is believed", || (verdict(&new) == "2 200").then_some(()));
        assert_eq!(verdict(&old), "2 200");
        // Elements and the listener are told others in time. One that begins anew is believed by its neighbours.
        let serials = |rotation: &serde_json::Value| {
            let held = rotation["waits_for"].as_array().expect("a list").iter();
            held.map(|certificate| certificate["serial"].clone()).collect::<Vec<_>>()
        };
        let before = serials(&switched);
        eventually("elements and listener have others", || {
            let all = world.authority().list().expect("the certificates");
            let new = all.iter().filter(|(serial, _)| !before.contains(&serial.to_string().into()));
            let kinds = |kind| new.clone().filter(|(_, record)| record.kind == kind).count();
            // The gateway, two hops and the egress; two listeners.
            (kinds(Kind::Element) >= 4 && kinds(Kind::Server) >= 2).then_some(())
        });
        world.kill("sf2");
        eventually("it is started again", || (world.restarts("sf2") == 1).then_some(()));
        world.await_ready("sf2");
        assert_eq!(verdict(&new), "2 200");
        let done = rotate(&world, &["finish", "--early"]);
        assert_eq!(
            (&done["stage"], done["roots"].as_array().map(Vec::len)),
            (&"none".into(), Some(1))
        );
        eventually("the old root is not believed", || (verdict(&old) == "0 000").then_some(()));
        assert_eq!(verdict(&new), "2 200");
        std::fs::copy(world.authority().dir().join("root.pem"), &roots).expect("a copy");
        assert_eq!(verdict(&new), "2 200", "the listener shows what the new root signed");
    });
}
