//! The server of the built-in site.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{ACCEPT_RANGES, ALLOW, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RANGE};
use hyper::{Method, Request, Response, StatusCode, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::content;

/// `GET /download/N` answers with a file of N bytes; byte ranges are served.
pub const DOWNLOAD_PREFIX: &str = "/download/";

/// `POST` here is read to its end and answered with the number of bytes that came.
pub const UPLOAD_PATH: &str = "/upload";

/// The largest file that `/download/` makes.
const MAX_DOWNLOAD_BYTES: u64 = 1 << 40;

/// How long a client may take over its request head.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);

type Answer = Response<Either<Full<Bytes>, Repeated>>;

/// Serves the site to everyone who connects, until the listener fails.
///
/// # Errors
/// An error of the listening socket; a single connection's end is its own.
pub async fn serve(listener: TcpListener) -> std::io::Result<Infallible> {
    let block = content::block();
    loop {
        let (stream, _peer): (_, SocketAddr) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let block = block.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let block = block.clone();
                async move { Ok::<_, Infallible>(answer(request, &block).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_READ_TIMEOUT)
                .serve_connection(TokioIo::new(stream), answer);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the built-in site ended early");
            }
        });
    }
}

async fn answer(request: Request<Incoming>, block: &Bytes) -> Answer {
    let path = request.uri().path();
    match *request.method() {
        Method::GET | Method::HEAD => {}
        Method::POST if path == UPLOAD_PATH => return upload(request.into_body()).await,
        _ => {
            let mut refusal = short(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
    }
    if let Some((kind, len)) = content::page(path) {
        let mut answer = Response::new(Either::Left(Full::new(block.slice(..len))));
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        return answer;
    }
    match path.strip_prefix(DOWNLOAD_PREFIX).and_then(|len| len.parse().ok()) {
        Some(len) if len <= MAX_DOWNLOAD_BYTES => download(&request, block, len),
        _ => short(StatusCode::NOT_FOUND, "not here\n"),
    }
}

fn download(request: &Request<Incoming>, block: &Bytes, len: u64) -> Answer {
    let range = request.headers().get(RANGE).and_then(|value| value.to_str().ok());
    let (status, first, last) = match range.map(|range| parse_range(range, len)) {
        None | Some(Range::Ignored) => (StatusCode::OK, 0, len),
        Some(Range::Satisfiable(first, last)) => (StatusCode::PARTIAL_CONTENT, first, last),
        Some(Range::Unsatisfiable) => {
            let mut refusal = short(StatusCode::RANGE_NOT_SATISFIABLE, "no such range\n");
            set(&mut refusal, CONTENT_RANGE, &format!("bytes */{len}"));
            return refusal;
        }
    };
    let body = Repeated { block: block.clone(), offset: first, end: last };
    let mut answer = Response::new(Either::Right(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if status == StatusCode::PARTIAL_CONTENT {
        set(&mut answer, CONTENT_RANGE, &format!("bytes {first}-{}/{len}", last - 1));
    }
    answer
}

enum Range {
    /// Bytes `first..end`.
    Satisfiable(u64, u64),
    Unsatisfiable,
    /// Malformed or of several parts: the whole file is the answer (RFC 9110 section 14.2).
    Ignored,
}

/// One range of RFC 9110 section 14.1.2.
fn parse_range(value: &str, len: u64) -> Range {
    let Some((first, last)) = value.strip_prefix("bytes=").and_then(|part| part.split_once('-'))
    else {
        return Range::Ignored;
    };
    let range = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last.saturating_add(1).min(len)),
        (Ok(first), Err(_)) if last.trim().is_empty() => (first, len),
        (Err(_), Ok(suffix)) if first.trim().is_empty() => (len.saturating_sub(suffix), len),
        _ => return Range::Ignored,
    };
    if range.0 < range.1 { Range::Satisfiable(range.0, range.1) } else { Range::Unsatisfiable }
}

async fn upload(mut body: Incoming) -> Answer {
    let mut received = 0_u64;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => received += frame.data_ref().map_or(0, |data| data.len() as u64),
            Err(_) => return short(StatusCode::BAD_REQUEST, "the body broke off\n"),
        }
    }
    short(StatusCode::OK, &format!("{received}\n"))
}

fn short(status: StatusCode, text: &str) -> Answer {
    let mut answer =
        Response::new(Either::Left(Full::new(Bytes::copy_from_slice(text.as_bytes()))));
    *answer.status_mut() = status;
    answer
}

fn set(answer: &mut Answer, name: hyper::header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

/// A body cut from one block again and again.
#[derive(Debug)]
struct Repeated {
    block: Bytes,
    offset: u64,
    end: u64,
}

impl Body for Repeated {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let left = self.end - self.offset;
        if left == 0 {
            return Poll::Ready(None);
        }
        let start = (self.offset % self.block.len() as u64) as usize;
        let len = left.min((self.block.len() - start) as u64) as usize;
        self.offset += len as u64;
        Poll::Ready(Some(Ok(Frame::data(self.block.slice(start..start + len)))))
    }

    fn is_end_stream(&self) -> bool {
        self.offset == self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_rfc_9110() {
        let parse = |value| match parse_range(value, 1000) {
            Range::Satisfiable(first, end) => Some((first, end)),
            Range::Unsatisfiable => Some((1, 0)),
            Range::Ignored => None,
        };
        assert_eq!(parse("bytes=0-0"), Some((0, 1)));
        assert_eq!(parse("bytes=10-"), Some((10, 1000)));
        assert_eq!(parse("bytes=-100"), Some((900, 1000)));
        assert_eq!(parse("bytes=900-5000"), Some((900, 1000)));
        assert_eq!(parse("bytes=1000-"), Some((1, 0)));
        assert_eq!(parse("bytes=5-4"), None);
        assert_eq!(parse("bytes=0-1,3-4"), None);
        assert_eq!(parse("lines=0-1"), None);
    }
}
