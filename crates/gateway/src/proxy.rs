//! What happens to one request: checked, scrubbed, authorized by its own merits, sent on.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use futures_util::future::poll_fn;
use http::header::{CONNECTION, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, Version};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use ringmail_model::domain::ApplicationProtocol;
use ringmail_model::rules::{Decision, Demands, RequestFacts};
use tokio::time::{Instant, timeout};

use crate::access::{AccessSink, Entry, Kind, Outcome, Record};
use crate::activity::{Activity, Busy, Ticket};
use crate::chain::Chain;
use crate::decision;
use crate::demand::{self, Unmet, Wanted};
use crate::exchange::{Exchange, Outgoing};
use crate::forwarded;
use crate::headers::{self, Upgrade};
use crate::identity::Client;
use crate::leg::{Leg, ServiceOptions};
use crate::limits::ms;
use crate::policy::{Fields, Policy, PolicyHandle};
use crate::pool::PoolKey;
use crate::refusal::Refusal;
use crate::request_body::RequestBody;
use crate::response_body::ResponseBody;
use crate::service_io::{Open, ServiceIo};
use crate::sites::Names;
use crate::target::{self, Target, target};
use crate::tunnel::{self, Change, Service, Tunnel};

/// What the requests of one client connection share.
#[derive(Debug)]
pub(crate) struct Session<C> {
    pub(crate) exchange: Arc<Exchange<C>>,
    pub(crate) policy: PolicyHandle,
    pub(crate) client: Client,
    pub(crate) sni: Option<String>,
    pub(crate) names: Arc<Names>,
    pub(crate) source: SocketAddr,
    /// The address that the client came to.
    pub(crate) destination: SocketAddr,
    /// What every line of the log says of this connection, and where they go.
    pub(crate) access: Option<(AccessSink, Entry)>,
    pub(crate) activity: Arc<Activity>,
    /// Requests that the client has under way, over all its connections.
    pub(crate) requests: Arc<AtomicUsize>,
    /// What an HTTP/1 connection becomes when its answer has left.
    pub(crate) tunnel: Mutex<Option<Tunnel>>,
}

/// The beginning of a body: frames taken off it, and whether it ended in them.
struct Prefix {
    frames: VecDeque<Frame<Bytes>>,
    ended: bool,
}

/// Counts and notes that a rule allowed a request.
fn allowed(ticket: &Ticket, policy: &Policy, client: &str, key: &PoolKey) {
    ticket.counters.requests_allowed.one();
    ticket.takes(policy.rules.path_name(key.path));
    ticket.note(|entry, us| {
        entry.client = client.into();
        entry.decision = Outcome::Allowed;
        entry.rule = Some(key.rule.clone());
        entry.path = policy.rules.path_name(key.path).map(str::to_owned);
        entry.service = Some(key.service.clone());
        entry.times_us.decided = Some(us);
    });
}

/// What the rules say so far.
enum Asked<'p> {
    Allowed(PoolKey, Demands<'p>),
    More(usize),
}

impl<C: Chain> Session<C> {
    /// The answer to a request: the service's, or a refusal.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        let counters = &self.exchange.counters;
        let begun = Instant::now();
        let record = self.access.as_ref();
        let record = record.map(|(sink, known)| Record::new(sink, Kind::Request, known));
        let place = Open::one_of(&self.requests, self.exchange.limits.requests_per_client);
        let refused = place.is_none().then(|| Unmet::from(Refusal::AtOnce));
        let ticket = Ticket::new(&self.activity, counters, record, place);
        let (head, body) = request.into_parts();
        let http1 = head.version != Version::HTTP_2;
        let outcome = match refused {
            Some(refused) => Err(refused),
            None => Box::pin(self.pass(head, body, &ticket)).await,
        };
        let answer = match outcome {
            Ok(response) => response,
            Err(Unmet { refusal, detail }) => {
                tracing::debug!(client = &*self.client.identity, ?refusal, "refused");
                let mut answer = refusal.answer(counters);
                ticket.note(|entry, _| {
                    entry.reason = Some(refusal.text());
                    entry.detail = detail.as_deref().map(str::to_owned);
                });
                if http1 && refusal.ends_connection() {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                answer
            }
        };
        ticket.note(|entry, _| entry.status = Some(answer.status().as_u16()));
        ticket.took(begun.elapsed());
        ticket.answered();
        answer
    }

