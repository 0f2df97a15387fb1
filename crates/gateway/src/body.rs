//! Bodies on their way, in either direction: frame by frame, never whole, with a limit on silence.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};

use crate::activity::Ticket;
use crate::pool::Lease;

/// Why a body ends before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// Nothing came for too long.
    #[error("the body stopped coming")]
    Silent,
    /// The connection that it came over.
    #[error("the body broke off")]
    Broken(#[source] hyper::Error),
}

/// A request's body on its way to the service.
pub(crate) struct RequestBody {
    ahead: VecDeque<Frame<Bytes>>,
    rest: Option<Incoming>,
    gate: Option<Arc<Gate>>,
    flow: Arc<Flow>,
    silence: Silence,
    ticket: Option<Arc<Ticket>>,
}

/// What the sender of a request may know about its body.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    moved: AtomicBool,
    silent: AtomicBool,
    broken: AtomicBool,
}

impl Flow {
    /// Whether a frame went since the last question.
    pub(crate) fn moved(&self) -> bool {
        self.moved.swap(false, Relaxed)
    }

    /// Whether the client broke off, or sent what is no body.
    pub(crate) fn broken(&self) -> bool {
        self.broken.load(Relaxed)
    }

    /// Whether the client stopped sending.
    pub(crate) fn silent(&self) -> bool {
        self.silent.load(Relaxed)
    }
}

impl RequestBody {
    /// No body at all.
    pub(crate) fn none() -> RequestBody {
        RequestBody {
            ahead: VecDeque::new(),
            rest: None,
            gate: None,
            flow: Arc::default(),
            silence: Silence::new(Duration::ZERO),
            ticket: None,
        }
    }

    /// The frames `ahead`, then the `rest`; silence longer than `limit` is an error.
    pub(crate) fn new(
        ahead: VecDeque<Frame<Bytes>>,
        rest: Incoming,
        limit: Duration,
        ticket: Arc<Ticket>,
    ) -> RequestBody {
        RequestBody {
            ahead,
            rest: Some(rest),
            silence: Silence::new(limit),
            ticket: Some(ticket),
            ..RequestBody::none()
        }
    }

    /// Holds the body back until `gate` opens.
    pub(crate) fn behind(&mut self, gate: Arc<Gate>) {
        self.gate = Some(gate);
    }

    pub(crate) fn is_none(&self) -> bool {
        self.rest.is_none()
    }

    pub(crate) fn flow(&self) -> Arc<Flow> {
        Arc::clone(&self.flow)
    }

