//! What came of an appraisal: nothing to object to, or each check that failed, by a name that stays, with whose fault it is
//! and what to do.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::tpm::ClockInfo;
use crate::limits;

/// The name of the document's form.
pub const SCHEMA: &str = "ringmail.host-verdict/1";

/// What an appraisal says of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostVerdict {
    /// [`SCHEMA`].
    pub schema: String,
    /// Whether every check passed.
    pub trusted: bool,
    /// The checks that failed, in the order in which they were made; the first 64.
    pub failed: Vec<FailedCheck>,
    /// How many more failed.
    pub failed_more: u64,
    /// Whether nothing speaks against the host but that it did not send its whole list: ask again from entry 0.
    pub ask_again: bool,
    /// Entries of the list that were appraised in this round.
    pub entries_appraised: u64,
    /// Those of them that the quote does not cover yet: the list grew between the quote and its reading.
    pub entries_pending: u64,
    /// The TPM's clock and counters, where the quote holds.
    pub clock: Option<ClockInfo>,
}

/// A check that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailedCheck {
    /// Which.
    pub check: Check,
    /// Whose fault it is.
    pub fault: Fault,
    /// What was found, with what the host said made printable and cut.
    pub detail: String,
    /// What to do.
    pub hint: String,
    /// The entry of the measurement list that it is about, counted from 0 over the boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<u64>,
}

/// Whose fault a failed check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The host is not what it should be, or somebody speaks in its place.
    Host,
    /// The agent sent what no agent should send: an old release, or a wrong setting.
    Agent,
    /// The verifier's own reference values: no host could pass.
    Reference,
}

macro_rules! checks {
    ($($variant:ident $name:literal $fault:ident $hint:literal #[doc = $doc:literal])*) => {
        /// A check of an appraisal. Names stay: programs act on them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Check {
            $(#[doc = $doc] #[serde(rename = $name)] $variant,)*
        }

        impl Check {
            /// Each.
            pub const ALL: &[Check] = &[$(Check::$variant),*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Check::$variant => $name),* }
            }

            /// Whose fault it is when it fails.
            pub fn fault(self) -> Fault {
                match self { $(Check::$variant => Fault::$fault),* }
            }

            /// What to do when it fails.
            pub fn hint(self) -> &'static str {
                match self { $(Check::$variant => $hint),* }
            }
        }
    };
}

checks! {
    AkEnrolled "ak-enrolled" Host
        "enrol the host again if its TPM was replaced or its attestation key made anew"
        #[doc = "The key that signed is the one that was enrolled."]
    AkRestricted "ak-restricted" Host
        "make the attestation key restricted, fixed to its TPM, and for signing only"
        #[doc = "The key signs only what its TPM made, and never leaves it."]
    QuoteForm "quote-form" Agent
        "send TPMS_ATTEST and TPMT_SIGNATURE as TPM2_Quote returned them"
        #[doc = "The quote and its signature can be read, and a TPM made the quote."]
    QuoteSignature "quote-signature" Host
        "find out who changed the quote or signed it with another key"
        #[doc = "The signature over the quote holds."]
    QuoteNonce "quote-nonce" Host
        "answer with a quote over the verifier's newest nonce; a quote that was recorded is never taken"
        #[doc = "The quote is over the nonce that was asked."]
    QuoteAge "quote-age" Host
        "ask again; raise max_quote_age_ms if the host's TPM is that slow"
        #[doc = "The answer came in time."]
    QuoteClock "quote-clock" Host
        "find out why the TPM's clock went back without a reset; a quote was kept back, or the TPM is another"
        #[doc = "The TPM's clock and its count of restarts never go back within a boot."]
    QuoteBoot "quote-boot" Host
        "find out where a quote of an earlier boot comes from; enrol the host again if its TPM was cleared"
        #[doc = "The TPM's count of resets never goes back."]
    PcrSelected "pcr-selected" Agent
        "quote every register that the reference values name, and register 10, of each bank that is required"
        #[doc = "The quote covers the registers that are needed."]
    PcrValues "pcr-values" Host
        "send the values that the registers had when the quote was made"
        #[doc = "The values that were sent are those that were quoted."]
    BootPcr "boot-pcr" Host
        "compare firmware, boot loader and kernel with the golden host's, or add the new value to the reference values"
        #[doc = "The registers of the boot have values that the reference values allow."]
    BootAggregate "boot-aggregate" Host
        "find out why the list begins with the boot of another host or another time"
        #[doc = "The list's first entry is the digest of the quoted registers 0 to 9."]
    ImaForm "ima-form" Agent
        "send the list as the kernel shows it, in whole entries, of templates that are known"
        #[doc = "The measurement list can be read."]
    ImaOffset "ima-offset" Agent
        "send the whole list, from entry 0"
        #[doc = "The list begins where the verifier stopped, or at the boot."]
    ImaPcr "ima-pcr" Host
        "set CONFIG_IMA_MEASURE_PCR_IDX to 10, and remove `pcr=` from the kernel's IMA policy"
        #[doc = "Every entry is for register 10."]
    ImaTemplateHash "ima-template-hash" Host
        "find out who edited the list; if the kernel hashes entries otherwise, say so as log_hash_alg in the policy"
        #[doc = "Every entry hashes to what the list says of it."]
    ImaReplay "ima-replay" Host
        "find out who removed, added, edited or moved entries of the list"
        #[doc = "The list, replayed, gives the quoted register 10 in each bank."]
    ImaProgress "ima-progress" Host
        "find out why the TPM did not take what the kernel had measured"
        #[doc = "The quote covers all that the list held in the round before."]
    ImaViolation "ima-violation" Host
        "keep files from being written while they are read as code, or allow violations"
        #[doc = "Nothing was changed while it was measured."]
    ImaUnknownFile "ima-unknown-file" Host
        "remove the file, or add it to a runtime policy of the host"
        #[doc = "Every measured file is in a policy."]
    ImaFileDigest "ima-file-digest" Host
        "restore the file, or add its digest to a runtime policy of the host"
        #[doc = "Every measured file has a digest that a policy allows."]
    ImaKeyring "ima-keyring" Host
        "find out who loaded the key, or add its digest to `keyrings` of a runtime policy"
        #[doc = "Every key that was loaded to a keyring is one that a policy allows."]
    ImaBuffer "ima-buffer" Host
        "add the buffer's digest to `ima-buf` of a runtime policy"
        #[doc = "Every measured buffer is one that a policy allows."]
    PolicyPresent "policy-present" Reference
        "give the host at least one runtime policy"
        #[doc = "There is a policy at all."]
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for FailedCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.detail)
    }
}

