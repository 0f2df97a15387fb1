//! What goes on on one client connection, so that its watchdog can tell busy from idle, slow from
//! stalled, and a client from a flood. Times are milliseconds since the connection began.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ringmail_model::defence::{Defence, off};
use tokio::time::Instant;

use crate::access::{Entry, Record};
use crate::counters::Counters;
use crate::limits::{H2_CANCEL_WINDOW_MS, Limits, ms};
use crate::service_io::Open;
use crate::times::Histogram;

/// Shared by a connection's driver, its stream and its requests.
#[derive(Debug)]
pub(crate) struct Activity {
    start: Instant,
    multiplexed: bool,
    in_flight: AtomicU32,
    /// Streams whose bytes pass unread; they have an idle time of their own.
    tunnels: AtomicU32,
    progress_ms: AtomicU64,
    /// When the first byte of a request that is not yet complete came; 0 where none did.
    header_ms: AtomicU64,
    cancelled: AtomicU32,
    cancel_window_ms: AtomicU64,
}

/// What the watchdog has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    /// Look again then.
    Until(Instant),
    /// No request for the idle time: close in good order.
    Idle,
    /// Headers that do not end.
    SlowHeaders,
    /// Requests of which none moves.
    Stalled,
    /// Too many requests cancelled.
    CancelFlood,
}

impl Activity {
    /// `multiplexed`: HTTP/2, where bytes may come without a request.
    pub(crate) fn new(multiplexed: bool) -> Activity {
        Activity {
            start: Instant::now(),
            multiplexed,
            in_flight: AtomicU32::new(0),
            tunnels: AtomicU32::new(0),
            progress_ms: AtomicU64::new(0),
            header_ms: AtomicU64::new(0),
            cancelled: AtomicU32::new(0),
            cancel_window_ms: AtomicU64::new(0),
        }
    }

    fn now_ms(&self) -> u64 {
        // One more than the clock says: 0 stands for never.
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Something moved: a body, a request or an answer.
    pub(crate) fn progress(&self) {
        self.progress_ms.store(self.now_ms(), Relaxed);
    }

    /// Bytes came from the client.
    pub(crate) fn received(&self) {
        if !self.multiplexed
            && self.in_flight.load(Relaxed) == 0
            && self.header_ms.load(Relaxed) == 0
        {
            self.header_ms.store(self.now_ms(), Relaxed);
        }
    }

    fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
        self.header_ms.store(0, Relaxed);
        self.progress();
    }

    fn end(&self, answered: bool) {
        self.in_flight.fetch_sub(1, Relaxed);
        self.progress();
        if answered {
            return;
        }
        let now_ms = self.now_ms();
        if now_ms - self.cancel_window_ms.load(Relaxed).min(now_ms) > H2_CANCEL_WINDOW_MS {
            self.cancel_window_ms.store(now_ms, Relaxed);
            self.cancelled.store(0, Relaxed);
        }
        self.cancelled.fetch_add(1, Relaxed);
    }

    /// Whether more requests were cancelled than a client may.
    pub(crate) fn flooded(&self, limits: &Limits) -> bool {
        let many = self.multiplexed && self.cancelled.load(Relaxed) > limits.h2_cancelled;
        many && !off(Defence::CancelledRequests)
    }

    /// What has to be done now, or when to ask again.
    pub(crate) fn watch(&self, limits: &Limits) -> Watch {
        if self.flooded(limits) {
            return Watch::CancelFlood;
        }
        if self.tunnels.load(Relaxed) > 0 {
            return Watch::Until(self.soonest(Instant::now() + limits.stall(), limits));
        }
        let header_ms = self.header_ms.load(Relaxed);
        let progress_ms = self.progress_ms.load(Relaxed);
        let (since_ms, limit, verdict) = if self.in_flight.load(Relaxed) > 0 {
            (progress_ms, limits.stall(), Watch::Stalled)
        } else if header_ms > 0 && !off(Defence::HeaderTime) {
            (header_ms, ms(limits.header_read_ms), Watch::SlowHeaders)
        } else {
            (progress_ms, ms(limits.idle_ms), Watch::Idle)
        };
        let due = self.start + Duration::from_millis(since_ms) + limit;
        if due <= Instant::now() { verdict } else { Watch::Until(self.soonest(due, limits)) }
    }

    /// A state that begins later may be due sooner than this one's limit.
    fn soonest(&self, due: Instant, limits: &Limits) -> Instant {
        let shortest = limits.header_read_ms.min(limits.idle_ms);
        due.min(Instant::now() + ms(shortest))
    }
}

/// A tunnel that its connection carries.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Activity>);

