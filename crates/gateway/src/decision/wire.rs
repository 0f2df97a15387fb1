//! HTTP/1.1 to a decision point, over TCP, TLS or a Unix socket: few connections, kept open, each bounded.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use ringmail_model::domain::{DecisionUrl, PointAddress};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{IpAddr, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use super::{DecisionPointError, DecisionTrust};
use crate::limits::{DECISION_ANSWER_BYTES, DECISION_CALLS, DECISION_HEADER_BYTES, DECISION_IDLE};

/// The way to a decision point.
pub(super) struct Wire {
    host: HeaderValue,
    uri: Uri,
    address: PointAddress,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// With the thread that drives each: a connection is used where it was made.
    idle: Mutex<Vec<(ThreadId, SendRequest<Full<Bytes>>)>>,
    calls: Semaphore,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    /// Its time was over.
    #[error("it did not answer in time")]
    Late,
    /// No connection.
    #[error("it cannot be reached")]
    Unreached(#[source] io::Error),
    /// No HTTP.
    #[error("it does not speak HTTP as it should")]
    Http(#[source] hyper::Error),
    /// A status other than 200.
    #[error("it answered with status {0}")]
    Status(StatusCode),
    /// A body that is too long or broke off.
    #[error("its answer is too long, or broke off")]
    Body,
    /// Not what the data API answers.
    #[error("its answer is no JSON object")]
    Nonsense,
}

impl Wire {
    pub(super) fn new(
        url: &DecisionUrl,
        address: PointAddress,
        trust: Option<DecisionTrust>,
    ) -> Result<Wire, DecisionPointError> {
        let tls = match (url.is_tls(), trust) {
            (false, _) => None,
            (true, None) => return Err(DecisionPointError::Untrusted),
            (true, Some(trust)) => Some((config(trust)?, server_name(url)?)),
        };
        Ok(Wire {
            // Both were checked when they were parsed.
            host: HeaderValue::from_str(url.authority()).unwrap_or(HeaderValue::from_static("-")),
            uri: url.path().parse().unwrap_or_default(),
            address,
            tls,
            idle: Mutex::default(),
            calls: Semaphore::new(DECISION_CALLS),
        })
    }

    /// The body of the answer to a question. The caller bounds the time.
    pub(super) async fn post(&self, question: Bytes) -> Result<Bytes, Unanswered> {
        // Nobody closes it.
        let _call = self.calls.acquire().await.map_err(|_| Unanswered::Late)?;
        // One that was idle may have been closed meanwhile; the question changes nothing and can be asked again.
        while let Some(mut kept) = self.take() {
            if kept.ready().await.is_err() {
                continue;
            }
            match self.ask(kept, question.clone()).await {
                Err(Unanswered::Http(_)) => {}
                said => return said,
            }
        }
        let fresh = self.open().await?;
        self.ask(fresh, question).await
    }

    async fn ask(
        &self,
        mut connection: SendRequest<Full<Bytes>>,
        question: Bytes,
    ) -> Result<Bytes, Unanswered> {
        let mut request = Request::new(Full::new(question));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(HOST, self.host.clone());
        request.headers_mut().insert(CONTENT_TYPE, json.clone());
        request.headers_mut().insert(ACCEPT, json);
        let answer = connection.send_request(request).await.map_err(Unanswered::Http)?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, DECISION_ANSWER_BYTES).collect().await;
        let body = body.map_err(|_| Unanswered::Body)?.to_bytes();
        if head.status != StatusCode::OK {
            return Err(Unanswered::Status(head.status));
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if !connection.is_closed() && idle.len() < DECISION_IDLE {
            idle.push((thread::current().id(), connection));
        }
        Ok(body)
    }

    fn take(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(_, connection)| !connection.is_closed());
        let here = thread::current().id();
        let at = idle.iter().rposition(|(thread, _)| *thread == here)?;
        Some(idle.remove(at).1)
    }

    async fn open(&self) -> Result<SendRequest<Full<Bytes>>, Unanswered> {
        match &self.address {
            PointAddress::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(Unanswered::Unreached)?;
                self.secure(stream).await
            }
            PointAddress::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(Unanswered::Unreached)?;
                stream.set_nodelay(true).map_err(Unanswered::Unreached)?;
                self.secure(stream).await
            }
        }
    }

    async fn secure<S>(&self, stream: S) -> Result<SendRequest<Full<Bytes>>, Unanswered>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        match &self.tls {
            None => speak(stream).await,
            Some((config, name)) => {
                let connector = TlsConnector::from(Arc::clone(config));
                let stream = connector.connect(name.clone(), stream).await;
                speak(stream.map_err(Unanswered::Unreached)?).await
            }
        }
    }
}

async fn speak<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, Unanswered>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(DECISION_HEADER_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(Unanswered::Http)?;
    // It ends when nobody can send over it any more.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = &error as &dyn std::error::Error, "decision point");
        }
    });
    Ok(sender)
}

fn config(trust: DecisionTrust) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_root_certificates(trust.anchors);
    let mut config = match trust.own {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn server_name(url: &DecisionUrl) -> Result<ServerName<'static>, DecisionPointError> {
    if let Ok(ip) = url.host().parse::<std::net::IpAddr>() {
        return Ok(ServerName::IpAddress(IpAddr::from(ip)));
    }
    Ok(ServerName::try_from(url.host().to_owned())?)
}
