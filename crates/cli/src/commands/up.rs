//! `ringmail up FILE`: a domain on this machine, in network namespaces, until it is told to end.

use std::env;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use ringmail_model::TrustDomain;
use ringmail_node::assemble::{self, DomainFile};
use ringmail_node::layout::Layout;
use ringmail_node::runtime::Place;
use ringmail_node::supervise::Body;
use ringmail_node::topology::Privilege;
use ringmail_node::up::{Plan, Up, UpError};
use ringmail_trust::{AuthorityError, EmbeddedCa};
use schemars::JsonSchema;
use serde::Serialize;

use super::domain::{load, read};
use crate::context::Context;
use crate::error::{Failure, OrFail, Outcome};
use crate::logging::Log;
use crate::output::Report;
use crate::privilege;
use crate::signals::Signals;

/// Bring a domain up on this machine, until ctrl-C or `ringmail down`
///
/// Every client, element and service gets a network namespace; `ringmail exec` runs programs in them. As root the
/// namespaces have names (`ip netns list`); otherwise they live in a user namespace. What a crashed run left is
/// removed first.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The domain file
    file: PathBuf,

    /// How elements share processes
    #[arg(long, value_name = "LAYOUT", default_value = "processes")]
    layout: LayoutName,

    /// The authority's directory; a new authority is made where there is none
    #[arg(long, value_name = "DIR", default_value = "ringmail-ca")]
    ca: PathBuf,

    /// Serve metrics and health at this TCP address, too; it wins over the domain file's
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LayoutName {
    /// One process, namespace and trust boundary an element
    Processes,
    /// All elements in one process, frames handed over in memory
    Single,
}

/// A domain that came up.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct CameUp {
    /// Its name.
    domain: String,
    /// The process that runs it, until this one ends.
    pid: u32,
    /// Whether it runs in a user namespace.
    rootless: bool,
    /// Where its admin socket is.
    runtime_dir: PathBuf,
    /// The network namespaces, by name.
    namespaces: Vec<String>,
    /// The elements, by name.
    elements: Vec<String>,
}

impl Report for CameUp {
    const NAME: &'static str = "up";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{} is up", self.domain)?;
        writeln!(out, "elements: {}", self.elements.join(", "))?;
        writeln!(out, "namespaces: {}", self.namespaces.join(", "))
    }
}

pub(crate) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    let text = read(&args.file)?;
    let loaded = load(&text, &args.file).unchanged("nothing was started")?;
    let authority = authority(&args.ca, &loaded.domain.domain)?;
    let metrics = args.metrics.or(loaded.domain.metrics.address);
    let folder = args.file.parent().unwrap_or(Path::new(".")).to_owned();
    let file = DomainFile { domain: loaded.domain, text, folder };
    let program = env::current_exe().context("the path of this program is unknown")?;
    let plan = assemble::plan(&file, Arc::new(authority), args.layout.into(), &program)
        .context("the domain cannot be laid out")?;
    let plan = with_log(plan, context.log());

    // Where things are depends on who the user is, which the next step may change.
    let place = Place::usual();
    let privilege = privilege::acquire()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(Box::pin(live(plan, metrics, &place, privilege, context)))
}

async fn live(
    plan: Plan,
    metrics: Option<SocketAddr>,
    place: &Place,
    privilege: Privilege,
    context: &mut Context,
) -> Result<Outcome, Failure> {
    let mut signals = Signals::catch()?;
    let progress = context.progress();
    progress.stage(format!("bringing {} up", plan.topology.domain));
    let started = tokio::select! {
        started = Up::start(plan, place, privilege, context.log().sink()) => started,
        signal = signals.next() => return Err(Failure::new(format!("ended by {signal} before it was up"))),
    };
    drop(progress);
    let mut up = started.map_err(failed)?;
    if let Some(address) = metrics
        && let Err(error) = up.serve_metrics(address).await
    {
        up.stop().await.map_err(failed)?;
        return Err(failed(error).hint("take another address with --metrics"));
    }
    context.emit(&came_up(&mut up))?;
    tracing::info!("ctrl-C or `ringmail down` ends it");

    let ended = tokio::select! {
        ended = up.run() => ended.map_err(failed),
        signal = signals.next() => {
            tracing::info!(signal, "ending");
            Ok(())
        }
    };
    if ended.is_ok() {
        tokio::select! {
            () = up.drain() => {}
            signal = signals.next() => tracing::info!(signal, "connections are cut"),
        }
    }
    // Signals are still caught: another ctrl-C does not leave things half way. Every step has its limit.
    up.stop().await.map_err(failed)?;
    ended.map(|()| Outcome::Done)
}

fn came_up(up: &mut Up) -> CameUp {
    let runtime_dir = up.dir().to_owned();
    let elements = up.handle().elements().into_iter().map(|(name, ..)| name).collect();
    let record = up.claim().record();
    CameUp {
        domain: record.domain.clone(),
        pid: record.owner.pid,
        rootless: record.rootless,
        runtime_dir,
        namespaces: record.namespaces.iter().map(|held| held.name.clone()).collect(),
        elements,
    }
}

/// The authority of a directory; a new one where there is none.
fn authority(dir: &Path, domain: &TrustDomain) -> Result<EmbeddedCa, Failure> {
    let opened = match EmbeddedCa::open(dir) {
        Err(AuthorityError::NotFound { .. }) => {
            tracing::warn!(dir = %dir.display(), "a new authority is made; `ringmail ca client NAME` issues certificates");
            EmbeddedCa::init(dir, domain)
        }
        other => other,
    };
    opened.map_err(|error| {
        let hint = error.hint();
        let failure = Failure::from(error).context("the authority cannot be used");
        failure.unchanged("nothing was started").hint_if(hint)
    })
}

/// Elements log as much as this process does.
fn with_log(mut plan: Plan, log: &Log) -> Plan {
    for element in &mut plan.elements {
        if let Body::Process(program) = &mut element.body {
            let variables = log.environment().into_iter();
            program.environment.extend(variables.map(|(name, value)| (name.into(), value.into())));
        }
    }
    plan
}

fn failed(error: UpError) -> Failure {
    let hint = error.hint();
    Failure::from(error).hint_if(hint)
}

impl From<LayoutName> for Layout {
    fn from(name: LayoutName) -> Layout {
        match name {
            LayoutName::Processes => Layout::Processes,
            LayoutName::Single => Layout::Single,
        }
    }
}
