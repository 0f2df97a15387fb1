//! A chain with an attached function between gateway and egress, and programs that stand for the function.
//!
//! ```text
//!   gateway (0) ═══ attached hop (1) ═══ egress (2)          paths 1 and 3 forward, 2 and 4 back
//!                    In │      │ Out
//!                       function
//! ```

use std::time::Instant;

use ringmail_dataplane::attach::{AttachConfig, Attached, TellApart};
use ringmail_dataplane::limits::{HEADROOM_BYTES, TAILROOM_BYTES};
use ringmail_dataplane::sa::SaTable;
use ringmail_dataplane::{Batch, DropReason, Neighbour, Side, Verdict};
use ringmail_functions::Forward;
use ringmail_model::PathId;

use crate::testbed::{Chain, Frame};

pub(crate) const OTHER_FORWARD: PathId = PathId(3);
pub(crate) const OTHER_RETURN: PathId = PathId(4);

pub(crate) const PLAIN: AttachConfig =
    AttachConfig { one_armed: false, rewrites: false, tell_apart: TellApart::Flow, aware: false };
pub(crate) const NAT: AttachConfig = AttachConfig { rewrites: true, ..PLAIN };

/// A packet at one side of the function.
pub(crate) type Sided = (Side, Vec<u8>);

/// A program that takes packets in at one side and gives others out.
pub(crate) trait Program {
    /// What comes out, in order.
    fn take(&mut self, side: Side, packet: Vec<u8>) -> Vec<Sided>;
}

impl<F: FnMut(Side, Vec<u8>) -> Vec<Sided>> Program for F {
    fn take(&mut self, side: Side, packet: Vec<u8>) -> Vec<Sided> {
        self(side, packet)
    }
}

/// The side at which a packet comes out that passes through.
pub(crate) fn through(side: Side) -> Side {
    match side {
        Side::In => Side::Out,
        Side::Out => Side::In,
    }
}

/// A router that passes everything.
pub(crate) fn router(side: Side, packet: Vec<u8>) -> Vec<Sided> {
    vec![(through(side), packet)]
}

pub(crate) struct World {
    pub(crate) chain: Chain,
    pub(crate) hop: Attached,
}

impl World {
    /// With paths 1 and 2.
    pub(crate) fn new(config: AttachConfig, flows: usize) -> World {
        World::over(Chain::new(vec![(true, Box::<Forward>::default())]), config, flows)
    }

    /// With a second pair of paths through the same function.
    pub(crate) fn two_paths(config: AttachConfig) -> World {
        let mut chain = Chain::new(vec![(true, Box::<Forward>::default())]);
        chain.lay(OTHER_FORWARD, Some(OTHER_RETURN), &[0, 1, 2]);
        chain.lay(OTHER_RETURN, Some(OTHER_FORWARD), &[2, 1, 0]);
        World::over(chain, config, 1000)
    }

    /// The hop's place in the chain is taken by one with an attached function, keys included.
    fn over(mut chain: Chain, config: AttachConfig, flows: usize) -> World {
        let replaced = chain.hops.remove(0);
        let mut hop =
            Attached::new(chain.wire.form(1), config, flows, [9; 4], SaTable::new(), chain.now);
        hop.paths = replaced.paths;
        hop.inbound = replaced.inbound;
        // The egress keeps its place.
        chain.hops.push(ringmail_dataplane::hop::Hop::new(
            chain.wire.form(1),
            true,
            Box::<Forward>::default(),
            SaTable::new(),
        ));
        World { chain, hop }
    }

    pub(crate) fn now(&self) -> Instant {
        self.chain.now
    }

    /// A frame becomes a packet at a side of the function.
    pub(crate) fn put_in(&mut self, frame: &Frame) -> Result<Sided, Verdict> {
        let mut batch = Batch::default();
        batch.push_copy(0, &frame.bytes, 0).expect("room");
        batch.set_source(Some(Neighbour(frame.from as u16)));
        self.hop.handle_link(self.chain.now, &mut batch);
        match batch.verdict(0) {
            Verdict::Function(side) => Ok((side, batch.packet(0).to_vec())),
            verdict => Err(verdict),
        }
    }

    /// A packet that came out of the function goes to its end, which is the gateway or the egress.
    pub(crate) fn take_out(&mut self, (side, packet): Sided) -> Result<(usize, Vec<u8>), Verdict> {
        let mut batch = Batch::default();
        batch.push_copy(HEADROOM_BYTES, &packet, TAILROOM_BYTES).expect("room");
        self.hop.handle_function(self.chain.now, side, &mut batch);
        match batch.verdict(0) {
            Verdict::Send(to) => {
                let to = usize::from(to.0);
                let frame = Frame { from: 1, to, bytes: batch.packet(0).to_vec() };
                self.chain.run(frame).map(|delivered| (to, delivered))
            }
            verdict => Err(verdict),
        }
    }

    /// A plain packet at the gateway through the function: what arrives where.
    pub(crate) fn forward(
        &mut self,
        packet: &[u8],
        program: &mut dyn Program,
    ) -> Result<Vec<(usize, Vec<u8>)>, Verdict> {
        let frame = self.chain.enter(packet)?;
        self.pass(&frame, program)
    }

    /// A plain packet at the egress through the function.
    pub(crate) fn back(
        &mut self,
        packet: &[u8],
        program: &mut dyn Program,
    ) -> Result<Vec<(usize, Vec<u8>)>, Verdict> {
        let frame = self.chain.leave(packet)?;
        self.pass(&frame, program)
    }

    fn pass(
        &mut self,
        frame: &Frame,
        program: &mut dyn Program,
    ) -> Result<Vec<(usize, Vec<u8>)>, Verdict> {
        let (side, packet) = self.put_in(frame)?;
        program.take(side, packet).into_iter().map(|sided| self.take_out(sided)).collect()
    }

    /// In, same, rewritten, made by the function, not returned.
    pub(crate) fn account(&self) -> [u64; 5] {
        let counters = self.hop.attach_counters();
        let account = [
            counters.sent_in.packets.get(),
            counters.returned_same.packets.get(),
            counters.returned_rewritten.packets.get(),
            counters.originated.packets.get(),
            counters.not_returned(),
        ];
        assert_eq!(account[0], account[1] + account[2] + account[4], "{account:?}");
        account
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.hop.counters().dropped(reason)
    }
}
