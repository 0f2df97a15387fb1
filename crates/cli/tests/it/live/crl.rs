//! The gateway is told to read its revocation lists, and says what is in force.

use std::fs;

use crate::live::programs::{Curl, Nginx};
use crate::live::world::{Papers, World, live};
use crate::run::{code, json, stderr, stdout};

/// Exit code, what is in force at each listener, and what is refused of it.
fn reload(world: &World) -> (i32, Vec<u64>, Vec<String>) {
    let output = world.ringmail(&["crl", "reload", "--output", "json"]);
    let read = json(&output);
    assert_eq!(read["schema"], "ringmail.crl/1");
    let listeners = read["listeners"].as_array().expect("listeners");
    let revoked = listeners.iter().map(|of| of["revoked"].as_u64().expect("a number"));
    let refused = listeners.iter().filter_map(|of| of["refused"].as_str());
    (code(&output), revoked.collect(), refused.map(str::to_owned).collect())
}

#[test]
fn lists_are_read_when_asked_and_refused_ones_leave_those_of_before() {
    live(|privilege| {
        let world = World::new(privilege, "passing.yaml");
        let nginx = Nginx::start(&world, "www", "10.79.0.10:80");
        nginx.put("/page", b"a page");
        let papers = Papers::of(world.authority(), "client");
        let verdict =
            || Curl::with(&world, "client", Some(papers.clone())).get("/page", &[]).verdict;
        assert_eq!(verdict(), "2 200");
        assert_eq!(reload(&world), (0, vec![0, 0], vec![]));

        // What is revoked is in force when the command is done.
        world.authority().revoke("client").expect("it is revoked");
        assert_eq!(reload(&world), (0, vec![1, 1], vec![]));
        assert_eq!(verdict(), "0 000");
        let text = world.ringmail(&["crl", "reload"]);
        let file = world.authority().dir().join("crl.pem");
        let file = file.canonicalize().expect("the authority's list");
        assert!(stdout(&text).contains("  1 certificate revoked\n  /"), "{}", stdout(&text));
        assert!(stdout(&text).contains(&*file.to_string_lossy()), "{}", stdout(&text));

        // What cannot be read is refused by name, and changes nothing.
        let good = fs::read(&file).expect("the list");
        fs::write(&file, "no list").expect("a file");
        let (code_of, revoked, refused) = reload(&world);
        assert_eq!((code_of, revoked), (1, vec![1, 1]));
        assert!(refused.len() == 2 && refused[0].contains("crl.pem"), "{refused:?}");
        let said = world.ringmail(&["crl", "reload"]);
        assert!(stderr(&said).contains("the lists of before stay in force"), "{}", stderr(&said));
        assert!(stdout(&said).contains("refused: "), "{}", stdout(&said));
        assert_eq!(verdict(), "0 000");
        fs::write(&file, good).expect("a file");
        assert_eq!(reload(&world), (0, vec![1, 1], vec![]));
        let reloads = world.counter("gateway", "crl_reloads");
        assert!(reloads >= 6, "each listener has read its list each time: {reloads}");
    });
}
