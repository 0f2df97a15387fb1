//! What elements sign of packets, as an auditor finds it: files, checked by the program with nothing but the root.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use ringmail_model::summary::{Node, Summary, SummaryFile};
use ringmail_node::summary::{seal_statement, seal_summary};
use ringmail_node::topology::Privilege;
use ringmail_trust::{Authority, ElementKey, Identity};
use serde_json::Value;

use crate::live::programs::{Curl, Nginx};
use crate::live::variants::serves;
use crate::live::world::{Setting, World, eventually, live};
use crate::run::{code, json, ringmail, stderr, stdout};

const WWW: &str = "10.79.0.10:80";

/// A domain that writes a summary every second.
fn campus(privilege: Privilege) -> World {
    let setting = Setting::new(privilege, "campus.yaml");
    let proofs = "\nproofs: { summary_every_s: 1, directory: proofs }\nlinks:\n";
    setting.with("\nlinks:\n", proofs).up()
}

/// The summaries that there are.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files
}

/// What the program says of summaries, and with which code it ends.
fn checked(world: &World, places: &[&Path]) -> (Option<i32>, Value) {
    let roots = world.authority().roots_file();
    let mut args = vec!["prove", "--summary", "--output", "json", "--roots"];
    args.push(roots.to_str().expect("text"));
    args.extend(places.iter().map(|place| place.to_str().expect("text")));
    let output = ringmail(&args);
    assert!(stdout(&output).contains("ringmail.prove-summary/1"), "{}", stderr(&output));
    (output.status.code(), json(&output))
}

fn path<'a>(checked: &'a Value, name: &str) -> &'a Value {
    let paths = checked["paths"].as_array().expect("paths");
    paths.iter().find(|path| path["path"] == name).unwrap_or(&Value::Null)
}

/// Waits until everything that was sent is in summaries, and everybody says the same.
fn settled(world: &World, names: &[&str]) -> Value {
    let folder = world.folder().join("proofs");
    eventually("summaries say that all is proved", || {
        if files(&folder).is_empty() {
            return None;
        }
        let (exit, checked) = checked(world, &[&folder]);
        assert_eq!(exit, Some(0), "{checked:#}");
        let all = names.iter().all(|name| {
            let path = path(&checked, name);
            path["claimed"].as_u64() > Some(20) && path["claimed"] == path["proved"]
        });
        all.then_some(checked)
    })
}

/// Who has an element's keys, or control's.
fn identity(world: &World, element: &str) -> Identity {
    let authority = world.authority();
    let key = ElementKey::generate().expect("a key");
    let name = element.parse().expect("a name");
    let request = key.signing_request(authority.trust_domain(), &name).expect("a request");
    let certificates = match element {
        "control" => authority.sign_control(&request),
        _ => authority.sign_element(&name, &request),
    };
    key.into_identity(certificates.expect("certificates"))
}

/// A folder with these files as `change` makes them, signed by control, each naming the one before.
fn forged(world: &World, name: &str, change: impl Fn(&mut Summary)) -> PathBuf {
    let folder = world.folder().join(name);
    fs::create_dir_all(&folder).expect("a folder");
    let control = identity(world, "control");
    let mut previous = None;
    for path in files(&world.folder().join("proofs")) {
        let bytes = fs::read(&path).expect("a file");
        let mut summary = SummaryFile::from_bytes(&bytes).expect("a summary").0.summary;
        summary.previous = previous.unwrap_or(summary.previous);
        change(&mut summary);
        let forged = seal_summary(summary, &control).expect("a signature").to_bytes();
        previous = Some(SummaryFile::from_bytes(&forged).expect("a summary").1);
        fs::write(folder.join(path.file_name().expect("a name")), forged).expect("a file");
    }
    folder
}

fn problems(checked: &Value) -> String {
    let of_files = checked["files"].as_array().expect("files").iter();
    let all = of_files.map(|file| &file["problems"]).chain([&checked["problems"]]);
    all.map(ToString::to_string).collect()
}

