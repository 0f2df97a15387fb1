//! Who is refused: every client here but the first lacks one thing, and so does every server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringmail_dataplane::sap::Event;
use ringmail_trust::Identity;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, DigitallySignedStruct, HandshakeKind, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use super::support::{Authority, Element, Flaw, listener};

/// A client that takes any server: what is tested is the server.
#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A client as alpha should be, for tests to spoil.
struct Client {
    provider: CryptoProvider,
    versions: Vec<&'static rustls::SupportedProtocolVersion>,
    identity: Option<Identity>,
    alpn: Vec<Vec<u8>>,
}

impl Client {
    fn good(authority: &Authority) -> Client {
        Client {
            provider: aws_lc_rs::default_provider(),
            versions: vec![&rustls::version::TLS13],
            identity: Some(authority.identity("alpha", 1, Flaw::None)),
            alpn: vec![b"ringmail-sap/1".to_vec()],
        }
    }

    fn config(self) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(Arc::new(self.provider))
            .with_protocol_versions(&self.versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer));
        let mut config = match self.identity {
            Some(identity) => {
                let (chain, key) = identity.for_tls();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn;
        config.resumption = Resumption::in_memory_sessions(8);
        config.enable_early_data = true;
        config
    }
}

/// beta, waiting for alpha, who is not there.
async fn beta(authority: &Authority) -> (Element, SocketAddr) {
    let ((own, at), (_closed, nowhere)) = (listener().await, listener().await);
    let identity = authority.identity("beta", 2, Flaw::None);
    (Element::start(authority, 2, &identity, own, nowhere), at)
}

/// What beta says first, which is HELLO when it takes the session; nothing when it refuses.
async fn first_word(config: Arc<ClientConfig>, at: SocketAddr) -> Option<(Vec<u8>, Tls)> {
    let talk = async {
        let tcp = TcpStream::connect(at).await.ok()?;
        let name = ServerName::try_from("beta.test").unwrap();
        let mut tls = TlsConnector::from(config).connect(name, tcp).await.ok()?;
        // In TLS 1.3 the client is done before the server has judged it: reading tells.
        let mut word = vec![0; 27];
        tls.read_exact(&mut word).await.ok()?;
        Some((word, tls))
    };
    timeout(Duration::from_secs(10), talk).await.expect("neither taken nor refused")
}

type Tls = TlsStream<TcpStream>;

async fn is_taken(client: Client, at: SocketAddr) -> bool {
    first_word(Arc::new(client.config()), at).await.is_some()
}

#[tokio::test]
async fn alpha_is_taken() {
    let authority = Authority::new();
    let (_beta, at) = beta(&authority).await;
    let (word, tls) =
        first_word(Arc::new(Client::good(&authority).config()), at).await.expect("taken");
    assert_eq!(word[..6], [0, 25, 1, 1, 0, 0], "HELLO, version 1, not heard yet");
    let group = tls.get_ref().1.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
}

#[tokio::test]
async fn a_client_without_the_hybrid_group_is_refused() {
    let authority = Authority::new();
    let (_beta, at) = beta(&authority).await;
    for groups in [
        vec![aws_lc_rs::kx_group::X25519],
        vec![aws_lc_rs::kx_group::SECP256R1, aws_lc_rs::kx_group::SECP256R1MLKEM768],
    ] {
        let mut client = Client::good(&authority);
        client.provider.kx_groups = groups;
        assert!(!is_taken(client, at).await);
    }
}

#[tokio::test]
async fn a_client_that_speaks_tls_1_2_is_refused() {
    let authority = Authority::new();
    let (_beta, at) = beta(&authority).await;
    let versions = vec![&rustls::version::TLS12];
    assert!(!is_taken(Client { versions, ..Client::good(&authority) }, at).await);
}

#[tokio::test]
async fn a_client_with_another_alpn_or_none_is_refused() {
    let authority = Authority::new();
    let (_beta, at) = beta(&authority).await;
    for alpn in [vec![], vec![b"h2".to_vec()], vec![b"ringmail-sap/2".to_vec()]] {
        assert!(!is_taken(Client { alpn, ..Client::good(&authority) }, at).await);
    }
}

#[tokio::test]
async fn a_client_that_is_not_who_the_path_names_is_refused() {
    let authority = Authority::new();
    let (_beta, at) = beta(&authority).await;
    let identities = [
        None,
        Some(authority.identity("gamma", 9, Flaw::None)),
        Some(authority.identity("beta", 9, Flaw::None)),
        Some(authority.identity("alpha", 9, Flaw::Expired)),
        Some(authority.identity("alpha", 9, Flaw::NotYet)),
        Some(authority.identity("alpha", 9, Flaw::TwoNames)),
        Some(authority.identity("alpha", 9, Flaw::NoName)),
        Some(authority.identity("alpha", 9, Flaw::ServerOnly)),
        Some(Authority::new().identity("alpha", 9, Flaw::None)),
    ];
    for (number, identity) in identities.into_iter().enumerate() {
        let client = Client { identity, ..Client::good(&authority) };
        assert!(!is_taken(client, at).await, "identity {number}");
    }
}

