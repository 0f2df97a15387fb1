//! One request to a service and the head of its answer: a pooled or a new connection, a second try
//! where a pooled one had died (RFC 9112 section 9.3.1), and limits on every wait.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{EXPECT, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::{sleep, timeout};

use crate::activity::Ticket;
use crate::chain::{Chain, ChainError, ChainRequest, ChainStream};
use crate::counters::Counters;
use crate::gate::Gate;
use crate::headers;
use crate::leg::Leg;
use crate::limits::{Limits, TRIES, ms};
use crate::pool::{Lease, Pool, PoolKey};
use crate::rate::Rates;
use crate::refusal::Refusal;
use crate::request_body::{Flow, RequestBody};
use crate::response_body::ResponseBody;
use crate::service_io::{Open, Opened};
use crate::tunnel::{self, Service};

/// Everything that requests of one worker share on their way to services.
#[derive(Debug)]
pub(crate) struct Exchange<C> {
    pub(crate) chain: Arc<C>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) rates: Arc<Rates>,
}

/// A request as the service will get it.
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: RequestBody,
    /// The client waits for 100 (Continue) before it sends the body.
    pub(crate) expect_continue: bool,
    /// The client asks to change to a WebSocket.
    pub(crate) websocket: bool,
}

/// Why a connection is not ready for its service.
enum Unopened {
    Chain(ChainError),
    Leg(std::io::Error),
}

/// A service's answer, and its side of the tunnel where it changed the protocol.
pub(crate) type Answer = (Response<ResponseBody>, Option<Service>);

impl<C: Chain> Exchange<C> {
    /// Sends `request` under `key` for `client`; gives the answer with its body still to come.
    pub(crate) async fn send(
        &self,
        key: PoolKey,
        client: &str,
        leg: Leg<'_>,
        request: Outgoing,
        ticket: &Arc<Ticket>,
    ) -> Result<Answer, Refusal> {
        let key = Arc::new(key);
        let Outgoing { method, uri, mut headers, mut body, expect_continue, websocket } = request;
        let gate =
            (expect_continue && !body.is_none()).then(|| Gate::new(ms(self.limits.continue_ms)));
        if let Some(gate) = &gate {
            headers.insert(EXPECT, HeaderValue::from_static("100-continue"));
            body.behind(Arc::clone(gate));
        }
        if !body.is_none() && body.size_hint().exact().is_none() {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let mut again = (body.is_none() && method.is_idempotent())
            .then(|| (method.clone(), uri.clone(), headers.clone()));
        let mut request = assemble(method, uri, headers, body, gate.as_ref());
        for _ in 0..TRIES {
            let mut lease = match self.pool.take(&key) {
                Some(lease) => lease,
                None => self.open(&key, client, leg, ticket).await?,
            };
            if lease.reused {
                self.counters.backend_reused.one();
            }
            let flow = request.body().flow();
            let before = lease.received();
            let sent = lease.sender().try_send_request(request);
            let sent = self.bounded(sent, &flow).await?;
            ticket.note(|entry, us| entry.times_us.first_byte = Some(us));
            let error = match sent {
                Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    return switched(response, lease, websocket);
                }
                Ok(response) => {
                    return Ok((self.answer(response, lease, gate, flow, ticket), None));
                }
                Err(error) => error,
            };
            if flow.silent() {
                return Err(Refusal::SlowBody);
            }
            if flow.broken() {
                return Err(Refusal::Malformed("the request body broke off"));
            }
            tracing::debug!(error = error.error() as &dyn std::error::Error, "no answer");
            let untouched = lease.reused && lease.received() == before;
            let mut error = error;
            request = match (error.take_message(), again.take()) {
                // It never left: the connection had been closed while it waited in the pool.
                (Some(unsent), spare) if lease.reused => {
                    again = spare;
                    unsent
                }
                (_, Some((method, uri, headers))) if untouched => {
                    assemble(method, uri, headers, RequestBody::none(), None)
                }
                _ => return Err(Refusal::Backend("the service gave no answer")),
            };
            self.counters.requests_retried.one();
            // The other idle connections are likely as dead: they lose their turn.
            self.pool.forget(&key);
        }
        Err(Refusal::Backend("the service gave no answer"))
    }

