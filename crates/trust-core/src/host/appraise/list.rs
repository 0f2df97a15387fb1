//! The measurement list: each entry against its own hash and the policies, and all of them against the quoted register 10.
//!
//! The list is read after the quote was made, so it may be longer than what the quote covers: the replay has to meet the
//! quoted register somewhere. What comes after is appraised as well, and again in the next round, which has to cover it.

use std::collections::BTreeMap;

use super::quote::Quoted;
use crate::host::encoding::{Base64, Hex};
use crate::host::evidence::HostEvidence;
use crate::host::ima::{self, Entry, Event, IMA_PCR, Replay};
use crate::host::policy::KeyRing;
use crate::host::policy::Learned;
use crate::host::policy::keys::{MaybeKey, SigningKey};
use crate::host::reference::{HostReference, Violations};
use crate::host::state::{HostState, LearnedKey, ListState};
use crate::host::tpm::{Digest, Hash};
use crate::host::verdict::{Check, Objections, shown};
use crate::limits;

/// What came of the list.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) appraised: u64,
    pub(super) pending: u64,
    /// Where the next round begins, if nothing spoke against this one.
    pub(super) state: Option<ListState>,
}

pub(super) fn check(
    evidence: &HostEvidence,
    quoted: &Quoted,
    reference: &HostReference,
    state: &HostState,
    objections: &mut Objections,
) -> Outcome {
    let list = &evidence.ima;
    if ima::len_bytes(&list.entries) > limits::IMA_LIST_BYTES {
        let limit = limits::IMA_LIST_BYTES;
        objections.add(Check::ImaForm, format!("the list is longer than {limit} bytes"));
        return Outcome::default();
    }
    let Some(start) = Start::of(list.first_entry, quoted, reference, state) else {
        let first = list.first_entry;
        let detail =
            format!("the list begins with entry {first}, and the verifier needs it from entry 0");
        objections.add(Check::ImaOffset, detail);
        return Outcome::default();
    };
    let mut walk = Walk {
        reference,
        quoted,
        objections,
        replay: Replay::from(start.pcr10, reference.policies.log_hash()),
        learned: start.learned,
        keys: start.keys,
        met: None,
        number: list.first_entry,
    };
    walk.meet();
    for (count, entry) in ima::entries(&list.entries, reference.policies.log_hash()).enumerate() {
        if count == limits::IMA_LIST_ENTRIES {
            let limit = limits::IMA_LIST_ENTRIES;
            walk.objections.add(Check::ImaForm, format!("the list has more than {limit} entries"));
            break;
        }
        match entry {
            Ok(entry) => walk.step(&entry),
            Err(error) => walk.objections.add_at(walk.number, Check::ImaForm, error.to_string()),
        }
        walk.number += 1;
    }
    walk.end(list.first_entry, start.listed)
}

/// Where a list may begin.
struct Start {
    pcr10: BTreeMap<Hash, Digest>,
    listed: u64,
    learned: Learned,
    keys: Vec<(u64, LearnedKey)>,
}

impl Start {
    /// At the boot always; where the last round stopped, if it was of this boot, the same banks, and the same reference values.
    fn of(
        first: u64,
        quoted: &Quoted,
        reference: &HostReference,
        state: &HostState,
    ) -> Option<Start> {
        let banks = Hash::ALL.into_iter().filter(|bank| quoted.selection.has(*bank, IMA_PCR));
        let same_boot =
            state.clock.is_some_and(|last| last.reset_count == quoted.clock.reset_count);
        let known = state.list.as_ref().filter(|list| {
            same_boot && list.reference == reference.fingerprint() && list.next_entry == first
        });
        if let Some(known) = known {
            let pcr10 = |bank| Some((bank, Digest::of(&known.pcr10.get(&bank)?.0)));
            if let Some(pcr10) = banks.clone().map(pcr10).collect() {
                let mut learned = Learned::new();
                for key in &known.keys {
                    if let MaybeKey::Key(parsed) = SigningKey::parse(&key.key.0) {
                        add_key(&mut learned, key.policy, parsed);
                    }
                }
                let keys = known.keys.iter().map(|key| (0, key.clone())).collect();
                return Some(Start { pcr10, listed: known.listed, learned, keys });
            }
        }
        let listed = state.list.as_ref().filter(|_| same_boot).map_or(0, |list| list.listed);
        let pcr10 = banks.map(|bank| (bank, bank.zeros())).collect();
        (first == 0).then(|| Start { pcr10, listed, learned: Learned::new(), keys: Vec::new() })
    }
}

/// A walk along the list.
struct Walk<'a> {
    reference: &'a HostReference,
    quoted: &'a Quoted,
    objections: &'a mut Objections,
    replay: Replay,
    learned: Learned,
    /// Keys with the entry that brought them.
    keys: Vec<(u64, LearnedKey)>,
    /// The number of the first entry that the quote does not cover, and the registers in front of it.
    met: Option<(u64, BTreeMap<Hash, Digest>)>,
    number: u64,
}

