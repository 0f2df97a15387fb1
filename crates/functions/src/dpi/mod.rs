//! The function `dpi`: searches TCP streams and UDP datagrams for byte patterns and regexes; a match alerts, drops or
//! resets (RFC 9293 for streams, RFC 768 for datagrams).
//!
//! # What it promises
//!
//! *A receiver that reassembles by RFC 9293 never gets a stream that holds a match of a `drop` or `reset` rule*,
//! whatever the sender does (segments out of order, repeated, overlapping with other content, tiny, with sequence
//! numbers that wrap, with data on the SYN), whatever is lost, repeated or reordered behind this function, and whichever
//! of two overlapping segments the receiver prefers. How: see `stream`. A packet without a match passes at once or
//! once TCP has resent it.
//!
//! It holds for a connection seen from its SYN on, for as long as the function remembers it: until
//! [`TCP_IDLE_S`](crate::limits::TCP_IDLE_S) without a packet, or [`TCP_CLOSING_S`](crate::limits::TCP_CLOSING_S)
//! without one after a RST or the FINs. A connection seen first in the middle, as after a restart, is searched from the
//! first content on. The function trusts the acknowledgements of the receiver, which is the one it protects.
//!
//! # What it costs others
//!
//! - The whole connection stays stopped after a match, both directions; only a bare RST passes.
//! - Inner fragments are refused: the gateway and the hop see to it that none arrive.
//! - Content marked urgent is refused: receivers disagree on whether it is part of the stream (RFC 6093).
//! - A retransmission that differs from what it repeats is refused, and so is one that lies so far back
//!   ([`STREAM_WINDOW_BYTES`](crate::limits::STREAM_WINDOW_BYTES)) that it cannot be compared, unless it was acknowledged.
//! - A segment far ahead of a gap is refused, and passes when TCP resends it.
//! - A SYN that reuses the ports of a connection that did not close is refused.
//! - With every connection or all content room in use, new connections find no room and the old go on.
//!
//! A function whose rules all only alert refuses none of these but what finds no room.
//!
//! Other protocols pass unsearched, and are counted.

mod counters;
mod history;
mod hits;
mod inner;
mod literals;
mod matcher;
mod ranges;
mod refusal;
mod regexes;
mod seam;
mod stream;
mod workers;

use std::fmt;
use std::time::Instant;

use ringmail_dataplane::flow::FlowTable;
use ringmail_dataplane::function::{Alert, FunctionCounter};
use ringmail_dataplane::{Action, Function, FunctionBatch};
use ringmail_model::PathId;
use ringmail_packet::flow::FlowKey;
use ringmail_packet::tcp::Flags;

use self::history::Pool;
use self::hits::Hits;
use self::inner::{ConnectionKey, Inner, Segment};
use self::matcher::Matcher;
use self::ranges::RangePool;
pub use self::refusal::Refusal;
use self::stream::{Shared, Stream};
pub use self::workers::DpiWorker;
use crate::alerts::Alerts;
use crate::limits;
use crate::settings::{BuildError, DpiRule, DpiSettings, OnMatch};

/// The function `dpi`.
pub struct Dpi {
    rules: Vec<Rule>,
    /// Whether any rule stops anything; if none does, nothing is refused.
    enforces: bool,
    connections: FlowTable<ConnectionKey, Connection>,
    shared: Shared,
    hits: Hits,
    alerts: Alerts,
    counts: Counts,
    /// When the first packet came: the clock of the connection table counts from there.
    began: Option<Instant>,
}

struct Rule {
    name: String,
    on_match: OnMatch,
    /// Any, if there is none.
    ports: Vec<u16>,
    matches: u64,
}

/// A TCP connection: a stream from the lower to the higher address and one back.
struct Connection {
    streams: [Stream; 2],
    finished: [bool; 2],
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No content yet.
    Opening,
    Open,
    Closing,
    /// By this rule.
    Stopped(u32),
}

#[derive(Debug, Default)]
struct Counts {
    tcp_packets: u64,
    udp_packets: u64,
    unsearched_packets: u64,
    searched_bytes: u64,
    stopped_packets: u64,
    refused: [u64; Refusal::ALL.len()],
}

impl Dpi {
    /// Compiles the rules and takes the memory. `seeds` come from a random source and key the connection table.
    ///
    /// # Errors
    /// [`BuildError`], always a fault of the settings.
    pub fn new(settings: &DpiSettings, seeds: [u64; 4]) -> Result<Dpi, BuildError> {
        settings.check()?;
        let rule = |rule: &DpiRule| Rule {
            name: rule.name.clone(),
            on_match: rule.on_match,
            ports: rule.ports.clone(),
            matches: 0,
        };
        Ok(Dpi {
            rules: settings.rules.iter().map(rule).collect(),
            enforces: settings.rules.iter().any(|rule| rule.on_match != OnMatch::Alert),
            connections: FlowTable::new(settings.connections, seeds),
            shared: Shared {
                pool: Pool::new(settings.stream_bytes),
                ranges: RangePool::new(limits::STREAMS_OUT_OF_ORDER),
                matcher: Matcher::new(&settings.rules)?,
            },
            hits: Hits::new(settings.rules.len()),
            alerts: Alerts::new(limits::ALERTS),
            counts: Counts::default(),
            began: None,
        })
    }

