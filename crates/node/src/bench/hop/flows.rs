//! What many flows cost: the classifier and a hop's memory of connections with tables that are full, packets of flows in
//! an order that no cache foresees.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ringmail_dataplane::batch::Batch;
use ringmail_dataplane::edge::{Edge, Role};
use ringmail_dataplane::limits::{HEADROOM_BYTES, TAILROOM_BYTES};
use ringmail_dataplane::sa::SaTable;
use ringmail_dataplane::{Form, Neighbour, Verdict};
use ringmail_packet::flow::FlowKey;
use schemars::JsonSchema;
use serde::Serialize;

use super::fixture::{HopUnderTest, PACKETS, flow_packet, path, sender};
use super::{Figure, Subject, figure};

/// Bytes of the inner packets: the smaller, the more a look-up weighs.
const SIZES: [usize; 2] = [64, 1400];

/// Which table is looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// The gateway's: each packet's flow has its path there.
    Classifier,
    /// A hop's, with packets of established connections.
    Hop,
    /// A hop's, with a SYN of each connection, which it writes down.
    HopSyn,
}

/// What a packet costs an element that remembers so many flows.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FlowRow {
    /// Which table.
    pub table: Table,
    /// Flows in it, as many as it may hold.
    pub flows: usize,
    /// Bytes of the inner packets.
    pub inner_bytes: usize,
    /// Nanoseconds a packet, all that the element does with it.
    pub packet_ns: Figure,
    /// Packets a second beside the row with the fewest flows.
    pub throughput_ratio: f64,
    /// Bytes of the table, a flow.
    pub bytes_per_flow: usize,
}

/// Measures every table with each number of flows.
pub(super) fn run(
    counts: &[usize],
    runs: usize,
    each: Duration,
    stage: &dyn Fn(String),
) -> Result<Vec<FlowRow>> {
    let mut counts = counts.to_vec();
    counts.sort_unstable();
    let mut rows = Vec::new();
    for table in [Table::Classifier, Table::Hop, Table::HopSyn] {
        for inner_bytes in SIZES {
            let mut fewest = None;
            for &flows in &counts {
                stage(format!("{table:?}, {inner_bytes} bytes, {flows} flows"));
                let mut subject = Filled::new(table, inner_bytes, flows)?;
                let packet_ns = figure(&mut subject, runs, each)?;
                let least = *fewest.get_or_insert(packet_ns.median);
                rows.push(FlowRow {
                    table,
                    flows,
                    inner_bytes,
                    throughput_ratio: least / packet_ns.median,
                    packet_ns,
                    bytes_per_flow: subject.bytes_per_flow(),
                });
            }
        }
    }
    Ok(rows)
}

/// An element whose table is full.
enum Filled {
    Classifier(Box<Classifier>),
    Hop(Box<HopUnderTest>),
}

impl Filled {
    fn new(table: Table, size: usize, flows: usize) -> Result<Filled> {
        let syn = table == Table::HopSyn;
        Ok(match table {
            Table::Classifier => Filled::Classifier(Box::new(Classifier::new(size, flows)?)),
            Table::Hop | Table::HopSyn => {
                Filled::Hop(Box::new(HopUnderTest::remembering(size, flows, syn)?))
            }
        })
    }

    fn bytes_per_flow(&self) -> usize {
        match self {
            Filled::Classifier(classifier) => classifier.gateway.flows().bytes_per_flow(),
            Filled::Hop(hop) => hop.hop().flow_bytes(),
        }
    }
}

impl Subject for Filled {
    fn round(&mut self) -> Result<Duration> {
        match self {
            Filled::Classifier(classifier) => classifier.round(),
            Filled::Hop(hop) => hop.round(),
        }
    }
}

/// A gateway with a path for each flow.
struct Classifier {
    gateway: Edge,
    now: Instant,
    size: usize,
    order: Order,
    batch: Batch,
}

impl Classifier {
    fn new(size: usize, flows: usize) -> Result<Classifier> {
        let now = Instant::now();
        let (label, config) = path(None)?;
        let mut gateway =
            Edge::new(Role::Gateway, Form::Labels(label), flows, [1, 2, 3, 4], SaTable::new(), now);
        let id = config.id;
        gateway.paths.put(config)?;
        if let Some(state) = gateway.paths.get_mut(id) {
            state.outbound = Some(sender()?);
        }
        for flow in 0..flows {
            gateway.pin(FlowKey::of(&flow_packet(64, flow, 0))?, id)?;
        }
        let batch = Batch::with_capacity_bytes(PACKETS * (size + HEADROOM_BYTES + TAILROOM_BYTES));
        Ok(Classifier { gateway, now, size, order: Order::new(flows), batch })
    }
}

impl Subject for Classifier {
    fn round(&mut self) -> Result<Duration> {
        self.batch.clear();
        for _ in 0..PACKETS {
            let packet = flow_packet(self.size, self.order.next(), 0);
            self.batch.push_copy(HEADROOM_BYTES, &packet, TAILROOM_BYTES)?;
        }
        let start = Instant::now();
        self.gateway.handle_inner(self.now, &mut self.batch);
        let taken = start.elapsed();
        let mut verdicts = (0..self.batch.len()).map(|n| self.batch.verdict(n));
        let other = verdicts.find(|verdict| *verdict != Verdict::Send(Neighbour(1)));
        ensure!(other.is_none(), "the classifier did not send a packet on: {other:?}");
        Ok(taken)
    }
}

/// Every flow once, in an order without neighbours, again and again.
pub(super) struct Order {
    flows: usize,
    at: usize,
    step: usize,
}

impl Order {
    pub(super) fn new(flows: usize) -> Order {
        // A step that shares no divisor with the number meets every flow.
        let divisor = |mut a: usize, mut b: usize| {
            while b != 0 {
                (a, b) = (b, a % b);
            }
            a
        };
        let wanted = flows * 618 / 1000 + 1;
        let step = (wanted..).find(|step| divisor(*step, flows) == 1).unwrap_or(1);
        Order { flows, at: 0, step }
    }

    pub(super) fn next(&mut self) -> usize {
        self.at = (self.at + self.step) % self.flows;
        self.at
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_flow_comes_once_a_turn() {
        for flows in [1, 2, 64, 1000, 65_536, 100_003] {
            let mut order = Order::new(flows);
            let seen: BTreeSet<usize> = (0..flows).map(|_| order.next()).collect();
            assert_eq!(seen.len(), flows, "{flows}");
        }
    }

    #[test]
    fn every_table_handles_its_packets() {
        let rows = run(&[10, 3000], 1, Duration::from_nanos(1), &|_| {}).expect("rows");
        assert_eq!(rows.len(), 12);
        assert!(rows.iter().all(|row| (40..120).contains(&row.bytes_per_flow)), "{rows:?}");
    }
}