impl Walk<'_> {
    /// Notes whether the replay has met the quote.
    fn meet(&mut self) {
        let quoted = |bank: &Hash| self.quoted.values.get(bank)?.get(&IMA_PCR);
        let values = self.replay.values();
        let meets =
            !values.is_empty() && values.iter().all(|(bank, value)| quoted(bank) == Some(value));
        if self.met.is_none() && meets {
            self.met = Some((self.number, values.clone()));
        }
    }

    fn step(&mut self, entry: &Entry<'_>) {
        self.replay.extend(entry);
        self.number += 1;
        self.meet();
        self.number -= 1;
        self.appraise(entry);
    }

    fn appraise(&mut self, entry: &Entry<'_>) {
        let log_hash = self.reference.policies.log_hash();
        if entry.pcr != u32::from(IMA_PCR) {
            let detail = format!("{} went to register {}", what(entry), entry.pcr);
            self.object(Check::ImaPcr, detail);
        }
        if self.number == 0 && self.check_boot_aggregate(entry) {
            return;
        }
        if entry.is_violation(log_hash) {
            if self.reference.violations == Violations::Refuse {
                self.object(Check::ImaViolation, what(entry));
            }
            return;
        }
        if entry.template_digest(log_hash) != entry.template_hash {
            self.object(
                Check::ImaTemplateHash,
                format!("the entry of {} hashes otherwise", what(entry)),
            );
            return;
        }
        match self.reference.policies.judge(entry, &self.learned) {
            Ok(None) => {}
            Ok(Some(brought)) => {
                if let Event::Buffer { name, data, .. } = &entry.event
                    && self.keys.len() < limits::LEARNED_KEYS
                {
                    let keyring = shown(name);
                    let key = Base64(data.to_vec());
                    let learned = LearnedKey { keyring, policy: brought.policy, key };
                    if !self.keys.iter().any(|(_, known)| *known == learned) {
                        self.keys.push((self.number, learned));
                    }
                    add_key(&mut self.learned, brought.policy, brought.key);
                }
            }
            Err((check, detail)) => self.object(check, detail),
        }
    }

    /// Whether the boot's aggregate needs no policy any more: it is not that of the quoted registers, which is said, or it is, and
    /// the reference values allow them.
    fn check_boot_aggregate(&mut self, entry: &Entry<'_>) -> bool {
        let Event::File { digest, path, .. } = &entry.event else { return false };
        let Some(bank) = Hash::named(&digest.algorithm) else { return false };
        let values = |last: u8| -> Option<Vec<&[u8]>> {
            let bank = self.quoted.values.get(&bank)?;
            (0..=last).map(|pcr| bank.get(&pcr).map(Digest::as_bytes)).collect()
        };
        // Up to register 9 since Linux 5.8, except in the bank of SHA-1.
        let possible: Vec<Digest> =
            [9, 7].into_iter().filter_map(values).map(|values| bank.digest(&values)).collect();
        if possible.is_empty() {
            return false;
        }
        if path.as_ref() != BOOT_AGGREGATE || !possible.contains(&digest.digest) {
            let detail = format!(
                "the list begins with {} {}, and the quoted registers make {}",
                shown(path),
                digest.digest,
                possible.first().map(Digest::to_string).unwrap_or_default()
            );
            self.object(Check::BootAggregate, detail);
            return path.as_ref() == BOOT_AGGREGATE;
        }
        let allowed = self.reference.boot.get(&bank);
        let allowed = allowed.is_some_and(|allowed| (0..=7).all(|pcr| allowed.contains_key(&pcr)));
        allowed && entry.template_digest(self.reference.policies.log_hash()) == entry.template_hash
    }

    fn object(&mut self, check: Check, detail: String) {
        self.objections.add_at(self.number, check, detail);
    }

    fn end(self, first: u64, listed_before: u64) -> Outcome {
        let appraised = self.number - first;
        let Some((next_entry, pcr10)) = self.met else {
            let detail = match self.replay.values().is_empty() {
                true => "the quote covers register 10 of no bank".to_owned(),
                false => format!(
                    "{appraised} entries were replayed, and none leads to the quoted register 10"
                ),
            };
            self.objections.add(Check::ImaReplay, detail);
            return Outcome { appraised, ..Outcome::default() };
        };
        if next_entry < listed_before {
            let detail = format!(
                "the quote covers {next_entry} entries, and the list had {listed_before} in the round before"
            );
            self.objections.add(Check::ImaProgress, detail);
        }
        let hex = |value: Digest| Hex(value.as_bytes().to_vec());
        let state = ListState {
            next_entry,
            listed: self.number,
            pcr10: pcr10.into_iter().map(|(bank, value)| (bank, hex(value))).collect(),
            reference: self.reference.fingerprint(),
            keys: self
                .keys
                .into_iter()
                .filter(|(number, _)| *number < next_entry)
                .map(|(_, key)| key)
                .collect(),
        };
        Outcome { appraised, pending: self.number - next_entry, state: Some(state) }
    }
}

fn add_key(learned: &mut Learned, policy: u32, key: SigningKey) {
    match learned.iter_mut().find(|(number, _)| *number == policy) {
        Some((_, ring)) => ring.add(key),
        None => {
            let mut ring = KeyRing::default();
            ring.add(key);
            learned.push((policy, ring));
        }
    }
}

/// What an entry is about, for people.
fn what(entry: &Entry<'_>) -> String {
    match &entry.event {
        Event::File { path, .. } => shown(path),
        Event::Buffer { name, .. } => format!("a buffer for {}", shown(name)),
    }
}

/// The name of the entry that every list begins with.
const BOOT_AGGREGATE: &[u8] = b"boot_aggregate";
