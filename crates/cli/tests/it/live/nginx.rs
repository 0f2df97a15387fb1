//! curl, wget and aria2 reach an unmodified nginx through chains; what arrives is what was sent.

use std::io::Write;

use crate::live::programs::{Answer, Curl, Nginx, aria2, wget};
use crate::live::world::{World, eventually, live};

const WWW: &str = "10.79.0.10:80";

/// Bytes that look like nothing.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        // xorshift64 (Marsaglia 2003): any sequence would do.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn both_versions_of_http_through_both_chains() {
    live(|privilege| {
        let world = World::new(privilege, "campus.yaml");
        let nginx = Nginx::start(&world, "www", WWW);
        let content = noise(3_000_017, 1);
        nginx.put("/noise.bin", &content);
        nginx.put("/trailed/page", b"a page with a trailer");
        for client in ["client1", "client2"] {
            let curl = Curl::new(&world, client);
            for (option, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
                let seen = format!("{client} {option}");
                let got = curl.get("/noise.bin", &[option]);
                assert_eq!(
                    (got.exit, got.verdict),
                    (0, format!("{version} 200")),
                    "{seen}: {}",
                    got.said
                );
                assert!(got.body == content, "{seen}: {} bytes arrived", got.body.len());
                let name = format!("/up/{client}{option}");
                let at = nginx.file(&name);
                let from = nginx.file("/noise.bin");
                let put = curl.get(&name, &[option, "--upload-file", &from.to_string_lossy()]);
                assert_eq!(put.verdict, format!("{version} 201"), "{seen}: {}", put.said);
                assert!(std::fs::read(&at).expect("it was stored") == content, "{seen}");
                let trailed = curl.get("/trailed/page", &[option, "--header", "TE: trailers"]);
                assert_eq!(trailed.body, b"a page with a trailer", "{seen}: {}", trailed.said);
                assert!(trailed.head.contains("checked-by: nginx"), "{seen}: {}", trailed.said);
                let missing = curl.get("/nothing", &[option]);
                assert_eq!(missing.verdict, format!("{version} 404"), "{seen}: {}", missing.said);
            }
        }
        // Six answers of each kind went through the inspection as well.
        assert!(world.counter("sf2", "opened_packets") > 1000);
    });
}

#[test]
fn a_body_reaches_the_service_while_the_client_is_still_sending() {
    live(|privilege| {
        let world = World::new(privilege, "campus.yaml");
        let nginx = Nginx::start(&world, "www", WWW);
        let content = noise(600_000, 2);
        let (first, last) = content.split_at(400_000);
        for (option, verdict) in [("--http1.1", "1.1 201"), ("--http2", "2 201")] {
            let curl = Curl::new(&world, "client2");
            let mut sending = curl.spawn("/up/slow", &[option, "--upload-file", "-"]);
            let mut body = sending.stdin.take().expect("it is piped");
            body.write_all(first).expect("curl reads");
            // curl may keep what it has read less than a buffer of, and nginx as well.
            eventually("the first part arrives", || (nginx.taken_in() > 250_000).then_some(()));
            body.write_all(last).expect("curl reads");
            drop(body);
            let done = Answer::of(&sending.wait_with_output().expect("curl ends"));
            assert_eq!(done.verdict, verdict, "{}", done.said);
            assert!(std::fs::read(nginx.file("/up/slow")).expect("it was stored") == content);
            std::fs::remove_file(nginx.file("/up/slow")).expect("it was stored");
        }
    });
}

#[test]
fn sixteen_connections_of_aria2_fetch_one_file() {
    live(|privilege| {
        let world = World::new(privilege, "campus.yaml");
        let nginx = Nginx::start(&world, "www", WWW);
        let content = noise(100_000_000, 3);
        nginx.put("/big.bin", &content);
        let to = world.folder().join("aria2");
        let done = aria2(&world, "client2", "/big.bin", 16, &to);
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
        assert!(std::fs::read(to.join("file")).expect("the file is there") == content, "{said}");
        let connections = world.counter("gateway", "connections_authenticated");
        assert!(connections >= 16, "{connections} connections\n{said}");
        let parts = nginx.log().lines().filter(|line| line.contains("\" 206 ")).count();
        assert!(parts >= 15, "{parts} parts\n{}", nginx.log());
    });
}

#[test]
fn wget_fetches_a_file() {
    live(|privilege| {
        let world = World::new(privilege, "campus.yaml");
        let nginx = Nginx::start(&world, "www", WWW);
        let content = noise(5_000_003, 4);
        nginx.put("/file.bin", &content);
        let to = world.folder().join("file.bin");
        let done = wget(&world, "client2", "/file.bin", &to);
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success() && said.contains("HTTP/1.1 200"), "{said}");
        assert!(std::fs::read(to).expect("the file is there") == content, "{said}");
        assert!(world.counter("sf2", "opened_packets") > 1000);
    });
}
