//! The foreign programs that the tests talk to, and the Debian packages that bring them.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// What a test needs: how it is recognized, and the Debian package.
const NEEDED: &[(Probe, &str)] = &[
    (Probe::Program("tshark"), "tshark"),
    (Probe::Program("nginx"), "nginx-light"),
    (Probe::Program("curl"), "curl"),
    (Probe::Program("aria2c"), "aria2"),
    (Probe::Program("openssl"), "openssl"),
    (Probe::Program("ovs-vswitchd"), "openvswitch-switch"),
    (Probe::Program("nft"), "nftables"),
    (Probe::Program("haproxy"), "haproxy"),
    (Probe::Program("ip"), "iproute2"),
    (Probe::Program("wget"), "wget"),
    (Probe::Program("pg_ctlcluster"), "postgresql"),
    (Probe::Program("setpriv"), "util-linux"),
    (Probe::Program("redis-server"), "redis-server"),
    (Probe::Program("redis-cli"), "redis-tools"),
    (Probe::Program("ssh"), "openssh-client"),
    (Probe::Program("sshd"), "openssh-server"),
    (Probe::Program("rsync"), "rsync"),
    (Probe::Program("chromium"), "chromium"),
    (Probe::Program("pk12util"), "libnss3-tools"),
    (Probe::Program("python3"), "python3"),
    (Probe::Program("unshare"), "util-linux"),
    (Probe::Program("sysctl"), "procps"),
    (Probe::Program("systemd-analyze"), "systemd"),
    (Probe::Program("ping"), "iputils-ping"),
    (Probe::Program("wireguard-go"), "wireguard-go"),
    (Probe::Program("wg"), "wireguard-tools"),
    (Probe::Program("keepalived"), "keepalived"),
    (Probe::Python("ensurepip"), "python3-venv"),
    (Probe::Python("jwt"), "python3-jwt"),
    (Probe::Python("cryptography"), "python3-cryptography"),
    (Probe::Program("swtpm"), "swtpm"),
    (Probe::Program("swtpm_setup"), "swtpm-tools"),
];

/// What one test needs that Debian 12 has only among its backports. It is tried for; without it that test does not run.
const LATE: (Probe, &str) = (Probe::Program("suricata"), "suricata");

enum Probe {
    /// A program on the path, or where Debian puts those of the administrator.
    Program(&'static str),
    /// A module of Debian's Python.
    Python(&'static str),
}

impl Probe {
    fn is_there(&self) -> bool {
        match self {
            Probe::Program(name) => {
                let path = std::env::var_os("PATH").unwrap_or_default();
                std::env::split_paths(&path)
                    .chain(["/usr/sbin".into(), "/sbin".into()])
                    .any(|folder| folder.join(name).is_file())
            }
            // Packages are in the folder of all versions, what comes with Python in that of its own.
            Probe::Python(name) => {
                let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
                let folders = folders
                    .filter(|folder| folder.file_name().as_encoded_bytes().starts_with(b"python3"));
                folders.map(|folder| folder.path()).any(|folder| {
                    folder.join(name).is_dir() || folder.join("dist-packages").join(name).is_dir()
                })
            }
        }
    }
}

/// Debian packages whose programs are missing here.
pub(crate) fn missing() -> Vec<&'static str> {
    NEEDED.iter().filter(|(probe, _)| !probe.is_there()).map(|(_, package)| *package).collect()
}

/// Installs what is missing when this is root on Debian; otherwise says what is missing and fails.
pub(crate) fn ensure(may_install: bool) -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !may_install || !is_root()? {
        bail!(
            "the tests talk to programs that are not installed\n\
             hint: as root, run: apt-get install -y --no-install-recommends {list}"
        );
    }
    eprintln!("xtask: installing {list}");
    apt(&["update", "-qq"])?;
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(&missing);
    let no_services = NoServices::begin().context("services could not be kept from starting")?;
    apt(&install)?;
    drop(no_services);
    let still = self::missing();
    if still.is_empty() {
        Ok(())
    } else {
        bail!("still missing after the install: {}", still.join(" "))
    }
}

/// Whether Suricata is there, installed when it is missing and this is root.
pub(crate) fn has_suricata(may_install: bool) -> Result<bool> {
    let (probe, package) = LATE;
    if !probe.is_there() && may_install && is_root()? {
        eprintln!("xtask: installing {package}");
        let _no_services =
            NoServices::begin().context("services could not be kept from starting")?;
        if apt(&["install", "-y", "-qq", "--no-install-recommends", package]).is_err()
            && let Err(error) = install_from_backports(package)
        {
            eprintln!("xtask: {error:#}");
        }
    }
    Ok(probe.is_there())
}

/// Installs from the backports of this Debian, at the mirror that the machine is set up for, and leaves its sources alone.
fn install_from_backports(package: &str) -> Result<()> {
    let format = "$(REPO_URI) $(CODENAME)";
    let targets = ["indextargets", "--format", format, "Created-By: Packages", "Origin: Debian"];
    let targets = Command::new("apt-get").args(targets).output().context("`apt-get`")?;
    let targets = String::from_utf8_lossy(&targets.stdout);
    let suites = targets.lines().filter_map(|line| line.split_once(' '));
    let release = suites.into_iter().find(|(_, codename)| !codename.contains('-'));
    let (mirror, codename) = release.context("no release of Debian among apt's sources")?;
    let backports = format!("{codename}-backports");
    let folder = crate::stages::target_dir()?.join("xtask");
    std::fs::create_dir_all(&folder).context("a folder for a list of sources")?;
    let list = folder.join("backports.list");
    let lines = [codename, &backports].map(|suite| format!("deb {mirror} {suite} main\n"));
    std::fs::write(&list, lines.concat()).context("a list of sources")?;
    let file = format!("Dir::Etc::sourcelist={}", list.display());
    let options =
        ["-qq", "-o", &file, "-o", "Dir::Etc::sourceparts=-", "-o", "APT::Get::List-Cleanup=0"];
    let install = ["install", "-y", "--no-install-recommends", "-t", &backports, package];
    let done = apt(&[&options[..], &["update"]].concat())
        .and_then(|()| apt(&[&options[..], &install].concat()));
    done.with_context(|| format!("{package} could not be installed from {backports}"))
}

/// Where Debian asks whether a package may start its service (invoke-rc.d(8)).
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// While it lives, packages start no services: tests start the programs themselves, and a container has no init to do so.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn begin() -> std::io::Result<NoServices> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let mut create = std::fs::OpenOptions::new();
        match create.write(true).create_new(true).mode(0o755).open(POLICY) {
            Ok(mut file) => {
                let policy = NoServices { ours: true };
                file.write_all(b"#!/bin/sh\nexit 101\n")?;
                Ok(policy)
            }
            // Whoever wrote it has decided.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Ok(NoServices { ours: false })
            }
            Err(error) => Err(error),
        }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            // One that stays keeps services from starting, and says so.
            drop(std::fs::remove_file(POLICY));
        }
    }
}

fn is_root() -> Result<bool> {
    let id = Command::new("id").arg("-u").output().context("`id -u` could not be started")?;
    Ok(id.stdout.trim_ascii() == b"0")
}

fn apt(args: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("`apt-get` could not be started; the packages' names are Debian's")?;
    if status.success() {
        Ok(())
    } else {
        bail!("`apt-get {}` ended with {status}", args.join(" "))
    }
}