impl HostVerdict {
    /// Whether a check failed.
    pub fn has_failed(&self, check: Check) -> bool {
        self.failed.iter().any(|failed| failed.check == check)
    }
}

/// Collects failed checks up to the limit.
#[derive(Debug, Default)]
pub(crate) struct Objections {
    failed: Vec<FailedCheck>,
    more: u64,
}

impl Objections {
    pub(crate) fn add(&mut self, check: Check, detail: impl Into<String>) {
        self.push(check, detail.into(), None);
    }

    pub(crate) fn add_at(&mut self, entry: u64, check: Check, detail: impl Into<String>) {
        self.push(check, detail.into(), Some(entry));
    }

    fn push(&mut self, check: Check, detail: String, entry: Option<u64>) {
        if self.failed.len() == limits::FAILED_CHECKS {
            self.more += 1;
            return;
        }
        let (fault, hint) = (check.fault(), check.hint().to_owned());
        self.failed.push(FailedCheck { check, fault, detail, hint, entry });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.failed.is_empty()
    }

    pub(crate) fn only(&self, check: Check) -> bool {
        !self.is_empty() && self.more == 0 && self.failed.iter().all(|failed| failed.check == check)
    }

    pub(crate) fn into_parts(self) -> (Vec<FailedCheck>, u64) {
        (self.failed, self.more)
    }
}

/// What a host said, fit to be shown: printable, and cut.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown: String = text
        .chars()
        .take(limits::DETAIL_BYTES)
        .map(|char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char })
        .collect();
    if text.chars().nth(limits::DETAIL_BYTES).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Check, shown};

    #[test]
    fn every_check_has_a_name_of_its_own_that_json_uses() {
        let names: BTreeSet<&str> = Check::ALL.iter().map(|check| check.name()).collect();
        assert_eq!(names.len(), Check::ALL.len());
        for check in Check::ALL {
            let text = serde_json::to_string(check).expect("a name");
            assert_eq!(text, format!("\"{check}\""));
            assert!(!check.hint().is_empty() && !check.hint().ends_with('.'));
        }
    }

    #[test]
    fn what_a_host_says_is_cut_and_cannot_drive_a_terminal() {
        assert_eq!(shown(b"/bin/\x1b[31mls"), "/bin/\u{fffd}[31mls");
        assert_eq!(shown(&[b'a'; 600]).chars().count(), 513);
    }
}
