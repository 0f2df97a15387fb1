//! A running domain: its hold on the machine, its network, its elements and its admin socket, made and taken away in
//! this order and its reverse.

mod backend;
mod error;
mod places;
mod restart;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use self::backend::DomainBackend;
pub use self::error::UpError;
use self::places::Moves;
use self::restart::Restarts;
use crate::admin::{SOCKET_FILE, Server};
use crate::change::Changer;
use crate::control::ToElement;
use crate::issuer::Issuer;
use crate::limits::{DRAIN_ENDS_WITHIN, READY_WITHIN};
use crate::runtime::{Claim, Leftovers, Place, ProcessId};
use crate::see;
use crate::summary::{DomainSite, Keeper};
use crate::supervise::{
    Body, Conductor, ElementSpec, Exit, Handle, LineSink, Program, RequestError, StartError,
    Supervisor,
};
use crate::topology::{Fabric, Privilege, Topology};

/// What a domain consists of while it runs.
pub struct Plan {
    /// Its network. The domain's name is in it.
    pub topology: Topology,
    /// Its elements.
    pub elements: Vec<PlannedElement>,
    /// Gives the elements their certificates, paths and leases.
    pub conductor: Box<dyn Conductor>,
    /// Changes it while it runs, where it can be changed.
    pub changer: Option<Arc<Changer>>,
    /// Who issues what its elements are told, if summaries of proofs are kept.
    pub issuer: Option<Arc<Issuer>>,
    /// `processes` or `single`, for `status`.
    pub layout: &'static str,
}

/// An element before its namespace exists.
#[derive(Debug)]
pub struct PlannedElement {
    /// Unique.
    pub name: String,
    /// One of the topology's.
    pub namespace: String,
    /// What it consists of.
    pub body: Body,
}

/// A running domain. Dropping it ends everything without grace; [`Up::stop`] is the orderly way.
pub struct Up {
    // In the order in which they are dropped: the claim last.
    supervisor: Supervisor,
    conductor: Box<dyn Conductor>,
    servers: Vec<AbortOnDrop>,
    backend: Arc<DomainBackend>,
    stop: Arc<Notify>,
    changer: Option<Arc<Changer>>,
    /// Writes summaries of proofs.
    keeper: Option<Arc<Keeper>>,
    /// The elements that are programs, and so can be started again, with their namespaces.
    programs: BTreeMap<String, (String, Program)>,
    restarts: Restarts,
    /// What of it comes and goes.
    moves: Moves,
    privilege: Privilege,
    fabric: Fabric,
    claim: Claim,
}