    async fn pass(
        &self,
        mut head: Parts,
        mut body: Incoming,
        ticket: &Arc<Ticket>,
    ) -> Result<Response<ResponseBody>, Unmet> {
        let limits = &self.exchange.limits;
        self.measure(&head)?;
        let change = tunnel::change(&head).map_err(Refusal::Method)?;
        if change == Change::Connect {
            return self.connect(head, ticket).await;
        }
        if head.method == Method::TRACE {
            return Err(Refusal::Method("TRACE is not offered").into());
        }
        let mut target = target(&head, self.sni.as_deref(), &self.names)?;
        let asked = headers::scrub_request(&mut head.headers);
        let websocket = match asked.upgrade {
            Upgrade::None => change == Change::Websocket,
            Upgrade::Websocket if head.method == Method::GET && body.is_end_stream() => true,
            _ => {
                return Err(Refusal::Method("no other protocol than websocket is offered").into());
            }
        };
        if websocket {
            target.protocol = ApplicationProtocol::Websocket;
            head.method = Method::GET;
        }
        if asked.expect_other {
            return Err(Refusal::Expectation.into());
        }
        ticket.note(|entry, _| {
            entry.method = Some(head.method.to_string());
            entry.host = Some(target.host.clone());
            entry.url_path = Some(target.path.clone());
            if websocket {
                entry.protocol = ApplicationProtocol::Websocket.to_string();
            } else if head.version == Version::HTTP_2 {
                entry.protocol = "h2".to_owned();
            }
        });
        let policy = self.policy.load_full();
        let client = self.client.known_to(&policy.rules);
        let mut prefix = Prefix { frames: VecDeque::new(), ended: body.is_end_stream() };
        let (key, demands) =
            self.authorize(client, &policy, &head, &target, &mut body, &mut prefix).await?;
        self.meet(demands, client, &policy, (&head, &target), &key, ticket).await?;
        allowed(ticket, &policy, client, &key);
        let expect_continue = asked.expect_continue && prefix.frames.is_empty();
        let body = if prefix.ended && prefix.frames.is_empty() {
            RequestBody::none()
        } else {
            RequestBody::new(prefix.frames, body, ms(limits.body_idle_ms), Arc::clone(ticket))
        };
        let leg = self.leg(&policy, &key.service);
        if let Some(options) = leg.options {
            self.tell(options, &target.authority, &mut head.headers);
        }
        head.headers.insert(HOST, target.authority);
        if websocket {
            let mut key = [0; 16];
            let made = aws_lc_rs::rand::fill(&mut key);
            made.map_err(|_| Refusal::Backend("there is no randomness"))?;
            tunnel::ask(&mut head.headers, head.version, key);
        }
        let outgoing = Outgoing {
            method: head.method,
            uri: target.uri,
            headers: head.headers,
            body,
            expect_continue,
            websocket,
        };
        let (mut answer, service) = self.exchange.send(key, client, leg, outgoing, ticket).await?;
        if let Some(service) = service {
            let side = head.extensions.remove::<OnUpgrade>();
            let side = side.ok_or(Refusal::Method("this connection cannot change its protocol"))?;
            tunnel::answer(&mut answer, head.version);
            self.begin(side, service, head.version, ticket);
        }
        Ok(answer)
    }

