//! What happens to one request: checked, scrubbed, authorized by its own merits, sent on.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::poll_fn;
use http::header::{CONNECTION, HOST, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, Version};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use ringmail_model::rules::{Decision, Denied, RequestFacts};
use tokio::time::timeout;

use crate::activity::{Activity, Ticket};
use crate::chain::Chain;
use crate::exchange::{Exchange, Outgoing};
use crate::headers;
use crate::identity::Client;
use crate::limits::ms;
use crate::policy::{Fields, Policy, PolicyHandle};
use crate::pool::PoolKey;
use crate::refusal::Refusal;
use crate::request_body::RequestBody;
use crate::response_body::ResponseBody;
use crate::sites::Names;
use crate::target::{Target, target};

/// What the requests of one client connection share.
#[derive(Debug)]
pub(crate) struct Session<C> {
    pub(crate) exchange: Arc<Exchange<C>>,
    pub(crate) policy: PolicyHandle,
    pub(crate) client: Client,
    pub(crate) sni: Option<String>,
    pub(crate) names: Arc<Names>,
    pub(crate) source: IpAddr,
    pub(crate) activity: Arc<Activity>,
}

/// The beginning of a body: frames taken off it, and whether it ended in them.
struct Prefix {
    frames: VecDeque<Frame<Bytes>>,
    ended: bool,
}

/// What the rules say so far.
enum Asked {
    Allowed(PoolKey),
    More(usize),
}

impl<C: Chain> Session<C> {
    /// The answer to a request: the service's, or a refusal.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        let counters = &self.exchange.counters;
        let ticket = Ticket::new(&self.activity, counters);
        let (head, body) = request.into_parts();
        let http1 = head.version != Version::HTTP_2;
        let answer = match Box::pin(self.pass(head, body, &ticket)).await {
            Ok(response) => response,
            Err(refusal) => {
                tracing::debug!(client = &*self.client.identity, ?refusal, "refused");
                let mut answer = refusal.answer(counters);
                if http1 && refusal.ends_connection() {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                answer
            }
        };
        ticket.answered();
        answer
    }

    async fn pass(
        &self,
        mut head: Parts,
        mut body: Incoming,
        ticket: &Arc<Ticket>,
    ) -> Result<Response<ResponseBody>, Refusal> {
        let limits = &self.exchange.limits;
        self.measure(&head)?;
        if head.method == Method::CONNECT {
            return Err(Refusal::Method("CONNECT is not offered"));
        }
        if head.method == Method::TRACE {
            return Err(Refusal::Method("TRACE is not offered"));
        }
        let target = target(&head, self.sni.as_deref(), &self.names)?;
        let asked = headers::scrub_request(&mut head.headers);
        if asked.upgrade {
            return Err(Refusal::Method("no other protocol is offered"));
        }
        if asked.expect_other {
            return Err(Refusal::Expectation);
        }
        let policy = self.policy.load_full();
        let client = self.client.known_to(&policy.rules);
        let mut prefix = Prefix { frames: VecDeque::new(), ended: body.is_end_stream() };
        let key = self.authorize(client, &policy, &head, &target, &mut body, &mut prefix).await?;
        self.exchange.counters.requests_allowed.one();
        let expect_continue = asked.expect_continue && prefix.frames.is_empty();
        let body = if prefix.ended && prefix.frames.is_empty() {
            RequestBody::none()
        } else {
            RequestBody::new(prefix.frames, body, ms(limits.body_idle_ms), Arc::clone(ticket))
        };
        head.headers.insert(HOST, target.authority);
        let outgoing = Outgoing {
            method: head.method,
            uri: target.uri,
            headers: head.headers,
            body,
            expect_continue,
        };
        self.exchange.send(key, client, outgoing, ticket).await
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
    async fn authorize(
        &self,
        client: &str,
        policy: &Policy,
        head: &Parts,
        target: &Target,
        body: &mut Incoming,
        prefix: &mut Prefix,
    ) -> Result<PoolKey, Refusal> {
        let limits = &self.exchange.limits;
        let wanted = match self.ask(client, policy, head, target, None)? {
            Asked::Allowed(key) => return Ok(key),
            Asked::More(wanted) => wanted.min(limits.body_prefix_bytes),
        };
        let gather = prefix.gather(body, wanted);
        let gathered = timeout(ms(limits.body_prefix_ms), gather).await;
        let seen = gathered.map_err(|_| Refusal::SlowBody)??;
        match self.ask(client, policy, head, target, Some(&seen))? {
            Asked::Allowed(key) => Ok(key),
            Asked::More(_) => Err(Refusal::NoRule),
        }
    }

    fn ask(
        &self,
        client: &str,
        policy: &Policy,
        head: &Parts,
        target: &Target,
        body_prefix: Option<&[u8]>,
    ) -> Result<Asked, Refusal> {
        let decision = policy.rules.evaluate(&RequestFacts {
            client,
            sni: self.sni.as_deref(),
            source: self.source,
            host: &target.host,
            method: head.method.as_str(),
            path: &target.path,
            headers: &Fields(&head.headers),
            body_prefix,
        });
        match decision {
            Decision::Allow { rule, path, service } => Ok(Asked::Allowed(PoolKey {
                client: self.client.fingerprint,
                version: policy.version,
                path,
                rule: rule.to_owned(),
                service: service.to_owned(),
            })),
            Decision::NeedBodyPrefix { bytes } => Ok(Asked::More(bytes)),
            Decision::Deny { reason } => {
                tracing::debug!(client, %reason, "denied");
                Err(match reason {
                    Denied::NoRule => Refusal::NoRule,
                    Denied::Host => Refusal::Malformed("the host has several readings"),
                    Denied::Path(denied) => Refusal::Malformed(denied.why()),
                })
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
