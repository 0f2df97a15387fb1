//! The body of the fuzz target: bytes become what a hostile neighbour, a slow driver and the clock do.
//!
//! Leases always verify, so that the input gets past signatures; all uses are mixed. What is checked: nothing panics,
//! nothing grows without bound, no key is used twice to seal, a key is of its place's use, key ids of proofs differ in 16
//! bits, and every inbound association goes exactly once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ringmail_model::{ElementId, Epoch, PathDigest, PathId, SaSpi, WorkerId};

use super::inbound::AllocateSpi;
use super::lease::{Lease, Now, SIGNATURE_BYTES, SignedLease, VerifyLease};
use super::message::{BootId, Framer, Hello, Installed, Message, Offer, OfferId};
use super::segment::{Profile, SegmentView};
use super::session::{Opener, SessionId};
use super::uses::Use;
use super::wire::Reader;
use super::{Config, Event, ExportFailed, Exporter, Place, Sap};
use crate::sa::{SegmentIndex, Suite};

const US: ElementId = ElementId(1);
const PEER: ElementId = ElementId(2);
const DIGEST: PathDigest = PathDigest([7; 32]);
const START_UNIX_S: u64 = 1_000_000;

/// Runs one input. Each byte names a step; what the step needs follows it.
///
/// # Panics
/// When the core broke one of its promises.
pub fn fuzz_sap(data: &[u8]) {
    let mut framer = Framer::new();
    framer.push(data);
    while let Ok(Some(message)) = framer.next_message() {
        if let Ok(decoded) = Message::decode(message) {
            assert_eq!(decoded.encode(), message, "a message has one encoding");
        }
    }
    let mut run = Run::new();
    let mut reader = Reader::new(data);
    while let Ok(step) = reader.u8() {
        if run.step(step, &mut reader).is_err() {
            break;
        }
        run.drain();
    }
}

struct Run {
    sap: Sap,
    start: Instant,
    passed: Duration,
    sessions: Vec<SessionId>,
    /// What the data plane holds.
    inbound: BTreeMap<SaSpi, Place>,
    /// Session and SPI of every association that was ever sealed with: the key depends on nothing else here.
    sealed: BTreeSet<(SessionId, SaSpi)>,
    current: SessionId,
    epoch: Epoch,
    last_spi: SaSpi,
}

struct AnyLease;
impl VerifyLease for AnyLease {
    fn verify_lease(&self, _: &SignedLease) -> bool {
        true
    }
}

/// Breaks its promise: two at a time agree in their low 16 bits.
struct Counting(u32);
impl AllocateSpi for Counting {
    fn allocate(&mut self) -> Option<SaSpi> {
        self.0 += 1;
        Some(given(self.0 - 1))
    }

    fn release(&mut self, _: SaSpi) {}
}

fn given(number: u32) -> SaSpi {
    SaSpi((number & 1) << 16 | (256 + number / 2))
}

struct Zeros;
impl Exporter for Zeros {
    fn export(&self, _: &[u8], _: &[u8], out: &mut [u8]) -> Result<(), ExportFailed> {
        out.fill(0);
        Ok(())
    }
}

impl Run {
    fn new() -> Run {
        let start = Instant::now();
        let view = |sender, receiver, usage, index| SegmentView {
            path: PathId(1),
            digest: DIGEST,
            usage,
            index: SegmentIndex(index),
            profile: Profile::Mpls,
            suite: Suite::Aes128Gcm,
            sender,
            receiver,
            sender_workers: 2,
        };
        let boot = BootId([3; 16]);
        let mut config = Config::new(US, PEER, boot, Box::new(AnyLease), Box::new(Counting(0)));
        let both = |usage| [view(US, PEER, usage, 0), view(PEER, US, usage, 1)];
        config.segments = Use::ALL.into_iter().flat_map(both).collect();
        Run {
            sap: Sap::new(start, config),
            start,
            passed: Duration::ZERO,
            sessions: Vec::new(),
            inbound: BTreeMap::new(),
            sealed: BTreeSet::new(),
            current: SessionId(u64::MAX),
            epoch: Epoch(0),
            last_spi: SaSpi(0),
        }
    }

    fn now(&self) -> Now {
        Now { instant: self.start + self.passed, unix_s: START_UNIX_S + self.passed.as_secs() }
    }

