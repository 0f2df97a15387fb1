//! `cargo xtask deb`: a Debian package of a program that was built, by dpkg's own tools (deb(5), Debian policy 4.6).
//!
//! ```text
//! /usr/bin/ringmail                      stripped
//! /usr/lib/systemd/system/               packaging/systemd
//! /usr/lib/sysusers.d/ringmail.conf      packaging/sysusers.d
//! /etc/ringmail/*.env                    packaging/etc, conffiles
//! /usr/share/man/man1/*.1.gz             `ringmail man`
//! /usr/share/…completions…               `ringmail completions`
//! /usr/share/doc/ringmail/               copyright, change logs, examples
//! ```
//!
//! The same program, files and SOURCE_DATE_EPOCH give the same bytes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use crate::notices;

/// How this packaging of a version is numbered (deb-version(7)).
const REVISION: &str = "1";
/// Who builds a package for others says so as with Debian's own tools: DEBFULLNAME and DEBEMAIL (debchange(1)).
const MAINTAINER: &str = "The ringmail authors <maintainers@ringmail.example>";
const DESCRIPTION: &str = "\
service function chains between machines that nobody trusts
 Clients come in over mutual TLS; who they are and what they ask decides the
 chain of functions (firewalls, inspection, your own) that every packet of the
 request must take. Between any two elements that may see plaintext, packets
 are sealed under keys that only those two have.
 .
 This package has the one program, systemd units for several machines, manual
 pages and completions.";

/// Manual pages are in the first section.
const MAN: &str = "usr/share/man/man1";
const DOC: &str = "usr/share/doc/ringmail";
const UNITS: &str = "usr/lib/systemd/system";

/// What a package is made of.
#[derive(Debug)]
pub struct Deb<'a> {
    /// The repository.
    pub root: &'a Path,
    /// The program, for the machine that this runs on.
    pub program: &'a Path,
    /// The folder that the package goes to.
    pub to: &'a Path,
    /// All times in it, in seconds since 1970.
    pub epoch_s: u64,
    /// As dpkg-deb's -Z names it.
    pub compression: &'a str,
}

impl Deb<'_> {
    /// Makes the package, and says where it is.
    pub fn build(&self) -> Result<PathBuf> {
        let stage = Stage(self.to.join(format!(".ringmail-deb-{}", std::process::id())));
        fs::create_dir_all(&stage.0).with_context(|| stage.0.display().to_string())?;
        self.fill(&stage.0)?;
        let architecture = architecture()?;
        let version = format!("{}-{REVISION}", env!("CARGO_PKG_VERSION"));
        self.control(&stage.0, &version, architecture)?;
        settle(&stage.0, self.epoch_s)?;
        let package = self.to.join(format!("ringmail_{version}_{architecture}.deb"));
        let mut build = Command::new("dpkg-deb");
        build.args(["--root-owner-group", "--build", &format!("-Z{}", self.compression)]);
        build.env("SOURCE_DATE_EPOCH", self.epoch_s.to_string());
        done(build.arg(&stage.0).arg(&package))?;
        Ok(package)
    }

    /// Puts everything that is installed into place.
    fn fill(&self, stage: &Path) -> Result<()> {
        let own = self.root.join("packaging");
        let program = stage.join("usr/bin/ringmail");
        copy(self.program, &program)?;
        done(Command::new("strip").arg("--strip-unneeded").arg(&program))?;
        copy_all(&own.join("systemd"), &stage.join(UNITS))?;
        copy_all(&own.join("sysusers.d"), &stage.join("usr/lib/sysusers.d"))?;
        copy_all(&own.join("etc"), &stage.join("etc/ringmail"))?;
        self.made_by_the_program(stage)?;
        let doc = stage.join(DOC);
        let head = fs::read_to_string(own.join("debian/copyright"))?;
        make_parent(&doc.join("copyright"))?;
        fs::write(doc.join("copyright"), notices::copyright(self.root, &head)?)?;
        copy_all(&self.root.join("examples"), &doc.join("examples"))?;
        copy(&self.root.join("CHANGELOG.md"), &doc.join("changelog"))?;
        fs::write(doc.join("changelog.Debian"), self.debian_changelog()?)?;
        for name in ["changelog", "changelog.Debian"] {
            compress(&doc.join(name))?;
        }
        Ok(())
    }

    fn made_by_the_program(&self, stage: &Path) -> Result<()> {
        let man = stage.join(MAN);
        output(Command::new(self.program).arg("man").arg("--dir").arg(&man))?;
        for page in files(&man)? {
            compress(&page)?;
        }
        for (shell, path) in [
            ("bash", "usr/share/bash-completion/completions/ringmail"),
            ("zsh", "usr/share/zsh/vendor-completions/_ringmail"),
            ("fish", "usr/share/fish/vendor_completions.d/ringmail.fish"),
        ] {
            let script = output(Command::new(self.program).args(["completions", shell]))?;
            let path = stage.join(path);
            make_parent(&path)?;
            fs::write(path, script)?;
        }
        Ok(())
    }

    /// What dpkg reads: control, conffiles, md5sums and the maintainer scripts.
    fn control(&self, stage: &Path, version: &str, architecture: &str) -> Result<()> {
        let folder = stage.join("DEBIAN");
        fs::create_dir(&folder)?;
        let installed = tree(stage)?;
        let bytes: u64 = installed.iter().map(|(_, bytes)| bytes.div_ceil(1024)).sum();
        let depends = depends(&fs::read(stage.join("usr/bin/ringmail"))?);
        let control = format!(
            "Package: ringmail\nVersion: {version}\nArchitecture: {architecture}\n\
             Maintainer: {}\nInstalled-Size: {bytes}\nDepends: {depends}\n\
             Recommends: iproute2, systemd\nSection: net\nPriority: optional\n\
             Description: {DESCRIPTION}\n",
            maintainer()
        );
        fs::write(folder.join("control"), control)?;
        let conffiles = installed.iter().filter(|(path, _)| path.starts_with("etc"));
        let conffiles: String =
            conffiles.map(|(path, _)| format!("/{}\n", path.display())).collect();
        fs::write(folder.join("conffiles"), conffiles)?;
        let files = installed.iter().map(|(path, _)| path);
        let paths = files.filter(|path| !path.starts_with("etc") && !stage.join(path).is_symlink());
        let sums = output(Command::new("md5sum").args(paths).current_dir(stage))?;
        fs::write(folder.join("md5sums"), sums)?;
        for script in ["postinst", "prerm", "postrm"] {
            let path = folder.join(script);
            copy(&self.root.join("packaging/debian").join(script), &path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    }

    fn debian_changelog(&self) -> Result<Vec<u8>> {
        let mut date = Command::new("date");
        date.args(["--utc", "--rfc-email", "--date"]).arg(format!("@{}", self.epoch_s));
        let date = String::from_utf8(output(&mut date)?)?;
        let version = format!("{}-{REVISION}", env!("CARGO_PKG_VERSION"));
        let text = format!(
            "ringmail ({version}) unstable; urgency=medium\n\n  * See changelog.gz for what changed in this version.\n\n \
             -- {}  {}\n",
            maintainer(),
            date.trim()
        );
        Ok(text.into_bytes())
    }
}

/// The time of the last commit, unless SOURCE_DATE_EPOCH says otherwise.
pub fn epoch_s(root: &Path) -> Result<u64> {
    if let Ok(given) = std::env::var("SOURCE_DATE_EPOCH") {
        return given.parse().context("SOURCE_DATE_EPOCH is no number of seconds");
    }
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"]).current_dir(root);
    let told = String::from_utf8(output(&mut git)?)?;
    told.trim().parse().context("git says no time (hint: set SOURCE_DATE_EPOCH)")
}

fn maintainer() -> String {
    match (std::env::var("DEBFULLNAME"), std::env::var("DEBEMAIL")) {
        (Ok(name), Ok(address)) => format!("{name} <{address}>"),
        _ => MAINTAINER.to_owned(),
    }
}

/// A folder that goes when it is no longer needed.
struct Stage(PathBuf);

impl Drop for Stage {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("Debian's name of the architecture {other} is not known here"),
    }
}

