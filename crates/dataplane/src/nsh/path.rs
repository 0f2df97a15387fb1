//! What an element keeps for the Network Service Header of one path: what the header has to look like here, and the keys
//! under which it is checked and made anew (`docs/nsh.md`).

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;

use ringmail_model::defence::{Defence, off};
use ringmail_model::metadata::Facts;
use ringmail_model::nsh::{Context, KEY_ID_BYTES, Layout, ProofLayout, WORD_BYTES};
use ringmail_model::{ElementId, PathDigest, PathId, SaSpi, WorkerId};
use ringmail_packet::nsh::{FIRST_TTL, md_type, next_protocol};

use super::journal::Journal;
use super::link::{Constant, LinkKey};
use super::metadata::{Metadata, MetadataKey, ToldConfig};
use super::proof::{Claim, Mark, NO_TAG, Prover};
use super::rfc9145::Clock;
use super::trail::{Stretch, Trail};
use super::verify::{ProvedPath, Seen, Verifier};
use crate::labels::LabelStack;
use crate::limits::LINK_KEYS;
use crate::sa::Lease;
use crate::sap::MacKey;
use crate::verdict::DropReason;

/// The service index of a packet on its way to the first hop; each element lessens it by one.
const FIRST_INDEX: u8 = 255;

/// The bits of the first word that do not differ between packets: all but the TTL.
const NOT_TTL: u32 = !(0x3f << 22);
const TTL_SHIFT: u32 = 22;
const TTL_MASK: u32 = 0x3f;

/// The header of one path, as one of its elements sees it.
#[derive(Clone, Debug)]
pub struct NshConfig {
    /// The path.
    pub digest: PathDigest,
    /// Where everything is.
    pub layout: Layout,
    /// The element's position: 0 is where the path begins, the number of hops + 1 where it ends.
    pub position: u8,
    /// Whether each element seals what it sends, from where the path begins to the last hop.
    pub seals: Vec<bool>,
    /// Who may begin packets of the path, and at which position: where it begins, and hops that are granted it.
    pub origins: Vec<(ElementId, u8)>,
    /// Who is told what of its packets.
    pub told: Vec<ToldConfig>,
    /// Whether a packet whose way is not proved goes nowhere; otherwise it is only counted.
    pub enforce: bool,
    /// Whether the element keeps trails of what it passed, for auditors.
    pub summaries: bool,
    /// By how much a packet's timestamp may differ from this element's clock, where the code is that of RFC 9145.
    pub timestamp_window: Duration,
}

/// Who begins proofs at a worker, and how far it has counted. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    id: [u8; WORD_BYTES],
    /// One worker writes it.
    last: Arc<AtomicU64>,
}

impl Origin {
    /// A worker of an element in one of the element's lives: none of them counts where another did.
    pub fn new(element: ElementId, worker: WorkerId, life: [u8; 4]) -> Origin {
        let ([a, b], [c, d], [e, f, g, h]) =
            (element.0.to_be_bytes(), worker.0.to_be_bytes(), life);
        Origin { id: [a, b, c, d, e, f, g, h], last: Arc::default() }
    }

    fn next(&self) -> u64 {
        let next = self.last.load(Ordering::Relaxed) + 1;
        self.last.store(next, Ordering::Relaxed);
        next
    }
}

/// A key of a link, what the packet calls it, and how long it may be used.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) id: SaSpi,
    pub(crate) key: Arc<LinkKey>,
    /// The whole of it, where it is longer: for codes of RFC 9145.
    pub(crate) hmac: Option<Arc<hmac::Key>>,
    pub(crate) lease: Lease,
}

impl Held {
    fn new(id: SaSpi, key: &MacKey, lease: Lease, constant: &Constant) -> Held {
        let long = key.danger_long();
        let hmac = long.map(|long| Arc::new(hmac::Key::new(hmac::HMAC_SHA256, long)));
        let key = Arc::new(LinkKey::new(key.danger_bytes(), id, constant));
        Held { id, key, hmac, lease }
    }
}

/// The labels that packets of a path come with, and those that they go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Labels {
    pub(crate) arriving: LabelStack,
    pub(crate) leaving: LabelStack,
}

