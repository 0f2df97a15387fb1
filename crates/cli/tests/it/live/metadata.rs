//! Metadata in a live chain: who is granted a client's identity is told it, nobody else can read it, and it is not on any link.

use ringmail_node::topology::Privilege;

use crate::live::capture::Capture;
use crate::live::programs::{Curl, Nginx};
use crate::live::world::{Folder, Setting, World, eventually, live};

const WWW: &str = "10.79.0.10:80";

/// An SFC-aware function that writes down each statement once, and passes everything as it came.
const LISTENER: &str = r#"
import socket, struct, sys, time
HEADER = struct.Struct("!BBBBIHH")
KINDS = {1: "identity", 2: "ports", 3: "authorization", 4: "tenant", 5: "reason", 6: "trace"}
function = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
for _ in range(200):
    try:
        function.connect(sys.argv[1])
        break
    except OSError:
        time.sleep(0.1)
heard = set()
while message := function.recv(65536):
    _, kind, direction, labels, path, count, _ = HEADER.unpack_from(message)
    at = HEADER.size + 4 * labels
    metadata, packet = message[at : at + count], message[at + count :]
    while metadata:
        code, size = struct.unpack_from("!HH", metadata)
        value, metadata = metadata[4 : 4 + size], metadata[4 + size :]
        shown = value.decode() if code in (1, 4, 5) else value.hex() if code == 3 else ""
        line = f"{'forward' if direction == 1 else 'return'} {KINDS[code]} {shown}"
        if line not in heard:
            heard.add(line)
            print("heard:", line, flush=True)
    # As it came, what was said included: who may add it says it again.
    function.send(message)
"#;

/// `sf1` is told nothing, `sf2` the rest.
fn campus(privilege: Privilege, folder: &Folder, name: &str, grants: &str) -> Setting {
    let script = folder.0.join("listener.py");
    std::fs::write(&script, LISTENER).expect("a file");
    let socket = folder.0.join(format!("{name}.sock"));
    let attached = format!(
        "kind: attached\n    intrusive: true\n{grants}    attached:\n      socket: {socket}\n      \
         run: [python3, {script}, {socket}]",
        socket = socket.display(),
        script = script.display(),
    );
    let dpi = "kind: dpi
    intrusive: true
    dpi:
      rules:
        - name: forbidden
          bytes: contraband
          action: reset";
    Setting::new(privilege, "campus.yaml")
        .with(dpi, &attached)
        .with("name: client2\n", "name: client2\n    tenant: physics\n")
}

fn gets(world: &World, client: &str) {
    let got = Curl::new(world, client).get("/page", &["--max-time", "20"]);
    assert_eq!(got.body, b"a page", "{}", got.said);
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn hears(world: &World, line: &str) {
    eventually(line, || world.log().text().contains(line).then_some(()));
}

#[test]
fn a_function_is_told_what_it_is_granted_and_no_link_carries_it_in_the_clear() {
    live(|privilege| {
        let folder = Folder::new(&format!("told{}", std::process::id()));
        let grants =
            "    metadata: [identity, tenant, authorization, ports]\n    may_add: [tenant]\n";
        let setting = campus(privilege, &folder, "sf2", grants)
            .with("networks: [10.79.0.0/24]", "networks: [10.79.0.0/24]\n  metadata: [tenant]");
        let world = setting.up();
        let nginx = Nginx::start(&world, "www", WWW);
        nginx.put("/page", b"a page");
        let capture = Capture::start(&world, "fabric", "br0");
        gets(&world, "client2");
        gets(&world, "client1");
        let identity = format!("{}/client/client2", world.domain);
        hears(&world, &format!("heard: forward identity {identity}"));
        hears(&world, "heard: forward tenant physics");
        // The second rule of the file, without a decision point.
        hears(&world, "heard: forward authorization 0000000201");
        // The egress is told by sf2, which may add it, and tells those on the way back; ports it knows.
        hears(&world, "heard: return tenant physics");
        hears(&world, "heard: return ports");
        let text = world.log().text();
        assert!(!text.contains("return identity") && !text.contains("client/client1"), "{text}");
        let captured = capture.stop();
        assert!(captured.frames > 10);
        for said in [&identity, "client/client2", "physics"] {
            assert!(!holds(&captured.bytes(), said), "`{said}` is on a link");
        }
        for element in ["sf1", "sf2", "egress", "gateway"] {
            for reason in ["metadata_missing", "metadata_unknown_key", "metadata_wrong"] {
                assert_eq!(world.drops(element, reason), 0, "{element} {reason}");
            }
        }
        // Once, however many packets the connection had.
        assert!(world.log().text().matches("heard: forward identity").count() == 1);
    });
}
