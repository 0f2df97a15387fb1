//! What a connection or stream becomes after a change of protocol: bytes both ways, pinned to the path that its request
//! was allowed on. WebSocket over HTTP/1.1 (RFC 6455) and over HTTP/2 (RFC 8441), and CONNECT (RFC 9110 section 9.3.6).

use std::fmt;
use std::sync::Arc;

use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{Method, Response, StatusCode, Version};
use hyper::ext::Protocol as Extended;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::time::Duration;

use crate::activity::{Busy, Ticket};
use crate::counters::Counters;
use crate::pool::Lease;
use crate::relay::{Ended, relay};
use crate::response_body::ResponseBody;
use crate::service_io::ServiceIo;

const SEC_WEBSOCKET_KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
const SEC_WEBSOCKET_ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// The service's side of a tunnel.
pub(crate) enum Service {
    /// It answered 101 over this connection, which never goes back to its pool.
    Switched(OnUpgrade, Box<Lease>),
    /// A connection of its own.
    Opened(Box<ServiceIo>),
}

/// Both sides of a tunnel that begins when the answer has left.
pub(crate) struct Tunnel {
    pub(crate) client: OnUpgrade,
    pub(crate) service: Service,
    pub(crate) idle: Duration,
    /// Of the request that began it; hears of its bytes.
    pub(crate) ticket: Arc<Ticket>,
    /// Keeps the client's connection from being taken for an idle one.
    pub(crate) busy: Busy,
    pub(crate) counters: Arc<Counters>,
}

impl Tunnel {
    /// Passes bytes until the end. The client's connection must be flushed by whoever writes to it.
    pub(crate) async fn run(self) {
        let Tunnel { client, service, idle, ticket, busy, counters } = self;
        let _busy = busy;
        let Ok(client) = client.await else { return counters.connections_broken.one() };
        let client = TokioIo::new(client);
        counters.tunnels.one();
        let ended = match service {
            Service::Opened(service) => relay(client, *service, Vec::new(), idle, &*ticket).await,
            Service::Switched(service, lease) => {
                let service: Result<Upgraded, _> = service.await;
                // Its connection has handed the socket over; what is left of it is nothing.
                drop(lease);
                let Ok(service) = service else { return counters.connections_broken.one() };
                relay(client, TokioIo::new(service), Vec::new(), idle, &*ticket).await
            }
        };
        match ended {
            Ended::Done => {}
            Ended::Idle => counters.passed_idle_closed.one(),
            Ended::Client(error) | Ended::Service(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "a tunnel broke");
                counters.connections_broken.one();
            }
        }
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").field("idle", &self.idle).finish_non_exhaustive()
    }
}

/// What kind of change a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    Websocket,
    Connect,
}

/// The change that a request of HTTP/2, or CONNECT, asks for; Upgrade of HTTP/1.1 is found with the fields.
pub(crate) fn change(head: &Parts) -> Result<Change, &'static str> {
    if head.method != Method::CONNECT {
        return Ok(Change::None);
    }
    match head.extensions.get::<Extended>() {
        None => Ok(Change::Connect),
        Some(protocol) if protocol.as_str().eq_ignore_ascii_case("websocket") => {
            Ok(Change::Websocket)
        }
        Some(_) => Err("no other protocol than websocket is offered"),
    }
}

/// Makes the fields of a WebSocket's request those of HTTP/1.1, which services speak.
pub(crate) fn ask(headers: &mut HeaderMap, version: Version, key: [u8; 16]) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, WEBSOCKET);
    if version == Version::HTTP_2
        && let Ok(key) = HeaderValue::from_str(&base64(key))
    {
        // RFC 8441 section 5: not used over HTTP/2, so that it is ours to make up.
        headers.insert(SEC_WEBSOCKET_KEY, key);
    }
}

/// Whether an answer of 101 changes to what was asked for.
pub(crate) fn is_switch(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Makes the service's 101, scrubbed, the answer of this version.
pub(crate) fn answer(response: &mut Response<ResponseBody>, version: Version) {
    let headers = response.headers_mut();
    if version == Version::HTTP_2 {
        headers.remove(SEC_WEBSOCKET_ACCEPT);
        *response.status_mut() = StatusCode::OK;
    } else {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, WEBSOCKET);
    }
}

/// RFC 4648 section 4, of exactly 16 bytes.
fn base64(bytes: [u8; 16]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = u128::from_be_bytes(bytes);
    let letter = |n: u32| {
        // 21 letters of 6 bits, the last of 2 bits and four zeros.
        let six = if n < 21 { bits >> (122 - 6 * n) } else { bits << 4 };
        char::from(LETTERS[(six & 0x3f) as usize])
    };
    (0..22).map(letter).chain("==".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_base64() {
        assert_eq!(base64([0; 16]), "AAAAAAAAAAAAAAAAAAAAAA==");
        assert_eq!(base64([0xff; 16]), "/////////////////////w==");
        // RFC 6455 section 1.3.
        assert_eq!(base64(*b"the sample nonce"), "dGhlIHNhbXBsZSBub25jZQ==");
    }
}
