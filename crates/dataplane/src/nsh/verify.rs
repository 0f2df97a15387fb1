//! The end of a path looks back: whether the tag of a packet is what all elements of its path, in order, made of it
//! (`docs/nsh.md`, "Proof of transit").

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use ringmail_model::nsh::{ProofLayout, WORD_BYTES};
use ringmail_model::{ElementId, PathDigest};

use super::cmac::{self, KEY_BYTES, LANES, Tag};
use super::journal::{Finding, Journal};
use super::proof::{Claim, Mark, NO_TAG, Prover};
use super::trail::Trail;
use crate::limits::{PROOF_ORIGINS, PROOF_ORIGINS_MET, PROOF_WINDOW_PACKETS, PROVER_KEYS};
use crate::replay::{Refused, ReplayWindow, WindowPackets};
use crate::sa::Lease;
use crate::verdict::DropReason;

/// What the end of a path says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It passed every element of its path, in order.
    Proved,
    /// An element was left out, doubled or exchanged, or the packet is another than it was there.
    WrongTag,
    /// An element names a key that this end does not share with it.
    UnknownKey,
    /// Nobody may begin packets of this path there.
    UnknownOrigin,
    /// This very packet came before.
    Repeated,
    /// It is so old that nobody knows whether it came before.
    TooOld,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Verdict; 6] = [
        Verdict::Proved,
        Verdict::WrongTag,
        Verdict::UnknownKey,
        Verdict::UnknownOrigin,
        Verdict::Repeated,
        Verdict::TooOld,
    ];

    /// Whether a packet of this verdict goes on where that is enforced.
    pub(crate) const fn outcome(self) -> Result<(), DropReason> {
        Err(match self {
            Verdict::Proved => return Ok(()),
            Verdict::WrongTag => DropReason::ProofWrong,
            Verdict::UnknownKey => DropReason::ProofUnknownKey,
            Verdict::UnknownOrigin => DropReason::ProofUnknownOrigin,
            Verdict::Repeated => DropReason::ProofRepeated,
            Verdict::TooOld => DropReason::ProofTooOld,
        })
    }

    /// The name in reports and counters.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Proved => "proved",
            Verdict::WrongTag => "wrong_tag",
            Verdict::UnknownKey => "unknown_key",
            Verdict::UnknownOrigin => "unknown_origin",
            Verdict::Repeated => "repeated",
            Verdict::TooOld => "too_old",
        }
    }
}

/// A path as its end knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvedPath {
    /// Its digest.
    pub digest: PathDigest,
    /// Who may begin packets of it, and at which position: where it begins, and hops that are granted it.
    pub origins: Vec<(ElementId, u8)>,
    /// Whether each element seals what it sends, from where the path begins to the last hop. The first does.
    pub seals: Vec<bool>,
    /// Where the proof is in an NSH of the path.
    pub layout: ProofLayout,
}

/// A packet at the end of its path: its NSH, and the first bytes of the ICV that it came with.
pub type Arrived<'a> = (&'a [u8], Mark);

/// How far each origin of proofs has counted, for all workers of an element: a packet that came to one of them came to all.
/// They meet only where an origin is new.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<RwLock<Origins>>);

#[derive(Debug, Default)]
struct Origins {
    windows: HashMap<(PathDigest, [u8; WORD_BYTES]), (Arc<ReplayWindow>, u64)>,
    added: u64,
}

impl Seen {
    /// The window of an origin; of too many the one that was added first goes.
    fn window(&self, path: PathDigest, origin: [u8; WORD_BYTES]) -> Arc<ReplayWindow> {
        let mut origins = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((window, _)) = origins.windows.get(&(path, origin)) {
            return Arc::clone(window);
        }
        if origins.windows.len() == PROOF_ORIGINS {
            // Each life of an origin's worker is one; those that are over say nothing any more.
            let oldest = origins.windows.iter().min_by_key(|(_, (_, added))| *added);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                origins.windows.remove(&oldest);
            }
        }
        let size = WindowPackets::new(PROOF_WINDOW_PACKETS).unwrap_or_default();
        let window = Arc::new(ReplayWindow::new(size));
        origins.added += 1;
        let added = origins.added;
        origins.windows.insert((path, origin), (Arc::clone(&window), added));
        window
    }
}

