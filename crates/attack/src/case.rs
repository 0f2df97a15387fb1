//! What a case is: an attack, the row of the paper's Table I that it is about, and the defence that repels it.

use anyhow::Result;
use ringmail_model::defence::Defence;

use crate::lab::Lab;

/// A row of Table I of Bradatsch et al., "Secure Service Function Chaining in the Context of Zero Trust Security".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    MultiProtocol,
    Unaware,
    IntrusiveClassification,
    Leak,
    Spoof,
    Metadata,
    SfcIntegrity,
    ProofOfTransit,
    Authentication,
    LeastPrivilege,
    Confidentiality,
    Integrity,
    Availability,
    ForwardSecrecy,
    Visibility,
    MicroSegmentation,
}

impl Row {
    /// Every row, in the table's order.
    pub(crate) const ALL: [Row; 16] = [
        Row::MultiProtocol,
        Row::Unaware,
        Row::IntrusiveClassification,
        Row::Leak,
        Row::Spoof,
        Row::Metadata,
        Row::SfcIntegrity,
        Row::ProofOfTransit,
        Row::Authentication,
        Row::LeastPrivilege,
        Row::Confidentiality,
        Row::Integrity,
        Row::Availability,
        Row::ForwardSecrecy,
        Row::Visibility,
        Row::MicroSegmentation,
    ];

    /// As the table has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Row::MultiProtocol => "Multi-Protocol Support",
            Row::Unaware => "SFC-unaware SFs",
            Row::IntrusiveClassification => "Intrusive Classification",
            Row::Leak => "Leak Protection",
            Row::Spoof => "Spoof Resistant",
            Row::Metadata => "Metadata Protection",
            Row::SfcIntegrity => "SFC Integrity",
            Row::ProofOfTransit => "Proof of Transit",
            Row::Authentication => "Authentication",
            Row::LeastPrivilege => "Least-Privilege Authorization",
            Row::Confidentiality => "Confidentiality",
            Row::Integrity => "Integrity",
            Row::Availability => "Resilience/Availability",
            Row::ForwardSecrecy => "Perfect Forward Secrecy",
            Row::Visibility => "Pervasive Network Visibility",
            Row::MicroSegmentation => "Micro-Segmentation",
        }
    }
}

/// What a profile has to have for a case to be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// Every profile repels it.
    Always,
    /// Profiles with NSH repel it; without, it is tried all the same, to see that it bites.
    WithNsh,
}

/// How the defence is taken away.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Switch {
    /// In elements that run.
    Off(&'static [Defence]),
    /// The same, and these elements are started again with it: it acts when they start.
    AtStart(&'static [Defence], &'static [&'static str]),
    /// Settings of a namespace's kernel: each with dots, its value, and that without the defence.
    Kernel(&'static str, &'static [(&'static str, [&'static str; 2])]),
}

impl Switch {
    /// For the report.
    pub(crate) fn name(self) -> String {
        match self {
            Switch::Off(defences) | Switch::AtStart(defences, _) => names(defences),
            Switch::Kernel(namespace, settings) => {
                let each = settings.iter().map(|(key, [with, _])| format!("{key} = {with}"));
                format!("{} in {namespace}", each.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// Their names, for the report.
pub(crate) fn names(defences: &[Defence]) -> String {
    defences.iter().map(|defence| defence.name()).collect::<Vec<_>>().join(", ")
}

/// What became of an attack.
#[derive(Debug)]
pub(crate) struct Trial {
    /// Whether it was repelled.
    pub(crate) held: bool,
    /// In one sentence.
    pub(crate) observed: String,
}

impl Trial {
    /// Repelled unless `succeeded`.
    pub(crate) fn of(succeeded: bool, observed: impl Into<String>) -> Trial {
        Trial { held: !succeeded, observed: observed.into() }
    }
}

/// One attack. `run` first sees what is honest pass in the same place, and fails where it does not.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) attack: &'static str,
    pub(crate) row: Row,
    pub(crate) claimed: Claimed,
    /// Defences that the attacker has overcome already: they are off both times where there are switches, so that it is
    /// seen that the one behind them repels him.
    pub(crate) given: &'static [Defence],
    pub(crate) switch: Option<Switch>,
    pub(crate) expected: &'static str,
    pub(crate) run: fn(&mut Lab) -> Result<Trial>,
}