    async fn open(
        &self,
        key: &Arc<PoolKey>,
        client: &str,
        leg: Leg<'_>,
        ticket: &Ticket,
    ) -> Result<Lease, Refusal> {
        let mut begun_us = 0;
        ticket.note(|_, us| begun_us = us);
        let (stream, open) = self.connect(key.request(client), leg).await?;
        ticket.note(|entry, us| entry.times_us.connect = Some(us - begun_us));
        self.pool
            .adopt(stream, open, key)
            .await
            .map_err(|_| Refusal::Backend("the service cannot be reached"))
    }

    /// A connection to a service, and its place among all.
    pub(crate) async fn connect(
        &self,
        request: ChainRequest<'_>,
        leg: Leg<'_>,
    ) -> Result<(Opened, Open), Refusal> {
        let open = self.pool.admit().ok_or(Refusal::Busy)?;
        let open_chain = async {
            let ChainStream { tcp, guard } =
                self.chain.open(request).await.map_err(Unopened::Chain)?;
            let socket = leg.prepare(tcp).await.map_err(Unopened::Leg)?;
            Ok::<_, Unopened>(Opened { socket, guard })
        };
        let opened = timeout(ms(self.limits.connect_ms), open_chain).await;
        let opened = opened.map_err(|_| Refusal::Timeout)?.map_err(|error| {
            let error = match error {
                Unopened::Chain(error) => error,
                Unopened::Leg(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, service = request.service, "no TLS with a service");
                    return Refusal::Backend("the service's TLS is not what it should be");
                }
            };
            tracing::warn!(error = &error as &dyn std::error::Error, "no connection to a service");
            match error {
                ChainError::NotReady { .. } => Refusal::NotReady,
                ChainError::NoPort { .. } => Refusal::Busy,
                ChainError::Unknown { .. } => Refusal::Backend("there is no way to the service"),
                ChainError::Connect { .. } => Refusal::Backend("the service cannot be reached"),
            }
        })?;
        self.counters.backend_opened.one();
        Ok((opened, open))
    }

    /// Waits for the head of the answer; a body that is still moving is reason to wait on.
    async fn bounded<T>(&self, sent: impl Future<Output = T>, flow: &Flow) -> Result<T, Refusal> {
        let mut sent = pin!(sent);
        let mut patience = pin!(sleep(ms(self.limits.response_head_ms)));
        loop {
            tokio::select! {
                biased;
                answer = &mut sent => return Ok(answer),
                () = &mut patience => {
                    if !flow.moved() {
                        return Err(Refusal::Timeout);
                    }
                    patience.set(sleep(ms(self.limits.response_head_ms)));
                }
            }
        }
    }

    fn answer(
        &self,
        response: Response<Incoming>,
        mut lease: Lease,
        gate: Option<Arc<Gate>>,
        flow: Arc<Flow>,
        ticket: &Arc<Ticket>,
    ) -> Response<ResponseBody> {
        let (mut head, body) = response.into_parts();
        // A connection whose request body never goes cannot carry another request.
        lease.spent = gate.is_some_and(|gate| gate.answered());
        lease.flow = Some(flow);
        headers::scrub_response(&mut head.headers);
        head.version = http::Version::HTTP_11;
        head.extensions.clear();
        let limit = ms(self.limits.response_idle_ms);
        let body = ResponseBody::service(body, lease, limit, Arc::clone(ticket));
        Response::from_parts(head, body)
    }
}

/// The answer 101 with the service's side of the tunnel.
fn switched(
    mut response: Response<Incoming>,
    mut lease: Lease,
    websocket: bool,
) -> Result<Answer, Refusal> {
    if !websocket || !tunnel::is_switch(response.headers()) {
        return Err(Refusal::Backend("the service changed the protocol unasked"));
    }
    lease.spent = true;
    let service = Service::Switched(hyper::upgrade::on(&mut response), Box::new(lease));
    let (mut head, _) = response.into_parts();
    headers::scrub_response(&mut head.headers);
    head.version = http::Version::HTTP_11;
    head.extensions.clear();
    let body = ResponseBody::text(Bytes::new());
    Ok((Response::from_parts(head, body), Some(service)))
}

fn assemble(
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: RequestBody,
    gate: Option<&Arc<Gate>>,
) -> Request<RequestBody> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    if let Some(gate) = gate.cloned() {
        hyper::ext::on_informational(&mut request, move |answer| {
            if answer.status() == StatusCode::CONTINUE {
                gate.open();
            }
        });
    }
    request
}