    /// CONNECT: a way to the service of the rule that names the method; the service hears nothing of the request.
    async fn connect(
        &self,
        mut head: Parts,
        ticket: &Arc<Ticket>,
    ) -> Result<Response<ResponseBody>, Unmet> {
        let target = target::connect(&head)?;
        ticket.note(|entry, _| {
            entry.method = Some(head.method.to_string());
            entry.host = Some(target.host.clone());
            entry.protocol = "connect".to_owned();
        });
        let policy = self.policy.load_full();
        let client = self.client.known_to(&policy.rules);
        let asked = self.ask(client, &policy, &head, &target, Some(&[]))?;
        let Asked::Allowed(key, demands) = asked else { return Err(Refusal::NoRule.into()) };
        self.meet(demands, client, &policy, (&head, &target), &key, ticket).await?;
        allowed(ticket, &policy, client, &key);
        let side = head.extensions.remove::<OnUpgrade>();
        let side = side.ok_or(Refusal::Method("this connection cannot become a tunnel"))?;
        let leg = self.leg(&policy, &key.service);
        let (stream, open) = self.exchange.connect(key.request(client), leg).await?;
        let service = Service::Opened(Box::new(ServiceIo::new(stream, open).0));
        ticket.note(|entry, us| entry.times_us.connect = Some(us));
        self.begin(side, service, head.version, ticket);
        Ok(Response::new(ResponseBody::text(Bytes::new())))
    }

    /// Meets what the rule demands besides.
    async fn meet(
        &self,
        demands: Demands<'_>,
        identity: &str,
        policy: &Policy,
        (head, target): (&Parts, &Target),
        key: &PoolKey,
        ticket: &Ticket,
    ) -> Result<(), Unmet> {
        if demands == Demands::default() {
            return Ok(());
        }
        let path = policy.rules.path_name(key.path).unwrap_or_default();
        let wanted = Wanted {
            client: &self.client,
            identity,
            source: self.source.ip(),
            server_name: self.sni.as_deref(),
            protocol: target.protocol,
            chain: decision::Chain { rule: &key.rule, path, service: &key.service },
            request: Some((head.method.as_str(), &target.host, &target.path, &head.headers)),
        };
        let Exchange { rates, counters, .. } = &*self.exchange;
        let met = demand::meet(demands, wanted, policy, rates, counters).await;
        if met.is_err() {
            ticket.note(|entry, us| {
                entry.client = identity.into();
                entry.rule = Some(key.rule.clone());
                entry.times_us.decided = Some(us);
            });
        }
        met
    }

