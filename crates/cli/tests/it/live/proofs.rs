//! Proofs of transit as an operator sees them: counts at the ends of paths, and the last verdicts.

use ringmail_node::topology::Privilege;
use serde_json::Value;

use crate::live::variants::serves;
use crate::live::world::{Setting, World, live};
use crate::run::{code, json, stderr, stdout};

const WWW: &str = "10.79.0.10:80";

fn campus(privilege: Privilege) -> World {
    let setting = Setting::new(privilege, "campus.yaml");
    setting.with("\nlinks:\n", "\nprofile: mpls-nsh\nlinks:\n").up()
}

fn status(world: &World) -> Value {
    let output = world.ringmail(&["status", "--output", "json"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    json(&output)
}

/// What an element counted of proofs: path, verdict, packets.
fn counted(status: &Value, element: &str) -> Vec<(String, String, u64)> {
    let elements = status["elements"].as_array().expect("elements");
    let element = elements.iter().find(|one| one["name"] == element).expect("the element");
    let mut counted = Vec::new();
    for path in element["status"]["paths"].as_array().expect("paths") {
        for proof in path["proofs"].as_array().into_iter().flatten() {
            let text = |of: &Value| of.as_str().expect("a text").to_owned();
            let packets = proof["packets"].as_u64().expect("a count");
            assert_eq!(proof["from"], 0, "nobody else begins packets here");
            counted.push((text(&path["name"]), text(&proof["verdict"]), packets));
        }
    }
    counted
}

#[test]
fn ends_of_paths_count_what_is_proved() {
    live(|privilege| {
        let world = campus(privilege);
        serves(&world, WWW, &["client1", "client2"]);
        let status = status(&world);
        for (end, paths) in
            [("egress", ["plain", "inspected"]), ("gateway", ["plain.return", "inspected.return"])]
        {
            let counted = counted(&status, end);
            let of = |path: &str, verdict: &str| {
                let is = |(p, v, _): &&(String, String, u64)| p == path && v == verdict;
                counted.iter().find(is).map(|(.., packets)| *packets)
            };
            for path in paths {
                assert!(of(path, "proved").is_some_and(|packets| packets > 10), "{counted:?}");
                for failed in ["wrong_tag", "unknown_key", "unknown_origin", "repeated", "too_old"]
                {
                    assert_eq!(of(path, failed), Some(0), "{path}: {counted:?}");
                }
            }
        }
        assert_eq!(counted(&status, "sf1"), []);
        let text = stdout(&world.ringmail(&["status"]));
        let line = text.lines().find(|line| line.contains("proofs of transit: "));
        assert!(line.is_some_and(|line| line.ends_with(" proved")), "{text}");
    });
}
