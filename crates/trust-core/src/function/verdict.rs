//! What came of an appraisal: each check by name, whose fault a failed one is, and what helps.

use schemars::JsonSchema;
use serde::Serialize;

use super::claims::{Claims, PlatformId, TcbStatus};
use super::evidence::EvidenceKind;

/// What came of an appraisal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FunctionVerdict {
    /// Whether the function may have the identity that it asks for.
    pub accepted: bool,
    /// Who it wants to be.
    pub spiffe_id: String,
    /// What kind of proof it has.
    pub kind: EvidenceKind,
    /// What keeps others out of it.
    pub protection: Protection,
    /// What everybody who looks at this function has to be told, in red.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<&'static str>,
    /// The reference of the policy that it agrees with, or that comes nearest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The platform's own id, to be paired with the host at enrolment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform_id: Option<PlatformId>,
    /// What the proof says; none where its signatures do not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claims: Option<Claims>,
    /// Every check, in the order in which they were made.
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Check {
    /// Which.
    pub check: CheckName,
    /// How it ended.
    pub outcome: CheckOutcome,
    /// What was found.
    pub found: String,
    /// Whose fault it is, where it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Whose>,
    /// What helps, where it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'static str>,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CheckOutcome {
    /// As it should be.
    Passed,
    /// Not as it should be: the function is refused.
    Failed,
    /// Nothing to compare with was at hand, as offline.
    NotAsked,
}

/// The checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CheckName {
    /// The kind of proof is one that the policy allows.
    Kind,
    /// It answers what was asked.
    Nonce,
    /// It wants to be who it may be.
    SpiffeId,
    /// Its key is the one that asks for a certificate.
    PublicKey,
    /// Its host is the one that was enrolled.
    HostAk,
    /// What the vendor says of the platform is there, in date, and as young as the policy wants.
    Collateral,
    /// The proof has the one form that it can have, and every signature up to the vendor's root, or by the host, holds.
    Authentic,
    /// The proof is bound to nonce, key, name and host.
    Binding,
    /// The platform is the one that was enrolled with the host.
    Platform,
    /// The program stands in the host's accepted measurement list.
    MeasuredByHost,
    /// A reference of the policy is for this name and kind.
    Reference,
    /// Nobody may look inside with a debugger.
    Debug,
    /// It was launched with settings that protect it.
    Configuration,
    /// The platform's firmware is new enough.
    Tcb,
    /// Every advisory that concerns the platform is one that the policy lives with.
    Advisories,
    /// Its code is one that the policy names.
    Measurement,
    /// Its signer is one that the policy names.
    Signer,
    /// Its product and version are what the policy wants.
    Version,
}

/// Whose fault a failed check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Whose {
    /// Who sent the evidence: the function, or somebody who changed it on the way.
    Sender,
    /// Whoever runs the host: firmware, settings, enrolment.
    Host,
    /// Whoever runs the verifier: its collateral is old or missing.
    Verifier,
    /// Whoever wrote the policy, or the function that it does not foresee.
    Policy,
}

/// What keeps others out of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protection {
    /// Nothing: its host can read and change it, and only says that it does not.
    None,
    /// Its host can read it; what runs there is measured under a TPM.
    Measured,
    /// Hardware keeps its host out.
    Hardware,
}

/// What is said of a function that nothing protects, wherever it is shown.
pub const SOFTWARE_WARNING: &str =
    "no hardware protects this function: its host can read its keys and traffic";

