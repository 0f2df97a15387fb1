//! The exporter without its socket: remembers whose flows are, and makes messages of records.
//!
//! Everything that it holds is bounded. Without a name a record goes nameless, without room the oldest record is lost; both
//! are counted.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use ringmail_dataplane::meter::Record;
use ringmail_model::domain::{FlowExport, FlowTransport};
use ringmail_model::{ElementId, PathId};
use ringmail_packet::flow::FlowKey;
use ringmail_packet::ipfix::{Header, Message};

use super::counters::FlowCounters;
use super::{Event, layout};
use crate::limits::{
    FLOW_IDENTITIES, FLOW_NAME_BYTES, FLOW_PATHS, FLOW_RECORDS, FLOW_RECORDS_PROMPT,
    FLOW_TEMPLATES_EVERY, FLOW_WAITS,
};

/// Whose a flow is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) client: String,
    pub(super) rule: String,
    pub(super) service: String,
}

/// What the exporter knows and has not sent yet.
#[derive(Debug)]
pub(super) struct Exporter {
    domain: u32,
    enterprise: u32,
    message_bytes: usize,
    /// Templates are sent again after a while, since datagrams get lost (RFC 7011 section 8.1).
    repeats: bool,
    /// For so long records of a flow may come after it ended.
    lingers_ms: u64,
    paths: BTreeMap<PathId, String>,
    /// With when they ended.
    flows: HashMap<FlowKey, (Arc<Who>, Option<u64>)>,
    swept_ms: u64,
    waiting: VecDeque<Record>,
    /// Since when the oldest waits.
    since_ms: u64,
    described_ms: Option<u64>,
    sequence: u32,
    counters: Arc<FlowCounters>,
}

impl Who {
    pub(super) fn new(client: &str, rule: &str, service: &str) -> Who {
        let [client, rule, service] = [client, rule, service].map(short);
        Who { client, rule, service }
    }
}

impl Exporter {
    pub(super) fn new(
        wanted: &FlowExport,
        observer: ElementId,
        paths: BTreeMap<PathId, String>,
        counters: Arc<FlowCounters>,
    ) -> Exporter {
        let lingers_s = u64::from(wanted.active_timeout_s) + u64::from(wanted.idle_timeout_s) + 5;
        Exporter {
            domain: observer.0.into(),
            enterprise: wanted.enterprise,
            message_bytes: wanted.message_bytes.into(),
            repeats: wanted.transport == FlowTransport::Udp,
            lingers_ms: lingers_s * 1_000,
            paths,
            flows: HashMap::new(),
            swept_ms: 0,
            waiting: VecDeque::new(),
            since_ms: 0,
            described_ms: None,
            sequence: 0,
            counters,
        }
    }

    /// Takes what was heard at this time, in milliseconds since 1970.
    pub(super) fn handle_event(&mut self, now_ms: u64, event: Event) {
        match event {
            Event::Record(record) => {
                if self.waiting.len() >= FLOW_RECORDS {
                    self.waiting.pop_front();
                    self.counters.flow_records_lost.one();
                }
                if self.waiting.is_empty() {
                    self.since_ms = now_ms;
                }
                self.waiting.push_back(*record);
            }
            Event::Began(flow, who) => {
                if self.flows.len() < FLOW_IDENTITIES || self.flows.contains_key(&flow) {
                    self.flows.insert(flow, (who, None));
                }
            }
            Event::Ended(flow) => {
                if let Some((_, ended)) = self.flows.get_mut(&flow) {
                    *ended = Some(now_ms);
                }
            }
            Event::Names(paths) => {
                self.paths.extend(paths);
                while self.paths.len() > FLOW_PATHS {
                    self.paths.pop_first();
                }
            }
            Event::Stop => {}
        }
    }

    /// Forgets flows of which no record will come any more.
    pub(super) fn handle_timeout(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.swept_ms) < self.lingers_ms / 4 {
            return;
        }
        self.swept_ms = now_ms;
        let lingers_ms = self.lingers_ms;
        self.flows.retain(|_, (_, ended)| ended.is_none_or(|at| now_ms < at + lingers_ms));
    }

    /// Whether there is a message to send: records that have waited, or many of them, or templates.
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        let waited = now_ms.saturating_sub(self.since_ms) >= FLOW_WAITS.as_millis() as u64;
        self.describes(now_ms)
            || self.waiting.len() >= FLOW_RECORDS_PROMPT
            || (!self.waiting.is_empty() && waited)
    }

    /// The next message, if there is anything to say.
    pub(super) fn poll_transmit(&mut self, now_ms: u64) -> Option<Vec<u8>> {
        let mut buffer = vec![0; self.message_bytes];
        let header = Header {
            // Until 2106.
            export_time_unix_s: (now_ms / 1_000) as u32,
            sequence: self.sequence,
            domain: self.domain,
        };
        let mut message = Message::begin(&mut buffer, &header).ok()?;
        if self.describes(now_ms) {
            self.described_ms = Some(now_ms);
            layout::describe(&mut message, self.enterprise).ok()?;
        }
        let nobody = Who::default();
        let mut records = 0;
        while let Some(record) = self.waiting.front() {
            let known = self.flows.get(&record.flow).map(|(who, _)| &**who);
            let number;
            let path = match self.paths.get(&record.path) {
                Some(name) => name,
                None => {
                    number = record.path.0.to_string();
                    &number
                }
            };
            if layout::add(&mut message, record, known.unwrap_or(&nobody), path).is_err() {
                break;
            }
            if known.is_none() {
                self.counters.flow_records_nameless.one();
            }
            records += 1;
            self.waiting.pop_front();
        }
        self.since_ms = now_ms;
        if message.is_empty() {
            // A record that fits into no message would keep all others from going.
            if self.waiting.pop_front().is_some() {
                self.counters.flow_records_lost.one();
            }
            return None;
        }
        self.sequence = self.sequence.wrapping_add(message.records());
        self.counters.flow_records.add(records);
        let len = message.finish();
        buffer.truncate(len);
        Some(buffer)
    }

    /// The collector knows nothing any more: a new connection (RFC 7011 section 10.4.1).
    pub(super) fn begin_session(&mut self) {
        (self.described_ms, self.sequence) = (None, 0);
    }

    fn describes(&self, now_ms: u64) -> bool {
        let every_ms = FLOW_TEMPLATES_EVERY.as_millis() as u64;
        match self.described_ms {
            None => true,
            Some(at) => self.repeats && now_ms.saturating_sub(at) >= every_ms,
        }
    }
}

/// A name that fits beside others into the shortest message.
fn short(name: &str) -> String {
    let mut end = name.len().min(FLOW_NAME_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}

#[cfg(test)]
mod tests;