/// What an element keeps for the header of one path.
#[derive(Debug)]
pub struct PathNsh {
    pub(crate) config: NshConfig,
    path: PathId,
    origin: Origin,
    pub(crate) clock: Clock,
    /// Where the mark of whoever sealed a packet that is opened here is left; nowhere on the last segment.
    pub(crate) mark: Option<Range<usize>>,
    /// The words of a header that comes here which do not differ between packets: where, and what is there.
    fixed: Vec<(usize, u32)>,
    /// The same of a header that goes on from here, or begins here.
    begun: Vec<(usize, u32)>,
    labels: Labels,
    /// The keys of the link by which packets come, the newest last.
    came: Vec<Held>,
    goes: Option<Held>,
    /// The lease of the last key that packets went on with, while there is none.
    ended: Option<Lease>,
    prover: Option<(SaSpi, Prover, Lease)>,
    /// What went on from here, for auditors.
    trail: Option<Trail>,
    /// Where the element is told something of packets, or tells others.
    metadata: Option<Box<Metadata>>,
    /// At the end of the path.
    verifier: Option<Verifier>,
}

impl PathNsh {
    /// Whether the path ends here and nothing of it passes whose way is not proved.
    pub fn proves(&self) -> bool {
        self.config.enforce && self.verifier.is_some()
    }

    /// What is kept at first: no keys.
    pub(crate) fn new(
        path: PathId,
        config: NshConfig,
        labels: Labels,
        origin: Origin,
        seen: &Seen,
    ) -> PathNsh {
        let ends = usize::from(config.position) == config.seals.len();
        let proof = config.layout.proof().filter(|_| ends);
        let verifier =
            proof.map(|layout| Verifier::new(ProvedPath::of(&config, layout), seen.clone()));
        let index = FIRST_INDEX - config.position.saturating_sub(1);
        let begun = fixed(&config.layout, path, FIRST_INDEX - config.position);
        let fixed = fixed(&config.layout, path, index);
        let mark = mark_of_arrival(&config);
        let metadata = Metadata::of(&config);
        let (clock, came, goes, ended, prover, trail) = Default::default();
        let mut nsh = PathNsh {
            config,
            path,
            origin,
            clock,
            mark,
            fixed,
            begun,
            labels,
            came,
            goes,
            ended,
            prover,
            trail,
            metadata,
            verifier,
        };
        nsh.keep_trails();
        nsh
    }

    /// Takes another description of the same path; keys stay where it is the same.
    pub(crate) fn change(&mut self, config: NshConfig, labels: Labels, seen: &Seen) {
        let place = |config: &NshConfig, labels| (config.digest, config.position, labels);
        match place(&self.config, self.labels) == place(&config, labels) {
            true => {
                self.config = config;
                self.keep_trails();
            }
            false => *self = PathNsh::new(self.path, config, labels, self.origin.clone(), seen),
        }
    }

    /// Begins trails where they are wanted and not kept, and ends them where they are kept and not wanted.
    fn keep_trails(&mut self) {
        let NshConfig { summaries, digest, .. } = self.config;
        let proves = self.config.layout.proof().is_some();
        match &mut self.verifier {
            Some(verifier) => verifier.keep_trail(summaries),
            None if !summaries || !proves => self.trail = None,
            None => {
                let own = self.origin.id;
                let element = ElementId(u16::from_be_bytes([own[0], own[1]]));
                let begins = self.begins(element).is_some();
                let trail = self.trail.get_or_insert_with(|| Trail::new(digest, 1));
                if begins {
                    trail.expect(own);
                }
            }
        }
    }

    /// Packets that come by the link before this element may have a code under this key from now on. Of too many the oldest
    /// goes.
    pub fn install_came(&mut self, id: SaSpi, key: &MacKey, lease: Lease) {
        self.remove_came(id);
        if self.came.len() == LINK_KEYS {
            self.came.remove(0);
        }
        let words = self.fixed.iter().map(|(_, word)| *word);
        let constant = Constant::new(words, &self.labels.arriving);
        self.came.push(Held::new(id, key, lease, &constant));
    }

