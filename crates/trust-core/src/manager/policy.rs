//! The rules: how long things last, how fast trust is lost, who decides.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ringmail_model::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::subject::Standing;
use crate::limits::{LEASE_LASTS_S, POLICY_NAMES, SVID_LASTS_S};

/// The trust policy of a domain. Every key may be left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "ringmail trust policy")]
pub struct Policy {
    /// Clients (`spiffe://DOMAIN/client/NAME`) that may change things.
    pub operators: BTreeSet<Name>,
    /// Clients that may look at everything, the audit log included.
    pub auditors: BTreeSet<Name>,
    /// How long a certificate holds.
    pub svid_s: u64,
    /// How long a lease of standing holds, from the moment at which its holder asked.
    pub lease_s: u64,
    /// How often a host has to show evidence.
    pub attest_every_s: u64,
    /// How old a host's evidence may be when something is issued upon it.
    pub evidence_fresh_s: u64,
    /// What follows from silence: seconds since the last good evidence.
    pub silence: StagesS,
    /// What follows from evidence that is refused: how many times in a row.
    pub refused: Stages,
    /// Who decides that a host or function that was revoked may come back.
    pub recovery: Recovery,
    /// The functions that may have an identity, and where.
    pub functions: BTreeMap<Name, Placement>,
}

/// Where a function may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Placement {
    /// The hosts; none named is any.
    pub hosts: BTreeSet<Name>,
}

/// After how many seconds which stage is reached. A stage that is left out is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StagesS {
    /// Until it is seen in reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn_s: Option<u64>,
    /// Until it gets nothing new and is taken out of its paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine_s: Option<u64>,
    /// Until all that it has is revoked.
    pub revoke_s: u64,
}

/// After how many times which stage is reached. A stage that is left out is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stages {
    /// Until it is seen in reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn: Option<u32>,
    /// Until it gets nothing new and is taken out of its paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<u32>,
    /// Until all that it has is revoked.
    pub revoke: u32,
}

/// How a host or function that was revoked comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Recovery {
    /// By good evidence and an operator's word.
    Operator,
    /// By good evidence, unless an operator revoked it.
    Automatic,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            operators: BTreeSet::new(),
            auditors: BTreeSet::new(),
            svid_s: 300,
            lease_s: 60,
            attest_every_s: 60,
            evidence_fresh_s: 120,
            silence: StagesS { warn_s: Some(90), quarantine_s: Some(180), revoke_s: 300 },
            refused: Stages { warn: None, quarantine: None, revoke: 1 },
            recovery: Recovery::Operator,
            functions: BTreeMap::new(),
        }
    }
}

/// Why a policy makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Something lasts too short or too long.
    #[error("`{key}` is {found}, and may be {from} to {to}")]
    Range {
        /// Which key.
        key: &'static str,
        /// Its value.
        found: u64,
        /// The least.
        from: u64,
        /// The most.
        to: u64,
    },
    /// Stages that are not in their order.
    #[error("`{0}`: warn comes before quarantine, and quarantine before revoke")]
    Order(&'static str),
    /// More names than a policy may have.
    #[error("the policy names more than {POLICY_NAMES} functions or clients")]
    TooMany,
}

impl Policy {
    /// Whether it makes sense.
    ///
    /// # Errors
    /// [`PolicyError`], the first.
    pub fn check(&self) -> Result<(), PolicyError> {
        let within = |key, found, range: std::ops::RangeInclusive<u64>| match range.contains(&found)
        {
            true => Ok(()),
            false => Err(PolicyError::Range { key, found, from: *range.start(), to: *range.end() }),
        };
        within("svid_s", self.svid_s, SVID_LASTS_S)?;
        within("lease_s", self.lease_s, LEASE_LASTS_S)?;
        within("attest_every_s", self.attest_every_s, 1..=86_400)?;
        within("evidence_fresh_s", self.evidence_fresh_s, self.attest_every_s..=172_800)?;
        within("silence.revoke_s", self.silence.revoke_s, self.attest_every_s..=604_800)?;
        let ordered = |stages: [Option<u64>; 3]| stages.iter().flatten().is_sorted();
        let StagesS { warn_s, quarantine_s, revoke_s } = self.silence;
        if !ordered([warn_s, quarantine_s, Some(revoke_s)]) {
            return Err(PolicyError::Order("silence"));
        }
        let Stages { warn, quarantine, revoke } = self.refused;
        if !ordered([warn, quarantine, Some(revoke)].map(|times| times.map(u64::from))) {
            return Err(PolicyError::Order("refused"));
        }
        within("refused.revoke", revoke.into(), 1..=1_000)?;
        let names = self.functions.len() + self.operators.len() + self.auditors.len();
        if names > POLICY_NAMES { Err(PolicyError::TooMany) } else { Ok(()) }
    }

    /// Whether a function may be on a host.
    pub(super) fn places(&self, function: &Name, host: &Name) -> bool {
        let placement = self.functions.get(function);
        placement.is_some_and(|place| place.hosts.is_empty() || place.hosts.contains(host))
    }
}

impl StagesS {
    /// The stage that this much silence reaches, if any.
    pub(super) fn reached(&self, silent: Duration) -> Option<Standing> {
        let past = |after_s: Option<u64>| {
            after_s.is_some_and(|after_s| silent >= Duration::from_secs(after_s))
        };
        if past(Some(self.revoke_s)) {
            Some(Standing::Revoked)
        } else if past(self.quarantine_s) {
            Some(Standing::Quarantined)
        } else if past(self.warn_s) {
            Some(Standing::Warned)
        } else {
            None
        }
    }

    /// How much silence the stage after this one takes, if one comes after.
    pub(super) fn next(&self, standing: Standing) -> Option<Duration> {
        let (warn, quarantine, revoke) = (self.warn_s, self.quarantine_s, Some(self.revoke_s));
        let after_s = match standing {
            Standing::Trusted => warn.or(quarantine).or(revoke),
            Standing::Warned => quarantine.or(revoke),
            Standing::Quarantined => revoke,
            Standing::Enrolling | Standing::Revoked | Standing::Recovering => None,
        };
        after_s.map(Duration::from_secs)
    }
}

impl Stages {
    /// The stage that this many refusals in a row reach, if any.
    pub(super) fn reached(&self, refusals: u32) -> Option<Standing> {
        let past = |after: Option<u32>| after.is_some_and(|after| refusals >= after);
        if past(Some(self.revoke)) {
            Some(Standing::Revoked)
        } else if past(self.quarantine) {
            Some(Standing::Quarantined)
        } else if past(self.warn) {
            Some(Standing::Warned)
        } else {
            None
        }
    }
}