    fn pass(&self, frame: &Frame<Bytes>) {
        self.flow.moved.store(true, Relaxed);
        if let (Some(ticket), Some(data)) = (&self.ticket, frame.data_ref()) {
            ticket.activity.progress();
            ticket.counters.bytes_from_clients.add(data.len() as u64);
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let body = self.get_mut();
        if let Some(gate) = &body.gate {
            ready!(gate.poll(cx));
            body.gate = None;
        }
        if let Some(frame) = body.ahead.pop_front() {
            body.pass(&frame);
            return Poll::Ready(Some(Ok(frame)));
        }
        let Some(rest) = &mut body.rest else { return Poll::Ready(None) };
        match Pin::new(rest).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                body.silence.broken();
                body.pass(&frame);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                body.flow.broken.store(true, Relaxed);
                Poll::Ready(Some(Err(BodyError::Broken(error))))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                ready!(body.silence.poll(cx));
                body.flow.silent.store(true, Relaxed);
                if let Some(ticket) = &body.ticket
                    && ticket.is_answered()
                {
                    ticket.counters.refused_slow_body.one();
                }
                Poll::Ready(Some(Err(BodyError::Silent)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_empty() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let Some(exact) = self.rest.as_ref().map_or(Some(0), |rest| rest.size_hint().exact())
        else {
            return SizeHint::default();
        };
        let data = |frame: &Frame<Bytes>| frame.data_ref().map_or(0, Bytes::len) as u64;
        SizeHint::with_exact(exact + self.ahead.iter().map(data).sum::<u64>())
    }
}

/// Holds a body back until the service says 100 (Continue), or does not say anything for a while
/// (RFC 9110 section 10.1.1).
#[derive(Debug)]
pub(crate) struct Gate {
    open: AtomicBool,
    waker: AtomicWaker,
    patience: std::sync::Mutex<Pin<Box<Sleep>>>,
    answered: AtomicBool,
}

impl Gate {
    pub(crate) fn new(patience: Duration) -> Arc<Gate> {
        Arc::new(Gate {
            open: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            patience: std::sync::Mutex::new(Box::pin(sleep(patience))),
            answered: AtomicBool::new(false),
        })
    }

    /// The service said 100 (Continue).
    pub(crate) fn open(&self) {
        self.open.store(true, Relaxed);
        self.waker.wake();
    }

    /// The service gave its final answer. True: without wanting the body, which now never goes.
    pub(crate) fn answered(&self) -> bool {
        self.answered.store(true, Relaxed);
        !self.open.load(Relaxed)
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.open.load(Relaxed) {
            return Poll::Ready(());
        }
        if self.answered.load(Relaxed) {
            return Poll::Pending;
        }
        let mut patience = match self.patience.lock() {
            Ok(patience) => patience,
            Err(poisoned) => poisoned.into_inner(),
        };
        ready!(patience.as_mut().poll(cx));
        self.open.store(true, Relaxed);
        Poll::Ready(())
    }
}

/// What the client gets back.
pub(crate) struct ResponseBody(Kind);

enum Kind {
    Text(Bytes),
    Service(Box<FromService>),
}

struct FromService {
    body: Incoming,
    lease: Option<Lease>,
    silence: Silence,
    ticket: Arc<Ticket>,
}

impl ResponseBody {
    /// Words of our own.
    pub(crate) fn text(text: Bytes) -> ResponseBody {
        ResponseBody(Kind::Text(text))
    }

    /// What a service sends; the connection goes back to its pool at the end. `lease` is `None`
    /// where it must not.
    pub(crate) fn service(
        body: Incoming,
        lease: Lease,
        limit: Duration,
        ticket: Arc<Ticket>,
    ) -> ResponseBody {
        let mut from =
            FromService { body, lease: Some(lease), silence: Silence::new(limit), ticket };
        if from.body.is_end_stream() {
            from.done();
        }
        ResponseBody(Kind::Service(Box::new(from)))
    }
}

impl FromService {
    fn done(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.finish();
        }
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.silence.broken();
                self.ticket.activity.progress();
                if let Some(data) = frame.data_ref() {
                    self.ticket.counters.bytes_to_clients.add(data.len() as u64);
                }
                if self.body.is_end_stream() || frame.is_trailers() {
                    self.done();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.ticket.counters.backend_truncated.one();
                Poll::Ready(Some(Err(BodyError::Broken(error))))
            }
            Poll::Ready(None) => {
                self.done();
                Poll::Ready(None)
            }
            Poll::Pending => {
                ready!(self.silence.poll(cx));
                self.ticket.counters.backend_truncated.one();
                Poll::Ready(Some(Err(BodyError::Silent)))
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.get_mut().0 {
            Kind::Text(text) if text.is_empty() => Poll::Ready(None),
            Kind::Text(text) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(text))))),
            Kind::Service(from) => from.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Text(text) => text.is_empty(),
            Kind::Service(from) => from.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Text(text) => SizeHint::with_exact(text.len() as u64),
            Kind::Service(from) => from.body.size_hint(),
        }
    }
}

/// A limit on the time without a frame. The timer is set once and looked at when it rings: a frame
/// costs no more than a flag.
struct Silence {
    limit: Duration,
    broken: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Silence {
    fn new(limit: Duration) -> Silence {
        Silence { limit, broken: false, timer: None }
    }

    fn broken(&mut self) {
        self.broken = true;
    }

    /// Ready when nothing came for the limit, at the latest for twice the limit.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        while timer.as_mut().poll(cx).is_ready() {
            if !std::mem::take(&mut self.broken) {
                return Poll::Ready(());
            }
            timer.as_mut().reset(Instant::now() + limit);
        }
        Poll::Pending
    }
}
