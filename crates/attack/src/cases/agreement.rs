//! The attacker dials an element to agree on keys with it, with papers of another or none.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rcgen::{CertificateParams, KeyPair};
use ringmail_dataplane::sap::ALPN;
use ringmail_model::defence::Defence;
use ringmail_trust::Authority;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, SignatureScheme,
    StreamOwned,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};

use super::clients::self_made;
use crate::case::{Case, Claimed, Row, Switch, Trial};
use crate::client::Papers;
use crate::domain;
use crate::lab::{Lab, PATIENCE};

pub(super) const CASES: &[Case] = &[
    Case {
        attack: "neighbour-of-another-authority",
        row: Row::Authentication,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::ElementIssuer])),
        expected: "an element agrees on keys with nobody whose certificate is not of the domain",
        run: other_authority,
    },
    Case {
        attack: "neighbour-that-the-path-does-not-name",
        row: Row::MicroSegmentation,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::NeighbourName])),
        expected: "an element agrees on keys with no element that no path puts beside it",
        run: not_named,
    },
    Case {
        attack: "agreement-with-a-classical-group",
        row: Row::ForwardSecrecy,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::AtStart(&[Defence::AgreementFull], &["egress"])),
        expected: "an agreement is not talked down to a group that a quantum computer breaks later",
        run: classical,
    },
    Case {
        attack: "agreement-resumed",
        row: Row::ForwardSecrecy,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::AtStart(&[Defence::AgreementFull], &["egress"])),
        expected: "no session of an agreement is resumed",
        run: resumed,
    },
];

/// Papers of an element, as whoever broke into its machine has them.
fn stolen(lab: &Lab, element: &str) -> Result<Papers> {
    let key = KeyPair::generate()?;
    let request = CertificateParams::default().serialize_request(&key)?;
    let certificates = lab.authority().sign_element(&element.parse()?, request.der())?;
    Ok((certificates.chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
}

/// How the attacker speaks TLS.
fn tls(papers: Papers, provider: CryptoProvider) -> Result<Arc<ClientConfig>> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_client_auth_cert(papers.0, papers.1)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_sni = false;
    Ok(Arc::new(config))
}

/// Dials `to` from the namespace of `from`; the first bytes of the protocol, and how the handshake went.
fn dial(
    lab: &Lab,
    from: &str,
    to: &str,
    config: &Arc<ClientConfig>,
) -> Result<(Vec<u8>, HandshakeKind)> {
    let control = lab.element(to)?.control.into();
    let mut tcp = lab.netns(from)?.run(|| TcpStream::connect_timeout(&control, PATIENCE))??;
    tcp.set_read_timeout(Some(PATIENCE))?;
    let name = ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
    let mut connection = ClientConnection::new(Arc::clone(config), name)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut tcp).context("the handshake fails")?;
    }
    let kind = connection.handshake_kind().context("no handshake")?;
    let mut stream = StreamOwned::new(connection, tcp);
    let mut hello = vec![0; 64];
    let len = stream.read(&mut hello).context("no word of the protocol comes")?;
    ensure!(len > 0, "the connection is closed without a word of the protocol");
    hello.truncate(len);
    stream.conn.send_close_notify();
    drop(stream.flush());
    Ok((hello, kind))
}

/// The control, dialed as the element that the egress expects; then the attack.
fn answered(lab: &mut Lab, from: &str, to: &str, config: &Arc<ClientConfig>) -> Result<Trial> {
    let honest = tls(stolen(lab, "sf3")?, aws_lc_rs::default_provider())?;
    dial(lab, "sf3", "egress", &honest).context("not even a neighbour is answered")?;
    Ok(match dial(lab, from, to, config) {
        Ok((hello, _)) => Trial::of(true, format!("{to} says hello in {} bytes", hello.len())),
        Err(error) => Trial::of(false, format!("{error:#}")),
    })
}

fn other_authority(lab: &mut Lab) -> Result<Trial> {
    let papers = self_made(&format!("spiffe://{}/element/sf3", domain::NAME))?;
    let config = tls(papers, aws_lc_rs::default_provider())?;
    answered(lab, "sf3", "egress", &config)
}

/// No path has sf3 beside sf2.
fn not_named(lab: &mut Lab) -> Result<Trial> {
    let config = tls(stolen(lab, "sf3")?, aws_lc_rs::default_provider())?;
    answered(lab, "sf3", "sf2", &config)
}

fn classical(lab: &mut Lab) -> Result<Trial> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    let config = tls(stolen(lab, "sf3")?, provider)?;
    answered(lab, "sf3", "egress", &config)
}

fn resumed(lab: &mut Lab) -> Result<Trial> {
    let config = tls(stolen(lab, "sf3")?, aws_lc_rs::default_provider())?;
    let until = std::time::Instant::now() + Duration::from_secs(5);
    let (_, first) = dial(lab, "sf3", "egress", &config).context("a neighbour is not answered")?;
    ensure!(first != HandshakeKind::Resumed, "the first connection resumes something");
    // A ticket comes behind the handshake, somewhere among the first bytes.
    for _ in 0..3 {
        match dial(lab, "sf3", "egress", &config) {
            Ok((_, HandshakeKind::Resumed)) => return Ok(Trial::of(true, "a session was resumed")),
            Ok(_) => {}
            Err(error) if std::time::Instant::now() > until => {
                bail!("a neighbour is not answered: {error:#}")
            }
            Err(_) => {}
        }
    }
    Ok(Trial::of(false, "four connections had four full handshakes"))
}

/// Believes everybody: the attacker does not mind whom he attacks.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
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
