//! Proofs of transit as an operator sees them: counts at the ends of paths, and the last verdicts.

use ringmail_node::topology::Privilege;
use serde_json::Value;

use crate::live::programs::{Curl, Nginx};
use crate::live::variants::serves;
use crate::live::world::{Setting, World, eventually, live};
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

/// What `ringmail prove` says, and with which code it ends.
fn prove(world: &World, args: &[&str]) -> (Option<i32>, Value) {
    let output = world.ringmail(&[&["prove", "--output", "json"], args].concat());
    let proofs = json(&output);
    assert_eq!(proofs["schema"], "ringmail.prove/1", "{}", stderr(&output));
    (output.status.code(), proofs)
}

#[test]
fn prove_shows_the_last_verdicts_and_who_began_the_packets() {
    live(|privilege| {
        let world = campus(privilege);
        let nginx = Nginx::start(&world, "www", WWW);
        nginx.put("/page", b"hello");
        let got = Curl::new(&world, "client2").get("/page", &[]);
        assert_eq!(got.verdict, "2 200", "{}", got.said);
        let (exit, proofs) = prove(&world, &["--path", "inspected", "--last", "3"]);
        assert_eq!(exit, Some(0), "{proofs:#}");
        let [path] = &proofs["paths"].as_array().expect("paths")[..] else { panic!("{proofs:#}") };
        assert_eq!((&path["path"], &path["end"]), (&"inspected".into(), &"egress".into()));
        let last = path["last"].as_array().expect("verdicts");
        assert_eq!(last.len(), 3, "{proofs:#}");
        for record in last {
            assert_eq!((&record["verdict"], &record["from"]), (&"proved".into(), &0.into()));
            assert_eq!(
                (&record["origin"], &record["from_element"]),
                (&"gateway".into(), &"gateway".into())
            );
        }
        let sequence = |record: &Value| record["sequence"].as_u64().expect("a number");
        assert!(sequence(&last[0]) < sequence(&last[2]), "{proofs:#}");
        assert!(last[0]["time"].as_str() <= last[2]["time"].as_str(), "{proofs:#}");

        // What a function sends itself is proved from there on, to both ends.
        let got = Curl::new(&world, "client2").get("/contraband", &[]);
        assert_ne!(got.verdict, "2 200", "{}", got.said);
        for (path, hop) in [("inspected", 2), ("inspected.return", 1)] {
            eventually("the reset is proved from sf2 on", || {
                let (exit, proofs) = prove(&world, &["--path", path, "--last", "100"]);
                assert_eq!(exit, Some(0), "{proofs:#}");
                let last = proofs["paths"][0]["last"].as_array().expect("verdicts");
                let made = last.iter().find(|record| record["origin"] == "sf2")?;
                assert_eq!((&made["from"], &made["from_element"]), (&hop.into(), &"sf2".into()));
                Some(())
            });
        }
        let output = world.ringmail(&["prove"]);
        let text = stdout(&output);
        assert!(text.contains("inspected, which ends at egress: "), "{text}");
        assert!(text.contains(" from sf2 on"), "{text}");
        let nowhere = world.ringmail(&["prove", "--path", "nowhere"]);
        assert_eq!(code(&nowhere), 1);
        assert!(stderr(&nowhere).contains("is named `nowhere`"), "{}", stderr(&nowhere));
    });
}