    /// They may not any more.
    pub fn remove_came(&mut self, id: SaSpi) {
        self.came.retain(|known| known.id != id);
    }

    /// Packets that go on have a code under this key from now on; answers with the one before it.
    pub fn install_goes(&mut self, id: SaSpi, key: &MacKey, lease: Lease) -> Option<SaSpi> {
        let words = self.begun.iter().map(|(_, word)| *word);
        let constant = Constant::new(words, &self.labels.leaving);
        self.goes.replace(Held::new(id, key, lease, &constant)).map(|before| before.id)
    }

    /// They have none under this key any more.
    pub fn remove_goes(&mut self, id: SaSpi) {
        if let Some(Held { lease, .. }) = self.goes.take_if(|known| known.id == id) {
            self.ended = Some(lease);
        }
    }

    /// The passage of packets here is proved under this key from now on; answers with the one before it.
    pub fn install_prover(&mut self, id: SaSpi, key: &MacKey, lease: Lease) -> Option<SaSpi> {
        let NshConfig { digest, position, .. } = &self.config;
        let prover = Prover::new(key.danger_bytes(), id.0 as u16, digest, *position);
        self.prover.replace((id, prover, lease)).map(|(before, _, _)| before)
    }

    /// It is not proved under this key any more.
    pub fn remove_prover(&mut self, id: SaSpi) {
        if let Some((_, _, lease)) = self.prover.take_if(|(known, _, _)| *known == id) {
            self.ended = Some(lease);
        }
    }

    /// The end of the path takes proofs of the element at this position under this key from now on.
    pub fn install_proved(&mut self, position: u8, id: SaSpi, key: &MacKey, lease: Lease) {
        if let Some(verifier) = &mut self.verifier {
            verifier.install(position, id.0 as u16, key.danger_bytes(), lease);
        }
    }

    /// It does not take them any more.
    pub fn remove_proved(&mut self, position: u8, id: SaSpi) {
        if let Some(verifier) = &mut self.verifier {
            verifier.remove(position, id.0 as u16);
        }
    }

    /// What this element says to the reader at this position goes under this key from now on.
    pub fn install_writing(&mut self, reader: u8, id: SaSpi, key: Arc<MetadataKey>, lease: Lease) {
        if let Some(metadata) = &mut self.metadata {
            metadata.install_writing(reader, (id, key, lease));
        }
    }

    /// It does not go under this key any more.
    pub fn remove_writing(&mut self, reader: u8, id: SaSpi) {
        let removed = self.metadata.as_mut().and_then(|it| it.remove_writing(reader, id));
        self.ended = removed.or(self.ended.take());
    }

    /// What is said to this element may be under this key from now on. Of too many the oldest goes.
    pub fn install_reading(&mut self, id: SaSpi, key: Arc<MetadataKey>, lease: Lease) {
        if let Some(metadata) = &mut self.metadata {
            metadata.install_reading((id, key, lease));
        }
    }

    /// It may not be any more.
    pub fn remove_reading(&mut self, id: SaSpi) {
        if let Some(metadata) = &mut self.metadata {
            metadata.remove_reading(id);
        }
    }

    /// Whether this element tells others of the packets that it begins.
    #[inline]
    pub(crate) fn writes(&self) -> bool {
        self.metadata.as_ref().is_some_and(|metadata| metadata.writes())
    }

    /// Whether this element is told something of packets.
    #[inline]
    pub(crate) fn reads(&self) -> bool {
        self.metadata.as_ref().is_some_and(|metadata| metadata.reads())
    }

    /// Tells others of a packet that begins here, which is sealed and has this mark.
    pub(crate) fn write_metadata(
        &self,
        nsh: &mut [u8],
        mark: &Mark,
        facts: &Facts,
        now: Instant,
    ) -> Result<(), DropReason> {
        self.metadata.as_ref().map_or(Ok(()), |metadata| metadata.write(nsh, mark, facts, now))
    }