/// The libraries that the program is linked with, and from which version on they have what it asks for.
fn depends(program: &[u8]) -> String {
    const SYMBOL: &[u8] = b"GLIBC_";
    let versions = program.windows(SYMBOL.len()).enumerate().filter(|(_, found)| *found == SYMBOL);
    let version = |(at, _): (usize, &[u8])| {
        let rest = program.get(at + SYMBOL.len()..)?;
        let end = rest.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.')?;
        let text = std::str::from_utf8(rest.get(..end)?).ok()?;
        let (major, minor) = text.split_once('.')?;
        Some((major.parse::<u32>().ok()?, minor.split('.').next()?.parse::<u32>().ok()?))
    };
    let (major, minor) = versions.filter_map(version).max().unwrap_or((2, 36));
    format!("libc6 (>= {major}.{minor}), libgcc-s1")
}

/// Times and rights that do not depend on who builds, and when.
fn settle(path: &Path, epoch_s: u64) -> Result<()> {
    let time = UNIX_EPOCH + Duration::from_secs(epoch_s);
    if path.is_symlink() {
        return Ok(());
    }
    let is_dir = path.is_dir();
    if is_dir {
        for entry in fs::read_dir(path)? {
            settle(&entry?.path(), epoch_s)?;
        }
    }
    let runs = is_dir || fs::metadata(path)?.permissions().mode() & 0o100 != 0;
    let mode = if runs { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    let file = fs::File::open(path)?;
    Ok(file.set_modified(time)?)
}

/// Every file below a folder with its length, in order.
fn tree(folder: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next)? {
            let path = entry?.path();
            let below = path.strip_prefix(folder)?;
            if path.is_dir() && !path.is_symlink() {
                if below != Path::new("DEBIAN") {
                    open.push(path);
                }
            } else {
                found.push((below.to_owned(), fs::symlink_metadata(&path)?.len()));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    Ok(entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?)
}

fn copy_all(from: &Path, to: &Path) -> Result<()> {
    for path in files(from)? {
        let place = to.join(path.file_name().context("a file has a name")?);
        match path.is_dir() {
            true => copy_all(&path, &place)?,
            false => copy(&path, &place)?,
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    make_parent(to)?;
    let copied = fs::copy(from, to);
    copied.map(drop).with_context(|| format!("{} to {}", from.display(), to.display()))
}

fn make_parent(path: &Path) -> Result<()> {
    Ok(fs::create_dir_all(path.parent().context("a path has a parent")?)?)
}

/// Without name and time of the file, which would differ.
fn compress(path: &Path) -> Result<()> {
    done(Command::new("gzip").args(["-9", "--no-name"]).arg(path))
}

fn done(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>> {
    command.stdin(Stdio::null()).stderr(Stdio::piped()).stdout(Stdio::piped());
    let output = command.output().with_context(|| format!("{command:?} could not be started"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}: {said}", output.status);
    Ok(output.stdout)
}