    /// Seconds since the first packet.
    fn seconds(&mut self, now: Instant) -> u32 {
        let began = *self.began.get_or_insert(now);
        now.saturating_duration_since(began).as_secs().try_into().unwrap_or(u32::MAX / 2)
    }

    /// What becomes of a packet, which was parsed to `inner`.
    fn inspect(
        &mut self,
        now_s: u32,
        packet: &[u8],
        inner: Result<Inner<'_>, Refusal>,
        path: PathId,
    ) -> Action {
        let inner = match inner {
            Ok(inner) => inner,
            Err(refusal) => return self.refuse(refusal),
        };
        let outcome = match &inner {
            Inner::Tcp(segment) => {
                self.counts.tcp_packets += 1;
                self.counts.searched_bytes += segment.content.len() as u64;
                match self.inspect_segment(now_s, segment) {
                    Ok(()) => Ok(Action::Pass),
                    Err(Stop::Refused(refusal)) => Err(refusal),
                    Err(Stop::Stopped(rule)) => {
                        self.counts.stopped_packets += 1;
                        Ok(self.stop_action(rule, &inner))
                    }
                }
            }
            Inner::Udp(_, datagram) => {
                self.counts.udp_packets += 1;
                self.counts.searched_bytes += datagram.len() as u64;
                self.shared.matcher.search_alone(datagram, &mut self.hits);
                Ok(Action::Pass)
            }
            Inner::Other => {
                self.counts.unsearched_packets += 1;
                Ok(Action::Pass)
            }
        };
        if !self.hits.is_empty()
            && let Some(rule) = self.report(packet, &inner, path)
        {
            if let Inner::Tcp(segment) = &inner {
                self.stop(now_s, segment, rule);
            }
            return self.stop_action(rule, &inner);
        }
        outcome.unwrap_or_else(|refusal| self.refuse(refusal))
    }

    fn inspect_segment(&mut self, now_s: u32, segment: &Segment<'_>) -> Result<(), Stop> {
        let key = &segment.connection;
        if let Some(known) = self.connections.get_mut(key, now_s) {
            let Dpi { shared, hits, enforces, .. } = self;
            return known_connection(known, now_s, segment, shared, hits, *enforces);
        }
        if !segment.flags.contains(Flags::SYN) && segment.content.is_empty() {
            // A bare acknowledgement, FIN or RST of a connection that is not known needs no room.
            return Ok(());
        }
        self.admit(now_s, *key)?;
        let known = self.connections.get_mut(key, now_s).ok_or(Refusal::NoRoom)?;
        let Dpi { shared, hits, enforces, .. } = self;
        known_connection(known, now_s, segment, shared, hits, *enforces)
    }

    /// Makes room for a new connection.
    fn admit(&mut self, now_s: u32, key: ConnectionKey) -> Result<(), Refusal> {
        let Dpi { connections, shared, .. } = self;
        // One that expired and was not swept yet would be overwritten, and its blocks lost.
        if let Some(mut expired) = connections.remove(&key) {
            expired.release(shared);
        }
        if connections.len() == connections.capacity() {
            connections.sweep_with(now_s, limits::SWEEP_ENTRIES_WHEN_FULL, |mut connection| {
                connection.release(shared);
            });
        }
        let connection = Connection {
            streams: [Stream::unseen(shared); 2],
            finished: [false; 2],
            state: State::Opening,
        };
        let expires_s = now_s.saturating_add(limits::TCP_OPENING_S);
        connections.insert(key, connection, expires_s).map_err(|_| Refusal::NoRoom)
    }

    /// Counts and alerts what was hit, and says which rule stops the packet, if any does.
    fn report(&mut self, packet: &[u8], inner: &Inner<'_>, path: PathId) -> Option<u32> {
        let ports = match inner {
            Inner::Tcp(segment) => segment.ports,
            Inner::Udp(ports, _) => *ports,
            Inner::Other => return None,
        };
        let mut strongest: Option<(OnMatch, u32)> = None;
        for index in self.hits.iter() {
            let Some(rule) = self.rules.get_mut(index as usize) else { continue };
            if !rule.ports.is_empty() && !ports.iter().any(|port| rule.ports.contains(port)) {
                continue;
            }
            rule.matches += 1;
            if let Ok(flow) = FlowKey::of(packet) {
                self.alerts.raise(Alert { rule: index, path, flow });
            }
            if strongest.is_none_or(|(on_match, _)| rule.on_match > on_match) {
                strongest = Some((rule.on_match, index));
            }
        }
        self.hits.clear();
        strongest.filter(|(on_match, _)| *on_match != OnMatch::Alert).map(|(_, index)| index)
    }

    /// From here on nothing of the connection passes.
    fn stop(&mut self, now_s: u32, segment: &Segment<'_>, rule: u32) {
        if let Some((connection, expires_s)) = self.connections.get_mut(&segment.connection, now_s)
        {
            connection.release(&mut self.shared);
            connection.state = State::Stopped(rule);
            *expires_s = now_s.saturating_add(limits::TCP_STOPPED_S);
        }
    }

