//! `ringmail trust serve`: the manager itself.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use ringmail_node::notify::Notifier;
use ringmail_trust::manager::{
    ManagerError, References, Server, ServerSettings, Service, Settings,
};
use ringmail_trust::{EmbeddedCa, SubjectName};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::reach::MANAGER_PORT;
use crate::context::Context;
use crate::error::{Failure, OrFail, Outcome};
use crate::output::Report;

/// Serve as the domain's manager, until ctrl-C
///
/// Everything that it does stands in its directory before it is answered: it can be killed at any moment. The policy says who
/// is operator and auditor, how long certificates and leases last, and what follows from bad evidence and from silence; the
/// references say what evidence has to show. What is not there is refused.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The manager's own directory; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "ringmail-manager")]
    dir: PathBuf,

    /// The authority's directory
    #[arg(long, value_name = "DIR", default_value = "ringmail-ca")]
    ca: PathBuf,

    /// The policy, in YAML; without it, the one that holds
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// The directory of reference values: host.json, hosts/NAME.json, functions.yaml
    #[arg(long, value_name = "DIR", default_value = "ringmail-references")]
    references: PathBuf,

    /// Where agents and operators connect
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), MANAGER_PORT))]
    listen: SocketAddr,

    /// A DNS name or IP address by which it is reached, besides the one that it listens at; can be repeated
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<SubjectName>,
}

/// A manager that serves.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TrustServing {
    /// The domain.
    trust_domain: String,
    /// The process, until it ends.
    pid: u32,
    /// Where it listens.
    listen: SocketAddr,
    /// Entries in its log.
    log_size: u64,
    /// Whether the policy names an operator; else nobody can make a token.
    has_operator: bool,
}

impl Report for TrustServing {
    const NAME: &'static str = "trust-serve";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let TrustServing { trust_domain, listen, log_size, .. } = self;
        writeln!(out, "{trust_domain}: manager at {listen}, {log_size} entries in its log")?;
        if !self.has_operator {
            writeln!(out, "the policy names no operator: --policy FILE with `operators: [NAME]`")?;
        }
        Ok(())
    }
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    let authority = EmbeddedCa::open(&args.ca).map_err(|error| {
        let hint = error.hint();
        Failure::from(error).unchanged("nothing was started").hint_if(hint)
    })?;
    let policy = args.policy.as_ref().map(|path| {
        std::fs::read_to_string(path)
            .context(format!("the policy {} cannot be read", path.display()))
            .unchanged("nothing was started")
    });
    let policy = policy.transpose()?;
    let references = told(References::load(&args.references))?;
    let service = told(Service::open(Settings {
        dir: args.dir,
        ca: Arc::new(authority),
        appraiser: Arc::new(references),
        clock: Settings::system_clock(),
    }))?;
    if let (Some(text), Some(path)) = (policy, &args.policy) {
        told(service.set_policy(&path.display().to_string(), &text))?;
    }
    let service = Arc::new(service);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let settings = ServerSettings { listen: args.listen, names: args.names };
        // In a task: its making blocks.
        let server = tokio::spawn(Server::bind(Arc::clone(&service), settings)).await??;
        let notifier = Notifier::from_env();
        context.emit(&TrustServing {
            trust_domain: service.trust_domain().to_string(),
            pid: std::process::id(),
            listen: server.address()?,
            log_size: told(service.head())?.head.size,
            has_operator: !told(service.policy())?.1.operators.is_empty(),
        })?;
        notifier.ready();
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            failed = server.serve() => match failed {
                Ok(never) => match never {},
                Err(error) => return Err(Failure::from(error)),
            },
        }
        notifier.stopping();
        Ok(Outcome::Done)
    })
}

fn told<T>(result: Result<T, ManagerError>) -> Result<T, Failure> {
    result.map_err(|error| {
        let hint = error.hint();
        Failure::from(error).hint_if(hint)
    })
}
