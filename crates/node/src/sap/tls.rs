//! TLS as sessions need it: 1.3 only, both sides with their SVIDs, X25519MLKEM768 only, nothing of an earlier session
//! (RFC 8446; `docs/sap.md`, "The session").

use std::collections::BTreeMap;
use std::sync::Arc;

use ringmail_dataplane::sap::{ALPN, ExportFailed, Exporter};
use ringmail_model::defence::{Defence, off};
use ringmail_trust::{Identity, TrustBundle};
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, HandshakeKind, NamedGroup, ProtocolVersion, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::error::{ConnectError, SetupError};
use super::identity::{SvidVerifier, spiffe_id};
use super::limits::{DIAL_WITHIN, HANDSHAKE_WITHIN};
use super::live;

/// What a session runs over: TCP, or in tests anything else that carries bytes in order.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection whose peer was authenticated.
pub(crate) type Stream = TlsStream<Box<dyn Io>>;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Keys are agreed on.
    Sessions,
    /// One end asks whether the other is alive.
    Live,
}

/// Both roles, ready for handshakes: one configuration to accept, one for each neighbour to dial.
#[derive(Debug)]
pub(super) struct Tls {
    accept: Arc<ServerConfig>,
    dial: BTreeMap<String, Arc<ClientConfig>>,
}

impl Tls {
    /// Configurations for an element whose neighbours have these SPIFFE ids.
    pub(super) fn new(
        identity: &Identity,
        bundle: &TrustBundle,
        neighbours: &[String],
    ) -> Result<Tls, SetupError> {
        let verifier = |expected: &[String]| {
            SvidVerifier::new(bundle, algorithms(), expected.iter().cloned()).map(Arc::new)
        };
        let mut accept = server_config(identity.for_tls(), Some(verifier(neighbours)?), ALPN)?;
        accept.alpn_protocols.push(live::ALPN.to_vec());
        let mut dial = BTreeMap::new();
        for neighbour in neighbours {
            let verifier = verifier(std::slice::from_ref(neighbour))?;
            let config = client_config(Some(identity), verifier, ALPN)?;
            dial.insert(neighbour.clone(), Arc::new(config));
        }
        Ok(Tls { accept: Arc::new(accept), dial })
    }

    /// Handshakes as the one that dialed this neighbour.
    pub(super) async fn dial(
        &self,
        neighbour: &str,
        io: Box<dyn Io>,
    ) -> Result<Stream, ConnectError> {
        let unknown = ConnectError::NotSap("is no neighbour any more");
        let config = self.dial.get(neighbour).ok_or(unknown)?.clone();
        let handshake = TlsConnector::from(config).connect(nameless(), io);
        let stream = timeout(DIAL_WITHIN, handshake).await.map_err(|_| ConnectError::TimedOut)?;
        let stream = TlsStream::Client(stream.map_err(ConnectError::Handshake)?);
        match check(&stream)? {
            (id, Purpose::Sessions) if id == neighbour => Ok(stream),
            _ => Err(ConnectError::NotSap("is another than was dialed")),
        }
    }

    /// The same with one that is only asked whether it is alive.
    pub(super) async fn dial_live(
        &self,
        partner: &str,
        io: Box<dyn Io>,
    ) -> Result<Stream, ConnectError> {
        let unknown = ConnectError::NotSap("is not to be asked any more");
        let mut config = ClientConfig::clone(self.dial.get(partner).ok_or(unknown)?);
        config.alpn_protocols = vec![live::ALPN.to_vec()];
        let stream = TlsConnector::from(Arc::new(config)).connect(nameless(), io).await;
        let stream = TlsStream::Client(stream.map_err(ConnectError::Handshake)?);
        match check(&stream)? {
            (id, Purpose::Live) if id == partner => Ok(stream),
            _ => Err(ConnectError::NotSap("is another than was asked")),
        }
    }

    /// Handshakes as the one that was dialed, and says by whom.
    pub(super) async fn accept(
        &self,
        io: Box<dyn Io>,
    ) -> Result<(String, Purpose, Stream), ConnectError> {
        let handshake = TlsAcceptor::from(self.accept.clone()).accept(io);
        let stream = timeout(HANDSHAKE_WITHIN, handshake).await;
        let stream = stream.map_err(|_| ConnectError::TimedOut)?;
        let stream = TlsStream::Server(stream.map_err(ConnectError::Handshake)?);
        let (mut peer, purpose) = check(&stream)?;
        if off(Defence::NeighbourName)
            && !self.dial.contains_key(&peer)
            && let Some(some) = self.dial.keys().next()
        {
            peer.clone_from(some);
        }
        Ok((peer, purpose, stream))
    }
}

