//! Suricata in line, as examples/ids has it: two cables, and every packet from one to the other unless a rule drops it.

use std::path::Path;

use serde_json::Value;

use super::{Account, PAGE_BYTES, WWW, attached, nothing_unmatched};
use crate::live::programs::{Curl, Nginx};
use crate::live::world::{Folder, eventually, live};

/// Every packet that Suricata says it dropped is one that it did not give back.
#[test]
#[ignore = "Debian 12 has suricata among its backports only; `cargo xtask test` runs it where it is installed"]
fn an_ids_drops_what_its_rule_names_and_passes_the_rest() {
    live(|privilege| {
        let folder = Folder::new(&format!("ids{}", std::process::id()));
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/ids");
        let settings = format!(
            "      shape: bridge\n      checksums: full\n      setup:\n        \
             - [ip, link, set, in0, nomaster]\n        - [ip, link, set, out0, nomaster]\n      \
             run: [suricata, -c, {0}/suricata.yaml, -S, {0}/drop.rules, -l, {1}, --af-packet]",
            example.display(),
            folder.0.display()
        );
        let world = attached(privilege, &settings).up();
        eventually("Suricata sees both cables", || {
            world.log().text().contains("Engine started").then_some(())
        });
        let nginx = Nginx::start(&world, "www", WWW);
        let content: Vec<u8> = (0..PAGE_BYTES).map(|n| (n * 31 / 7) as u8).collect();
        nginx.put("/page", &content);
        nginx.put("/contraband", b"never seen");
        let curl = Curl::new(&world, "client1");
        let got = curl.get("/page", &[]);
        assert!(got.body == content, "{}", got.said);
        let account = Account::settled(&world);
        assert_eq!(account.sent_in, account.same, "{account:?}");

        let got = curl.get("/contraband", &["--max-time", "2"]);
        assert!(got.body.is_empty() && !got.verdict.ends_with("200"), "{}", got.said);
        // The rule's packet, and what was sent again in its flow.
        let (account, dropped) = eventually("all that was dropped is in Suricata's log", || {
            let account = Account::settled(&world);
            let events = events(&folder.0);
            let dropped = events.iter().filter(|event| event["event_type"] == "drop").count();
            (dropped as u64 == account.not_returned).then_some((account, dropped))
        });
        assert!(dropped > 0, "{account:?}");
        assert_eq!((account.rewritten, account.originated), (0, 0), "{account:?}");
        let events = events(&folder.0);
        let alert = events.iter().find(|event| event["event_type"] == "alert");
        let alert = alert.unwrap_or_else(|| panic!("no alert: {events:#?}"));
        assert_eq!(alert["alert"]["signature_id"], 1_000_001, "{alert:#}");
        assert_eq!(alert["alert"]["action"], "blocked", "{alert:#}");
        assert_eq!(alert["dest_ip"], "10.79.0.10", "{alert:#}");
        assert!(nginx.log().lines().all(|line| !line.contains("contraband")), "{}", nginx.log());

        // A flow that the rule does not name goes on as before.
        let got = curl.get("/page", &["--http1.1"]);
        assert!(got.body == content, "{}", got.said);
        nothing_unmatched(&world);
    });
}

/// What Suricata wrote; a line that is not whole yet is not there yet.
fn events(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("eve.json")).unwrap_or_default();
    text.lines().map_while(|line| serde_json::from_str(line).ok()).collect()
}