/// Checks the proofs of one path.
#[derive(Debug)]
pub struct Verifier {
    path: ProvedPath,
    /// The segment in which a packet leaves each position.
    leaves: Vec<usize>,
    /// The keys of each position, the newest last.
    keys: Vec<Vec<(Prover, Lease)>>,
    seen: Seen,
    /// Those of `seen` that this worker has met.
    known: HashMap<[u8; WORD_BYTES], Arc<ReplayWindow>>,
    /// What was found last.
    journal: Journal,
    /// What was proved, for auditors.
    trail: Option<Trail>,
}

impl Verifier {
    /// One that knows no key yet.
    pub fn new(path: ProvedPath, seen: Seen) -> Verifier {
        let sealed = path.seals.iter().scan(0, |segments, seals| {
            *segments += usize::from(*seals);
            Some(*segments - usize::from(*segments > 0))
        });
        let leaves = sealed.collect();
        let keys = path.seals.iter().map(|_| Vec::new()).collect();
        let (known, journal) = Default::default();
        Verifier { path, leaves, keys, seen, known, journal, trail: None }
    }

    /// Keeps a trail of what was proved from now on, or none.
    pub fn keep_trail(&mut self, wanted: bool) {
        let kept = self.trail.take().filter(|_| wanted);
        let another = || Trail::new(self.path.digest, self.segments());
        self.trail = kept.or_else(|| wanted.then(another));
    }

    /// The trail of what was proved.
    pub fn trail(&mut self) -> Option<&mut Trail> {
        self.trail.as_mut()
    }

    pub(crate) fn kept_trail(&self) -> Option<&Trail> {
        self.trail.as_ref()
    }

    fn segments(&self) -> usize {
        self.leaves.last().map_or(0, |last| last + 1)
    }

    /// Takes the key of the element at a position beside those that are there; of too many the oldest goes. False if the
    /// path has no such position. The caller wipes its own copy.
    pub fn install(
        &mut self,
        position: u8,
        key_id: u16,
        key: &[u8; KEY_BYTES],
        lease: Lease,
    ) -> bool {
        let prover = Prover::new(key, key_id, &self.path.digest, position);
        let Some(keys) = self.keys.get_mut(usize::from(position)) else { return false };
        keys.retain(|(known, _)| known.key_id() != key_id);
        if keys.len() == PROVER_KEYS {
            keys.remove(0);
        }
        keys.push((prover, lease));
        true
    }

    /// Forgets a key.
    pub fn remove(&mut self, position: u8, key_id: u16) {
        if let Some(keys) = self.keys.get_mut(usize::from(position)) {
            keys.retain(|(known, _)| known.key_id() != key_id);
        }
    }

