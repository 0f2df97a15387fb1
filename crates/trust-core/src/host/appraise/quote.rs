//! The quote: its key, signature, nonce, age, counters, and the registers that it covers.

use super::Round;
use crate::host::evidence::HostEvidence;
use crate::host::reference::HostReference;
use crate::host::state::HostState;
use crate::host::tpm::attest::PcrValues;
use crate::host::tpm::{Attributes, ClockInfo, Digest, PcrSelection, Public, Quote, Signature};
use crate::host::verdict::{Check, Objections};
use crate::limits;

/// A quote that could be read.
#[derive(Debug)]
pub(super) struct Quoted {
    /// Whether the enrolled key signed it over this round's nonce: only then it says anything of the host.
    pub(super) authentic: bool,
    pub(super) clock: ClockInfo,
    pub(super) selection: PcrSelection,
    /// The values sent for quoted registers, each of its bank's length.
    pub(super) values: PcrValues,
}

/// What an attestation key must be.
pub(crate) const AK_WANTED: u32 = Attributes::FIXED_TPM
    | Attributes::FIXED_PARENT
    | Attributes::SENSITIVE_DATA_ORIGIN
    | Attributes::RESTRICTED
    | Attributes::SIGN;

pub(super) fn check(
    evidence: &HostEvidence,
    round: &Round<'_>,
    reference: &HostReference,
    state: &HostState,
    objections: &mut Objections,
) -> Option<Quoted> {
    let parsed = Quote::parse(&evidence.quote.0);
    let quote = parsed.map_err(|error| objections.add(Check::QuoteForm, error.to_string())).ok()?;
    let signature = Signature::parse(&evidence.signature.0);
    let signature =
        signature.map_err(|error| objections.add(Check::QuoteForm, error.to_string())).ok()?;
    let signed = check_key(evidence, round, &signature, objections);
    let fresh = check_freshness(&quote, round, reference, objections);
    let authentic = signed && fresh;
    if authentic && let Some(last) = &state.clock {
        check_counters(&quote.clock, last, objections);
    }
    let values = check_values(evidence, &quote, &signature, reference, objections);
    let Quote { clock, selection, .. } = quote;
    Some(Quoted { authentic, clock, selection, values })
}

/// Whether the enrolled key signed the quote.
fn check_key(
    evidence: &HostEvidence,
    round: &Round<'_>,
    signature: &Signature,
    objections: &mut Objections,
) -> bool {
    let key = match Public::parse(&evidence.ak_public.0) {
        Ok(key) => key,
        Err(error) => {
            objections.add(Check::AkEnrolled, error.to_string());
            return false;
        }
    };
    let mut signed = true;
    let name = key.name();
    if name != *round.enrolled {
        let detail = format!("the key's name is {name}, and {} was enrolled", round.enrolled);
        objections.add(Check::AkEnrolled, detail);
        signed = false;
    }
    if let Err(why) = check_attributes(&key) {
        objections.add(Check::AkRestricted, why);
        signed = false;
    }
    if let Err(error) = signature.verify(&key, &evidence.quote.0) {
        objections.add(Check::QuoteSignature, error.to_string());
        signed = false;
    }
    signed
}

/// That a key signs only what its TPM made, and never leaves it.
pub(crate) fn check_attributes(key: &Public) -> Result<(), String> {
    let missing = key.attributes.missing(AK_WANTED);
    if !missing.is_empty() {
        return Err(format!("the attestation key lacks {}", missing.join(", ")));
    }
    match key.attributes.has(Attributes::DECRYPT) {
        true => Err("the attestation key decrypts as well".to_owned()),
        false => Ok(()),
    }
}

fn check_freshness(
    quote: &Quote,
    round: &Round<'_>,
    reference: &HostReference,
    objections: &mut Objections,
) -> bool {
    let nonce = &round.challenge.nonce.0;
    let mut fresh = true;
    if nonce.len() < limits::NONCE_MIN_BYTES {
        let shortest = limits::NONCE_MIN_BYTES;
        objections
            .add(Check::QuoteNonce, format!("the nonce asked has less than {shortest} bytes"));
        fresh = false;
    }
    if quote.extra_data != *nonce {
        objections.add(Check::QuoteNonce, "the quote is over another nonce than the one asked");
        fresh = false;
    }
    let (issued, received) = (round.challenge.issued_unix_ms, round.received_unix_ms);
    match received.checked_sub(issued) {
        Some(age) if age <= reference.max_quote_age_ms => {}
        Some(age) => {
            let limit = reference.max_quote_age_ms;
            let detail = format!("the answer took {age} ms, and {limit} are allowed");
            objections.add(Check::QuoteAge, detail);
        }
        None => {
            let detail = "the answer came before the question, by the verifier's clock";
            objections.add(Check::QuoteAge, detail);
        }
    }
    fresh
}

fn check_counters(now: &ClockInfo, last: &ClockInfo, objections: &mut Objections) {
    if now.reset_count < last.reset_count {
        let detail =
            format!("reset {} was quoted after reset {}", now.reset_count, last.reset_count);
        objections.add(Check::QuoteBoot, detail);
    } else if now.reset_count == last.reset_count {
        if now.clock_ms < last.clock_ms {
            let detail = format!("{} ms was quoted after {} ms", now.clock_ms, last.clock_ms);
            objections.add(Check::QuoteClock, detail);
        }
        if now.restart_count < last.restart_count {
            let (now, last) = (now.restart_count, last.restart_count);
            objections
                .add(Check::QuoteClock, format!("restart {now} was quoted after restart {last}"));
        }
    }
}

fn check_values(
    evidence: &HostEvidence,
    quote: &Quote,
    signature: &Signature,
    reference: &HostReference,
    objections: &mut Objections,
) -> PcrValues {
    // Values of a wrong length could share one digest with others: each is held to its bank's.
    let mut values = PcrValues::new();
    for (bank, pcr) in quote.selection.iter() {
        let sent = evidence.pcrs.get(&bank).and_then(|registers| registers.get(&pcr));
        match sent {
            Some(value) if value.0.len() == bank.len_bytes() => {
                values.entry(bank).or_default().insert(pcr, Digest::of(&value.0));
            }
            Some(_) => objections.add(
                Check::PcrValues,
                format!("the value of register {pcr} of bank {bank} has not the bank's length"),
            ),
            None => objections.add(
                Check::PcrValues,
                format!("register {pcr} of bank {bank} was quoted, and its value was not sent"),
            ),
        }
    }
    match quote.selection.digest(signature.hash, &values) {
        Some(digest) if digest == quote.pcr_digest => {}
        Some(_) => objections.add(Check::PcrValues, "the values are not those that were quoted"),
        // Named above.
        None => {}
    }
    check_registers(quote, &values, reference, objections);
    values
}

fn check_registers(
    quote: &Quote,
    values: &PcrValues,
    reference: &HostReference,
    objections: &mut Objections,
) {
    for (bank, registers) in reference.wanted_registers() {
        for pcr in registers {
            if !quote.selection.has(bank, pcr) {
                let detail = format!("register {pcr} of bank {bank} is not in the quote");
                objections.add(Check::PcrSelected, detail);
            }
        }
    }
    for (bank, registers) in &reference.boot {
        for (pcr, allowed) in registers {
            let value = values.get(bank).and_then(|values| values.get(pcr));
            if let Some(value) = value.filter(|value| !allowed.contains(value)) {
                let detail = format!("register {pcr} of bank {bank} holds {value}");
                objections.add(Check::BootPcr, detail);
            }
        }
    }
}