#[tokio::test]
async fn a_revoked_client_is_refused_as_soon_as_the_list_is_there() {
    let mut authority = Authority::new();
    let (beta, at) = beta(&authority).await;
    assert!(is_taken(Client::good(&authority), at).await);
    authority.revoked.push(1);
    let identity = authority.identity("beta", 2, Flaw::None);
    beta.agreements.set_trust(&identity, &authority.bundle()).unwrap();
    assert!(!is_taken(Client::good(&authority), at).await);
}

#[tokio::test]
async fn nothing_of_a_session_is_left_for_the_next() {
    let authority = Authority::new();
    let (_beta, at) = beta(&authority).await;
    // One configuration, and with it one memory of sessions and tickets.
    let config = Arc::new(Client::good(&authority).config());
    for _ in 0..3 {
        let (_, tls) = first_word(config.clone(), at).await.expect("taken");
        let tls = tls.get_ref().1;
        assert_eq!(tls.handshake_kind(), Some(HandshakeKind::Full));
        assert!(!tls.is_early_data_accepted());
        assert_eq!(tls.tls13_tickets_received(), 0);
    }
}

#[tokio::test]
async fn what_is_no_protocol_ends_one_session_and_no_more() {
    let authority = Authority::new();
    let (mut beta, at) = beta(&authority).await;
    let config = Arc::new(Client::good(&authority).config());
    let mut junk = TcpStream::connect(at).await.unwrap();
    junk.write_all(&[0xff; 1000]).await.unwrap();
    let (_, mut tls) = first_word(config.clone(), at).await.expect("taken");
    tls.write_all(&[0xff; 1000]).await.unwrap();
    let mut rest = Vec::new();
    let _broken = tls.read_to_end(&mut rest).await;
    assert!(rest.ends_with(&[0, 2, 8, 2]), "CLOSE(violation): {rest:?}");
    assert!(first_word(config, at).await.is_some(), "others are still taken");
    loop {
        let notice = beta.driver.next_notice().await.unwrap();
        if let Event::EndSession { reason, .. } = notice.event {
            assert_eq!(reason.to_string(), "the neighbour broke the protocol");
            return;
        }
    }
}

/// A server in beta's place, and whether alpha speaks to it.
async fn alpha_speaks_to(
    authority: &Authority,
    identity: Identity,
    provider: CryptoProvider,
    alpn: Vec<Vec<u8>>,
) -> bool {
    let ((own, _), (listener, to)): (_, (TcpListener, _)) = (listener().await, listener().await);
    let (chain, key) = identity.for_tls();
    let mut roots = rustls::RootCertStore::empty();
    for root in authority.bundle().roots {
        roots.add(root).unwrap();
    }
    let provider = Arc::new(provider);
    let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        provider.clone(),
    );
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = alpn;
    let alpha = authority.identity("alpha", 1, Flaw::None);
    let _alpha = Element::start(authority, 1, &alpha, own, to);
    let hear = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut tls = TlsAcceptor::from(Arc::new(config)).accept(tcp).await.ok()?;
        let mut word = [0; 27];
        tls.read_exact(&mut word).await.ok()
    };
    timeout(Duration::from_secs(10), hear).await.expect("neither taken nor refused").is_some()
}

#[tokio::test]
async fn alpha_speaks_to_beta_and_to_nobody_else() {
    let authority = Authority::new();
    let good = aws_lc_rs::default_provider;
    let alpn = || vec![b"ringmail-sap/1".to_vec()];
    let beta = authority.identity("beta", 2, Flaw::None);
    assert!(alpha_speaks_to(&authority, beta, good(), alpn()).await);
    for identity in [
        authority.identity("gamma", 9, Flaw::None),
        authority.identity("beta", 9, Flaw::Expired),
        authority.identity("beta", 9, Flaw::TwoNames),
        Authority::new().identity("beta", 9, Flaw::None),
    ] {
        assert!(!alpha_speaks_to(&authority, identity, good(), alpn()).await);
    }
    let beta = || authority.identity("beta", 2, Flaw::None);
    let mut classical = good();
    classical.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    assert!(!alpha_speaks_to(&authority, beta(), classical, alpn()).await);
    assert!(!alpha_speaks_to(&authority, beta(), good(), vec![]).await);
    let mut revoking = Authority::new();
    revoking.revoked.push(2);
    let revoked = revoking.identity("beta", 2, Flaw::None);
    assert!(!alpha_speaks_to(&revoking, revoked, good(), alpn()).await);
}
