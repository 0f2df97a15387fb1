//! Flows as they are counted for records (RFC 7011 section 2, both directions in one as in RFC 5103): bounded, and beside
//! the way of packets, so that a table that is full costs records and no packet.
//!
//! A flow ends when it was idle, when a record of it is due, or a moment after its end was seen. What it counted is handed
//! over then; a flow that goes on is counted from nothing.

use ringmail_model::PathId;
use ringmail_packet::flow::FlowKey;

use crate::flow::{FlowTable, TableFull};
use crate::limits::METER_CLOSING_S;

/// Flows under way at one worker, as they go forward.
#[derive(Debug)]
pub struct Meter {
    flows: FlowTable<FlowKey, Counted>,
    times: MeterTimes,
    unmetered: u64,
}

/// When records are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeterTimes {
    /// Seconds without a packet after which a flow is over.
    pub idle_s: u32,
    /// Seconds after which a flow that goes on has a record.
    pub active_s: u32,
}

/// Which way a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client.
    Forward,
    /// To the client.
    Back,
}

/// Packets of one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Their bytes, IP headers included.
    pub bytes: u64,
}

/// Why a record was made (IANA's flowEndReason).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EndReason {
    /// There was no packet for a while.
    Idle = 1,
    /// It goes on.
    Active = 2,
    /// Its end was seen.
    End = 3,
    /// The element ends.
    Forced = 4,
}

/// What proofs of transit say of a flow's packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Proof {
    /// Nothing: its paths carry none, or what they say does not decide.
    #[default]
    Unknown = 0,
    /// Every packet that arrived here was proved; others went nowhere.
    Proved = 1,
}

/// A packet that passed.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Its flow, as the flow goes forward.
    pub flow: FlowKey,
    /// Which way it went.
    pub way: Way,
    /// The flow's forward path.
    pub path: PathId,
    /// Its length.
    pub len_bytes: usize,
    /// It ends the flow: a FIN or RST of TCP.
    pub ends: bool,
    /// What its proof said, if it arrived here; none of what begins here.
    pub proof: Option<Proof>,
}

/// A flow, or a stretch of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// As it goes forward.
    pub flow: FlowKey,
    /// Its forward path.
    pub path: PathId,
    /// The first packet, in milliseconds of the caller's clock.
    pub first_ms: u64,
    /// The last.
    pub last_ms: u64,
    /// What the client sent.
    pub forward: Count,
    /// What it got.
    pub back: Count,
    /// What the proofs of packets that arrived here said: all of them, or nothing.
    pub proof: Proof,
    /// Why this record is made.
    pub end: EndReason,
}

/// A flow under way.
#[derive(Clone, Copy, Debug)]
struct Counted {
    record: Record,
    /// When a record is due whatever comes.
    due_s: u32,
    /// Packets that arrived here without a proof that counts, and those with one.
    unproved: u64,
    proved: u64,
}

impl Meter {
    /// For up to `flows` flows.
    pub fn new(flows: usize, seeds: [u64; 4], times: MeterTimes) -> Meter {
        Meter { flows: FlowTable::new(flows, seeds), times, unmetered: 0 }
    }

    /// Counts a packet. `done` gets the record of an earlier stretch of its flow that was due and not yet handed over.
    pub fn saw(&mut self, now_ms: u64, seen: &Seen, mut done: impl FnMut(Record)) {
        let now_s = seconds(now_ms);
        let known = self.flows.get_mut(&seen.flow, now_s);
        if let Some((counted, expires_s)) = known {
            counted.count(now_ms, seen);
            *expires_s = counted.expires_s(now_s, self.times);
            return;
        }
        if let Some(over) = self.flows.remove(&seen.flow) {
            done(over.record);
        }
        let mut counted = Counted::new(now_ms, seen, self.times);
        counted.count(now_ms, seen);
        let expires_s = counted.expires_s(now_s, self.times);
        if let Err(TableFull) = self.flows.insert(seen.flow, counted, expires_s) {
            self.unmetered += 1;
        }
    }

    /// Whether a flow is under way; a packet of one that is not begins it.
    pub fn knows(&self, flow: &FlowKey, now_ms: u64) -> bool {
        self.flows.get(flow, seconds(now_ms)).is_some()
    }