    /// Opens in place what is said to this element of a packet that came with this mark; where it is then.
    pub(crate) fn read_metadata(
        &self,
        nsh: &mut [u8],
        mark: &Mark,
        now: Instant,
    ) -> Result<Option<Range<usize>>, DropReason> {
        self.metadata.as_ref().map_or(Ok(None), |metadata| metadata.read(nsh, mark, now))
    }

    pub(crate) fn len_bytes(&self) -> usize {
        self.config.layout.len_bytes()
    }

    /// What was found last of packets that end here; nothing is elsewhere.
    pub fn journal(&self) -> Option<&Journal> {
        self.verifier.as_ref().map(Verifier::journal)
    }

    /// Notes packets that went on from here.
    pub(crate) fn note(&mut self, now: Instant, claims: &[Claim]) {
        if let Some(trail) = &mut self.trail {
            for claim in claims {
                trail.note(now, &claim.origin, claim.sequence, |_| claim.mark);
            }
        }
    }

    /// How the header looks, and who may begin packets.
    pub fn config(&self) -> &NshConfig {
        &self.config
    }

    /// Packets of origins that the trail had no room for.
    pub fn untold(&self) -> u64 {
        let trail = match &self.verifier {
            Some(verifier) => verifier.kept_trail(),
            None => self.trail.as_ref(),
        };
        trail.map_or(0, Trail::untold)
    }

    /// What packets were passed since the last time that this was asked, by origin; nothing where no trail is kept.
    pub fn tell(&mut self) -> Vec<Stretch> {
        let trail = match &mut self.verifier {
            Some(verifier) => verifier.trail(),
            None => self.trail.as_mut(),
        };
        trail.map(Trail::tell).unwrap_or_default()
    }

    /// The position at which an element begins packets of the path, if it may.
    pub fn begins(&self, element: ElementId) -> Option<u8> {
        let granted = self.config.origins.iter().find(|(who, _)| *who == element);
        granted.map(|(_, position)| *position)
    }

    pub(crate) fn verifier(&mut self) -> Option<&mut Verifier> {
        self.verifier.as_mut()
    }