/// How a server of the domain speaks TLS: 1.3 only, no tickets, and with a verifier only to those whom it accepts.
pub(crate) fn server_config(
    (chain, key): (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>),
    verifier: Option<Arc<SvidVerifier>>,
    alpn: &[u8],
) -> Result<ServerConfig, SetupError> {
    let builder = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(SetupError::Identity)?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(SetupError::Identity)?;
    config.alpn_protocols = vec![alpn.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    if off(Defence::AgreementFull) {
        config.session_storage = rustls::server::ServerSessionMemoryCache::new(64);
        config.send_tls13_tickets = 2;
    }
    Ok(config)
}

/// How a client of the domain speaks TLS: 1.3 only, nothing of an earlier session.
pub(crate) fn client_config(
    identity: Option<&Identity>,
    verifier: Arc<dyn ServerCertVerifier>,
    alpn: &[u8],
) -> Result<ClientConfig, SetupError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(SetupError::Identity)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity.map(Identity::for_tls) {
        Some((chain, key)) => {
            builder.with_client_auth_cert(chain, key).map_err(SetupError::Identity)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    Ok(config)
}

/// The name that a client gives rustls: it is not sent, and the SVID is checked for a SPIFFE id instead.
pub(crate) fn nameless() -> ServerName<'static> {
    ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into())
}

/// What signs certificates in a domain.
pub(crate) fn algorithms() -> WebPkiSupportedAlgorithms {
    aws_lc_rs::default_provider().signature_verification_algorithms
}

/// aws-lc-rs with nothing but what the protocols name.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if off(Defence::AgreementFull) {
        return provider;
    }
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519MLKEM768];
    provider.cipher_suites.retain(|suite| suite.tls13().is_some());
    provider
}

/// Checks what the configurations should have brought about, so that a mistake in them fails closed; returns the SPIFFE id
/// of the peer, and what the connection is for.
fn check(stream: &Stream) -> Result<(String, Purpose), ConnectError> {
    let tls = stream.get_ref().1;
    let (purpose, alpn) = match tls.alpn_protocol() {
        Some(live::ALPN) => (Purpose::Live, live::ALPN),
        _ => (Purpose::Sessions, ALPN),
    };
    check_connection(tls, alpn)?;
    Ok((peer_id(tls)?, purpose))
}

/// What [`check`] looks at, the peer's name excepted.
pub(crate) fn check_connection(tls: &rustls::CommonState, alpn: &[u8]) -> Result<(), ConnectError> {
    let group = tls.negotiated_key_exchange_group().map(|group| group.name());
    let wrong = if off(Defence::AgreementFull) {
        return Ok(());
    } else if tls.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        "does not speak TLS 1.3"
    } else if tls.alpn_protocol() != Some(alpn) {
        "did not agree on the protocol (ALPN)"
    } else if group != Some(NamedGroup::X25519MLKEM768) {
        "did not agree on X25519MLKEM768"
    } else if !matches!(
        tls.handshake_kind(),
        Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)
    ) {
        "resumed a session"
    } else {
        return Ok(());
    };
    Err(ConnectError::NotSap(wrong))
}

/// The SPIFFE id of the peer, whose certificate was verified in the handshake.
pub(crate) fn peer_id(tls: &rustls::CommonState) -> Result<String, ConnectError> {
    let svid = tls.peer_certificates().and_then(<[_]>::first);
    let id = svid.and_then(spiffe_id).map(str::to_owned);
    id.ok_or(ConnectError::NotSap("showed no SVID"))
}

/// The exporter of a session's connection.
pub(super) struct TlsExporter<'a>(pub(super) &'a Stream);

impl Exporter for TlsExporter<'_> {
    fn export(&self, label: &[u8], context: &[u8], out: &mut [u8]) -> Result<(), ExportFailed> {
        match self.0 {
            TlsStream::Client(stream) => {
                stream.get_ref().1.export_keying_material(out, label, Some(context))
            }
            TlsStream::Server(stream) => {
                stream.get_ref().1.export_keying_material(out, label, Some(context))
            }
        }
        .map(|_| ())
        .map_err(|_| ExportFailed)
    }
}
