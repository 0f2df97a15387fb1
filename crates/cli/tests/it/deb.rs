//! The Debian package of the program under test: built, installed into a root of its own, looked through, installed
//! again, removed and purged by dpkg.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use xtask::deb::Deb;

use crate::live::world::{Folder, live};

/// 2026-01-01.
const EPOCH_S: u64 = 1_767_225_600;

/// A package of the program under test, without compression: that is half a minute of nothing else.
fn package(to: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let program = Path::new(env!("CARGO_BIN_EXE_ringmail"));
    let deb = Deb { root: &root, program, to, epoch_s: EPOCH_S, compression: "none" };
    deb.build().expect("a package")
}

/// A root for dpkg, with nothing in it but dpkg's own database.
struct Scratch(Folder);

impl Scratch {
    fn new() -> Scratch {
        let folder = Folder::new(&format!("deb-{}", std::process::id()));
        for below in ["root/var/lib/dpkg/info", "root/var/lib/dpkg/updates", "root/etc"] {
            fs::create_dir_all(folder.0.join(below)).expect("a folder");
        }
        let scratch = Scratch(folder);
        for empty in ["var/lib/dpkg/status", "var/lib/dpkg/available"] {
            fs::write(scratch.path(empty), "").expect("a file");
        }
        scratch
    }

    /// A path in the root.
    fn path(&self, below: &str) -> PathBuf {
        self.0.0.join("root").join(below)
    }

    fn dpkg(&self, args: &[&str]) -> Output {
        let mut dpkg = Command::new("dpkg");
        // Libraries are those of the machine; and scripts run outside the root, which has no shell.
        dpkg.args(["--force-depends", "--force-script-chrootless", "--force-confold"]);
        dpkg.arg(format!("--root={}", self.path("").display())).arg("--log=/dev/null").args(args);
        let output = dpkg.output().expect("dpkg is Debian's");
        assert!(output.status.success(), "{args:?}: {}", said(&output));
        output
    }

    fn install(&self, package: &Path) {
        self.dpkg(&["--install", package.to_str().expect("a path in UTF-8")]);
    }