    /// Looks whether a header is one that packets of the path have when they come here; its TTL.
    #[inline]
    pub(crate) fn check(&self, nsh: &[u8]) -> Result<u8, DropReason> {
        if nsh.len() != self.len_bytes() {
            return Err(DropReason::WrongNsh);
        }
        let word = |at: usize| nsh.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word));
        let first = word(0).ok_or(DropReason::WrongNsh)?;
        let path = word(4).ok_or(DropReason::WrongNsh)?;
        let mut differing = 0;
        for (at, fixed) in &self.fixed {
            let mask = if *at == 0 { NOT_TTL } else { u32::MAX };
            differing |= (word(*at).ok_or(DropReason::WrongNsh)? & mask) ^ fixed;
        }
        match differing {
            0 => Ok((first >> TTL_SHIFT & TTL_MASK) as u8),
            _ if off(Defence::NshPlace) => Ok((first >> TTL_SHIFT & TTL_MASK) as u8),
            // The path was found by its number.
            _ if self.fixed.get(1).is_some_and(|(_, there)| *there != path) => {
                Err(DropReason::WrongServiceIndex)
            }
            _ => Err(DropReason::WrongNsh),
        }
    }

    /// Writes the header of a packet that begins here, but for tag and code.
    pub(crate) fn begin(&self, nsh: &mut [u8]) {
        nsh.fill(0);
        for (at, word) in &self.begun {
            nsh[*at..*at + 4].copy_from_slice(&word.to_be_bytes());
        }
        set_ttl(nsh, FIRST_TTL);
        if let Some(proof) = self.config.layout.proof() {
            nsh[proof.origin()].copy_from_slice(&self.origin.id);
            nsh[proof.sequence()].copy_from_slice(&self.origin.next().to_be_bytes());
            nsh[proof.tag()].copy_from_slice(&NO_TAG);
        }
    }

    /// Makes the header that came here that of a packet which goes on.
    #[inline]
    pub(crate) fn step(&self, nsh: &mut [u8]) {
        if let Some(metadata) = &self.metadata {
            metadata.wipe(nsh);
        }
        let mut header = ringmail_packet::nsh::Packet::new_unchecked(nsh);
        header.set_ttl(header.ttl().saturating_sub(1));
        header.set_si(FIRST_INDEX - self.config.position);
    }

    /// The key that a packet's code is made with.
    pub(crate) fn link_key(&self, nsh: &[u8], now: Instant) -> Result<&Held, DropReason> {
        let at = self.config.layout.link_key_id().ok_or(DropReason::WrongNsh)?;
        let id = nsh.get(at..).and_then(<[u8]>::first_chunk::<KEY_ID_BYTES>);
        let id = SaSpi(u32::from_be_bytes(*id.ok_or(DropReason::WrongNsh)?));
        let known = self.came.iter().rev().find(|known| known.id == id);
        let known = known.ok_or(DropReason::UnknownLinkKey)?;
        if known.lease.is_live(now) { Ok(known) } else { Err(DropReason::LeaseExpired) }
    }

    /// Whether there are keys for packets to go on with.
    pub(crate) fn is_keyed(&self) -> bool {
        self.goes.is_some()
            && (self.prover.is_some() || self.config.layout.proof().is_none())
            && self.metadata.as_ref().is_none_or(|metadata| metadata.is_keyed())
    }

    /// Whether there are keys for packets to go on with. Whether their leases run is looked at once a group, when they are
    /// used.
    #[inline]
    pub(crate) fn ready(&self, now: Instant) -> Result<(), DropReason> {
        if self.is_keyed() { Ok(()) } else { Err(self.unkeyed(now)) }
    }

    /// The key that the codes of packets which go on are made with.
    pub(crate) fn goes(&self, now: Instant) -> Result<&Held, DropReason> {
        let goes = self.goes.as_ref().ok_or_else(|| self.unkeyed(now))?;
        if goes.lease.is_live(now) { Ok(goes) } else { Err(DropReason::LeaseExpired) }
    }

    /// Why packets cannot go on while there is no key: the last one's lease ran out, if it did.
    fn unkeyed(&self, now: Instant) -> DropReason {
        match &self.ended {
            Some(lease) if !lease.is_live(now) => DropReason::LeaseExpired,
            _ => DropReason::NoAssociation,
        }
    }

    /// The key that the passage of packets is proved with.
    pub(crate) fn prover(&self, now: Instant) -> Result<&Prover, DropReason> {
        let (_, prover, lease) = self.prover.as_ref().ok_or_else(|| self.unkeyed(now))?;
        if lease.is_live(now) { Ok(prover) } else { Err(DropReason::LeaseExpired) }
    }
}

impl ProvedPath {
    fn of(config: &NshConfig, layout: ProofLayout) -> ProvedPath {
        ProvedPath {
            digest: config.digest,
            origins: config.origins.clone(),
            seals: config.seals.clone(),
            layout,
        }
    }
}

fn mark_of_arrival(config: &NshConfig) -> Option<Range<usize>> {
    let seals = |some: &[bool]| some.iter().filter(|seals| **seals).count();
    let before = config.seals.get(..usize::from(config.position))?;
    let arrived = seals(before).checked_sub(1)?;
    config.layout.proof()?.mark(arrived, seals(&config.seals))
}

/// The words of a header that do not differ between packets of a path with this service index.
fn fixed(layout: &Layout, path: PathId, index: u8) -> Vec<(usize, u32)> {
    let words = (layout.len_bytes() / 4) as u32;
    let kinds = u32::from(md_type::VARIABLE) << 8 | u32::from(next_protocol::IPV4);
    let base = [(0, words << 16 | kinds), (4, path.0 << 8 | u32::from(index))];
    let contexts = layout.contexts().map(|(context, value): (Context, _)| {
        let (class, kind) = context.wire();
        let head = u32::from(class) << 16 | u32::from(kind) << 8 | value.len() as u32;
        (value.start - 4, head)
    });
    base.into_iter().chain(contexts).collect()
}

fn set_ttl(nsh: &mut [u8], ttl: u8) {
    ringmail_packet::nsh::Packet::new_unchecked(nsh).set_ttl(ttl);
}
