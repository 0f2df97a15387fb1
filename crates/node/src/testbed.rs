//! A domain that is up for a while, with clients to try it: what the demo, the bench and tests stand on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use ringmail_model::domain::Domain;
use ringmail_trust::{EmbeddedCa, Kind, Request};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::assemble::{self, DomainFile};
use crate::attach;
use crate::client::Client;
use crate::layout::Layout;
use crate::runtime::Place;
use crate::supervise::{Handle, LineSink};
use crate::topology::{Netns, Privilege};
use crate::up::{Plan, Up};

/// How long certificates of trial clients hold.
const CLIENT_LASTS: Duration = Duration::from_secs(86_400);

/// What a testbed is made from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The domain.
    pub file: DomainFile,
    /// How its elements share processes.
    pub layout: Layout,
    /// The executable of ringmail.
    pub program: PathBuf,
    /// Where runtime directories lie.
    pub place: Place,
    /// With which right.
    pub privilege: Privilege,
    /// Where the elements' log lines go.
    pub sink: LineSink,
}

/// A running domain with an authority of its own, both gone when it is dropped.
#[derive(Debug)]
pub struct Testbed {
    domain: Domain,
    authority: Arc<EmbeddedCa>,
    handle: Handle,
    namespaces: BTreeMap<String, Arc<Netns>>,
    stop: Arc<Notify>,
    /// Answers the elements (their leases run out otherwise) until it is told to stop, and takes everything down.
    running: JoinHandle<Result<()>>,
    // Last, so that it outlives what uses it.
    _folder: Folder,
}

impl Testbed {
    /// Brings the domain up with a new authority.
    ///
    /// # Errors
    /// Whatever keeps it from coming up; nothing is left behind.
    pub async fn start(settings: Settings) -> Result<Testbed> {
        let (layout, program) = (settings.layout, settings.program.clone());
        let plan = |file: &DomainFile, ca| assemble::plan(file, ca, layout, &program);
        Testbed::start_as(settings, plan).await
    }

    /// Brings up what `plan` makes of the domain and a new authority.
    pub(crate) async fn start_as(
        settings: Settings,
        plan: impl FnOnce(&DomainFile, Arc<EmbeddedCa>) -> Result<Plan>,
    ) -> Result<Testbed> {
        let Settings { file, place, privilege, sink, .. } = settings;
        let folder = Folder::new()?;
        let authority = EmbeddedCa::init(&folder.0.join("ca"), &file.domain.domain)?;
        let authority = Arc::new(authority);
        let plan = plan(&file, Arc::clone(&authority))?;
        let up = Up::start(plan, &place, privilege, sink).await?;
        let handle = up.handle();
        let all = up.fabric().namespaces();
        let namespaces = all.map(|netns| (netns.name().to_owned(), Arc::clone(netns))).collect();
        let stop = Arc::new(Notify::new());
        let running = tokio::spawn(run(up, Arc::clone(&stop)));
        let domain = file.domain;
        Ok(Testbed { domain, authority, handle, namespaces, stop, running, _folder: folder })
    }

    /// Waits until the domain ends: somebody said `ringmail down`, or an element ended by itself.
    ///
    /// # Errors
    /// Why an element ended, or what could not be taken away.
    pub async fn ended(&mut self) -> Result<()> {
        (&mut self.running).await.context("the domain's task panicked")?
    }

    /// A way to the elements.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The names of gateway, hops and egresses.
    pub fn elements(&self) -> Vec<String> {
        let all = self.handle.elements().into_iter().map(|(name, ..)| name);
        let apart = [assemble::SITE_PREFIX, attach::PREFIX];
        all.filter(|name| !apart.iter().any(|prefix| name.starts_with(prefix))).collect()
    }

    /// The domain.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The authority.
    pub fn authority(&self) -> &EmbeddedCa {
        &self.authority
    }

    /// A client with a new certificate under its name in the domain, at the first listener.
    ///
    /// # Errors
    /// When the authority refuses, or the domain has no listener.
    pub fn client(&self, name: &str) -> Result<Client> {
        let request = Request {
            kind: Kind::Client,
            name: name.parse()?,
            names: Vec::new(),
            lasts: CLIENT_LASTS,
            replace: true,
        };
        let (chain, key) = self.authority.issue(&request)?.identity.for_tls();
        let builder = self.client_tls()?;
        self.client_with(builder.with_client_auth_cert(chain, key)?)
    }

    /// A client without a certificate.
    ///
    /// # Errors
    /// When the domain has no listener.
    pub fn stranger(&self) -> Result<Client> {
        let config = self.client_tls()?.with_no_client_auth();
        self.client_with(config)
    }

    /// The namespace of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn namespace(&self, name: &str) -> Result<Arc<Netns>> {
        let found = self.namespaces.get(name);
        found.cloned().with_context(|| format!("no namespace `{name}`"))
    }

    /// How a person reaches the testbed with curl, as a client of this name.
    ///
    /// # Errors
    /// When the authority has no certificate for it.
    pub fn instructions(&self, client: &str) -> Result<String> {
        let Client { address, server_name, .. } = self.client(client)?;
        let ca = self.authority.dir();
        let files = ca.join("client").join(client);
        Ok(format!(
            "The testbed stays up until ctrl-C. From another shell:\n  \
             ringmail exec {client} -- curl --resolve {server_name}:{port}:{ip} --cacert {root} \\\n    \
             --cert {cert} --key {key} https://{server_name}:{port}/",
            port = address.port(),
            ip = address.ip(),
            root = ca.join("root.pem").display(),
            cert = files.join("cert.pem").display(),
            key = files.join("key.pem").display(),
        ))
    }

    /// Takes everything down.
    ///
    /// # Errors
    /// Why the domain ended before, or what could not be taken away.
    pub async fn stop(self) -> Result<()> {
        self.stop.notify_one();
        self.running.await.context("the domain's task panicked")?
    }

    fn client_tls(
        &self,
    ) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>> {
        let mut roots = RootCertStore::empty();
        for root in ringmail_trust::Authority::trust_bundle(&*self.authority)?.roots {
            roots.add(root)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        Ok(builder.with_safe_default_protocol_versions()?.with_root_certificates(roots))
    }

    fn client_with(&self, tls: ClientConfig) -> Result<Client> {
        let listener = self.domain.gateway.listeners.first().context("no listener")?;
        let address: SocketAddr = listener.address;
        let name = listener.certificates.first().and_then(|c| c.server_names.first());
        let server_name = name.context("the listener has no certificate")?.to_string();
        Ok(Client { address, server_name, tls: Arc::new(tls) })
    }
}

/// Answers elements until the end, then takes the domain down.
async fn run(mut up: Up, stop: Arc<Notify>) -> Result<()> {
    let ended = tokio::select! {
        ended = up.run() => ended.map_err(anyhow::Error::from),
        () = stop.notified() => Ok(()),
    };
    up.stop().await?;
    ended
}

/// Runs work of a client in a namespace, on a thread and runtime of its own.
///
/// # Errors
/// Those of the work, or when there is no thread.
pub async fn within<T, F>(netns: Arc<Netns>, work: impl FnOnce() -> F + Send + 'static) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>>,
{
    let work = move || {
        netns.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(work())
        })?
    };
    tokio::task::spawn_blocking(work).await.context("the client's thread panicked")?
}

/// A folder that goes with its owner.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder> {
        let name: [u8; 8] = crate::random::bytes()?;
        let name = format!("ringmail-{:016x}", u64::from_ne_bytes(name));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        Ok(Folder(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "a temporary folder is left");
        }
    }
}