    fn text(&self, below: &str) -> String {
        let path = self.path(below);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

fn said(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout);
    format!("{out}{}", String::from_utf8_lossy(&output.stderr))
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect("it starts");
    assert!(output.status.success(), "{program} {args:?}: {}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_package_is_installed_again_removed_and_purged() {
    live(|_| {
        let scratch = Scratch::new();
        let package = package(&scratch.0.0);
        scratch.install(&package);

        let version = run(scratch.path("usr/bin/ringmail").to_str().unwrap(), &["--version"]);
        assert_eq!(version, format!("ringmail {}\n", env!("CARGO_PKG_VERSION")));
        let mode = |below| fs::metadata(scratch.path(below)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("usr/bin/ringmail"), mode("etc/ringmail/gateway.env")), (0o755, 0o644));
        for below in [
            "usr/lib/systemd/system/ringmail-control.service",
            "usr/lib/systemd/system/ringmail-hop@.service",
            "usr/lib/sysusers.d/ringmail.conf",
            "usr/share/bash-completion/completions/ringmail",
            "usr/share/zsh/vendor-completions/_ringmail",
            "usr/share/fish/vendor_completions.d/ringmail.fish",
            "usr/share/doc/ringmail/copyright",
            "usr/share/doc/ringmail/examples/campus.yaml",
        ] {
            assert!(scratch.path(below).is_file(), "{below}");
        }
        for page in ["man1/ringmail.1.gz", "man1/ringmail-ca-client.1.gz"] {
            let page = scratch.path("usr/share/man").join(page);
            let roff = run("gzip", &["-dc", page.to_str().unwrap()]);
            assert!(roff.contains(".TH ringmail"), "{}", page.display());
        }
        // The notices of what is linked in, and nothing under a licence that binds the whole.
        let copyright = scratch.text("usr/share/doc/ringmail/copyright");
        for library in ["rustls", "tokio", "aws-lc-sys", "serde"] {
            assert!(copyright.contains(&format!("\nFiles: vendor/{library}-")), "{library}");
        }
        for notice in ["Permission is hereby granted, free of charge", "Amazon.com", "Tokio"] {
            assert!(copyright.contains(notice), "{notice}");
        }
        for build_only in ["vendor/clap_derive", "vendor/serde_derive", "vendor/insta-"] {
            assert!(!copyright.contains(build_only), "{build_only} is not linked in");
        }
        let gpl = |line: &&str| line.starts_with("License:") && line.contains("GPL");
        assert_eq!(copyright.lines().find(gpl), None);
        let log = scratch.path("usr/share/doc/ringmail/changelog.Debian.gz");
        let log = run("gzip", &["-dc", log.to_str().unwrap()]);
        assert!(log.contains("  Thu, 01 Jan 2026 00:00:00 +0000\n"), "{log}");
        // Every manual page that a unit names is there.
        for unit in fs::read_dir(scratch.path("usr/lib/systemd/system")).unwrap() {
            let unit = fs::read_to_string(unit.unwrap().path()).unwrap();
            let named = unit.lines().find_map(|line| line.strip_prefix("Documentation=man:"));
            let page = named.expect("its manual").replace("(1)", ".1.gz");
            assert!(scratch.path("usr/share/man/man1").join(&page).is_file(), "{page}");
        }
        let users = scratch.text("etc/passwd");
        assert_eq!(
            users.lines().filter(|user| user.starts_with("ringmail:")).count(),
            1,
            "{users}"
        );
        let listed = said(&scratch.dpkg(&["--verify", "ringmail"]));
        assert_eq!(listed, "", "files differ from their sums");

        // Again, as an upgrade does: settings stay, and there is still one user.
        fs::write(scratch.path("etc/ringmail/gateway.env"), "RINGMAIL_CONTROL=here\n").unwrap();
        scratch.install(&package);
        assert_eq!(scratch.text("etc/ringmail/gateway.env"), "RINGMAIL_CONTROL=here\n");
        assert_eq!(scratch.text("etc/passwd"), users);

        fs::create_dir_all(scratch.path("var/lib/ringmail/ca")).unwrap();
        fs::write(scratch.path("etc/ringmail/gateway.token"), "a token").unwrap();
        scratch.dpkg(&["--remove", "ringmail"]);
        assert!(!scratch.path("usr/bin/ringmail").exists() && !scratch.path(UNIT).exists());
        assert_eq!(scratch.text("etc/ringmail/gateway.env"), "RINGMAIL_CONTROL=here\n");
        scratch.dpkg(&["--purge", "ringmail"]);
        assert!(!scratch.path("etc/ringmail/gateway.env").exists());
        assert!(scratch.path("etc/ringmail/gateway.token").exists(), "a secret was destroyed");
        assert!(scratch.path("var/lib/ringmail/ca").exists(), "keys were destroyed");
        assert!(!scratch.path("usr/share/doc/ringmail").exists());
    });
}

const UNIT: &str = "usr/lib/systemd/system/ringmail-gateway.service";

#[test]
fn the_same_program_gives_the_same_package() {
    let folder = Folder::new(&format!("deb-same-{}", std::process::id()));
    let made = ["one", "two"].map(|name| {
        let package = package(&folder.0.join(name));
        (package.file_name().unwrap().to_owned(), fs::read(package).unwrap())
    });
    assert!(made[0] == made[1], "two packages of one program differ");
    let name = made[0].0.to_string_lossy();
    assert!(name.starts_with("ringmail_0.") && name.ends_with(".deb"), "{name}");
    let [control, units] = ["control", "conffiles"].map(|part| {
        let package = folder.0.join("one").join(&*name);
        run("dpkg-deb", &["--info", package.to_str().unwrap(), part])
    });
    assert!(control.contains("\nDepends: libc6 (>= 2."), "{control}");
    assert_eq!(units, "/etc/ringmail/egress.env\n/etc/ringmail/gateway.env\n");
}
