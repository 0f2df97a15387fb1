//! A service of the suite's own: HTTP/1.1 that answers everything with 200 and keeps every byte that arrived.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use ringmail_node::topology::Netns;

/// What it answers.
pub(crate) const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nanswer\n";

/// How long a connection may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// A service that runs. Dropping it ends it.
pub(crate) struct Origin(Arc<Shared>);

#[derive(Default)]
struct Shared {
    arrived: Mutex<Vec<u8>>,
    stop: AtomicBool,
}

impl Origin {
    /// Starts it at an address in a namespace.
    pub(crate) fn start(netns: &Netns, address: &str) -> Result<Origin> {
        let address: SocketAddr = address.parse()?;
        let listener =
            netns.run(|| TcpListener::bind(address))?.with_context(|| address.to_string())?;
        listener.set_nonblocking(true)?;
        let shared = Arc::<Shared>::default();
        let work = Arc::clone(&shared);
        let accept = move || {
            while !work.stop.load(Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let work = Arc::clone(&work);
                        thread::spawn(move || work.serve(stream));
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        thread::sleep(Duration::from_millis(5));
                    }
                    Err(_) => return,
                }
            }
        };
        thread::Builder::new().name("origin".into()).spawn(accept)?;
        Ok(Origin(shared))
    }

    /// Everything that has arrived, and forgets it.
    pub(crate) fn take(&self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut *lock(&self.0.arrived))).into_owned()
    }

    /// Whether this has arrived.
    pub(crate) fn saw(&self, text: &str) -> bool {
        String::from_utf8_lossy(&lock(&self.0.arrived)).contains(text)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.0.stop.store(true, Relaxed);
    }
}

impl Shared {
    /// Answers whenever a head and the body that it announces have come.
    fn serve(&self, mut stream: TcpStream) {
        let (mut waiting, mut buffer) = (Vec::new(), [0; 4096]);
        if stream.set_nonblocking(false).and(stream.set_read_timeout(Some(PATIENCE))).is_err() {
            return;
        }
        while let Ok(len) = stream.read(&mut buffer)
            && len > 0
        {
            lock(&self.arrived).extend_from_slice(&buffer[..len]);
            waiting.extend_from_slice(&buffer[..len]);
            while let Some(whole) = request_bytes(&waiting) {
                waiting.drain(..whole);
                if stream.write_all(ANSWER).is_err() {
                    return;
                }
            }
        }
    }
}

/// How long the request is that the bytes begin with, once it is whole.
fn request_bytes(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name).map(str::trim))?;
        Some(line.to_owned())
    };
    if field("transfer-encoding:").is_some_and(|coding| coding.contains("chunked")) {
        let end = bytes[head..].windows(5).position(|five| five == b"0\r\n\r\n")?;
        return Some(head + end + 5);
    }
    let body: usize = field("content-length:").and_then(|len| len.parse().ok()).unwrap_or(0);
    (bytes.len() >= head + body).then_some(head + body)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_whole_with_the_body_that_it_announces() {
        assert_eq!(request_bytes(b"GET / HTTP/1.1\r\n"), None);
        assert_eq!(request_bytes(b"GET / HTTP/1.1\r\n\r\nGET"), Some(18));
        assert_eq!(request_bytes(b"PUT / HTTP/1.1\r\ncontent-length: 3\r\n\r\nab"), None);
        let chunked = b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
        assert_eq!(request_bytes(chunked), Some(chunked.len()));
    }
}