    fn leg<'a>(&self, policy: &'a Policy, service: &str) -> Leg<'a> {
        let options = policy.services.get(service);
        Leg { options, source: self.source, destination: self.destination }
    }

    /// Tells the service what it may know of the client.
    fn tell(&self, options: &ServiceOptions, host: &HeaderValue, headers: &mut HeaderMap) {
        if options.forwarded
            && let Some(value) = forwarded::forwarded(self.source, self.destination, host)
        {
            headers.insert(FORWARDED, value);
        }
        if options.client_certificate
            && let Some(value) = forwarded::client_certificate(&self.client)
        {
            headers.insert(HeaderName::from_static("x-forwarded-client-cert"), value);
        }
    }

    /// Has a tunnel begin when the answer has left.
    fn begin(&self, client: OnUpgrade, service: Service, version: Version, ticket: &Arc<Ticket>) {
        let counters = &self.exchange.counters;
        let tunnel = Tunnel {
            client,
            service,
            idle: ms(self.exchange.limits.tunnel_idle_ms),
            ticket: Arc::clone(ticket),
            busy: Busy::new(&self.activity),
            counters: Arc::clone(counters),
        };
        if version == Version::HTTP_2 {
            // It ends with its stream, and that with its connection.
            tokio::spawn(tunnel.run());
        } else {
            *self.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
        }
    }

    /// What an HTTP/1 connection has become.
    pub(crate) fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// HTTP/1 headers are measured while they are parsed; those of HTTP/2 here, where it counts.
    fn measure(&self, head: &Parts) -> Result<(), Refusal> {
        let limits = &self.exchange.limits;
        if head.version != Version::HTTP_2 {
            return Ok(());
        }
        let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
        let authority = head.uri.authority().map_or(0, |authority| authority.as_str().len());
        let bytes = headers::section_bytes(&head.headers) + target + authority;
        let fits =
            bytes <= limits.header_bytes as usize && head.headers.len() <= limits.header_count;
        if fits { Ok(()) } else { Err(Refusal::HeaderSize) }
    }

    /// Asks the rules, with as much of the body as they want to see.
    async fn authorize<'p>(
        &self,
        client: &str,
        policy: &'p Policy,
        head: &Parts,
        target: &Target,
        body: &mut Incoming,
        prefix: &mut Prefix,
    ) -> Result<(PoolKey, Demands<'p>), Refusal> {
        let limits = &self.exchange.limits;
        let wanted = match self.ask(client, policy, head, target, None)? {
            Asked::Allowed(key, demands) => return Ok((key, demands)),
            Asked::More(wanted) => wanted.min(limits.body_prefix_bytes),
        };
        let gather = prefix.gather(body, wanted);
        let gathered = timeout(ms(limits.body_prefix_ms), gather).await;
        let seen = gathered.map_err(|_| Refusal::SlowBody)??;
        match self.ask(client, policy, head, target, Some(&seen))? {
            Asked::Allowed(key, demands) => Ok((key, demands)),
            Asked::More(_) => Err(Refusal::NoRule),
        }
    }

    fn ask<'p>(
        &self,
        client: &str,
        policy: &'p Policy,
        head: &Parts,
        target: &Target,
        body_prefix: Option<&[u8]>,
    ) -> Result<Asked<'p>, Refusal> {
        let decision = policy.rules.evaluate(&RequestFacts {
            client,
            certificate: self.client.certificate.facts(),
            now_unix_s: demand::now_unix_s(),
            protocol: target.protocol,
            sni: self.sni.as_deref(),
            source: self.source.ip(),
            host: &target.host,
            method: head.method.as_str(),
            path: &target.path,
            headers: &Fields(&head.headers),
            body_prefix,
        });
        match decision {
            Decision::Allow { rule, path, service, demands } => {
                let key = PoolKey {
                    client: self.client.fingerprint,
                    version: policy.version,
                    path,
                    rule: rule.to_owned(),
                    service: service.to_owned(),
                    source: self.leg(policy, service).pinned_source(),
                };
                Ok(Asked::Allowed(key, demands))
            }
            Decision::NeedBodyPrefix { bytes } => Ok(Asked::More(bytes)),
            Decision::Deny { reason } => {
                tracing::debug!(client, %reason, "denied");
                Err(reason.into())
            }
        }
    }
}

impl Prefix {
    /// Reads until `wanted` bytes are there or the body ends; gives at most these.
    async fn gather(&mut self, body: &mut Incoming, wanted: usize) -> Result<Bytes, Refusal> {
        let have = |frames: &VecDeque<Frame<Bytes>>| {
            frames.iter().filter_map(Frame::data_ref).map(Bytes::len).sum::<usize>()
        };
        while !self.ended && have(&self.frames) < wanted {
            match poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
                Some(Ok(frame)) => self.frames.push_back(frame),
                Some(Err(_)) => return Err(Refusal::Malformed("the request body broke off")),
                None => self.ended = true,
            }
            self.ended |= body.is_end_stream();
        }
        let mut seen = BytesMut::with_capacity(wanted.min(have(&self.frames)));
        for data in self.frames.iter().filter_map(Frame::data_ref) {
            let room = wanted - seen.len();
            seen.extend_from_slice(&data[..data.len().min(room)]);
        }
        Ok(seen.freeze())
    }
}
