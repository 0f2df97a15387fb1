//! From a domain file to what runs: its network, its elements, and who tells them what.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use ringmail_model::domain::{Domain, Service};
use ringmail_model::pathset::{Element, PathSet};
use ringmail_trust::EmbeddedCa;
use tracing::Instrument;

use crate::attach;
use crate::change::Changer;
use crate::conductor::DomainConductor;
use crate::element::{self, Mill, Workshop};
use crate::issuer::issue;
use crate::layout::{self, Layout};
use crate::site;
use crate::supervise::{Body, Program};
use crate::up::{Plan, PlannedElement};

/// What the name of a built-in site among the elements begins with.
pub(crate) const SITE_PREFIX: &str = "site-";

/// A domain file that was read and checked.
#[derive(Clone, Debug)]
pub struct DomainFile {
    /// What it says.
    pub domain: Domain,
    /// The file as it is.
    pub text: String,
    /// Where its relative paths begin.
    pub folder: PathBuf,
}

/// What runs for `file` in this layout. `program` is the executable of ringmail, started again for each element.
///
/// # Errors
/// When the domain has no path set, or the authority refuses something.
pub fn plan(
    file: &DomainFile,
    authority: Arc<EmbeddedCa>,
    layout: Layout,
    program: &Path,
) -> Result<Plan> {
    let mut domain = file.domain.clone();
    if layout == Layout::Single {
        one_worker_each(&mut domain);
    }
    let set = PathSet::compile(&domain, issue()?)?;
    let topology = layout::network(&domain, &set)?;
    let workshop = match layout {
        Layout::Processes => Workshop::Threads,
        Layout::Single => Workshop::Mill(Mill::new(&set)?),
    };
    let elements = elements(&domain, &set, layout, program, &workshop)?;
    let text = file.text.clone();
    let conductor = DomainConductor::new(authority, &domain, text, set, &file.folder)?;
    let changer = Changer::new(conductor.issuer(), layout, program.to_owned());
    Ok(Plan {
        topology,
        elements,
        changer: Some(Arc::new(changer)),
        issuer: Some(conductor.issuer()),
        conductor: Box::new(conductor),
        layout: match layout {
            Layout::Processes => "processes",
            Layout::Single => "single",
        },
    })
}

/// What runs of a domain, in the order in which it is started.
///
/// # Errors
/// When a service has no address.
pub(crate) fn elements(
    domain: &Domain,
    set: &PathSet,
    layout: Layout,
    program: &Path,
    workshop: &Workshop,
) -> Result<Vec<PlannedElement>> {
    let mut elements = Vec::new();
    for service in domain.services.iter().filter(|service| service.site.is_some()) {
        elements.push(origin(service, layout, program)?);
    }
    for member in &set.elements {
        elements.extend(function(domain, member, layout, program)?);
        let name = member.name.clone();
        let body = match layout {
            Layout::Processes => process(program, &["element", &name]),
            Layout::Single => {
                let (name, workshop) = (name.clone(), workshop.clone());
                Body::Thread(Box::new(move |control| {
                    // In one process the log says by a span whose line it is.
                    let span = tracing::error_span!("element", name);
                    let run = async move { Ok(element::run(&name, control, workshop).await?) };
                    Box::pin(run.instrument(span))
                }))
            }
        };
        elements.push(PlannedElement { name: name.clone(), namespace: name, body });
    }
    Ok(elements)
}

/// The built-in site in a service's namespace.
pub(crate) fn origin(service: &Service, layout: Layout, program: &Path) -> Result<PlannedElement> {
    let address = service.addresses.first().context("a service has no address")?.to_string();
    let body = match layout {
        Layout::Processes => process(program, &["site", &address]),
        Layout::Single => Body::Thread(Box::new(move |control| {
            Box::pin(async move { Ok(site::run(&address, control).await?) })
        })),
    };
    let name = format!("{SITE_PREFIX}{}", service.name);
    Ok(PlannedElement { name, namespace: service.name.to_string(), body })
}

/// The program of the attached function that an element serves, in its namespace; it is there before the hop sends
/// anything.
fn function(
    domain: &Domain,
    element: &Element,
    layout: Layout,
    program: &Path,
) -> Result<Option<PlannedElement>> {
    let Some(settings) = attach::network::settings(domain, element) else { return Ok(None) };
    let (setup, run) = (settings.setup.clone(), settings.run.clone());
    let commands = attach::Commands { setup, run };
    let body = match layout {
        Layout::Processes => process(program, &["function", &serde_json::to_string(&commands)?]),
        Layout::Single => Body::Thread(Box::new(move |control| {
            Box::pin(async move { Ok(attach::run(&commands, control).await?) })
        })),
    };
    let name = format!("{}{}", attach::PREFIX, element.name);
    Ok(Some(PlannedElement { name, namespace: attach::namespace(&element.name), body }))
}

pub(crate) fn process(program: &Path, args: &[&str]) -> Body {
    Body::Process(Program {
        path: program.to_owned(),
        args: args.iter().map(OsString::from).collect(),
        environment: Vec::new(),
    })
}

/// What a domain is in layout `single`.
pub(crate) fn one_worker_each(domain: &mut Domain) {
    domain.workers = 1;
    domain.gateway.workers = None;
    domain.gateway.standby.iter_mut().for_each(|standby| standby.workers = None);
    domain.egress.workers = None;
    domain.functions.iter_mut().for_each(|function| function.workers = None);
}
