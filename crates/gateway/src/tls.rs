//! TLS towards clients: certificates by SNI (RFC 6066 section 3), client certificates required and
//! checked against revocation lists (RFC 5280 section 6.3), HTTP versions by ALPN (RFC 7301).

use std::sync::Arc;

use ringmail_model::domain::ListenerKind;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    NoServerSessionStorage, ResolvesServerCert, ServerConfig, VerifierBuilderError,
};

use crate::client_trust::ClientCheck;
use crate::sites::Shown;

/// A server certificate with the names that it is shown for.
#[derive(Debug)]
pub struct Site {
    /// The names (SNI) that it is shown for, `*.` in front standing for one label. Empty: the DNS
    /// names and addresses in the certificate itself.
    pub names: Vec<String>,
    /// The certificate chain, the server's own first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its private key.
    pub key: PrivateKeyDer<'static>,
}

/// Whom client certificates come from, and which are revoked.
#[derive(Debug)]
pub struct ClientTrust {
    /// The trust anchors.
    pub roots: Arc<RootCertStore>,
    /// Revocation lists. With any, a certificate whose issuer has no current list is refused.
    pub crls: Vec<CertificateRevocationListDer<'static>>,
}

/// Why the TLS settings cannot be used; the fault is the operator's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// No certificate at all.
    #[error("the gateway has no server certificate")]
    NoSite,
    /// A certificate that cannot be read.
    #[error("server certificate {index} cannot be read")]
    Certificate {
        /// Its place in the list.
        index: usize,
    },
    /// A certificate that is shown for nothing.
    #[error("server certificate {index} has no name (hint: issue it with DNS names)")]
    Nameless {
        /// Its place in the list.
        index: usize,
    },
    /// A key that cannot be used, or that is another certificate's.
    #[error("the key of server certificate {index} is not usable")]
    Key {
        /// Its place in the list.
        index: usize,
        /// What rustls says.
        source: rustls::Error,
    },
    /// Two certificates for one name.
    #[error("two server certificates are shown for {name:?}")]
    Twice {
        /// The name.
        name: String,
    },
    /// No trust anchor, or a revocation list that cannot be read.
    #[error("client certificates cannot be checked")]
    Clients(#[from] VerifierBuilderError),
    /// The provider refuses the protocol versions.
    #[error("TLS cannot be set up")]
    Versions(#[source] rustls::Error),
}

/// What a listener needs: the rustls configuration and the names behind each certificate.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    pub(crate) kind: ListenerKind,
    pub(crate) config: Arc<ServerConfig>,
    /// For clients that insist on `postgresql` (PostgreSQL 17's direct TLS).
    pub(crate) postgresql: Arc<ServerConfig>,
    pub(crate) sites: Arc<Shown>,
    pub(crate) clients: Arc<ClientCheck>,
    /// With tickets.
    #[cfg(feature = "weaken")]
    pub(crate) resuming: Arc<ServerConfig>,
}

/// TLS 1.3 and 1.2 for `sites`, with client certificates required.
///
/// A client without server name gets the first site; one that asks for an unknown name gets none.
/// Sessions are not resumed: a ticket would outlive the revocation of its certificate.
///
/// # Errors
/// [`TlsError`] names the certificate at fault.
pub fn settings(
    kind: ListenerKind,
    sites: Vec<Site>,
    clients: ClientTrust,
) -> Result<TlsSettings, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let sites = Arc::new(Shown::new(sites, Arc::clone(&provider))?);
    let clients = ClientCheck::new(clients.roots, clients.crls, Arc::clone(&provider))?;
    let clients = Arc::new(clients);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Versions)?
        .with_client_cert_verifier(Arc::clone(&clients) as Arc<dyn ClientCertVerifier>)
        .with_cert_resolver(Arc::clone(&sites) as Arc<dyn ResolvesServerCert>);
    let https: &[&str] = &["h2", "http/1.1", "http/1.0"];
    // What passes unread may name what it likes: without a list of ours ALPN is left alone.
    config.alpn_protocols = names(if kind == ListenerKind::Https { https } else { &[] });
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    let mut postgresql = config.clone();
    postgresql.alpn_protocols = names(&[POSTGRESQL]);
    let (config, postgresql) = (Arc::new(config), Arc::new(postgresql));
    Ok(TlsSettings {
        kind,
        #[cfg(feature = "weaken")]
        resuming: Arc::new({
            let mut resuming = ServerConfig::clone(&config);
            resuming.session_storage = rustls::server::ServerSessionMemoryCache::new(64);
            resuming.send_tls13_tickets = 2;
            resuming
        }),
        config,
        postgresql,
        sites,
        clients,
    })
}

/// The protocol that PostgreSQL's clients name in ALPN.
pub(crate) const POSTGRESQL: &str = "postgresql";

fn names(alpn: &[&str]) -> Vec<Vec<u8>> {
    alpn.iter().map(|name| name.as_bytes().to_vec()).collect()
}