impl Busy {
    pub(crate) fn new(activity: &Arc<Activity>) -> Busy {
        activity.tunnels.fetch_add(1, Relaxed);
        Busy(Arc::clone(activity))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.progress();
        self.0.tunnels.fetch_sub(1, Relaxed);
    }
}

/// One request in progress: from its head until both bodies are done.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) activity: Arc<Activity>,
    pub(crate) counters: Arc<Counters>,
    /// The line that tells of it.
    pub(crate) record: Option<Record>,
    answered: AtomicBool,
    /// Where its time is noted, once a rule gave it a path.
    times: OnceLock<Arc<Histogram>>,
    /// Its place among those of its client.
    _place: Option<Open>,
}

impl Ticket {
    pub(crate) fn new(
        activity: &Arc<Activity>,
        counters: &Arc<Counters>,
        record: Option<Record>,
        place: Option<Open>,
    ) -> Arc<Ticket> {
        counters.requests.one();
        activity.begin();
        Arc::new(Ticket {
            activity: Arc::clone(activity),
            counters: Arc::clone(counters),
            record,
            answered: AtomicBool::new(false),
            times: OnceLock::new(),
            _place: place,
        })
    }

    /// It takes this path.
    pub(crate) fn takes(&self, path: Option<&str>) {
        if let Some(times) = path.and_then(|path| self.counters.times.of(path)) {
            // A request has one path.
            let _again = self.times.set(times);
        }
    }

    /// How long it was under way, if it took a path.
    pub(crate) fn took(&self, time: Duration) {
        if let Some(times) = self.times.get() {
            times.note(time);
        }
    }

    /// Notes something for the log; the time is in microseconds since the request came.
    pub(crate) fn note(&self, what: impl FnOnce(&mut Entry, u64)) {
        if let Some(record) = &self.record {
            record.note(what);
        }
    }

    /// Bytes of the request's body went on.
    pub(crate) fn received(&self, bytes: u64) {
        self.counters.bytes_from_clients.add(bytes);
        if let Some(record) = &self.record {
            record.bytes_in.fetch_add(bytes, Relaxed);
        }
    }

    /// Bytes of the answer's body went on.
    pub(crate) fn sent(&self, bytes: u64) {
        self.counters.bytes_to_clients.add(bytes);
        if let Some(record) = &self.record {
            record.bytes_out.fetch_add(bytes, Relaxed);
        }
    }

    /// The answer began.
    pub(crate) fn answered(&self) {
        self.answered.store(true, Relaxed);
        self.counters.responses.one();
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.answered.load(Relaxed)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let answered = self.answered.load(Relaxed);
        if !answered {
            self.counters.requests_cancelled.one();
        }
        self.activity.end(answered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { header_read_ms: 1_000, idle_ms: 5_000, ..Limits::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn idle_and_slow_headers_have_each_their_time() {
        let activity = Activity::new(false);
        assert!(matches!(activity.watch(&limits()), Watch::Until(_)));
        tokio::time::advance(ms(5_001)).await;
        assert_eq!(activity.watch(&limits()), Watch::Idle);
        activity.received();
        assert!(matches!(activity.watch(&limits()), Watch::Until(_)));
        tokio::time::advance(ms(500)).await;
        activity.received();
        tokio::time::advance(ms(502)).await;
        assert_eq!(activity.watch(&limits()), Watch::SlowHeaders, "from the first byte on");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_stalled_only_when_nothing_moves() {
        let (activity, counters) = (Arc::new(Activity::new(true)), Arc::default());
        let ticket = Ticket::new(&activity, &counters, None, None);
        tokio::time::advance(limits().stall() - ms(1)).await;
        activity.progress();
        tokio::time::advance(ms(100)).await;
        assert!(matches!(activity.watch(&limits()), Watch::Until(_)));
        tokio::time::advance(limits().stall()).await;
        assert_eq!(activity.watch(&limits()), Watch::Stalled);
        ticket.answered();
        drop(ticket);
        assert!(matches!(activity.watch(&limits()), Watch::Until(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn cancelled_requests_are_counted_over_a_window() {
        let (activity, counters) = (Arc::new(Activity::new(true)), Arc::<Counters>::default());
        let limits = Limits { h2_cancelled: 3, ..limits() };
        let cancel =
            |n: u32| (0..n).for_each(|_| drop(Ticket::new(&activity, &counters, None, None)));
        cancel(3);
        assert!(!activity.flooded(&limits));
        tokio::time::advance(ms(H2_CANCEL_WINDOW_MS + 1)).await;
        cancel(3);
        assert!(!activity.flooded(&limits), "a new window");
        cancel(1);
        assert_eq!(activity.watch(&limits), Watch::CancelFlood);
        assert_eq!(counters.requests_cancelled.get(), 7);
    }
}