    fn step(&mut self, step: u8, reader: &mut Reader<'_>) -> Result<(), super::wire::Short> {
        let now = self.now();
        match step % 12 {
            0 => {
                let opener = if reader.u8()? & 1 == 0 { Opener::Us } else { Opener::Peer };
                self.sessions.push(self.sap.open_session(now.instant, opener));
            }
            1 => self.passed += Duration::from_millis(u64::from(reader.u16()?)),
            2 => {
                let message = Hello {
                    element: PEER,
                    boot: BootId([reader.u8()? & 1; 16]),
                    epoch: Epoch(u32::from(reader.u8()?)),
                    heard: true,
                };
                self.give(reader, &Message::Hello(message))?;
            }
            3 => {
                let offer = OfferId(u32::from(reader.u8()?));
                let (usage, segment) = Use::of_offer_byte(reader.u8()? & 0xc3);
                let message = Offer {
                    offer,
                    epoch: self.epoch,
                    digest: DIGEST,
                    usage,
                    segment,
                    profile: 1,
                    suite: 1,
                    worker: WorkerId(u16::from(reader.u8()? & 3)),
                    lease: self.lease(PEER, reader)?,
                };
                self.give(reader, &Message::Offer(message))?;
            }
            4 => {
                let message = Installed {
                    offer: OfferId(u32::from(reader.u8()? & 15)),
                    spi: SaSpi(200 + u32::from(reader.u8()?)),
                    lease: self.lease(PEER, reader)?,
                };
                self.give(reader, &Message::Installed(message))?;
            }
            5 => {
                let (spi, sequence) = (given(reader.u8()?.into()), reader.u64()?);
                self.give(reader, &Message::Last { spi, sequence })?;
            }
            6 => {
                let spi = SaSpi(200 + u32::from(reader.u8()?));
                self.give(reader, &Message::Deleted { spi })?;
            }
            7 => {
                let lease = self.lease(US, reader)?;
                let _ = self.sap.set_lease(now, &lease);
            }
            8 => self.sap.installed(now.instant, given(reader.u8()?.into())),
            9 => self.sap.stopped(now.instant, self.last_spi, u64::from(reader.u8()?)),
            10 => {
                let lease = self.lease(PEER, reader)?;
                self.give(reader, &Message::Lease(lease))?;
            }
            _ => {
                if let Some(session) = self.session(reader)? {
                    self.sap.session_lost(now.instant, session);
                }
            }
        }
        Ok(())
    }

    fn lease(
        &self,
        element: ElementId,
        reader: &mut Reader<'_>,
    ) -> Result<SignedLease, super::wire::Short> {
        let (serial, left) = (u64::from(reader.u8()?), u64::from(reader.u8()?));
        let not_after_unix_s = self.now().unix_s + left;
        let lease = Lease { element, digest: DIGEST, not_after_unix_s, serial };
        Ok(lease.signed([0; SIGNATURE_BYTES]))
    }

    fn session(&self, reader: &mut Reader<'_>) -> Result<Option<SessionId>, super::wire::Short> {
        let index = usize::from(reader.u8()?);
        Ok(self.sessions.iter().rev().nth(index & 3).copied())
    }

    fn give(
        &mut self,
        reader: &mut Reader<'_>,
        message: &Message,
    ) -> Result<(), super::wire::Short> {
        if let Some(session) = self.session(reader)? {
            let _ = self.sap.handle_message(self.now(), session, &message.encode(), &Zeros);
        }
        Ok(())
    }

    fn drain(&mut self) {
        let now = self.now().instant;
        self.sap.handle_timeout(now);
        assert!(self.sap.poll_timeout(now).is_none_or(|at| at > now), "a timeout does not pass");
        while self.sap.poll_transmit().is_some() {}
        while let Some(event) = self.sap.poll_event() {
            match event {
                Event::InstallInbound { place, spi, key, .. } => {
                    let there = self.inbound.iter().filter(|(_, there)| {
                        (there.usage, there.segment) == (place.usage, place.segment)
                    });
                    for (other, _) in there {
                        assert!(place.usage.tells_apart(spi, *other), "{place:?}: {spi}, {other}");
                    }
                    assert_eq!(key.usage(), place.usage, "a key of another use");
                    let there = self.inbound.insert(spi, place);
                    assert!(there.is_none(), "an SPI was given twice");
                    assert!(self.inbound.len() < 1024, "inbound associations have no bound");
                }
                Event::RemoveInbound { spi, .. } => {
                    let removed = self.inbound.remove(&spi);
                    assert!(removed.is_some(), "removed what was never installed");
                }
                Event::InstallOutbound { place, spi, key, .. } => {
                    assert_eq!(key.usage(), place.usage, "a key of another use");
                    let first = self.sealed.insert((self.current, spi));
                    assert!(first, "a key begins to count again");
                }
                Event::StopSending { spi, .. } => self.last_spi = spi,
                Event::Established { session, epoch, .. } => {
                    assert_ne!(session, self.current, "a session was established twice");
                    (self.current, self.epoch) = (session, epoch);
                }
                _ => {}
            }
        }
    }
}
