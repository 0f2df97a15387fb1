//! A standby gateway on one machine: it has all its keys and no address, until somebody gives it that of the listener.
//! With keepalived, on machines of their own: `machines::standby`.

use std::process::Command;

use ringmail_node::layout::Layout;

use crate::live::programs::{Answer, Curl, Nginx};
use crate::live::world::{Setting, World, live};

fn ip(world: &World, namespace: &str, words: &str) {
    let output = world.run(namespace, Command::new("ip").args(words.split(' ')));
    assert!(output.status.success(), "{namespace}: ip {words}: {output:?}");
}

fn packets(world: &World, element: &str, path: &str) -> Option<u64> {
    let paths = world.status(element).paths;
    paths.iter().find(|known| known.name == path).map(|known| known.packets)
}

fn serves(privilege: ringmail_node::topology::Privilege, layout: Layout) {
    let standby = "  standby: {inner: [10.81.0.0/24]}\n  listeners:\n";
    let setting = Setting::new(privilege, "campus.yaml").with("  listeners:\n", standby);
    let world = setting.layout(layout).up();
    let nginx = Nginx::start(&world, "www", "10.79.0.10:80");
    nginx.put("/page", b"a page\n");
    let fetched = |client: &str| {
        let answer: Answer = Curl::new(&world, client).get("/page", &[]);
        assert_eq!((answer.exit, &*answer.verdict), (0, "2 200"), "{}", answer.said);
    };
    fetched("client2");
    assert!(packets(&world, "gateway", "inspected") > Some(0));
    assert_eq!(packets(&world, "gateway", "inspected-standby"), None);
    assert_eq!(packets(&world, "standby", "inspected-standby"), Some(0));
    assert!(world.status("standby").not_ready.is_empty(), "{:#?}", world.status("standby"));

    let before = packets(&world, "gateway", "inspected");
    ip(&world, "gateway", "address del 192.0.2.1/24 dev outer0");
    ip(&world, "standby", "address add 192.0.2.1/24 dev outer0");
    for client in ["client1", "client2"] {
        ip(&world, client, "neighbour flush all");
        fetched(client);
    }
    assert!(packets(&world, "standby", "inspected-standby") > Some(0));
    assert!(packets(&world, "standby", "inspected-standby.return") > Some(0));
    assert!(packets(&world, "sf2", "inspected-standby") > Some(0));
    assert_eq!(packets(&world, "gateway", "inspected"), before);
    // Rules are the same at both.
    let answer: Answer = Curl::new(&world, "client3").get("/page", &[]);
    assert_eq!(answer.verdict, "2 403", "{}", answer.said);
}

#[test]
fn the_standby_serves_with_the_address() {
    live(|privilege| serves(privilege, Layout::Processes));
}

#[test]
fn the_standby_serves_with_the_address_in_one_process() {
    live(|privilege| serves(privilege, Layout::Single));
}
