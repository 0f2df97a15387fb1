//! A request's body on its way to the service: frame by frame, never whole.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::activity::Ticket;
use crate::gate::Gate;
use crate::silence::{BodyError, Silence};

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
            ticket.received(data.len() as u64);
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