#[test]
fn what_was_proved_is_what_every_element_says() {
    live(|privilege| {
        let world = campus(privilege);
        serves(&world, WWW, &["client1", "client2"]);
        let names = ["plain", "plain.return", "inspected", "inspected.return"];
        let checked = settled(&world, &names);
        for name in names {
            let path = path(&checked, name);
            assert_eq!((&path["verdict"], &path["failed"]), (&"proved".into(), &0.into()));
            for element in path["elements"].as_array().expect("elements") {
                assert_eq!(element["agrees"], path["claimed"], "{path:#}");
            }
        }
        let hops = |name| path(&checked, name)["elements"].as_array().expect("elements").len();
        assert_eq!((hops("plain"), hops("inspected")), (2, 3));
        let folder = world.folder().join("proofs");
        let roots = world.authority().roots_file();
        let [folder, roots] = [&folder, &roots].map(|path| path.to_str().expect("text"));
        let output = ringmail(&["prove", "--summary", "--roots", roots, "--path", "plain", folder]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let text = stdout(&output);
        assert!(text.contains("plain, which ends at egress: proved"), "{text}");
        assert!(!text.contains("inspected"), "{text}");
    });
}

#[test]
fn a_bit_changed_a_file_missing_and_another_root_are_noticed() {
    live(|privilege| {
        let world = campus(privilege);
        serves(&world, WWW, &["client1"]);
        settled(&world, &["plain"]);
        let folder = world.folder().join("proofs");
        eventually("there are four summaries", || (files(&folder).len() >= 4).then_some(()));
        let copies = world.folder().join("copies");
        fs::create_dir_all(&copies).expect("a folder");
        let all: Vec<PathBuf> = files(&folder)
            .into_iter()
            .map(|path| {
                let copy = copies.join(path.file_name().expect("a name"));
                fs::copy(&path, &copy).expect("a copy");
                copy
            })
            .collect();
        let (exit, found) = checked(&world, &[&copies]);
        assert_eq!(exit, Some(0), "{found:#}");

        // Of one root of a hop, anywhere.
        let spoilt = all.iter().find(|path| {
            let text = fs::read_to_string(path).expect("a file");
            text.contains("\"element\":\"sf1\"") && text.contains("\"roots\":[\"")
        });
        let spoilt = spoilt.expect("a summary with roots");
        let whole = fs::read(spoilt).expect("a file");
        let text = String::from_utf8(whole.clone()).expect("text");
        let statement = text.find("\"element\":\"sf1\"").expect("a statement of sf1");
        let at = statement + text[statement..].find("\"roots\":[\"").expect("roots") + 12;
        let mut bytes = whole.clone();
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        fs::write(spoilt, &bytes).expect("a file");
        let (exit, found) = checked(&world, &[&copies]);
        assert_eq!(exit, Some(3), "{found:#}");
        let said = problems(&found);
        assert!(said.contains("of sf1: the signature does not fit"), "{said}");
        assert!(said.contains("as a whole: the signature does not fit"), "{said}");

        // A bit of each kind of place: the file is none any more, or a signature does not fit.
        for at in (0..whole.len()).step_by(whole.len() / 12) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(spoilt, &bytes).expect("a file");
            let (exit, found) = checked(&world, &[spoilt]);
            assert_eq!(exit, Some(3), "byte {at}: {found:#}");
        }

        fs::remove_file(spoilt).expect("it is there");
        let rest: Vec<&Path> =
            all.iter().filter(|path| *path != spoilt).map(PathBuf::as_path).collect();
        let (exit, found) = checked(&world, &rest);
        let middle = all.first() != Some(spoilt) && all.last() != Some(spoilt);
        assert!(!middle || exit == Some(3), "{found:#}");
        assert!(!middle || problems(&found).contains("is missing"), "{found:#}");
        fs::write(spoilt, &whole).expect("a file");

        let other = ringmail_trust::EmbeddedCa::init(
            &world.folder().join("other"),
            world.authority().trust_domain(),
        );
        let roots = other.expect("an authority").roots_file();
        let output = ringmail(&[
            "prove",
            "--summary",
            "--roots",
            roots.to_str().expect("text"),
            copies.to_str().expect("text"),
        ]);
        assert_eq!(output.status.code(), Some(3));
        assert!(stdout(&output).contains("the certificates do not hold"), "{}", stdout(&output));
    });
}

#[test]
fn a_hop_whose_word_is_withheld_and_an_end_that_claims_more_are_noticed() {
    live(|privilege| {
        let world = campus(privilege);
        let nginx = Nginx::start(&world, "www", WWW);
        nginx.put("/page", &vec![b'x'; 6_000_000]);
        let got = Curl::new(&world, "client2").get("/page", &[]);
        assert_eq!(got.verdict, "2 200", "{}", got.said);
        settled(&world, &["inspected", "inspected.return"]);

        // Whoever writes the files leaves a hop out.
        let withheld = forged(&world, "withheld", |summary| {
            summary.statements.retain(|signed| signed.statement.element != "sf1");
        });
        let (exit, found) = checked(&world, &[&withheld]);
        assert_eq!(exit, Some(3), "{found:#}");
        let inspected = path(&found, "inspected");
        assert_eq!(inspected["verdict"], "silent", "{found:#}");
        assert_eq!(
            (&inspected["elements"][1]["silent"], &inspected["proved"]),
            (&true.into(), &0.into())
        );

        // Whoever has the keys of where the path ends says that it got more: 3 packets that nobody sent, and others than
        // those that passed.
        let gateway = identity(&world, "gateway");
        for (name, change) in [("more", false), ("others", true)] {
            let last = RefCell::new(None);
            let claimed = forged(&world, name, |summary| {
                for signed in &mut summary.statements {
                    let mut statement = signed.statement.clone();
                    if statement.element != "gateway" {
                        continue;
                    }
                    let trails = statement.trails.iter_mut();
                    for trail in trails.filter(|trail| trail.path == "inspected.return") {
                        for node in &mut trail.nodes {
                            claim(node, change);
                        }
                    }
                    // Its statements name one another as honest ones do.
                    statement.previous = last.take().unwrap_or(statement.previous);
                    last.replace(Some(statement.hash()));
                    *signed = seal_statement(statement, &gateway).expect("a signature");
                }
            });
            let (exit, found) = checked(&world, &[&claimed]);
            assert_eq!(exit, Some(3), "{found:#}");
            assert_eq!(problems(&found).replace("[]", ""), "", "{found:#}");
            let back = path(&found, "inspected.return");
            assert_eq!(back["verdict"], "contradicted", "{found:#}");
            let said = back["contradictions"].to_string();
            for hop in ["egress", "sf1", "sf2"] {
                assert!(said.contains(&format!("{hop} contradicts gateway")), "{said}");
            }
            assert_eq!(path(&found, "inspected")["verdict"], "proved", "{found:#}");
        }
    });
}

fn claim(node: &mut Node, others: bool) {
    if others {
        node.roots.iter_mut().for_each(|root| root[0] ^= 1);
        return;
    }
    match &mut node.present {
        Some(present) => *present = u64::MAX,
        None => node.packets = 64 << node.level,
    }
    node.packets = node.present.map_or(node.packets, |present| present.count_ones().into());
}