impl Up {
    /// Makes the network, starts the elements, and returns once all are ready. Needs a tokio runtime.
    ///
    /// Cancelled at any point, it leaves nothing.
    ///
    /// # Errors
    /// What failed first; nothing is left of the rest.
    pub async fn start(
        plan: Plan,
        place: &Place,
        privilege: Privilege,
        sink: LineSink,
    ) -> Result<Up, UpError> {
        let Plan { topology, elements, conductor, changer, issuer, layout } = plan;
        topology.check().map_err(|error| UpError::Topology(error.into()))?;
        let (mut claim, leftovers) = Claim::take(place, &topology.domain, privilege)?;
        tell(leftovers);
        let (moves, places) = Moves::new(topology.clone());
        let build = move || {
            let fabric = Fabric::build(&topology, privilege, &mut claim)?;
            Ok::<_, UpError>((fabric, claim))
        };
        let (fabric, mut claim) = match tokio::task::spawn_blocking(build).await {
            Ok(built) => built?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        let supervisor = Supervisor::new(sink).map_err(UpError::Supervisor)?;
        let stop = Arc::new(Notify::new());
        let socket = claim.hold_file(SOCKET_FILE)?;
        let server = Server::bind(&socket);
        let server = server.map_err(|source| UpError::Admin { path: socket, source })?;
        let backend = DomainBackend::new(
            &claim,
            layout,
            supervisor.handle(),
            changer.clone().map(|changer| (changer, places)),
            Arc::clone(&stop),
        );
        let backend = Arc::new(backend);
        let socket = claim.hold_file(see::SOCKET_FILE)?;
        let metrics = see::Server::bind_unix(&socket);
        let metrics = metrics.map_err(|source| UpError::Admin { path: socket, source })?;
        let mut servers = vec![
            AbortOnDrop(tokio::spawn(server.serve(backend.clone()))),
            AbortOnDrop(tokio::spawn(metrics.serve(backend.clone()))),
        ];
        if let Some(changer) = changer.clone() {
            let elements = supervisor.handle();
            let renew = async move {
                let listeners = changer.renew_listeners(&elements);
                let _never = tokio::join!(listeners, changer.renew_identities(&elements));
            };
            servers.push(AbortOnDrop(tokio::spawn(renew)));
        }
        let keeper = issuer.map(|issuer| {
            let site = DomainSite::new(issuer, supervisor.handle());
            Arc::new(Keeper::new(Arc::new(site)))
        });
        let (programs, restarts) = Default::default();
        let mut up = Up {
            supervisor,
            conductor,
            servers,
            backend,
            stop,
            changer,
            keeper,
            programs,
            restarts,
            moves,
            privilege,
            fabric,
            claim,
        };
        match up.start_elements(elements).await {
            Ok(()) => {
                if let Some(keeper) = up.keeper.clone() {
                    let keeping = async move { keeper.run().await };
                    up.servers.push(AbortOnDrop(tokio::spawn(keeping)));
                }
                Ok(up)
            }
            Err(error) => {
                // The elements get the chance to end in order; what went wrong first is what is told.
                drop(up.stop().await);
                Err(error)
            }
        }
    }

    /// Serves metrics and health at a TCP address, too, in the namespace of the calling thread. Returns the address.
    ///
    /// # Errors
    /// It cannot be bound.
    pub async fn serve_metrics(&mut self, address: SocketAddr) -> Result<SocketAddr, UpError> {
        let server = see::Server::bind_tcp(address).await;
        let server = server.map_err(|source| UpError::Metrics { address, source })?;
        let bound = server.address().unwrap_or(address);
        self.servers.push(AbortOnDrop(tokio::spawn(server.serve(self.backend.clone()))));
        Ok(bound)
    }

    /// The network.
    pub fn fabric(&self) -> &Fabric {
        &self.fabric
    }

    /// A way to the elements.
    pub fn handle(&self) -> Handle {
        self.supervisor.handle()
    }

    /// The runtime directory.
    pub fn dir(&self) -> &Path {
        self.claim.dir()
    }

    /// For files in the runtime directory that go with the domain, see [`Claim::hold_file`].
    pub fn claim(&mut self) -> &mut Claim {
        &mut self.claim
    }

    /// Serves the elements until somebody asks for the end over the admin socket; starts those again that end by
    /// themselves. May be cancelled.
    ///
    /// # Errors
    /// An element ended too often or cannot be started again, or could not be answered. The others go on until the domain
    /// is stopped.
    pub async fn run(&mut self) -> Result<(), UpError> {
        loop {
            let due = self.restarts.next();
            let (supervisor, conductor) = (&mut self.supervisor, &mut *self.conductor);
            tokio::select! {
                () = self.stop.notified() => return Ok(()),
                error = supervisor.conduct_until_end(conductor) => self.ended(error).await?,
                next = self.moves.next() => self.make(next).await,
                element = come(due) => self.start_again(&element).await?,
            }
        }
    }

    /// Lets gateways take no more connections and finish what is under way, for at most `limits.drain_ms`; everything
    /// else goes on meanwhile. Before [`Up::stop`], which does not wait. Somebody who asks for the end again cuts it short.
    pub async fn drain(&mut self) {
        if let Some(keeper) = &self.keeper {
            keeper.write().await;
        }
        let Some((mut gateways, within)) = self.changer.as_ref().map(|changer| changer.gateways())
        else {
            return;
        };
        let grace_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let told = |gateway: &String| {
            self.handle().send(gateway, ToElement::Shutdown { grace_ms }).is_ok()
        };
        gateways.retain(told);
        if gateways.is_empty() {
            return;
        }
        let over = tokio::time::sleep(within + DRAIN_ENDS_WITHIN);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return tracing::warn!("the gateway does not drain in time"),
                () = self.stop.notified() => return,
                error = self.supervisor.conduct_until_end(&mut *self.conductor) => match error {
                    StartError::Ended { element, .. } if gateways.contains(&element) => {
                        gateways.retain(|gateway| *gateway != element);
                        if gateways.is_empty() {
                            return;
                        }
                    }
                    other => tracing::warn!(error = &other as &dyn std::error::Error, "while draining"),
                },
            }
        }
    }

    /// An element that is a program is started again, unless it ended too often.
    async fn ended(&mut self, error: StartError) -> Result<(), UpError> {
        match error {
            StartError::Ended { element, .. } if self.is_ending(&element) => {
                self.gone(&element).await;
                Ok(())
            }
            StartError::Ended { element, exit } if self.programs.contains_key(&element) => {
                if !self.restarts.ended(Instant::now(), &element) {
                    return Err(StartError::Ended { element, exit }.into());
                }
                tracing::warn!(element, %exit, "started again");
                Ok(())
            }
            // It ended while it was answered; that it did comes, too.
            StartError::Request { element, source: RequestError::Ended } => {
                tracing::debug!(element, "ended before it was answered");
                Ok(())
            }
            other => Err(other.into()),
        }
    }

    /// Whether it is on its way out.
    fn is_ending(&self, element: &str) -> bool {
        let place = self.programs.get(element).map(|(namespace, _)| namespace);
        place.is_some_and(|namespace| self.moves.is_ending(namespace))
    }

    async fn start_again(&mut self, element: &str) -> Result<(), UpError> {
        if let Some((namespace, program)) = self.programs.get(element).cloned() {
            let (name, body) = (element.to_owned(), Body::Process(program));
            self.start_element(PlannedElement { name, namespace, body }).await?;
        }
        self.restarts.done(element);
        Ok(())
    }

    /// Stops the elements in order, then takes the network and everything else away. Returns how each element ended;
    /// `None` for one that does not.
    ///
    /// # Errors
    /// What could not be taken away.
    pub async fn stop(self) -> Result<Vec<(String, Option<Exit>)>, UpError> {
        let Up { supervisor, servers, fabric, claim, .. } = self;
        let ends = supervisor.stop().await;
        for (element, end) in &ends {
            match end {
                Some(exit) => tracing::debug!(element, %exit, "stopped"),
                None => tracing::warn!(element, "does not end"),
            }
        }
        drop(servers);
        drop(fabric);
        claim.release()?;
        Ok(ends)
    }

    async fn start_elements(&mut self, elements: Vec<PlannedElement>) -> Result<(), UpError> {
        for element in elements {
            self.start_element(element).await?;
        }
        Ok(self.supervisor.await_ready(READY_WITHIN, &mut *self.conductor).await?)
    }

    async fn start_element(&mut self, element: PlannedElement) -> Result<(), UpError> {
        let PlannedElement { name, namespace, body } = element;
        let netns = self.fabric.namespace(&namespace).cloned();
        let unknown =
            || UpError::NoNamespace { element: name.clone(), namespace: namespace.clone() };
        let netns = netns.ok_or_else(unknown)?;
        if let Body::Process(program) = &body {
            self.programs.insert(name.clone(), (namespace, program.clone()));
        }
        let spec = ElementSpec { name: name.clone(), netns, body };
        if let Some(pid) = self.supervisor.spawn(spec).await? {
            // One that ended in between is told of by the supervisor.
            if let Ok(process) = ProcessId::of(pid) {
                self.claim.hold_process(&name, process)?;
            }
        }
        Ok(())
    }
}

/// The element that is to be started, once it is time.
async fn come(due: Option<(String, Instant)>) -> String {
    match due {
        Some((element, at)) => {
            tokio::time::sleep_until(at.into()).await;
            element
        }
        None => std::future::pending().await,
    }
}

impl std::fmt::Debug for Up {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Up").field("dir", &self.claim.dir()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan").field("domain", &self.topology.domain).finish_non_exhaustive()
    }
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn tell(leftovers: Leftovers) {
    if leftovers != Leftovers::default() {
        let Leftovers { namespaces, processes, files } = leftovers;
        tracing::warn!(
            namespaces,
            processes,
            files,
            "an earlier run ended without cleaning up; removed"
        );
    }
}
