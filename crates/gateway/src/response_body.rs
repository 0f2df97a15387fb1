//! A response's body on its way to the client: frame by frame, never whole.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::activity::Ticket;
use crate::pool::Lease;
use crate::silence::{BodyError, Silence};

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
                    self.ticket.sent(data.len() as u64);
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
