//! What elements count: whatever one hands to its link arrives at the next, and nothing is dropped.

use crate::live::programs::{Curl, Nginx};
use crate::live::world::{World, eventually, live};

const WWW: &str = "10.79.0.10:80";

#[test]
fn nothing_is_lost_inside() {
    live(|privilege| {
        let world = World::new(privilege, "campus.yaml");
        let nginx = Nginx::start(&world, "www", WWW);
        nginx.put("/page", &[b'x'; 48_000]);
        for client in ["client1", "client2"] {
            let got = Curl::new(&world, client).get("/page", &[]);
            assert_eq!(got.verdict, "2 200", "{}", got.said);
        }
        let elements = world.elements();
        let sum = |name: &str| elements.iter().map(|e| world.counter(e, name)).sum::<u64>();
        // The last acknowledgement may still be on its way. Receivers first: what is under way never counts as lost.
        let sent = eventually("everything arrives", || {
            let (received, sent) = (sum("link_in_packets"), sum("link_out_packets"));
            (received == sent).then_some(sent)
        });
        // Two pages of 48 kB, over two links and three, acknowledgements not counted.
        assert!(sent > 5 * 48_000 / 1500, "{sent} packets");
        for element in &elements {
            assert_eq!(world.status(element).drops, [], "{element}");
        }
        // What the kernel took is what was handed to it, packet for packet; super-packets do not count as one.
        assert_eq!(sum("link_sent_packets"), sent);
        assert_eq!(sum("link_received_packets"), sent);
        assert_eq!(world.counter("sf1", "opened_packets"), 0, "sf1 opens nothing");
        let (opened, sealed) =
            (world.counter("sf2", "opened_packets"), world.counter("sf2", "sealed_packets"));
        assert!(opened > 0 && opened == sealed, "{opened} opened, {sealed} sealed");
    });
}
