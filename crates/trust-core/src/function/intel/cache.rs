//! What Intel says of platforms, kept: for quotes that come without it, and so that nobody can hide the newest behind older
//! words that are still in date.

use std::collections::BTreeMap;

use dcap_qvl::quote::Quote;
use serde::Deserialize;

use super::backend::Backend;
use super::collateral::Dates;
use crate::function::evidence::{FunctionEvidence, IntelCollateral, Proof};
use crate::function::verdict::{CheckName, CheckOutcome, FunctionVerdict};
use crate::limits::COLLATERALS;

/// The newest collateral of each model of platform.
#[derive(Clone, Debug, Default)]
pub struct CollateralCache {
    newest: BTreeMap<Model, (Age, IntelCollateral)>,
}

/// SGX or TDX, and the model of the platform (FMSPC).
type Model = (bool, [u8; 6]);

/// How new collateral is: Intel's number of the evaluation, then when the oldest part was issued.
type Age = (u32, u64);

#[derive(Deserialize)]
struct Named {
    id: String,
    fmspc: String,
}

impl CollateralCache {
    /// Gives evidence the newest collateral that is known for its platform, if what it brings is older or missing. Whether it
    /// is good enough is for the appraisal to say.
    pub fn complete(&self, evidence: &mut FunctionEvidence) {
        let (quote, tdx) = match &mut evidence.proof {
            Proof::Sgx(quote) => (quote, false),
            Proof::Tdx(quote) => (quote, true),
            _ => return,
        };
        let Some(model) = model_of_quote(&quote.quote, tdx) else { return };
        let Some((age, newest)) = self.newest.get(&model) else { return };
        let brought = quote.collateral.as_ref().and_then(age_of);
        if brought.is_none_or(|brought| brought < *age) {
            quote.collateral = Some(newest.clone());
        }
    }

    /// Keeps the collateral of evidence whose signatures were found to hold, if it is newer than what is known. Says whether
    /// it was.
    pub fn learn(&mut self, evidence: &FunctionEvidence, verdict: &FunctionVerdict) -> bool {
        let (quote, tdx) = match &evidence.proof {
            Proof::Sgx(quote) => (quote, false),
            Proof::Tdx(quote) => (quote, true),
            _ => return false,
        };
        let held = |name| {
            let of_it = |check: &&crate::function::verdict::Check| check.check == name;
            let check = verdict.checks.iter().find(of_it);
            check.is_some_and(|check| check.outcome == CheckOutcome::Passed)
        };
        if !held(CheckName::Authentic) || !held(CheckName::Collateral) {
            return false;
        }
        let Some(collateral) = &quote.collateral else { return false };
        let (Some(model), Some(age)) = (model_of(collateral), age_of(collateral)) else {
            return false;
        };
        let known = self.newest.get(&model);
        let room = known.is_some() || self.newest.len() < COLLATERALS;
        if model.0 != tdx || !room || known.is_some_and(|(known, _)| *known >= age) {
            return false;
        }
        self.newest.insert(model, (age, collateral.clone()));
        true
    }

    /// How many models are known.
    pub fn len(&self) -> usize {
        self.newest.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.newest.is_empty()
    }
}

fn age_of(collateral: &IntelCollateral) -> Option<Age> {
    Dates::of(collateral).map(|dates| (dates.evaluation, dates.issued))
}

fn model_of(collateral: &IntelCollateral) -> Option<Model> {
    let Named { id, fmspc } = serde_json::from_str(&collateral.tcb_info).ok()?;
    let digits = fmspc.as_bytes();
    if digits.len() != 12 || !digits.is_ascii() {
        return None;
    }
    let mut model = [0; 6];
    for (nth, byte) in model.iter_mut().enumerate() {
        *byte = u8::from_str_radix(fmspc.get(2 * nth..2 * nth + 2)?, 16).ok()?;
    }
    Some((id == "TDX", model))
}

fn model_of_quote(quote: &[u8], tdx: bool) -> Option<Model> {
    let quote = Quote::parse(quote).ok()?;
    let model = dcap_qvl::intel::quote_fmspc_with::<Backend>(&quote).ok()?;
    Some((tdx, model))
}
