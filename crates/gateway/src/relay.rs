//! Bytes both ways between a client and a service, with half-close (RFC 9293 section 3.6), until both have said their
//! last, one of them breaks, or nothing moves for too long.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep};
use tokio_util::io::poll_read_buf;

use crate::activity::Ticket;
use crate::limits::RELAY_BUFFER_BYTES;

/// How a relay ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Both sides said their last.
    Done,
    /// Nothing moved for the idle time.
    Idle,
    /// The client's side broke.
    Client(io::Error),
    /// The service's side broke.
    Service(io::Error),
}

/// Hears of bytes that went on.
pub(crate) trait Moved {
    /// So many more, to the service and to the client.
    fn moved(&self, to_service: u64, to_client: u64);
}

impl Moved for Ticket {
    fn moved(&self, to_service: u64, to_client: u64) {
        self.received(to_service);
        self.sent(to_client);
    }
}

/// Passes bytes between the two. `first` was read from the client before and goes first.
///
/// A side that does not take its bytes holds the other up: at most one buffer a direction is held.
pub(crate) async fn relay<C, S>(
    mut client: C,
    mut service: S,
    first: Vec<u8>,
    idle: Duration,
    moved: &impl Moved,
) -> Ended
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    // What was written before, such as the answer that began a tunnel, may not be sent yet.
    let mut up = Flow { buffer: first, unflushed: true, ..Flow::default() };
    let mut down = Flow { unflushed: true, ..Flow::default() };
    let mut last = Instant::now();
    let mut patience = pin!(sleep(idle));
    poll_fn(|cx| {
        let before = (up.moved, down.moved);
        let there = up.poll(cx, Pin::new(&mut client), Pin::new(&mut service));
        let back = down.poll(cx, Pin::new(&mut service), Pin::new(&mut client));
        if (up.moved, down.moved) != before {
            moved.moved(up.moved - before.0, down.moved - before.1);
            last = Instant::now();
        }
        match (there, back) {
            (Poll::Ready(Err(Broken::Reader(error))), _)
            | (_, Poll::Ready(Err(Broken::Writer(error)))) => {
                return Poll::Ready(Ended::Client(error));
            }
            (Poll::Ready(Err(Broken::Writer(error))), _)
            | (_, Poll::Ready(Err(Broken::Reader(error)))) => {
                return Poll::Ready(Ended::Service(error));
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(Ended::Done),
            _ => {}
        }
        while patience.as_mut().poll(cx).is_ready() {
            if last.elapsed() >= idle {
                return Poll::Ready(Ended::Idle);
            }
            patience.as_mut().reset(last + idle);
        }
        Poll::Pending
    })
    .await
}

/// One direction.
#[derive(Default)]
struct Flow {
    buffer: Vec<u8>,
    /// What of `buffer` is written.
    written: usize,
    /// Whether something was written that is not flushed.
    unflushed: bool,
    moved: u64,
    stage: Stage,
}

#[derive(Default, PartialEq)]
enum Stage {
    #[default]
    Open,
    /// The reader said its last.
    Closing,
    Closed,
}

enum Broken {
    Reader(io::Error),
    Writer(io::Error),
}

impl Flow {
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        mut reader: Pin<&mut R>,
        mut writer: Pin<&mut W>,
    ) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead,
        W: AsyncWrite,
    {
        loop {
            while self.written < self.buffer.len() {
                let rest = &self.buffer[self.written..];
                let count = ready!(writer.as_mut().poll_write(cx, rest)).map_err(Broken::Writer)?;
                if count == 0 {
                    return Poll::Ready(Err(Broken::Writer(io::ErrorKind::WriteZero.into())));
                }
                self.written += count;
                self.moved += count as u64;
                self.unflushed = true;
            }
            match self.stage {
                Stage::Open => {
                    self.buffer.clear();
                    self.written = 0;
                    self.buffer.reserve(RELAY_BUFFER_BYTES);
                    match poll_read_buf(reader.as_mut(), cx, &mut self.buffer) {
                        Poll::Ready(Ok(0)) => self.stage = Stage::Closing,
                        Poll::Ready(Ok(_)) => {}
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Reader(error))),
                        Poll::Pending => {
                            // A quiet connection holds no buffer.
                            self.buffer = Vec::new();
                            if self.unflushed {
                                ready!(writer.poll_flush(cx)).map_err(Broken::Writer)?;
                                self.unflushed = false;
                            }
                            return Poll::Pending;
                        }
                    }
                }
                Stage::Closing => {
                    ready!(writer.as_mut().poll_flush(cx)).map_err(Broken::Writer)?;
                    ready!(writer.as_mut().poll_shutdown(cx)).map_err(Broken::Writer)?;
                    self.stage = Stage::Closed;
                    self.buffer = Vec::new();
                }
                Stage::Closed => return Poll::Ready(Ok(())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::task::JoinHandle;

    use super::*;

    #[derive(Default)]
    struct Count {
        to_service: AtomicU64,
        to_client: AtomicU64,
    }

    impl Moved for Count {
        fn moved(&self, to_service: u64, to_client: u64) {
            self.to_service.fetch_add(to_service, Relaxed);
            self.to_client.fetch_add(to_client, Relaxed);
        }
    }

    fn start(
        first: &[u8],
        room: usize,
        idle_ms: u64,
    ) -> (DuplexStream, DuplexStream, Arc<Count>, JoinHandle<Ended>) {
        let (client, near) = duplex(room);
        let (far, service) = duplex(room);
        let moved = Arc::new(Count::default());
        let (count, first) = (Arc::clone(&moved), first.to_vec());
        let idle = Duration::from_millis(idle_ms);
        let task = tokio::spawn(async move { relay(near, far, first, idle, &*count).await });
        (client, service, moved, task)
    }

    #[tokio::test]
    async fn each_side_may_go_on_after_the_other_said_its_last() {
        let (mut client, mut service, moved, task) = start(b"GET ", 64, 60_000);
        client.write_all(b"question").await.expect("written");
        client.shutdown().await.expect("closed");
        let mut asked = String::new();
        service.read_to_string(&mut asked).await.expect("read");
        assert_eq!(asked, "GET question");
        service.write_all(b"a late answer").await.expect("written");
        drop(service);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("read");
        assert_eq!(answer, "a late answer");
        assert!(matches!(task.await, Ok(Ended::Done)));
        assert_eq!((moved.to_service.load(Relaxed), moved.to_client.load(Relaxed)), (12, 13));
    }

    #[tokio::test(start_paused = true)]
    async fn a_side_that_takes_nothing_holds_the_other_up_and_is_cut_off_when_idle() {
        let (mut client, _service, moved, task) = start(b"", 1024, 5_000);
        let more = vec![7; 4 * RELAY_BUFFER_BYTES];
        let begun = Instant::now();
        let written = tokio::spawn(async move { client.write_all(&more).await });
        assert!(matches!(task.await, Ok(Ended::Idle)));
        assert!(written.await.expect("no panic").is_err(), "never all taken");
        assert_eq!(moved.to_service.load(Relaxed), 1024);
        assert!(begun.elapsed() >= Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn what_moves_now_and_then_is_not_idle() {
        let (mut client, mut service, _, task) = start(b"", 64, 5_000);
        for _ in 0..4 {
            sleep(Duration::from_millis(4_000)).await;
            client.write_all(b"x").await.expect("still there");
            service.read_u8().await.expect("passed on");
        }
        let last = Instant::now();
        assert!(matches!(task.await, Ok(Ended::Idle)));
        assert_eq!(last.elapsed().as_millis(), 5_000);
    }
}
