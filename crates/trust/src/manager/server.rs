//! The manager over mutual TLS: HTTP/1.1, JSON.
//!
//! A client certificate may be left out, and then little may be asked. Whether one was revoked is asked with every request,
//! so that a connection that was made before does not outlive it.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ringmail_model::Name;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::error::ManagerError;
use super::routes;
use super::service::Service;
use crate::ca::SubjectName;
use crate::error::AuthorityError;
use crate::identity::{ElementKey, Identity};
use crate::limits::{
    MANAGER_CONNECTIONS, MANAGER_LASTS, MANAGER_PATIENCE, MANAGER_TICK, MANAGER_TIDY_TICKS,
};

/// How a manager is served.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Where.
    pub listen: SocketAddr,
    /// Names of the server, which clients compare, besides the address that it listens at.
    pub names: Vec<SubjectName>,
}

/// A bound server.
#[derive(Debug)]
pub struct Server {
    service: Arc<Service>,
    listener: TcpListener,
    names: Vec<SubjectName>,
    tls: Arc<Mutex<Tls>>,
}

/// What handshakes are made with, and until when.
#[derive(Debug)]
struct Tls {
    config: Arc<ServerConfig>,
    roots: Vec<CertificateDer<'static>>,
    renew_at_unix_s: u64,
}

/// Why a manager cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address is taken, or not this machine's.
    #[error("cannot listen at {listen}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The manager or its authority failed.
    #[error(transparent)]
    Manager(#[from] ManagerError),
    /// The manager's own certificate or its roots cannot be used; a fault of this program.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

impl Server {
    /// Binds. The server's key is made here, and its certificate is the domain's authority's.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn bind(
        service: Arc<Service>,
        settings: ServerSettings,
    ) -> Result<Server, ServerError> {
        let ServerSettings { listen, mut names } = settings;
        let failed = |source| ServerError::Listen { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?.ip();
        if address.is_loopback() {
            names.extend("localhost".parse::<SubjectName>().ok());
        }
        if !address.is_unspecified() {
            names.push(SubjectName::Ip(address));
        } else if names.is_empty() {
            names.push(SubjectName::Ip(IpAddr::from([127, 0, 0, 1])));
        }
        let tls = tokio::task::block_in_place(|| Tls::new(&service, &names))?;
        Ok(Server { service, listener, names, tls: Arc::new(Mutex::new(tls)) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until it is dropped, and lets time pass for the manager.
    ///
    /// # Errors
    /// [`ServerError`] when the manager's database failed: what was asked then was not answered.
    pub async fn serve(self) -> Result<Infallible, ServerError> {
        let Server { service, listener, names, tls } = self;
        let accepting = accept(listener, Arc::clone(&service), Arc::clone(&tls));
        tokio::select! {
            never = accepting => match never {},
            failed = pass_time(service, names, tls) => failed,
        }
    }
}

async fn accept(listener: TcpListener, service: Arc<Service>, tls: Arc<Mutex<Tls>>) -> Infallible {
    let places = Arc::new(Semaphore::new(MANAGER_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            std::future::pending::<()>().await;
            continue;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // No file descriptors left, most likely: others end soon.
                tracing::warn!(%error, "a connection was not taken");
                tokio::time::sleep(MANAGER_TICK).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let config = tls.lock().unwrap_or_else(PoisonError::into_inner).config.clone();
        connections.spawn(connection(stream, config, Arc::clone(&service), place));
    }
}

async fn connection(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    service: Arc<Service>,
    _place: OwnedSemaphorePermit,
) {
    // Small answers are not kept back; where that cannot be had, they are.
    drop(stream.set_nodelay(true));
    let accepting = TlsAcceptor::from(config).accept(stream);
    let stream = match timeout(MANAGER_PATIENCE, accepting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a handshake failed"),
        Err(_) => return tracing::debug!("a handshake took too long"),
    };
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let certificate = shown.map(|der| der.to_vec());
    let answer = service_fn(move |request| {
        let (service, certificate) = (Arc::clone(&service), certificate.clone());
        async move { Ok::<_, Infallible>(routes::answer(&service, certificate, request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(MANAGER_PATIENCE)
        .serve_connection(TokioIo::new(stream), answer);
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Ticks; ends only when the database failed.
async fn pass_time(
    service: Arc<Service>,
    names: Vec<SubjectName>,
    tls: Arc<Mutex<Tls>>,
) -> Result<Infallible, ServerError> {
    let mut ticks = tokio::time::interval(MANAGER_TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for tick in 0_u32.. {
        ticks.tick().await;
        let (service, names, tls) = (Arc::clone(&service), names.clone(), Arc::clone(&tls));
        let tidies = tick.is_multiple_of(MANAGER_TIDY_TICKS);
        let done = tokio::task::spawn_blocking(move || {
            service.tick()?;
            if tidies {
                service.tidy()?;
                renew(&service, &names, &tls);
            }
            Ok::<_, ManagerError>(())
        });
        match done.await {
            Ok(Err(error @ (ManagerError::Store(_) | ManagerError::Broken))) => {
                return Err(error.into());
            }
            Ok(Err(error)) => tracing::error!(%error, "time does not pass for the manager"),
            Ok(Ok(())) => {}
            Err(error) => tracing::error!(%error, "time does not pass for the manager"),
        }
    }
    Err(ManagerError::Broken.into())
}

/// Another certificate for the server where it is time, or where other roots are believed.
fn renew(service: &Service, names: &[SubjectName], tls: &Mutex<Tls>) {
    let due = {
        let tls = tls.lock().unwrap_or_else(PoisonError::into_inner);
        let roots = service.authority().roots_known();
        unix_s() >= tls.renew_at_unix_s || roots.is_ok_and(|roots| roots != tls.roots)
    };
    if !due {
        return;
    }
    match Tls::new(service, names) {
        Ok(new) => *tls.lock().unwrap_or_else(PoisonError::into_inner) = new,
        Err(error) => tracing::error!(%error, "the server's certificate is not renewed"),
    }
}

impl Tls {
    fn new(service: &Service, names: &[SubjectName]) -> Result<Tls, ServerError> {
        let authority = service.authority();
        let identity = identity(service, names).map_err(ManagerError::from)?;
        let bundle = service.bundle()?;
        let roots = authority.roots_known().map_err(ManagerError::from)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(
            bundle.root_store()?,
            Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
        )
        .allow_unauthenticated()
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
        let (mut chain, key) = identity.for_tls();
        // Whoever has nothing but a token knows the root by its fingerprint.
        chain.extend(roots.first().cloned());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let renew_at_unix_s =
            identity.certificates().not_after_unix_s.saturating_sub(MANAGER_LASTS.as_secs() / 2);
        Ok(Tls { config: Arc::new(config), roots, renew_at_unix_s })
    }
}

fn identity(service: &Service, names: &[SubjectName]) -> Result<Identity, AuthorityError> {
    let (authority, key) = (service.authority(), ElementKey::generate()?);
    let name: Name = "manager".parse().map_err(|_| AuthorityError::Signature)?;
    let request = key.signing_request(service.trust_domain(), &name)?;
    let certificates = authority.sign_server(&name, names, MANAGER_LASTS, &request)?;
    Ok(key.into_identity(certificates))
}

fn unix_s() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
