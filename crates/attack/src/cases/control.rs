//! Control is gone, and the attacker listens in its place, with papers that are not control's.

use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rcgen::{CertificateParams, KeyPair};
use ringmail_model::defence::Defence;
use ringmail_model::pdp::ALPN;
use ringmail_trust::{Authority, Certificates};
use rustls::crypto::aws_lc_rs;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::{CertificateSigningRequestDer, PrivatePkcs8KeyDer};

use super::clients::self_made;
use crate::case::{Case, Claimed, Row, Switch, Trial};
use crate::client::Papers;
use crate::lab::{LOOK_EVERY, Lab, PATIENCE};
use crate::machines::{CONTROL, Machines};

pub(super) const CASES: &[Case] = &[
    Case {
        attack: "control-of-another-authority",
        row: Row::Authentication,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::ElementIssuer])),
        expected: "no element says a word to who takes the place of control with a certificate of another authority",
        run: other_authority,
    },
    Case {
        attack: "control-played-by-an-element",
        row: Row::Authentication,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::NeighbourName])),
        expected: "no element says a word to another one that takes the place of control, with a good certificate of its own",
        run: element,
    },
];

/// How many times elements have to hang up on the impostor until it is seen that they do.
const REFUSALS: usize = 3;

/// Papers that the domain's authority signs.
fn signed<E: std::error::Error + Send + Sync + 'static>(
    sign: impl FnOnce(&CertificateSigningRequestDer<'_>) -> Result<Certificates, E>,
) -> Result<Papers> {
    let key = KeyPair::generate()?;
    let request = CertificateParams::default().serialize_request(&key)?;
    Ok((sign(request.der())?.chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
}

/// Listens in control's place: the first words that an element says, or why some hung up.
fn listen(machines: &Machines, papers: Papers) -> Result<Result<Vec<u8>, String>> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(papers.0, papers.1)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    let config = Arc::new(config);
    let listener = machines.netns("control")?.run(|| TcpListener::bind(CONTROL))??;
    listener.set_nonblocking(true)?;
    let (until, mut refused) = (Instant::now() + PATIENCE, Vec::new());
    while refused.len() < REFUSALS {
        match listener.accept() {
            Ok((tcp, _)) => match heard(tcp, &config) {
                Ok(words) => return Ok(Ok(words)),
                Err(error) => refused.push(format!("{error:#}")),
            },
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(LOOK_EVERY),
            Err(error) => return Err(error.into()),
        }
        ensure!(Instant::now() < until, "no element dials control: {refused:?}");
    }
    Ok(Err(refused.swap_remove(0)))
}

fn heard(tcp: TcpStream, config: &Arc<ServerConfig>) -> Result<Vec<u8>> {
    tcp.set_nonblocking(false)?;
    tcp.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(config))?, tcp);
    let mut words = vec![0; 64];
    let len = stream.read(&mut words).context("it hangs up")?;
    ensure!(len > 0, "it hangs up");
    words.truncate(len);
    Ok(words)
}

/// Control is killed; who has its papers is heard, and then whoever has these.
fn impostor(machines: &mut Machines, papers: Papers) -> Result<Trial> {
    machines.kill("control")?;
    let genuine = signed(|request| machines.authority.sign_control(request))?;
    if let Err(why) = listen(machines, genuine)? {
        bail!("not even control is spoken to: {why}");
    }
    Ok(match listen(machines, papers)? {
        Ok(words) => Trial::of(true, format!("an element says hello in {} bytes", words.len())),
        Err(why) => Trial::of(false, format!("{REFUSALS} times an element hangs up: {why}")),
    })
}

fn other_authority(lab: &mut Lab) -> Result<Trial> {
    let machines = lab.machines()?;
    let papers = self_made("spiffe://machines.example/control")?;
    impostor(machines, papers)
}

fn element(lab: &mut Lab) -> Result<Trial> {
    let machines = lab.machines()?;
    let egress = "egress".parse()?;
    let papers = signed(|request| machines.authority.sign_element(&egress, request))?;
    impostor(machines, papers)
}