impl FunctionVerdict {
    /// Every check that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.outcome == CheckOutcome::Failed)
    }

    /// Whether a check failed.
    pub fn is_failed(&self, name: CheckName) -> bool {
        self.failed().any(|check| check.check == name)
    }

    /// Until when what its vendor says of the platform counts, if there is a vendor: seconds since 1970.
    pub fn collateral_until(&self) -> Option<u64> {
        match self.claims.as_ref()? {
            Claims::Sgx(sgx) => Some(sgx.platform.collateral_until_unix_s),
            Claims::Tdx(tdx) => Some(tdx.platform.collateral_until_unix_s),
            _ => None,
        }
    }

    /// Whether its vendor knows of weaknesses of the platform, accepted or not.
    pub fn lives_with_weaknesses(&self) -> bool {
        let platform = match &self.claims {
            Some(Claims::Sgx(sgx)) => &sgx.platform,
            Some(Claims::Tdx(tdx)) => &tdx.platform,
            _ => return false,
        };
        platform.tcb != TcbStatus::UpToDate || !platform.advisories.is_empty()
    }

    /// One line for a log: the verdict and what failed.
    pub fn summary(&self) -> String {
        let failed: Vec<String> =
            self.failed().map(|check| format!("{}: {}", check.check.name(), check.found)).collect();
        match failed.is_empty() {
            true => format!("{} accepted ({})", self.spiffe_id, self.kind.name()),
            false => {
                format!("{} refused ({}): {}", self.spiffe_id, self.kind.name(), failed.join("; "))
            }
        }
    }
}

impl Whose {
    /// The name that files and logs have.
    pub fn name(self) -> &'static str {
        match self {
            Whose::Sender => "sender",
            Whose::Host => "host",
            Whose::Verifier => "verifier",
            Whose::Policy => "policy",
        }
    }
}

impl Protection {
    /// Of a kind of evidence.
    pub fn of(kind: EvidenceKind) -> Protection {
        match kind {
            EvidenceKind::Sgx | EvidenceKind::Tdx | EvidenceKind::Snp => Protection::Hardware,
            EvidenceKind::Tpm => Protection::Measured,
            EvidenceKind::Software => Protection::None,
        }
    }
}

impl CheckName {
    /// The name that files and logs have.
    pub fn name(self) -> &'static str {
        match self {
            CheckName::Kind => "kind",
            CheckName::Nonce => "nonce",
            CheckName::SpiffeId => "spiffe-id",
            CheckName::PublicKey => "public-key",
            CheckName::HostAk => "host-ak",
            CheckName::Collateral => "collateral",
            CheckName::Authentic => "authentic",
            CheckName::Binding => "binding",
            CheckName::Platform => "platform",
            CheckName::MeasuredByHost => "measured-by-host",
            CheckName::Reference => "reference",
            CheckName::Debug => "debug",
            CheckName::Configuration => "configuration",
            CheckName::Tcb => "tcb",
            CheckName::Advisories => "advisories",
            CheckName::Measurement => "measurement",
            CheckName::Signer => "signer",
            CheckName::Version => "version",
        }
    }
}

/// The checks of one appraisal, as they are made.
#[derive(Clone, Debug, Default)]
pub(super) struct Checks(pub(super) Vec<Check>);

impl Checks {
    pub(super) fn passed(&mut self, check: CheckName, found: impl Into<String>) {
        self.add(check, CheckOutcome::Passed, found.into(), None);
    }

    pub(super) fn not_asked(&mut self, check: CheckName, found: impl Into<String>) {
        self.add(check, CheckOutcome::NotAsked, found.into(), None);
    }

    pub(super) fn failed(
        &mut self,
        check: CheckName,
        fault: Whose,
        found: impl Into<String>,
        hint: &'static str,
    ) {
        self.add(check, CheckOutcome::Failed, found.into(), Some((fault, hint)));
    }

    /// Passed or failed.
    pub(super) fn judge(
        &mut self,
        good: bool,
        check: CheckName,
        found: impl Into<String>,
        fault: Whose,
        hint: &'static str,
    ) {
        match good {
            true => self.passed(check, found),
            false => self.failed(check, fault, found, hint),
        }
    }

    pub(super) fn failures(&self) -> usize {
        self.0.iter().filter(|check| check.outcome == CheckOutcome::Failed).count()
    }

    fn add(
        &mut self,
        check: CheckName,
        outcome: CheckOutcome,
        found: String,
        failed: Option<(Whose, &'static str)>,
    ) {
        let (fault, hint) = failed.unzip();
        self.0.push(Check { check, outcome, found, fault, hint });
    }
}
