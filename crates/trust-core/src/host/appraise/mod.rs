//! Appraisal of a host's evidence: every check that can be made is made, so that a verdict names all that is wrong.

mod list;
mod quote;

pub(crate) use quote::check_attributes;

use super::evidence::{Challenge, HostEvidence};
use super::reference::HostReference;
use super::state::HostState;
use super::tpm::TpmName;
use super::verdict::{Check, HostVerdict, Objections, SCHEMA};
use list::Outcome;

/// What evidence is measured against in one round, besides reference values.
#[derive(Clone, Copy, Debug)]
pub struct Round<'a> {
    /// The attestation key that was enrolled for the host.
    pub enrolled: &'a TpmName,
    /// What was asked.
    pub challenge: &'a Challenge,
    /// When the answer came, in milliseconds since 1970, by the clock of the challenge.
    pub received_unix_ms: u64,
}

/// What came of an appraisal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appraisal {
    /// For everyone.
    pub verdict: HostVerdict,
    /// For the verifier's next round with this host. After a failed check the list is asked for from its start.
    pub state: HostState,
}

/// Appraises what a host sent. `state` is what the last appraisal of it returned.
pub fn appraise(
    evidence: &HostEvidence,
    round: &Round<'_>,
    reference: &HostReference,
    state: &HostState,
) -> Appraisal {
    let mut objections = Objections::default();
    if reference.policies.is_empty() {
        objections.add(Check::PolicyPresent, "the host has no runtime policy");
    }
    let quoted = quote::check(evidence, round, reference, state, &mut objections);
    let outcome = match &quoted {
        Some(quoted) => list::check(evidence, quoted, reference, state, &mut objections),
        None => Outcome::default(),
    };
    let trusted = objections.is_empty();
    let authentic = quoted.as_ref().filter(|quoted| quoted.authentic).map(|quoted| quoted.clock);
    let next =
        HostState { clock: authentic.or(state.clock), list: outcome.state.filter(|_| trusted) };
    let ask_again = objections.only(Check::ImaOffset);
    let (failed, failed_more) = objections.into_parts();
    let verdict = HostVerdict {
        schema: SCHEMA.to_owned(),
        trusted,
        failed,
        failed_more,
        ask_again,
        entries_appraised: outcome.appraised,
        entries_pending: outcome.pending,
        clock: authentic,
    };
    Appraisal { verdict, state: next }
}