    /// Hands over records that are due, looking at up to `budget` flows; the next call goes on behind them.
    pub fn sweep(&mut self, now_ms: u64, budget: usize, mut done: impl FnMut(Record)) {
        self.flows.sweep_with(seconds(now_ms), budget, |over| done(over.record));
    }

    /// Hands over all that there is, and forgets it.
    pub fn finish(&mut self, mut done: impl FnMut(Record)) {
        for counted in self.flows.values_mut() {
            done(Record { end: EndReason::Forced, ..counted.record });
        }
        self.flows.sweep_with(u32::MAX, usize::MAX, |_| {});
    }

    /// Flows under way.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Packets that no record tells of, because the table was full.
    pub fn unmetered(&self) -> u64 {
        self.unmetered
    }
}

impl Counted {
    fn new(now_ms: u64, seen: &Seen, times: MeterTimes) -> Counted {
        let record = Record {
            flow: seen.flow,
            path: seen.path,
            first_ms: now_ms,
            last_ms: now_ms,
            forward: Count::default(),
            back: Count::default(),
            proof: Proof::Unknown,
            end: EndReason::Idle,
        };
        let due_s = seconds(now_ms).saturating_add(times.active_s);
        Counted { record, due_s, unproved: 0, proved: 0 }
    }

    /// Until when it is under way, and why it will not be any more.
    fn expires_s(&mut self, now_s: u32, times: MeterTimes) -> u32 {
        let (silent_s, reason) = match self.record.end {
            EndReason::End => (METER_CLOSING_S.min(times.idle_s), EndReason::End),
            _ => (times.idle_s, EndReason::Idle),
        };
        let idle_s = now_s.saturating_add(silent_s);
        self.record.end = if reason == EndReason::Idle && self.due_s < idle_s {
            EndReason::Active
        } else {
            reason
        };
        idle_s.min(self.due_s)
    }
}

impl Counted {
    fn count(&mut self, now_ms: u64, seen: &Seen) {
        self.record.count(now_ms, seen);
        match seen.proof {
            Some(Proof::Proved) => self.proved += 1,
            Some(Proof::Unknown) => self.unproved += 1,
            None => {}
        }
        let all = self.proved > 0 && self.unproved == 0;
        self.record.proof = if all { Proof::Proved } else { Proof::Unknown };
    }
}

impl Record {
    fn count(&mut self, now_ms: u64, seen: &Seen) {
        let count = match seen.way {
            Way::Forward => &mut self.forward,
            Way::Back => &mut self.back,
        };
        count.packets += 1;
        count.bytes += seen.len_bytes as u64;
        self.last_ms = self.last_ms.max(now_ms);
        if seen.ends {
            self.end = EndReason::End;
        }
    }
}

