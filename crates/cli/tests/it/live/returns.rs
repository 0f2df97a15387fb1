//! Replies take the path of their own.

use crate::live::programs::{Curl, Nginx};
use crate::live::world::{World, live};

const WWW: &str = "10.79.0.10:80";

#[test]
fn replies_pass_the_return_path_and_nothing_else() {
    live(|privilege| {
        let world = World::new(privilege, "returns.yaml");
        let nginx = Nginx::start(&world, "www", WWW);
        let content = vec![b'x'; 1_000_000];
        nginx.put("/page", &content);
        let got = Curl::new(&world, "client1").get("/page", &[]);
        assert_eq!(got.verdict, "2 200", "{}", got.said);
        assert!(got.body == content);
        let bytes = |element: &str| world.counter(element, "sealed_bytes");
        let (there, back) = (bytes("there"), bytes("back"));
        // The page went back; there went acknowledgements and one request.
        assert!(back > 1_000_000, "{back} bytes by `back`");
        assert!(there > 0 && there < 300_000, "{there} bytes by `there`");
        for (element, path, direction) in [("there", "out", "forward"), ("back", "home", "return")]
        {
            let paths = world.status(element).paths;
            let found: Vec<_> =
                paths.iter().map(|p| (p.name.as_str(), p.direction.as_str())).collect();
            assert_eq!(found, [(path, direction)], "{element}");
            assert!(paths[0].packets > 0, "{element}");
        }
    });
}
