//! A browser that nobody here wrote, with a file of `ringmail ca client --p12`, through a whole chain to nginx.

use std::process::Command;

use crate::live::passing::websockets;
use crate::live::programs::Nginx;
use crate::live::world::{World, live};

/// Headless Chromium as a client of the domain, from the namespace `client`. Its folder is its home.
struct Chromium<'a> {
    world: &'a World,
}

impl<'a> Chromium<'a> {
    /// With the domain's root, and with the certificate and key of a file if there is one.
    fn new(world: &'a World, p12: bool) -> Chromium<'a> {
        let home = world.folder().join("home");
        let database = home.join(".pki/nssdb");
        std::fs::create_dir_all(&database).expect("a folder");
        let database = format!("sql:{}", database.display());
        let ca = world.authority().dir();
        let nss = |program: &str, args: &[&str]| {
            let output = Command::new(program).args(["-d", &database]).args(args).output();
            let output = output.expect("libnss3-tools is installed");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        nss("certutil", &["-N", "--empty-password"]);
        let root = ca.join("root.pem");
        nss("certutil", &["-A", "-n", "root", "-t", "C,,", "-i", root.to_str().expect("UTF-8")]);
        if p12 {
            let (file, password) = (home.join("alice.p12"), home.join("password"));
            std::fs::write(&password, "correct horse\n").expect("a file");
            let made = Command::new(env!("CARGO_BIN_EXE_ringmail"))
                .args(["ca", "client", "client", "--dir"])
                .arg(ca)
                .arg("--p12")
                .arg(&file)
                .arg("--password-file")
                .arg(&password)
                .output()
                .expect("it starts");
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            let (file, password) =
                (file.to_str().expect("UTF-8"), password.to_str().expect("UTF-8"));
            nss("pk12util", &["-w", password, "-i", file]);
        }
        // Nobody is there to choose a certificate.
        let policy = r#"{"AutoSelectCertificateForUrls": ["{\"pattern\":\"*\",\"filter\":{}}"]}"#;
        std::fs::write(home.join("policy.json"), policy).expect("a file");
        Chromium { world }
    }

    /// The page under a path as Chromium shows it, after its scripts ran.
    fn page(&self, path: &str) -> String {
        let (host, port) = (&self.world.name, self.world.address.port());
        let home = self.world.folder().join("home");
        // Policies are the machine's: this one is put over them where only Chromium sees it.
        const START: &str = "mkdir -p /etc/chromium && mount -t tmpfs none /etc/chromium && \
            mkdir -p /etc/chromium/policies/managed && \
            cp \"$HOME/policy.json\" /etc/chromium/policies/managed/ && exec chromium \"$@\"";
        let mut chromium = Command::new("unshare");
        chromium.args(["--mount", "sh", "-c", START, "chromium"]);
        chromium.env("HOME", &home).env("XDG_CONFIG_HOME", home.join("config"));
        chromium.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]);
        chromium.args(["--disable-background-networking", "--disable-component-update"]);
        chromium.args(["--disable-dev-shm-usage", "--no-proxy-server"]);
        chromium.arg(format!("--user-data-dir={}", home.join("profile").display()));
        chromium.arg(format!("--host-resolver-rules=MAP {host} {}", self.world.resolved()));
        chromium.args(["--timeout=30000", "--dump-dom"]);
        chromium.arg(format!("https://{host}:{port}{path}"));
        let output = self.world.run("client", &mut chromium);
        let page = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        page
    }
}

/// A page and a script that it fetches; what the page says in the end, the script wrote.
fn site(world: &World) -> Nginx {
    let nginx = Nginx::start(world, "www", "10.79.0.10:80");
    nginx.put(
        "/page.html",
        b"<!DOCTYPE html><title>t</title><p id=said>nothing</p><script src=/script.js></script>",
    );
    nginx.put(
        "/script.js",
        b"const [page] = performance.getEntriesByType('navigation');\n\
          document.getElementById('said').textContent = `it came by ${page.nextHopProtocol}`;\n",
    );
    nginx
}

#[test]
fn a_page_reaches_chromium_over_http_2_with_the_certificate_of_its_file() {
    live(|privilege| {
        let world = World::new(privilege, "passing.yaml");
        let nginx = site(&world);
        let page = Chromium::new(&world, true).page("/page.html");
        assert!(page.contains("it came by h2"), "{page}\n{}", world.log().text());
        let log = nginx.log();
        assert!(log.contains("GET /page.html") && log.contains("GET /script.js"), "{log}");
        assert!(world.counter("gateway", "connections_authenticated") >= 1);
        assert!(world.counter("sf2", "opened_packets") > 0);
    });
}

#[test]
fn chromium_without_a_certificate_sees_nothing() {
    live(|privilege| {
        let world = World::new(privilege, "passing.yaml");
        let nginx = site(&world);
        let page = Chromium::new(&world, false).page("/page.html");
        assert!(!page.contains("it came by"), "{page}");
        assert_eq!(nginx.log(), "");
        assert!(world.counter("gateway", "handshake_no_certificate") >= 1);
    });
}

#[test]
fn a_websocket_of_chromium_passes() {
    live(|privilege| {
        let world = World::new(privilege, "passing.yaml");
        let _served = websockets(&world);
        let page = Chromium::new(&world, true).page("/page");
        assert!(page.contains("10 messages came back"), "{page}\n{}", world.log().text());
        assert_eq!(world.counter("gateway", "tunnels"), 1);
    });
}
