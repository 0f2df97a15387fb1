//! A manager in a directory of a test's own, an appraiser that believes what evidence says, and whoever asks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringmail_model::Name;
use ringmail_trust::manager::api::{
    Blob, EvidenceAnswer, EvidenceRequest, NonceAnswer, NonceRequest,
};
use ringmail_trust::manager::{
    Appraiser, Client, ClientError, Clock, Enrolment, Found, FunctionAsked, HostAsked, HostFound,
    Outcome, Pending, Server, ServerSettings, Service, Settings, Trusting, bound,
};
use ringmail_trust::{Authority, Certificates, ElementKey, EmbeddedCa, Identity, Kind, Request};
use ringmail_trust_core::manager::Now;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, ServerName};
use serde_json::{Value, json};

use crate::harness::{Place, domain, name};

/// The rules of these tests: operator op, auditor eve, sf1 on h1 only.
pub(crate) const POLICY: &str =
    "operators: [op]\nauditors: [eve]\nfunctions:\n  sf1: {hosts: [h1]}\n  sf2: {}\n";

/// Believes evidence, JSON `{"nonce": …, "good": …, "why": …, "anchor": …}`, if it answers the nonce.
#[derive(Debug)]
pub(crate) struct Believer;

impl Believer {
    fn judge(evidence: &[u8], nonce: &[u8; 32], anchor: &[u8]) -> Found {
        let report: Value = serde_json::from_slice(evidence).unwrap_or_default();
        let said = |key: &str| report[key].as_str().unwrap_or_default().to_owned();
        let outcome = if said("nonce") != hex(nonce) {
            Outcome::Refused("it answers another nonce".to_owned())
        } else if said("anchor") != hex(anchor) {
            Outcome::Refused("it is another host's".to_owned())
        } else if report["good"] == true {
            Outcome::Good
        } else if report["good"] == "again" {
            Outcome::AskAgain(said("why"))
        } else {
            Outcome::Refused(said("why"))
        };
        Found { outcome, report }
    }
}

impl Appraiser for Believer {
    fn enrol(&self, _host: &Name, enrolment: &[u8], _: u64) -> Result<Enrolment, String> {
        if enrolment.is_empty() {
            return Err("there is no key in it".to_owned());
        }
        let pending = Box::new(Echo { anchor: enrolment.to_vec() });
        Ok(Enrolment { challenge: json!("say it again"), pending })
    }

    fn challenge(&self, _host: &Name, state: &[u8]) -> Value {
        json!({ "seen": state.len() })
    }

    fn appraise_host(&self, asked: &HostAsked<'_>) -> HostFound {
        let found = Believer::judge(asked.evidence, &asked.nonce, asked.anchor);
        let state = [asked.state, b"."].concat();
        HostFound { found, state }
    }

    fn appraise_function(&self, asked: &FunctionAsked<'_>) -> Found {
        Believer::judge(asked.evidence, &asked.nonce, asked.host_anchor)
    }
}

/// Wants to hear what was enrolled with again.
#[derive(Debug)]
struct Echo {
    anchor: Vec<u8>,
}

impl Pending for Echo {
    fn finish(self: Box<Self>, answer: &[u8]) -> Result<Vec<u8>, String> {
        match answer == self.anchor {
            true => Ok(self.anchor),
            false => Err("the answer is another".to_owned()),
        }
    }
}

/// A clock that runs, and can be turned.
#[derive(Clone, Debug)]
pub(crate) struct Turned {
    start: Instant,
    unix_ms: u64,
    ahead_ms: Arc<AtomicU64>,
}

impl Turned {
    pub(crate) fn new() -> Turned {
        let unix_ms = (Settings::system_clock())().unix_ms;
        Turned { start: Instant::now(), unix_ms, ahead_ms: Arc::default() }
    }

    #[allow(dead_code, reason = "tests of silence over TLS turn it")]
    pub(crate) fn turn(&self, by: Duration) {
        self.ahead_ms.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
    }

    pub(crate) fn clock(&self) -> Clock {
        let turned = self.clone();
        Arc::new(move || {
            let ahead_ms = turned.ahead_ms.load(Ordering::Relaxed);
            let instant = Instant::now() + Duration::from_millis(ahead_ms);
            let since_ms = instant.duration_since(turned.start).as_millis() as u64;
            Now { instant, unix_ms: turned.unix_ms + since_ms }
        })
    }
}

pub(crate) struct World {
    pub(crate) place: Place,
    pub(crate) ca: Arc<EmbeddedCa>,
    pub(crate) clock: Turned,
}

impl World {
    pub(crate) fn new() -> World {
        let place = Place::new();
        let ca = Arc::new(EmbeddedCa::init(&place.ca(), &domain()).unwrap());
        World { place, ca, clock: Turned::new() }
    }

    pub(crate) fn service(&self) -> Arc<Service> {
        let service = Service::open(self.settings()).unwrap();
        service.set_policy("the test", POLICY).unwrap();
        Arc::new(service)
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            dir: self.place.path().join("manager"),
            ca: Arc::clone(&self.ca),
            appraiser: Arc::new(Believer),
            clock: self.clock.clock(),
        }
    }

    /// A client of the domain's own authority.
    pub(crate) fn client(&self, who: &str) -> Identity {
        let request = Request {
            kind: Kind::Client,
            name: name(who),
            names: Vec::new(),
            lasts: Duration::from_secs(3600),
            replace: true,
        };
        self.ca.issue(&request).unwrap().identity
    }

    pub(crate) fn trusting(&self) -> Trusting {
        Trusting::Roots(self.ca.trust_bundle().unwrap().roots)
    }
}