    /// What was found last.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Decides over up to [`LANES`] packets; what stands behind the last of them means nothing.
    pub fn verify(&mut self, packets: &[Arrived<'_>], now: Instant) -> [Finding; LANES] {
        let mut claims = [Claim::default(); LANES];
        let mut verdicts = [Verdict::WrongTag; LANES];
        let mut expected = [NO_TAG; LANES];
        let mut begins = [0; LANES];
        for (lane, (nsh, _)) in packets.iter().enumerate().take(LANES) {
            match self.begin(nsh) {
                Some((claim, tag, Some(position))) => {
                    (claims[lane], expected[lane]) = (claim, tag);
                    begins[lane] = usize::from(position);
                    verdicts[lane] = Verdict::Proved;
                }
                Some((claim, ..)) => {
                    (claims[lane], verdicts[lane]) = (claim, Verdict::UnknownOrigin);
                }
                None => verdicts[lane] = Verdict::UnknownOrigin,
            }
        }
        for position in 0..self.leaves.len() {
            self.follow(position, packets, &begins, &mut claims, &mut verdicts, now);
        }
        for (lane, _) in packets.iter().enumerate().take(LANES) {
            if verdicts[lane] == Verdict::Proved {
                verdicts[lane] = match cmac::equal(&claims[lane].before, &expected[lane]) {
                    true => self.count(&claims[lane]),
                    false => Verdict::WrongTag,
                };
            }
        }
        let mut findings = [Finding::NONE; LANES];
        for (lane, _) in packets.iter().enumerate().take(LANES) {
            let Claim { origin, sequence, .. } = claims[lane];
            let (verdict, from) = (verdicts[lane], begins[lane] as u8);
            findings[lane] = Finding { verdict, origin, sequence, from };
            self.journal.note(now, findings[lane]);
        }
        self.walk(packets, &findings, now);
        findings
    }

    /// Notes what was proved: the marks of all segments.
    fn walk(&mut self, packets: &[Arrived<'_>], findings: &[Finding; LANES], now: Instant) {
        let (layout, segments) = (self.path.layout, self.segments());
        let Some(trail) = &mut self.trail else { return };
        for ((nsh, icv), finding) in packets.iter().zip(findings) {
            if finding.verdict == Verdict::Proved {
                trail.note(now, &finding.origin, finding.sequence, |segment| {
                    mark_of(&layout, segment, segments, nsh, icv)
                });
            }
        }
    }

    /// What the packet says of itself, the tag that it came with, and where it began if it may have begun there. `None` if
    /// it is too short.
    fn begin(&self, nsh: &[u8]) -> Option<(Claim, Tag, Option<u8>)> {
        let layout = &self.path.layout;
        let origin: [u8; WORD_BYTES] = *nsh.get(layout.origin())?.first_chunk()?;
        let sequence = *nsh.get(layout.sequence())?.first_chunk()?;
        let tag = *nsh.get(layout.tag())?.first_chunk()?;
        let element = u16::from_be_bytes([origin[0], origin[1]]);
        let sequence = u64::from_be_bytes(sequence);
        let claim = Claim { origin, sequence, mark: [0; WORD_BYTES], before: NO_TAG };
        let granted = self.path.origins.iter().find(|(who, _)| who.0 == element);
        Some((claim, tag, granted.map(|(_, position)| *position)))
    }

    /// Adds the tag of one position to each claim, under the key that the packet names.
    fn follow(
        &self,
        position: usize,
        packets: &[Arrived<'_>],
        begins: &[usize; LANES],
        claims: &mut [Claim; LANES],
        verdicts: &mut [Verdict; LANES],
        now: Instant,
    ) {
        let mut provers = [None; LANES];
        for (lane, (nsh, icv)) in packets.iter().enumerate().take(LANES) {
            if position < begins[lane] {
                continue;
            }
            claims[lane].mark = self.mark(position, nsh, icv);
            provers[lane] = self.prover(position, nsh, now);
            if provers[lane].is_none() && verdicts[lane] == Verdict::Proved {
                verdicts[lane] = Verdict::UnknownKey;
            }
        }
        // Packets of one time name one key; while keys change there are two.
        for (keyed, _) in &self.keys[position] {
            let names = |prover: &Option<&Prover>| {
                prover.is_some_and(|prover| prover.key_id() == keyed.key_id())
            };
            if !provers.iter().any(names) {
                continue;
            }
            let tags = keyed.tags(&claims[..packets.len().min(LANES)]);
            for (lane, prover) in provers.iter().enumerate() {
                if names(prover) {
                    claims[lane].before = tags[lane];
                }
            }
        }
    }

    fn prover(&self, position: usize, nsh: &[u8], now: Instant) -> Option<&Prover> {
        let key_id = nsh.get(self.path.layout.key_id(position)?)?.first_chunk()?;
        let key_id = u16::from_be_bytes(*key_id);
        let known = self.keys[position].iter().rev().find(|(prover, _)| prover.key_id() == key_id);
        known.filter(|(_, lease)| lease.is_live(now)).map(|(prover, _)| prover)
    }

    fn mark(&self, position: usize, nsh: &[u8], icv: &Mark) -> Mark {
        mark_of(&self.path.layout, self.leaves[position], self.segments(), nsh, icv)
    }

    /// Whether a packet that was proved came before.
    fn count(&mut self, claim: &Claim) -> Verdict {
        if !self.known.contains_key(&claim.origin) {
            if self.known.len() == PROOF_ORIGINS_MET {
                self.known.clear();
            }
            self.known.insert(claim.origin, self.seen.window(self.path.digest, claim.origin));
        }
        let Some(window) = self.known.get(&claim.origin) else { return Verdict::UnknownOrigin };
        match window.commit(claim.sequence) {
            Ok(()) => Verdict::Proved,
            Err(Refused::Replayed) => Verdict::Repeated,
            Err(Refused::TooOld | Refused::OutOfRange) => Verdict::TooOld,
        }
    }
}

/// With which mark a packet left a segment: what its end wrote down, or of the last one what the packet came with.
fn mark_of(layout: &ProofLayout, segment: usize, segments: usize, nsh: &[u8], icv: &Mark) -> Mark {
    let place = layout.mark(segment, segments);
    let left = place.and_then(|place| nsh.get(place)?.first_chunk());
    *left.unwrap_or(icv)
}

#[cfg(test)]
mod tests {
    use ringmail_model::nsh::{Layout, Shape};

    use super::*;

    const DIGEST: PathDigest = PathDigest([3; 32]);

    /// A path over `seals`, whose first element is where it begins, with provers for all and a verifier that knows them.
    struct World {
        seals: Vec<bool>,
        layout: Layout,
        provers: Vec<Prover>,
        verifier: Verifier,
    }

    fn lease() -> Lease {
        Lease::unlimited(Instant::now())
    }

    fn key(position: usize, generation: u8) -> [u8; 16] {
        [position as u8 * 16 + generation; 16]
    }

    impl World {
        fn new(seals: &[bool]) -> World {
            let hops = seals.len() - 1;
            let segments = seals.iter().filter(|seals| **seals).count();
            let shape = Shape { hops, segments, proof: true, mac: true, ..Shape::default() };
            let layout = Layout::new(&shape).unwrap();
            let proof = layout.proof().unwrap();
            let seals = seals.to_vec();
            let path = ProvedPath {
                digest: DIGEST,
                origins: vec![(ElementId(0), 0)],
                seals,
                layout: proof,
            };
            let seals = path.seals.clone();
            let mut world = World {
                seals,
                layout,
                provers: vec![],
                verifier: Verifier::new(path, Seen::default()),
            };
            for position in 0..world.seals.len() {
                let prover = Prover::new(&key(position, 1), 1, &DIGEST, position as u8);
                world.provers.push(prover);
                assert!(world.verifier.install(position as u8, 1, &key(position, 1), lease()));
            }
            world
        }

        /// What every element on the way does to a packet, those at `skipped` left out.
        fn sent(&self, sequence: u64, skipped: &[usize]) -> (Vec<u8>, Mark) {
            let proof = self.layout.proof().unwrap();
            let segments = self.seals.iter().filter(|seals| **seals).count();
            let mut nsh = vec![0; self.layout.len_bytes()];
            let origin = [0, 0, 0, 1, 9, 9, 9, 9];
            nsh[proof.origin()].copy_from_slice(&origin);
            nsh[proof.sequence()].copy_from_slice(&sequence.to_be_bytes());
            let (mut mark, mut segment) = ([0; 8], 0);
            for (position, prover) in self.provers.iter().enumerate() {
                if skipped.contains(&position) {
                    continue;
                }
                if self.seals[position] {
                    if position > 0 {
                        if let Some(place) = proof.mark(segment, segments) {
                            nsh[place].copy_from_slice(&mark);
                        }
                        segment += 1;
                    }
                    mark = [position as u8 + 100, sequence as u8, 0, 0, 0, 0, 0, 1];
                }
                let before = match position {
                    0 => NO_TAG,
                    _ => nsh[proof.tag()].try_into().unwrap(),
                };
                let claim = Claim { origin, sequence, mark, before };
                nsh[proof.tag()].copy_from_slice(&prover.tags(&[claim])[0]);
                let key_id = prover.key_id().to_be_bytes();
                nsh[proof.key_id(position).unwrap()].copy_from_slice(&key_id);
            }
            (nsh, mark)
        }

        fn verdict(&mut self, (nsh, mark): &(Vec<u8>, Mark)) -> Verdict {
            self.verifier.verify(&[(nsh, *mark)], Instant::now())[0].verdict
        }
    }

    fn said(findings: [Finding; LANES]) -> [Verdict; LANES] {
        findings.map(|finding| finding.verdict)
    }

    const PATHS: [&[bool]; 5] = [
        &[true],
        &[true, false],
        &[true, true],
        &[true, false, true, false, true],
        &[true, true, true, true, true, true, true],
    ];

    #[test]
    fn who_passed_everywhere_is_proved_and_once_only() {
        for path in PATHS {
            let mut world = World::new(path);
            let sent: Vec<_> = (1..=20).map(|sequence| world.sent(sequence, &[])).collect();
            for group in sent.chunks(LANES) {
                let packets: Vec<Arrived<'_>> =
                    group.iter().map(|(nsh, mark)| (&nsh[..], *mark)).collect();
                let verdicts = said(world.verifier.verify(&packets, Instant::now()));
                assert!(verdicts[..group.len()].iter().all(|verdict| *verdict == Verdict::Proved));
            }
            assert_eq!(world.verdict(&sent[7]), Verdict::Repeated);
            let late = world.sent(5000, &[]);
            assert_eq!(world.verdict(&late), Verdict::Proved);
            let old = world.sent(21, &[]);
            assert_eq!(world.verdict(&old), Verdict::TooOld);
        }
    }

    #[test]
    fn an_element_left_out_is_noticed() {
        for path in PATHS {
            for skipped in 0..path.len() {
                let mut world = World::new(path);
                let sent = world.sent(1, &[skipped]);
                assert_ne!(world.verdict(&sent), Verdict::Proved, "{path:?} without {skipped}");
            }
        }
    }

    /// Every bit of the proof and of the marks counts, and so does the ICV.
    #[test]
    fn a_bit_changed_anywhere_is_noticed() {
        let mut world = World::new(&[true, false, true, true]);
        let (nsh, mark) = world.sent(1, &[]);
        let contexts: Vec<_> = world.layout.contexts().map(|(_, range)| range).collect();
        for at in contexts[..2].iter().cloned().flatten() {
            for bit in 0..8 {
                let mut other = nsh.clone();
                other[at] ^= 1 << bit;
                assert_ne!(world.verdict(&(other, mark)), Verdict::Proved, "byte {at} bit {bit}");
            }
        }
        for at in 0..8 {
            let mut other = mark;
            other[at] ^= 1;
            assert_eq!(world.verdict(&(nsh.clone(), other)), Verdict::WrongTag);
        }
        assert_eq!(world.verdict(&(nsh, mark)), Verdict::Proved);
    }

    #[test]
    fn packets_under_old_and_new_keys_are_proved_side_by_side() {
        let mut world = World::new(&[true, true]);
        let old = world.sent(1, &[]);
        world.provers[1] = Prover::new(&key(1, 2), 2, &DIGEST, 1);
        let new = world.sent(2, &[]);
        let both = [(&old.0[..], old.1), (&new.0[..], new.1)];
        let verdicts = said(world.verifier.verify(&both, Instant::now()));
        assert_eq!(verdicts[..2], [Verdict::Proved, Verdict::UnknownKey]);
        assert!(world.verifier.install(1, 2, &key(1, 2), lease()));
        assert_eq!(
            said(world.verifier.verify(&both, Instant::now()))[..2],
            [Verdict::Repeated, Verdict::Proved]
        );
        world.verifier.remove(1, 1);
        let verdicts = said(world.verifier.verify(&both, Instant::now()));
        assert_eq!(verdicts[..2], [Verdict::UnknownKey, Verdict::Repeated]);
        assert!(!world.verifier.install(2, 1, &key(2, 1), lease()));
    }

    #[test]
    fn who_may_not_begin_a_packet_and_what_is_cut_prove_nothing() {
        let mut world = World::new(&[true, true]);
        let (mut nsh, mark) = world.sent(1, &[]);
        assert_eq!(world.verdict(&(nsh[..30].to_vec(), mark)), Verdict::UnknownOrigin);
        nsh[world.layout.proof().unwrap().origin().start + 1] = 1;
        assert_eq!(world.verdict(&(nsh, mark)), Verdict::UnknownOrigin);
    }

    #[test]
    fn a_packet_that_came_to_one_worker_came_to_all() {
        let mut world = World::new(&[true, true]);
        let sent = world.sent(1, &[]);
        assert_eq!(world.verdict(&sent), Verdict::Proved);
        let seen = world.verifier.seen.clone();
        let mut other = Verifier::new(world.verifier.path.clone(), seen);
        for position in 0..2 {
            assert!(other.install(position, 1, &key(position.into(), 1), lease()));
        }
        let again = other.verify(&[(&sent.0, sent.1)], Instant::now())[0].verdict;
        assert_eq!(again, Verdict::Repeated);
    }

    #[test]
    fn a_key_whose_lease_is_over_proves_nothing() {
        let mut world = World::new(&[true, true]);
        let ended = lease();
        ended.expire();
        assert!(world.verifier.install(1, 1, &key(1, 1), ended));
        let sent = world.sent(1, &[]);
        assert_eq!(world.verdict(&sent), Verdict::UnknownKey);
    }

    #[test]
    fn who_is_granted_it_begins_packets_at_its_place_and_nobody_else() {
        let mut world = World::new(&[true, true, true]);
        let begun = |world: &World, element: u8, from: usize| {
            let proof = world.layout.proof().unwrap();
            let mut nsh = vec![0; world.layout.len_bytes()];
            let origin = [0, element, 0, 0, 1, 1, 1, 1];
            nsh[proof.origin()].copy_from_slice(&origin);
            nsh[proof.sequence()].copy_from_slice(&1u64.to_be_bytes());
            let mut mark = [0; 8];
            for (position, prover) in world.provers.iter().enumerate().skip(from) {
                if position > from {
                    let place = proof.mark(position - 1, 3).unwrap();
                    nsh[place].copy_from_slice(&mark);
                }
                mark = [position as u8 + 50; 8];
                let before = nsh[proof.tag()].try_into().unwrap();
                let claim = Claim { origin, sequence: 1, mark, before };
                nsh[proof.tag()].copy_from_slice(&prover.tags(&[claim])[0]);
                nsh[proof.key_id(position).unwrap()].copy_from_slice(&1u16.to_be_bytes());
            }
            (nsh, mark)
        };
        let sent = begun(&world, 7, 1);
        assert_eq!(world.verdict(&sent), Verdict::UnknownOrigin);
        world.verifier.path.origins.push((ElementId(7), 1));
        assert_eq!(world.verdict(&sent), Verdict::Proved);
        // Neither further on nor as where the path begins.
        for (element, from) in [(7, 2), (7, 0), (0, 1)] {
            let sent = begun(&world, element, from);
            assert_ne!(world.verdict(&sent), Verdict::Proved, "{element} at {from}");
        }
    }

    #[test]
    fn origins_are_bounded_and_the_first_go() {
        let mut world = World::new(&[true]);
        for life in 0..PROOF_ORIGINS as u32 + 10 {
            let [a, b, c, d] = life.to_be_bytes();
            let claim = Claim { origin: [0, 0, 0, 0, a, b, c, d], sequence: 1, ..Claim::default() };
            assert_eq!(world.verifier.count(&claim), Verdict::Proved);
        }
        assert_eq!(world.verifier.seen.0.read().unwrap().windows.len(), PROOF_ORIGINS);
        let [a, b, c, d] = (PROOF_ORIGINS as u32 + 9).to_be_bytes();
        let last = Claim { origin: [0, 0, 0, 0, a, b, c, d], sequence: 1, ..Claim::default() };
        assert_eq!(world.verifier.count(&last), Verdict::Repeated);
    }
}
