//! Elements and parents that end without warning.

use std::time::Duration;

use ringmail_node::runtime::ProcessId;

use crate::live::programs::{Curl, Nginx};
use crate::live::world::{World, live};

const WWW: &str = "10.79.0.10:80";

#[test]
fn the_domain_says_which_element_was_killed() {
    live(|privilege| {
        let world = World::new(privilege, "campus.yaml");
        let nginx = Nginx::start(&world, "www", WWW);
        nginx.put("/page", b"a page");
        assert_eq!(Curl::new(&world, "client2").get("/page", &[]).verdict, "2 200");
        let sf2 = ProcessId::of(world.pid("sf2")).expect("it runs");
        sf2.kill(Duration::from_secs(5)).expect("it ends");
        let error = anyhow::Error::from(world.await_end().expect_err("it ended by itself"));
        let said = format!("{error:#}");
        assert!(said.contains("sf2") && said.contains("SIGKILL"), "{said}");
    });
}
