//! `ringmail control FILE`: distributes a domain to its elements on other machines, enrols them, and renews their leases.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use ringmail_node::notify::Notifier;
use ringmail_node::pdp::{
    Absent, Control, ControlSettings, Distributed, Press, limits::CONTROL_PORT,
};
use ringmail_trust::EmbeddedCa;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::domain::{load, read};
use crate::context::Context;
use crate::error::{Failure, OrFail, Outcome};
use crate::output::Report;

/// Distribute a domain to elements on several machines, until ctrl-C
///
/// Every element connects here: to enrol with a token (`ringmail ca token NAME`), for the signed paths, and for its
/// leases. SIGHUP reads the file again and distributes it: staged everywhere first, then activated; `ringmail reload
/// FILE --state DIR` does the same and says what every element answers. Traffic does not pass here, and goes on while control is away, as long as leases last (`limits.lease_s`).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The domain file
    file: PathBuf,

    /// The authority's directory
    #[arg(long, value_name = "DIR", default_value = "ringmail-ca")]
    ca: PathBuf,

    /// Where control keeps the version that counts
    #[arg(long, value_name = "DIR", default_value = "ringmail-control")]
    state: PathBuf,

    /// Where elements connect
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), CONTROL_PORT))]
    listen: SocketAddr,

    /// What happens to a new version while elements are away
    #[arg(long, value_name = "POLICY", default_value = "go-on")]
    absent: AbsentName,

    /// Serve metrics and health over HTTP at this address, besides the socket in the state directory
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AbsentName {
    /// The others go on; it gets the version when it is back
    GoOn,
    /// The version is refused
    Refuse,
}

/// A control that serves.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Serving {
    /// The domain's name.
    domain: String,
    /// The process, until it ends.
    pid: u32,
    /// Where elements connect.
    listen: SocketAddr,
    /// Where metrics and health are served over TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<SocketAddr>,
}

impl Report for Serving {
    const NAME: &'static str = "control";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}: control at {}", self.domain, self.listen)
    }
}

pub(crate) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    let text = read(&args.file)?;
    let domain = load(&text, &args.file).unchanged("nothing was started")?.domain;
    let authority = EmbeddedCa::open(&args.ca).map_err(|error| {
        let hint = error.hint();
        Failure::from(error).unchanged("nothing was started").hint_if(hint)
    })?;
    let press = Press::open(Arc::new(authority), &args.state)?;
    let absent = match args.absent {
        AbsentName::GoOn => Absent::GoOn,
        AbsentName::Refuse => Absent::Refuse,
    };
    let settings = ControlSettings { listen: args.listen, absent, metrics: args.metrics };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let control = Control::start(press, &text, settings).await?;
        let notifier = Notifier::from_env();
        context.emit(&Serving {
            domain: domain.domain.to_string(),
            pid: std::process::id(),
            listen: control.address(),
            metrics: control.metrics(),
        })?;
        notifier.ready();
        let mut alive = notifier.alive_every().map(tokio::time::interval);
        loop {
            tokio::select! {
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                () = control.asked_to_end() => break,
                _ = hangup.recv() => publish(&control, &args),
                () = tick(alive.as_mut()) => notifier.alive(),
            }
        }
        notifier.stopping();
        control.stop().await;
        Ok(Outcome::Done)
    })
}

/// Distributes the file as it is now, beside everything else. What is wrong with it is told, and everything goes on as it
/// was.
fn publish(control: &Control, args: &Args) {
    let text = match read(&args.file) {
        Ok(text) => text,
        Err(failure) => return tracing::error!(%failure, "the domain file is not distributed"),
    };
    let becomes = control.publish(text);
    tokio::spawn(async move {
        match becomes.await {
            Ok(Distributed { version, .. }) => tracing::info!(%version, "the domain file counts"),
            Err(error) => tracing::error!(%error, "the domain file is not distributed"),
        }
    });
}

async fn tick(interval: Option<&mut tokio::time::Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}
