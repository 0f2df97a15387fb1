//! Answers that the gateway gives itself: a status, one short line, and a counter.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};

use crate::counters::{Counter, Counters};
use crate::response_body::ResponseBody;

/// Why a request does not reach a service, or its answer not the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// 400: broken or ambiguous.
    Malformed(&'static str),
    /// 403: no rule allows it.
    NoRule,
    /// 403: one would with another certificate.
    Certificate,
    /// 403: one would at another time.
    Time,
    /// 403: a decision point said no.
    Decision,
    /// 429: the client is faster than its rule allows; it may come again after this time.
    TooFast {
        /// Whole seconds, at least one.
        retry_after_s: u64,
    },
    /// 429: the client has as many requests under way as it may.
    AtOnce,
    /// 503: a decision point did not answer.
    Undecided,
    /// 408: the body stopped coming.
    SlowBody,
    /// 417: an expectation other than 100-continue.
    Expectation,
    /// 421: not what the certificate of this connection stands for.
    Misdirected,
    /// 431: too many or too large headers.
    HeaderSize,
    /// 501: TRACE, or a change to a protocol that is not offered.
    Method(&'static str),
    /// 502: no connection to the service, or no sensible answer.
    Backend(&'static str),
    /// 503: the chain cannot carry it yet.
    NotReady,
    /// 503: too many connections to services.
    Busy,
    /// 504: no answer in time.
    Timeout,
}

impl Refusal {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Refusal::Malformed(_) => StatusCode::BAD_REQUEST,
            Refusal::NoRule | Refusal::Certificate | Refusal::Time | Refusal::Decision => {
                StatusCode::FORBIDDEN
            }
            Refusal::TooFast { .. } | Refusal::AtOnce => StatusCode::TOO_MANY_REQUESTS,
            Refusal::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Refusal::Expectation => StatusCode::EXPECTATION_FAILED,
            Refusal::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Refusal::HeaderSize => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Refusal::Method(_) => StatusCode::NOT_IMPLEMENTED,
            Refusal::Backend(_) => StatusCode::BAD_GATEWAY,
            Refusal::NotReady | Refusal::Busy | Refusal::Undecided => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Refusal::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Whether an HTTP/1 connection cannot be trusted to find the next request.
    pub(crate) fn ends_connection(self) -> bool {
        matches!(self, Refusal::Malformed(_) | Refusal::SlowBody)
    }

    /// Why, in words.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Refusal::Malformed(what) | Refusal::Method(what) | Refusal::Backend(what) => what,
            Refusal::NoRule => "no rule allows this request",
            Refusal::Certificate => "no rule allows this request with this certificate",
            Refusal::Time => "no rule allows this request at this time",
            Refusal::Decision => "the policy does not allow this request",
            Refusal::TooFast { .. } => "too many requests",
            Refusal::AtOnce => "too many requests at once",
            Refusal::Undecided => "the policy's decision could not be had",
            Refusal::SlowBody => "the request body stopped coming",
            Refusal::Expectation => "only 100-continue can be expected",
            Refusal::Misdirected => "this connection's certificate is not for that host",
            Refusal::HeaderSize => "the request's headers are too large",
            Refusal::NotReady => "the way to the service is not ready",
            Refusal::Busy => "too many connections to services",
            Refusal::Timeout => "the service did not answer in time",
        }
    }

    fn counter(self, counters: &Counters) -> &Counter {
        match self {
            Refusal::Malformed(_) | Refusal::Expectation => &counters.refused_malformed,
            Refusal::NoRule => &counters.refused_by_rules,
            Refusal::Certificate => &counters.refused_by_certificate,
            Refusal::Time => &counters.refused_by_time,
            Refusal::Decision => &counters.refused_by_decision,
            Refusal::TooFast { .. } => &counters.refused_by_rate,
            Refusal::AtOnce => &counters.refused_at_once,
            Refusal::Undecided => &counters.refused_undecided,
            Refusal::SlowBody => &counters.refused_slow_body,
            Refusal::Misdirected => &counters.refused_misdirected,
            Refusal::HeaderSize => &counters.refused_header_size,
            Refusal::Method(_) => &counters.refused_method,
            Refusal::Backend(_) => &counters.backend_refused,
            Refusal::NotReady => &counters.backend_not_ready,
            Refusal::Busy => &counters.backend_busy,
            Refusal::Timeout => &counters.backend_timeout,
        }
    }

    /// The answer, counted.
    pub(crate) fn answer(self, counters: &Counters) -> Response<ResponseBody> {
        self.counter(counters).one();
        let text = Bytes::from(format!("{} {}\n", self.status().as_u16(), self.text()));
        let length = HeaderValue::from(text.len());
        let mut response = Response::new(ResponseBody::text(text));
        *response.status_mut() = self.status();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        response.headers_mut().insert(CONTENT_LENGTH, length);
        let retry_after_s = match self {
            Refusal::TooFast { retry_after_s } => Some(retry_after_s),
            Refusal::AtOnce => Some(1),
            _ => None,
        };
        if let Some(retry_after_s) = retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_after_s));
        }
        response
    }
}