    fn stop_action(&self, rule: u32, inner: &Inner<'_>) -> Action {
        let resets = |rule: &Rule| rule.on_match == OnMatch::Reset;
        match inner {
            // A RST is never answered with a RST (RFC 9293 section 3.5.2).
            Inner::Tcp(segment)
                if self.rules.get(rule as usize).is_some_and(resets)
                    && !segment.flags.contains(Flags::RST) =>
            {
                Action::Reset { rule }
            }
            _ => Action::Drop { rule },
        }
    }

    fn refuse(&mut self, refusal: Refusal) -> Action {
        self.counts.refused[refusal as usize] += 1;
        match refusal {
            Refusal::NoRoom => Action::NoRoom,
            _ if self.enforces => Action::Refuse,
            _ => Action::Pass,
        }
    }
}

/// A segment of a connection that is in the table, with its expiry.
fn known_connection(
    (connection, expires_s): (&mut Connection, &mut u32),
    now_s: u32,
    segment: &Segment<'_>,
    shared: &mut Shared,
    hits: &mut Hits,
    enforces: bool,
) -> Result<(), Stop> {
    if let State::Stopped(rule) = connection.state {
        *expires_s = now_s.saturating_add(limits::TCP_STOPPED_S);
        let bare_reset = segment.flags.contains(Flags::RST) && segment.content.is_empty();
        return if bare_reset { Ok(()) } else { Err(Stop::Stopped(rule)) };
    }
    let (here, back) = connection.directions(segment.direction);
    if segment.flags.contains(Flags::SYN)
        && let Err(refusal) = here.handle_syn(segment.content_seq())
    {
        if enforces {
            return Err(refusal.into());
        }
        here.release(shared);
        *here = Stream::unseen(shared);
    }
    if let Some(acknowledged) = segment.ack {
        back.handle_ack(shared, acknowledged, hits);
    }
    if !segment.content.is_empty() {
        if enforces && segment.flags.contains(Flags::URG) {
            return Err(Refusal::Urgent.into());
        }
        here.handle_content(shared, segment.content_seq(), segment.content, hits)?;
    }
    connection.note_flags(segment);
    *expires_s = now_s.saturating_add(connection.state.idle_s());
    Ok(())
}

/// Why a segment does not pass.
enum Stop {
    Refused(Refusal),
    Stopped(u32),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Stop {
        Stop::Refused(refusal)
    }
}

impl Connection {
    /// The stream in this direction and the one back.
    fn directions(&mut self, direction: usize) -> (&mut Stream, &mut Stream) {
        let [up, down] = &mut self.streams;
        if direction == 0 { (up, down) } else { (down, up) }
    }

    /// Follows the connection to its end. A direction that was never seen has nothing to finish.
    fn note_flags(&mut self, segment: &Segment<'_>) {
        if segment.flags.contains(Flags::FIN) {
            self.finished[segment.direction] = true;
        }
        let done = |n: usize| self.finished[n] || self.streams[n].is_unseen();
        if segment.flags.contains(Flags::RST)
            || (self.finished.contains(&true) && done(0) && done(1))
        {
            self.state = State::Closing;
        } else if self.state == State::Opening && !segment.content.is_empty() {
            self.state = State::Open;
        }
    }

    fn release(&mut self, shared: &mut Shared) {
        for stream in &mut self.streams {
            stream.release(shared);
        }
    }
}

impl State {
    /// Seconds without a packet after which the connection is forgotten.
    fn idle_s(self) -> u32 {
        match self {
            State::Opening => limits::TCP_OPENING_S,
            State::Open => limits::TCP_IDLE_S,
            State::Closing => limits::TCP_CLOSING_S,
            State::Stopped(_) => limits::TCP_STOPPED_S,
        }
    }
}

impl Function for Dpi {
    fn handle_batch(&mut self, now: Instant, packets: &mut FunctionBatch<'_>) {
        let now_s = self.seconds(now);
        for nth in 0..packets.len() {
            let packet = packets.packet(nth);
            let action = self.inspect(now_s, packet, Inner::parse(packet), packets.path(nth));
            packets.set_action(nth, action);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        let now_s = self.seconds(now);
        let Dpi { connections, shared, .. } = self;
        connections.sweep_with(now_s, limits::SWEEP_ENTRIES, |mut connection| {
            connection.release(shared);
        });
    }

    fn counters(&self) -> Vec<FunctionCounter> {
        counters::of(self)
    }

    fn gauges(&self) -> &'static [&'static str] {
        counters::GAUGES
    }

    fn drain_alerts(&mut self, sink: &mut dyn FnMut(Alert)) {
        self.alerts.drain().for_each(sink);
    }

    fn rule_name(&self, rule: u32) -> Option<&str> {
        self.rules.get(rule as usize).map(|rule| rule.name.as_str())
    }
}

impl fmt::Debug for Dpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dpi")
            .field("rules", &self.rules.len())
            .field("connections", &self.connections)
            .field("matcher", &self.shared.matcher)
            .finish_non_exhaustive()
    }
}
