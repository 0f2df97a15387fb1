//! Whoever asks a manager: agents, operators, auditors.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::api::{
    BeginEnrolAnswer, BeginEnrolRequest, Blob, CertificateAnswer, EnrolRequest, ErrorAnswer,
};
use crate::ca::Token;
use crate::identity::Identity;
use crate::limits::{MANAGER_ANSWER_BYTES, MANAGER_ANSWERS_WITHIN, MANAGER_PATIENCE};

/// By what a manager is known.
#[derive(Clone, Debug)]
pub enum Trusting {
    /// These roots, and the server's name or address.
    Roots(Vec<CertificateDer<'static>>),
    /// The root that a token names, and the server's name or address.
    Token(Token),
}

/// One connection to a manager.
#[derive(Debug)]
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

/// Why a manager did not answer as it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// It cannot be reached, or is somebody else.
    #[error("no connection to the manager at {address}")]
    Connect {
        /// Where it was looked for.
        address: SocketAddr,
        /// What the system or TLS said.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to the manager broke")]
    Http(#[from] hyper::Error),
    /// It takes too long.
    #[error("the manager does not answer within {0} s")]
    Late(u64),
    /// It answers what is no answer.
    #[error("the manager's answer cannot be read: {0}")]
    Answer(String),
    /// It refuses.
    #[error("{}", .answer.message)]
    Refused {
        /// The status of the answer.
        status: u16,
        /// Why.
        answer: ErrorAnswer,
    },
    /// The caller's roots, certificate or key cannot be used.
    #[error("TLS cannot be set up")]
    Tls(#[from] Error),
}

impl Client {
    /// Connects to the manager of this name at this address.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn connect(
        address: SocketAddr,
        name: ServerName<'static>,
        trusting: &Trusting,
        identity: Option<&Identity>,
    ) -> Result<Client, ClientError> {
        let config = config(trusting, identity)?;
        let failed = |source| ClientError::Connect { address, source };
        let late = || ClientError::Late(MANAGER_PATIENCE.as_secs());
        let host = name.to_str().into_owned();
        let connecting = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            TlsConnector::from(Arc::new(config)).connect(name, stream).await
        };
        let stream =
            timeout(MANAGER_PATIENCE, connecting).await.map_err(|_| late())?.map_err(failed)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the manager ended early");
            }
        });
        Ok(Client { sender, host })
    }

    /// Asks without a body.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get<A: DeserializeOwned>(&mut self, path: &str) -> Result<A, ClientError> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// Asks with a body.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn post<A: DeserializeOwned>(
        &mut self,
        path: &str,
        question: &impl Serialize,
    ) -> Result<A, ClientError> {
        let body = serde_json::to_vec(question);
        let body = body.map_err(|error| ClientError::Answer(error.to_string()))?;
        self.ask(Method::POST, path, body.into()).await
    }

    /// Begins to enrol a host by its token, with what its evidence will be bound to.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn begin_enrolment(
        &mut self,
        token: &Token,
        enrolment: Vec<u8>,
    ) -> Result<BeginEnrolAnswer, ClientError> {
        let secret = Blob(token.danger_secret().to_vec());
        let (host, enrolment) = (token.element.clone(), Blob(enrolment));
        let question = BeginEnrolRequest { host, secret, enrolment };
        self.post("/v1/enrol/begin", &question).await
    }

    /// Enrols a host: its answer to the challenge, and a request in PEM for its agent's key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn enrol(
        &mut self,
        token: &Token,
        answer: Vec<u8>,
        csr: String,
    ) -> Result<CertificateAnswer, ClientError> {
        let secret = Blob(token.danger_secret().to_vec());
        let (host, answer) = (token.element.clone(), Blob(answer));
        let question = EnrolRequest { host, secret, answer, csr };
        self.post("/v1/enrol", &question).await
    }

    async fn ask<A: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<A, ClientError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.host)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| ClientError::Answer(error.to_string()))?;
        let asking = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MANAGER_ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| ClientError::Answer(error.to_string()))?;
            Ok::<_, ClientError>((status, body.to_bytes()))
        };
        let late = |_| ClientError::Late(MANAGER_ANSWERS_WITHIN.as_secs());
        let (status, body) = timeout(MANAGER_ANSWERS_WITHIN, asking).await.map_err(late)??;
        let unread = |error: serde_json::Error| ClientError::Answer(error.to_string());
        if status == StatusCode::OK {
            return serde_json::from_slice(&body).map_err(unread);
        }
        let answer = serde_json::from_slice(&body).map_err(unread)?;
        Err(ClientError::Refused { status: status.as_u16(), answer })
    }
}

fn config(trusting: &Trusting, identity: Option<&Identity>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let builder = match trusting {
        Trusting::Roots(roots) => builder.with_root_certificates(store(roots)?),
        Trusting::Token(token) => {
            let verifier = NamedRoot { token: token.clone() };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let (chain, key) = identity.for_tls();
            builder.with_client_auth_cert(chain, key)?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn store(roots: &[CertificateDer<'static>]) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    roots.iter().try_for_each(|root| store.add(root.clone()))?;
    Ok(store)
}

/// Believes the root of a token's fingerprint, which the server shows, and behind it the server's name.
struct NamedRoot {
    token: Token,
}

impl NamedRoot {
    fn below(root: &CertificateDer<'static>) -> Result<Arc<WebPkiServerVerifier>, Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let roots = Arc::new(store(std::slice::from_ref(root))?);
        let built = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
        built.map_err(|error| Error::General(error.to_string()))
    }
}

impl fmt::Debug for NamedRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamedRoot").field("token", &self.token).finish()
    }
}

impl ServerCertVerifier for NamedRoot {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let root = intermediates.iter().find(|root| self.token.names_root(root));
        let root = root.ok_or(CertificateError::UnknownIssuer)?.clone().into_owned();
        NamedRoot::below(&root)?.verify_server_cert(
            end_entity,
            &[],
            server_name,
            ocsp_response,
            now,
        )
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(rustls::PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms =
            rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
