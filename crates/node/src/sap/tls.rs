//! TLS as sessions need it: 1.3 only, both sides with their SVIDs, X25519MLKEM768 only, nothing of an earlier session
//! (RFC 8446; `docs/sap.md`, "The session").

use std::collections::BTreeMap;
use std::sync::Arc;

use ringmail_dataplane::sap::{ALPN, ExportFailed, Exporter};
use ringmail_trust::{Identity, TrustBundle};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, HandshakeKind, NamedGroup, ProtocolVersion, ServerConfig};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::error::{ConnectError, SetupError};
use super::identity::{SvidVerifier, spiffe_id};
use super::limits::{DIAL_WITHIN, HANDSHAKE_WITHIN};

/// What a session runs over: TCP, or in tests anything else that carries bytes in order.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection whose peer was authenticated.
pub(super) type Stream = TlsStream<Box<dyn Io>>;

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
        let provider = Arc::new(provider());
        let algorithms = provider.signature_verification_algorithms;
        let versions = [&rustls::version::TLS13];

        let verifier = SvidVerifier::new(bundle, algorithms, neighbours.iter().cloned())?;
        let (chain, key) = identity.for_tls();
        let mut accept = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .map_err(SetupError::Identity)?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_single_cert(chain, key)
            .map_err(SetupError::Identity)?;
        accept.alpn_protocols = vec![ALPN.to_vec()];
        accept.session_storage = Arc::new(NoServerSessionStorage {});
        accept.send_tls13_tickets = 0;
        accept.max_early_data_size = 0;

        let mut dial = BTreeMap::new();
        for neighbour in neighbours {
            let verifier = SvidVerifier::new(bundle, algorithms, [neighbour.clone()])?;
            let (chain, key) = identity.for_tls();
            let mut config = ClientConfig::builder_with_provider(provider.clone())
                .with_protocol_versions(&versions)
                .map_err(SetupError::Identity)?
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
                .with_client_auth_cert(chain, key)
                .map_err(SetupError::Identity)?;
            config.alpn_protocols = vec![ALPN.to_vec()];
            config.resumption = Resumption::disabled();
            config.enable_early_data = false;
            config.enable_sni = false;
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
        // The name is not sent, and the SVID is checked for the SPIFFE id instead.
        let nameless = ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
        let handshake = TlsConnector::from(config).connect(nameless, io);
        let stream = timeout(DIAL_WITHIN, handshake).await.map_err(|_| ConnectError::TimedOut)?;
        let stream = TlsStream::Client(stream.map_err(ConnectError::Handshake)?);
        match check(&stream)? {
            id if id == neighbour => Ok(stream),
            _ => Err(ConnectError::NotSap("is another than was dialed")),
        }
    }

    /// Handshakes as the one that was dialed, and says by whom.
    pub(super) async fn accept(&self, io: Box<dyn Io>) -> Result<(String, Stream), ConnectError> {
        let handshake = TlsAcceptor::from(self.accept.clone()).accept(io);
        let stream = timeout(HANDSHAKE_WITHIN, handshake).await;
        let stream = stream.map_err(|_| ConnectError::TimedOut)?;
        let stream = TlsStream::Server(stream.map_err(ConnectError::Handshake)?);
        let peer = check(&stream)?;
        Ok((peer, stream))
    }
}

/// aws-lc-rs with nothing but what the protocol names.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519MLKEM768];
    provider.cipher_suites.retain(|suite| suite.tls13().is_some());
    provider
}

/// Checks what the configurations should have brought about, so that a mistake in them fails closed; returns the SPIFFE id
/// of the peer.
fn check(stream: &Stream) -> Result<String, ConnectError> {
    let (_, tls) = stream.get_ref();
    let group = tls.negotiated_key_exchange_group().map(|group| group.name());
    let wrong = if tls.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        "does not speak TLS 1.3"
    } else if tls.alpn_protocol() != Some(ALPN) {
        "did not agree on ALPN ringmail-sap/1"
    } else if group != Some(NamedGroup::X25519MLKEM768) {
        "did not agree on X25519MLKEM768"
    } else if !matches!(
        tls.handshake_kind(),
        Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)
    ) {
        "resumed a session"
    } else {
        let svid = tls.peer_certificates().and_then(<[_]>::first);
        let id = svid.and_then(spiffe_id).map(str::to_owned);
        return id.ok_or(ConnectError::NotSap("showed no SVID"));
    };
    Err(ConnectError::NotSap(wrong))
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