/// A manager that is served, until it is dropped.
pub(crate) struct Served {
    pub(crate) service: Arc<Service>,
    pub(crate) address: SocketAddr,
    trusting: Trusting,
    serving: tokio::task::JoinHandle<()>,
}

impl Served {
    pub(crate) async fn start(world: &World) -> Served {
        let service = tokio::task::block_in_place(|| world.service());
        let settings = ServerSettings { listen: "127.0.0.1:0".parse().unwrap(), names: Vec::new() };
        let server = Server::bind(Arc::clone(&service), settings).await.unwrap();
        let address = server.address().unwrap();
        let serving = tokio::spawn(async move {
            let Err(error) = server.serve().await;
            panic!("{error}");
        });
        Served { service, address, trusting: world.trusting(), serving }
    }

    pub(crate) async fn connect(&self, identity: Option<&Identity>) -> Client {
        self.try_connect(&self.trusting, identity).await.unwrap()
    }

    pub(crate) async fn try_connect(
        &self,
        trusting: &Trusting,
        identity: Option<&Identity>,
    ) -> Result<Client, ClientError> {
        let name = ServerName::from(self.address.ip());
        Client::connect(self.address, name, trusting, identity).await
    }

    /// Enrols a host, and connects as its agent.
    pub(crate) async fn agent(&self, host: &str) -> Agent {
        let token = self.service.token(&name(host), Duration::from_secs(60)).unwrap();
        let trusting = Trusting::Token(token.clone());
        let mut client = self.try_connect(&trusting, None).await.unwrap();
        let key = ElementKey::generate().unwrap();
        let anchor = format!("the key of {host}").into_bytes();
        client.begin_enrolment(&token, anchor.clone()).await.unwrap();
        let answer = client.enrol(&token, anchor.clone(), csr(&key)).await.unwrap();
        let identity = key.into_identity(certificates(&answer.chain));
        let client = self.connect(Some(&identity)).await;
        Agent { client, identity, anchor }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The agent of a host, connected.
pub(crate) struct Agent {
    pub(crate) client: Client,
    #[allow(dead_code, reason = "tests of roles connect anew with it")]
    pub(crate) identity: Identity,
    anchor: Vec<u8>,
}

impl Agent {
    pub(crate) async fn nonce(&mut self) -> NonceAnswer {
        self.client.post("/v1/nonce", &NonceRequest::default()).await.unwrap()
    }

    /// Shows evidence of the host, with a key or without.
    pub(crate) async fn host(
        &mut self,
        bad: Option<&str>,
        key: Option<&ElementKey>,
    ) -> Result<EvidenceAnswer, ClientError> {
        let nonce = self.nonce().await.nonce;
        let contains = match key {
            None => array(&nonce),
            Some(key) => bound(&array(&nonce), &public_key(key)),
        };
        let evidence = Blob(evidence(&contains, &self.anchor, bad));
        let csr = key.map(csr);
        let question = EvidenceRequest { nonce, evidence, csr };
        self.client.post("/v1/host/evidence", &question).await
    }

    /// Shows evidence of a function.
    pub(crate) async fn function(
        &mut self,
        function: &str,
        bad: Option<&str>,
        key: &ElementKey,
    ) -> Result<EvidenceAnswer, ClientError> {
        let nonce = self.nonce().await.nonce;
        let evidence = Blob(evidence(&array(&nonce), &self.anchor, bad));
        let question = EvidenceRequest { nonce, evidence, csr: Some(csr(key)) };
        self.client.post(&format!("/v1/functions/{function}/evidence"), &question).await
    }
}

pub(crate) fn array(blob: &Blob) -> [u8; 32] {
    blob.0.as_slice().try_into().unwrap()
}

pub(crate) fn evidence(nonce: &[u8; 32], anchor: &[u8], bad: Option<&str>) -> Vec<u8> {
    let said = json!({
        "nonce": hex(nonce),
        "anchor": hex(anchor),
        "good": bad.is_none(),
        "why": bad,
    });
    serde_json::to_vec(&said).unwrap()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn request(key: &ElementKey) -> CertificateSigningRequestDer<'static> {
    key.signing_request(&domain(), &name("whoever")).unwrap()
}

/// A request in PEM.
pub(crate) fn csr(key: &ElementKey) -> String {
    pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", request(key).to_vec()))
}

/// SubjectPublicKeyInfo in DER.
pub(crate) fn public_key(key: &ElementKey) -> Vec<u8> {
    use x509_parser::prelude::FromDer;
    let request = request(key);
    let (_, parsed) =
        x509_parser::certification_request::X509CertificationRequest::from_der(&request).unwrap();
    parsed.certification_request_info.subject_pki.raw.to_vec()
}

/// The certificates of an answer.
pub(crate) fn certificates(chain: &str) -> Certificates {
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().unwrap();
    Certificates { chain, not_after_unix_s: 0 }
}

/// The refusal of a call.
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> (u16, String) {
    match answer.unwrap_err() {
        ClientError::Refused { status, answer } => (status, answer.error),
        other => panic!("{other:?}"),
    }
}