fn seconds(ms: u64) -> u32 {
    u32::try_from(ms / 1_000).unwrap_or(u32::MAX - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const TIMES: MeterTimes = MeterTimes { idle_s: 10, active_s: 30 };

    fn flow(port: u16) -> FlowKey {
        FlowKey {
            src: [10, 78, 0, 1].into(),
            dst: [10, 79, 0, 10].into(),
            src_port: port,
            dst_port: 80,
            protocol: 6,
        }
    }

    fn seen(port: u16, way: Way, len_bytes: usize) -> Seen {
        let (path, proof) = (PathId(3), None);
        Seen { flow: flow(port), way, path, len_bytes, ends: false, proof }
    }

    fn meter(flows: usize) -> Meter {
        Meter::new(flows, [1, 2, 3, 4], TIMES)
    }

    fn swept(meter: &mut Meter, now_ms: u64) -> Vec<Record> {
        let mut records = Vec::new();
        meter.sweep(now_ms, usize::MAX, |record| records.push(record));
        records
    }

    #[test]
    fn a_flow_that_falls_silent_has_one_record_of_both_ways() {
        let mut meter = meter(4);
        meter.saw(1_000, &seen(1, Way::Forward, 60), |_| panic!("nothing is due"));
        meter.saw(2_000, &seen(1, Way::Back, 1_400), |_| panic!("nothing is due"));
        meter.saw(2_500, &seen(1, Way::Back, 1_400), |_| panic!("nothing is due"));
        assert_eq!(swept(&mut meter, 12_999), []);
        let records = swept(&mut meter, 13_000);
        assert_eq!(
            records,
            [Record {
                flow: flow(1),
                path: PathId(3),
                first_ms: 1_000,
                last_ms: 2_500,
                forward: Count { packets: 1, bytes: 60 },
                back: Count { packets: 2, bytes: 2_800 },
                proof: Proof::Unknown,
                end: EndReason::Idle,
            }]
        );
        assert!(meter.is_empty());
    }

    #[test]
    fn a_flow_that_goes_on_has_a_record_each_while_and_counts_from_nothing_then() {
        let mut meter = meter(4);
        let mut records = Vec::new();
        for second in 0..=70 {
            meter.saw(second * 1_000, &seen(1, Way::Forward, 100), |record| records.push(record));
        }
        records.extend(swept(&mut meter, 200_000));
        let told: Vec<_> = records.iter().map(|r| (r.end, r.forward.packets)).collect();
        assert_eq!(told, [(EndReason::Active, 31), (EndReason::Active, 31), (EndReason::Idle, 9)]);
    }

    #[test]
    fn an_end_that_was_seen_is_told_soon_with_what_followed_it() {
        let mut meter = meter(4);
        meter.saw(0, &seen(1, Way::Forward, 40), |_| panic!("nothing is due"));
        meter.saw(10, &Seen { ends: true, ..seen(1, Way::Back, 40) }, |_| panic!("too early"));
        meter.saw(20, &seen(1, Way::Forward, 40), |_| panic!("too early"));
        assert!(meter.knows(&flow(1), 20));
        let records = swept(&mut meter, u64::from(METER_CLOSING_S + 1) * 1_000);
        assert_eq!((records[0].end, records[0].forward.packets), (EndReason::End, 2));
    }

    #[test]
    fn one_packet_without_a_proof_is_enough_for_no_word() {
        let mut meter = meter(4);
        let proved = Seen { proof: Some(Proof::Proved), ..seen(1, Way::Forward, 40) };
        meter.saw(0, &proved, |_| {});
        meter.saw(0, &Seen { flow: flow(2), ..proved }, |_| {});
        meter.saw(0, &Seen { flow: flow(2), proof: Some(Proof::Unknown), ..proved }, |_| {});
        // What begins here has none, and says nothing of the others.
        meter.saw(0, &Seen { way: Way::Back, proof: None, ..proved }, |_| {});
        meter.saw(0, &Seen { flow: flow(3), proof: None, ..proved }, |_| {});
        let mut proofs = BTreeMap::new();
        meter.finish(|record| {
            proofs.insert(record.flow.src_port, record.proof);
        });
        let (proved, unknown) = (Proof::Proved, Proof::Unknown);
        assert_eq!(proofs, BTreeMap::from([(1, proved), (2, unknown), (3, unknown)]));
        assert!(meter.is_empty());
    }

    #[test]
    fn a_full_table_loses_records_of_new_flows_and_counts_their_packets() {
        let mut meter = meter(2);
        for port in 1..=5 {
            meter.saw(0, &seen(port, Way::Forward, 100), |_| panic!("nothing is due"));
        }
        assert_eq!((meter.len(), meter.unmetered()), (2, 3));
    }

    proptest! {
        /// Whatever comes when, every packet is in exactly one record.
        #[test]
        fn nothing_is_counted_twice_or_lost(
            steps in prop::collection::vec((1u16..6, any::<bool>(), 0u64..9_000, any::<bool>()), 0..200)
        ) {
            let mut meter = meter(16);
            let (mut now_ms, mut sent, mut told) = (0, (0, 0), (0, 0));
            let mut add = |record: Record| {
                assert!(record.first_ms <= record.last_ms);
                told.0 += record.forward.packets + record.back.packets;
                told.1 += record.forward.bytes + record.back.bytes;
            };
            for (port, back, wait_ms, ends) in steps {
                now_ms += wait_ms;
                let way = if back { Way::Back } else { Way::Forward };
                meter.saw(now_ms, &Seen { ends, ..seen(port, way, 100) }, &mut add);
                sent = (sent.0 + 1, sent.1 + 100);
                meter.sweep(now_ms, 2, &mut add);
            }
            meter.finish(&mut add);
            prop_assert_eq!(sent, told);
        }
    }
}
