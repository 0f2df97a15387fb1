//! Flows of clients by WireGuard through a replica that dies: closed or moved, as the domain says.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::peer::{LAPTOP, Peer, setting};
use crate::live::programs::Nginx;
use crate::live::world::{World, eventually, live};

const REPLICAS: [&str; 2] = ["sf2-1", "sf2-2"];

/// Two inspections side by side.
fn world(privilege: ringmail_node::topology::Privilege, connections: &str) -> World {
    let availability = format!("\navailability: {{connections: {connections}}}\nlinks:\n");
    let setting = setting(privilege).with("\nlinks:\n", &availability);
    let world = setting.with("  - name: sf2\n", "  - name: sf2\n    replicas: 2\n").up();
    REPLICAS.into_iter().for_each(|replica| world.await_replica(replica, "up"));
    world
}

/// A slow download, and by which replica it goes.
fn download(world: &World, laptop: &Peer<'_>, to: &str) -> (std::process::Child, usize) {
    let opened = || REPLICAS.map(|replica| world.counter(replica, "opened_packets"));
    let before = opened();
    let mut curl = Command::new("curl");
    let url = ["-sS", "--noproxy", "*", "--max-time", "120", "--limit-rate", "8M", "-o", to];
    curl.args(url).arg("http://10.79.0.10/page").stderr(Stdio::piped());
    let curl = world.inside(laptop.client, || curl.spawn()).expect("curl starts");
    let by = eventually("the download has begun", || {
        let now = opened();
        (0..2).find(|by| now[*by] > before[*by] + 100)
    });
    (curl, by)
}

#[test]
fn a_flow_goes_on_through_the_other_replica_where_that_is_the_rule() {
    live(|privilege| {
        let world = world(privilege, "move");
        let laptop = Peer::start(&world, &LAPTOP);
        let nginx = Nginx::start(&world, "www", "10.79.0.10:80");
        let page: Vec<u8> = (0..24_000_000u32).map(|at| (at % 251) as u8).collect();
        nginx.put("/page", &page);
        let file = world.folder().join("page");
        let (curl, by) = download(&world, &laptop, file.to_str().expect("UTF-8"));
        let held = world.hold(REPLICAS[by]);
        let output = curl.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(std::fs::read(&file).expect("a file") == page);
        assert!(world.counter("gateway", "replica_connections_moved") >= 1);
        drop(held);
        world.await_replica(REPLICAS[by], "up");
    });
}

#[test]
fn a_connection_is_reset_where_that_is_the_rule_and_the_next_goes_elsewhere() {
    live(|privilege| {
        let world = world(privilege, "close");
        let laptop = Peer::start(&world, &LAPTOP);
        let nginx = Nginx::start(&world, "www", "10.79.0.10:80");
        let page: Vec<u8> = (0..24_000_000u32).map(|at| (at % 251) as u8).collect();
        nginx.put("/page", &page);
        let file = world.folder().join("page");
        let (curl, by) = download(&world, &laptop, file.to_str().expect("UTF-8"));
        let held = world.hold(REPLICAS[by]);
        let began = Instant::now();
        let output = curl.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("reset"), "{said}");
        assert!(began.elapsed() < Duration::from_secs(60), "the client is told");
        assert!(world.counter("gateway", "replica_connections_closed") >= 1);
        nginx.put("/small", b"a page");
        for _ in 0..3 {
            let url = ["-sS", "--noproxy", "*", "--max-time", "30", "http://10.79.0.10/small"];
            assert_eq!(laptop.run("curl", &url), "a page");
        }
        drop(held);
        world.await_replica(REPLICAS[by], "up");
    });
}
