//! Proofs of transit over machines: control asks the ends of paths, and what each element signed beside its own state is put
//! together by an auditor.

use serde_json::Value;

use super::Machines;
use crate::live::world::{eventually, live};

/// The elements, their machines and the processes that the chapter starts.
const ELEMENTS: [(&str, &str, &str); 3] =
    [("gateway", "one", "gateway"), ("sf1", "two", "hop"), ("egress", "three", "egress")];

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn control_asks_the_ends_and_an_auditor_puts_all_machines_together() {
    live(|privilege| {
        let (mut machines, _) = Machines::running(privilege);
        machines.fetches();
        let said = json(&machines.must("one", "ringmail prove --state control --output json"));
        let ends = |path: &Value| {
            let proved = &path["counts"][0];
            assert_eq!(proved["verdict"], "proved", "{said:#}");
            assert!(proved["packets"].as_u64() > Some(3), "{said:#}");
            assert!(!path["last"].as_array().expect("verdicts").is_empty(), "{said:#}");
            (path["path"].to_string(), path["end"].to_string())
        };
        let found: Vec<_> = said["paths"].as_array().expect("paths").iter().map(ends).collect();
        let named = |path: &str, end: &str| (format!("\"{path}\""), format!("\"{end}\""));
        assert_eq!(found, [named("inspected", "egress"), named("inspected.return", "gateway")]);

        let check = |machines: &Machines, left_out: &str| {
            let of = ELEMENTS.into_iter().filter(|(element, ..)| *element != left_out);
            let places =
                of.map(|(element, machine, _)| format!("../{machine}/{element}/summaries"));
            let places = places.collect::<Vec<_>>().join(" ");
            let command =
                format!("ringmail prove --summary --output json --roots ca/root.pem {places}");
            let output = machines.run("one", &command);
            let said = String::from_utf8_lossy(&output.stdout);
            (output.status.code(), serde_json::from_str(&said).unwrap_or(Value::Null))
        };
        // While all run, all that was sent is soon proved to an auditor, by every element of the path.
        machines.changes(("\nlimits:\n", "\nproofs: {summary_every_s: 1}\n\nlimits:\n"));
        machines.settled();
        machines.fetches();
        eventually("summaries say that all is proved", || {
            let (exit, found) = check(&machines, "");
            let paths = found["paths"].as_array()?;
            let whole = |name: &str| {
                paths.iter().any(|path| {
                    path["path"] == name
                        && path["verdict"] == "proved"
                        && path["claimed"].as_u64() > Some(3)
                        && path["claimed"] == path["proved"]
                })
            };
            let all = ["inspected", "inspected.return"].into_iter().all(whole);
            (exit == Some(0) && all).then_some(())
        });
        machines.check_alive();

        // Who ends says what it passed up to then.
        for (element, machine, process) in ELEMENTS {
            let pid = machines.services[process].process.id();
            machines.must(machine, &format!("kill -TERM {pid}"));
            let folder = machines.folder(machine).join(element).join("summaries");
            eventually("it has written a summary", || {
                let files = std::fs::read_dir(&folder).ok()?;
                let mut names = files.map(|file| file.expect("a file").file_name());
                names.any(|name| name.to_string_lossy().ends_with(".json")).then_some(())
            });
            // It would go on for others for a while.
            machines.services.remove(process).expect("it ran").kill();
        }
        let (exit, found) = check(&machines, "");
        assert_eq!(exit, Some(0), "{found:#}");
        let inspected = &found["paths"][0];
        // What still passes while one of them ends leaves its last group open: nobody speaks against it then.
        let verdict = inspected["verdict"].as_str().expect("a verdict");
        assert!(["proved", "open"].contains(&verdict), "{found:#}");
        assert_eq!(inspected["contradictions"], serde_json::json!([]), "{found:#}");
        assert!(inspected["claimed"].as_u64() > Some(3), "{found:#}");
        let writers: Vec<_> = found["files"].as_array().expect("files").iter().collect();
        assert!(writers[0]["writer"].to_string().contains("/element/"), "{found:#}");
        let (exit, found) = check(&machines, "sf1");
        assert_eq!(exit, Some(3), "{found:#}");
        assert_eq!(found["paths"][0]["verdict"], "silent", "{found:#}");
    });
}
