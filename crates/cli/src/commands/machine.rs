//! `ringmail gateway|hop|egress`: one element of a domain on this machine, told by `ringmail control`.

use std::fs;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ringmail_model::Name;
use ringmail_model::pathset::Role;
use ringmail_node::pdp::{self, MachineSettings, limits::CONTROL_PORT};
use ringmail_trust::Token;

use super::element::open_as_many_as_allowed;
use crate::context::Context;
use crate::error::{Failure, OrFail, Outcome};
use crate::signals::Signals;

/// What every element on a machine of its own is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Machine {
    /// The state directory: key, certificate, the version that runs, leases
    #[arg(long, value_name = "DIR")]
    state: PathBuf,

    /// Where control listens; the port is 6638 unless it is given
    #[arg(long, value_name = "HOST[:PORT]")]
    control: String,

    /// The file of the token to enrol with (`ringmail ca token`), or - for standard input; needed once
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,

    /// Where the domain file's relative paths begin on this machine; the state directory by default
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,

    /// Serve metrics and health over HTTP at this address, besides the socket in the state directory
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
}

impl Machine {
    /// Runs the element until a signal ends it.
    pub(crate) fn run(
        self,
        name: Name,
        role: Role,
        _context: &mut Context,
    ) -> Result<Outcome, Failure> {
        open_as_many_as_allowed();
        let token = self.token.as_deref().map(read_token).transpose()?.flatten();
        let enrolled = self.state.join("identity.json");
        let settings = MachineSettings {
            name,
            role,
            files: self.files.unwrap_or_else(|| self.state.clone()),
            state: self.state,
            control: with_port(&self.control),
            token,
            metrics: self.metrics,
        };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let outcome = runtime.block_on(async {
            let mut signals = Signals::catch()?;
            let stop = async || loop {
                match signals.next().await {
                    // The gateway opens its access log again.
                    "SIGHUP" => {}
                    signal => return tracing::info!(signal, "ending"),
                }
            };
            Box::pin(pdp::run(settings, stop)).await
        });
        outcome.map_err(|error| match enrolled.exists() {
            true => Failure::from(error).hint("-v says more of what came before"),
            false => Failure::from(error)
                .hint("where control is, `ringmail ca token NAME` makes a token to enrol with"),
        })?;
        Ok(Outcome::Done)
    }
}

/// The token in a file; a file that is empty or says `none` is there for service managers that need one.
fn read_token(file: &Path) -> Result<Option<Token>, Failure> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        io::stdin().lock().read_to_string(&mut text).map(|_| ())
    } else {
        fs::read_to_string(file).map(|read| text = read)
    };
    read.context(format!("{} cannot be read", file.display()))?;
    if matches!(text.trim(), "" | "none") {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|why: String| {
        Failure::new(why).hint("make one with: ringmail ca token NAME").unchanged("nothing")
    })
}

/// `HOST:PORT` of what may have no port.
fn with_port(control: &str) -> String {
    let bare_v6 = control.parse::<std::net::Ipv6Addr>().is_ok();
    let has_port = !bare_v6
        && control.rsplit_once(':').is_some_and(|(_, port)| {
            !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
        });
    match (has_port, bare_v6) {
        (true, _) => control.to_owned(),
        (false, true) => format!("[{control}]:{CONTROL_PORT}"),
        (false, false) => format!("{control}:{CONTROL_PORT}"),
    }
}

#[cfg(test)]
mod tests {
    use super::with_port;

    #[test]
    fn the_port_may_be_left_out() {
        assert_eq!(with_port("192.0.2.1"), "192.0.2.1:6638");
        assert_eq!(with_port("control.example:7000"), "control.example:7000");
        assert_eq!(with_port("2001:db8::1"), "[2001:db8::1]:6638");
        assert_eq!(with_port("[2001:db8::1]:7000"), "[2001:db8::1]:7000");
        assert_eq!(with_port("[2001:db8::1]"), "[2001:db8::1]:6638");
    }
}
