//! Records of flows, exported by IPFIX (RFC 7011).
//!
//! ```text
//!  worker: Metering ── Record ──┐
//!  worker: Metering ── Record ──┼── bounded queue ── thread: Exporter ── messages ── UDP or TCP ── collector
//!  proxy: who began a flow ─────┘
//! ```
//!
//! Workers and the proxy never wait: what finds the queue full is left out and counted.

mod counters;
mod exporter;
mod layout;
mod metering;
mod thread;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};

use anyhow::{Context, Result};
use ringmail_dataplane::meter::Record;
use ringmail_model::PathId;
use ringmail_model::domain::{Domain, FlowExport, Observer};
use ringmail_model::pathset::{Element, PathSet, Role};
use ringmail_packet::flow::FlowKey;

pub(crate) use self::counters::FlowCounters;
use self::exporter::{Exporter, Who};
pub(crate) use self::metering::Metering;
use crate::limits::{FLOW_EVENTS, FLOWS_END_WITHIN};
use crate::random;

/// What the exporter hears.
enum Event {
    /// A flow, or a stretch of one.
    Record(Box<Record>),
    /// Whose a flow is.
    Began(FlowKey, Arc<Who>),
    /// It is over; records of it may still come.
    Ended(FlowKey),
    /// What paths are called, besides those that are known.
    Names(BTreeMap<PathId, String>),
    /// Send what is there, and end.
    Stop,
}

/// An exporter at work.
pub(super) struct Flows {
    events: SyncSender<Event>,
    ended: Receiver<()>,
    counters: Arc<FlowCounters>,
    wanted: FlowExport,
    role: Role,
}

/// The way to tell whose flows are.
#[derive(Clone)]
pub(crate) struct Telling {
    events: SyncSender<Event>,
    counters: Arc<FlowCounters>,
}

impl Flows {
    /// Starts the exporter of an element, if the domain wants one. Its socket is opened in the namespace of the calling
    /// thread.
    ///
    /// # Errors
    /// When there is no socket or thread to be had.
    pub(super) fn start(
        domain: &Domain,
        set: &PathSet,
        element: &Element,
    ) -> Result<Option<Flows>> {
        let observer = match element.role {
            Role::Gateway => Observer::Gateway,
            Role::Egress => Observer::Egress,
            Role::Hop => return Ok(None),
        };
        let Some(wanted) = domain.flow_exports.iter().find(|export| export.from == observer) else {
            return Ok(None);
        };
        let counters = Arc::<FlowCounters>::default();
        let exporter = Exporter::new(wanted, element.id, names(set), Arc::clone(&counters));
        let (events, heard) = sync_channel(FLOW_EVENTS);
        let ended = thread::start(exporter, wanted, heard, Arc::clone(&counters))
            .with_context(|| format!("flow records to {}", wanted.collector))?;
        let (wanted, role) = (wanted.clone(), element.role);
        Ok(Some(Flows { events, ended, counters, wanted, role }))
    }

    /// What a worker counts flows with.
    pub(super) fn metering(&self) -> Result<Box<Metering>> {
        let seeds = std::array::from_fn(|_| random::bytes().map(u64::from_ne_bytes));
        let [a, b, c, d] = seeds;
        Ok(Box::new(Metering::new(&self.wanted, self.role, [a?, b?, c?, d?], self.telling())))
    }

    /// The way to tell whose flows are.
    pub(super) fn telling(&self) -> Telling {
        Telling { events: self.events.clone(), counters: Arc::clone(&self.counters) }
    }

    /// Paths of another version.
    pub(super) fn learn(&self, set: &PathSet) {
        // A queue that is full of records is no reason to forget a name; this is hardly ever called.
        if self.events.try_send(Event::Names(names(set))).is_err() {
            tracing::warn!("flow records name new paths by their numbers only");
        }
    }

    pub(super) fn counters(&self) -> &FlowCounters {
        &self.counters
    }

    /// Sends what is there, for a short time at most. The workers are to have stopped metering.
    pub(super) fn stop(self) {
        let Flows { events, ended, .. } = self;
        let stopped = events.try_send(Event::Stop);
        drop(events);
        if stopped.is_ok() && ended.recv_timeout(FLOWS_END_WITHIN) == Err(RecvTimeoutError::Timeout)
        {
            tracing::warn!("the last flow records are not sent");
        }
    }
}

impl Telling {
    /// A flow of this client begins.
    pub(crate) fn began(&self, flow: FlowKey, client: &str, rule: &str, service: &str) {
        let who = Who::new(client, rule, service);
        self.tell(Event::Began(flow, Arc::new(who)));
    }

    /// It is over.
    pub(crate) fn ended(&self, flow: FlowKey) {
        self.tell(Event::Ended(flow));
    }

    fn record(&self, record: Record) {
        self.tell(Event::Record(Box::new(record)));
    }

    fn tell(&self, event: Event) {
        if self.events.try_send(event).is_err() {
            self.counters.flow_events_lost.one();
        }
    }
}

fn names(set: &PathSet) -> BTreeMap<PathId, String> {
    set.paths.iter().map(|path| (path.id, path.name.clone())).collect()
}
