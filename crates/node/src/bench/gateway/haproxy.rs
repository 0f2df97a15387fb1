//! Debian's haproxy in the gateway's namespace, with the gateway's certificate and whom it believes.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::bench::domain;
use crate::testbed::Testbed;

/// How long it may take to listen.
const STARTS_WITHIN: Duration = Duration::from_secs(10);

/// A running haproxy; ends when dropped.
pub(super) struct Haproxy(Child);

/// The first line of `haproxy -v`.
///
/// # Errors
/// When it is not installed.
pub(super) fn version(program: &Path) -> Result<String> {
    let output = Command::new(program).arg("-v").stdin(Stdio::null()).output();
    let output = output.with_context(|| {
        format!("{} does not start (hint: apt-get install haproxy)", program.display())
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

impl Haproxy {
    /// One thread of it at `address` in front of the testbed's service.
    ///
    /// # Errors
    /// When it does not listen.
    pub(super) fn start(program: &Path, testbed: &Testbed, address: SocketAddr) -> Result<Haproxy> {
        let file = configure(testbed, address)?;
        let said = file.with_extension("err");
        let netns = testbed.namespace(domain::GATEWAY)?;
        let mut command = Command::new(program);
        command.arg("-db").arg("-f").arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&said)?);
        let mut haproxy = Haproxy(netns.run(|| command.spawn())?.context("haproxy")?);
        let begun = Instant::now();
        while netns.run(|| TcpStream::connect(address).is_err())? {
            if let Some(status) = haproxy.0.try_wait()? {
                let said = fs::read_to_string(&said).unwrap_or_default();
                bail!("haproxy ended with {status}: {said}");
            }
            ensure!(begun.elapsed() < STARTS_WITHIN, "haproxy does not listen at {address}");
            sleep(Duration::from_millis(20));
        }
        Ok(haproxy)
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        // Fails only where it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writes its configuration beside the authority's files.
fn configure(testbed: &Testbed, address: SocketAddr) -> Result<PathBuf> {
    let authority = testbed.authority();
    let listener = testbed.domain().gateway.listeners.first().context("no listener")?;
    let service = testbed.domain().services.first().context("no service")?;
    let service = service.addresses.first().context("a service without address")?;
    // As the conductor has it issued: one certificate a listener, in the order of the file.
    let issued = authority.dir().join("server").join(format!("{}-0", listener.name));
    let read = |name: &str| {
        let path = issued.join(name);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    let write = |name: &str, text: String| {
        let path = authority.dir().join(name);
        fs::write(&path, text).map(|()| path.clone()).with_context(|| path.display().to_string())
    };
    let certificate = write("haproxy.pem", read("cert.pem")? + &read("key.pem")?)?;
    let text = format!(
        "global\n  nbthread 1\n  maxconn 4096\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         \x20 option http-keep-alive\n\
         frontend clients\n  bind {address} ssl crt {certificate} ca-file {root} crl-file {crl} verify required \
         ssl-min-ver TLSv1.2 alpn h2,http/1.1\n\
         \x20 default_backend site\n\
         backend site\n  http-reuse safe\n  server www {service}\n",
        certificate = certificate.display(),
        root = authority.dir().join("root.pem").display(),
        crl = authority.crl_file().display(),
    );
    write("haproxy.cfg", text)
}
