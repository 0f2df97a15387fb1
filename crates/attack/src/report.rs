//! What the suite found, as JSON: `ringmail.attack/1`, whose schema is in docs/schema.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;

/// What the suite found.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Report {
    /// `ringmail.attack/1`.
    pub(crate) schema: String,
    /// The profile of the domain that was attacked: `mpls`, `mpls-nsh` or `nsh`.
    pub(crate) profile: String,
    /// Whether each attack was tried a second time with the defence switched off that it is against.
    pub(crate) weakened: bool,
    /// How long it took.
    pub(crate) seconds: f64,
    /// Every attack.
    pub(crate) cases: Vec<Case>,
}

/// One attack.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Case {
    /// Its name.
    pub(crate) attack: String,
    /// What was attacked: `chain`.
    pub(crate) plane: String,
    /// The row of Table I of the paper that it is about.
    pub(crate) row: String,
    /// What should become of it.
    pub(crate) expected: String,
    /// What became of it.
    pub(crate) observed: String,
    /// How that is judged.
    pub(crate) verdict: Verdict,
    /// Where there are switches: the defences that the attacker had overcome already, so that others had to repel him.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) overcome: Option<Vec<String>>,
    /// The same with one defence switched off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) weakened: Option<Weakened>,
}

/// An attack with one defence switched off.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Weakened {
    /// The defence.
    pub(crate) switched_off: String,
    /// What became of the attack.
    pub(crate) observed: String,
    /// How that is judged: `broken` unless the attack is against something else.
    pub(crate) verdict: Verdict,
}

/// How an attack ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// It was repelled.
    Held,
    /// It succeeded.
    Broken,
    /// It succeeded, and the manual says that this is not defended against in this profile.
    NotClaimed,
    /// It could not be tried: what is honest did not pass either.
    Inconclusive,
}

impl Verdict {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Verdict::Held => "held",
            Verdict::Broken => "broken",
            Verdict::NotClaimed => "not-claimed",
            Verdict::Inconclusive => "inconclusive",
        }
    }
}

/// What an attack with its defence switched off has to end in.
pub(crate) const WITHOUT_DEFENCE: Verdict = Verdict::Broken;

impl Report {
    /// Cases that could not be tried, or that their switch makes no difference to: the suite's own faults.
    pub(crate) fn faults(&self) -> usize {
        let fault = |case: &&Case| {
            let toothless = |weak: &Weakened| weak.verdict != WITHOUT_DEFENCE;
            case.verdict == Verdict::Inconclusive || case.weakened.as_ref().is_some_and(toothless)
        };
        self.cases.iter().filter(fault).count()
    }

    /// Attacks that succeeded and should not have.
    pub(crate) fn broken(&self) -> usize {
        self.cases.iter().filter(|case| case.verdict == Verdict::Broken).count()
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for case in &self.cases {
            let Case { attack, row, observed, verdict, .. } = case;
            let _ =
                writeln!(text, "{:<12} {attack} ({row})\n             {observed}", verdict.name());
            if let Some(weak) = &case.weakened {
                let Weakened { switched_off, observed, verdict } = weak;
                let _ = writeln!(
                    text,
                    "             without {switched_off}: {}: {observed}",
                    verdict.name()
                );
            }
        }
        let of = |verdict| self.cases.iter().filter(|case| case.verdict == verdict).count();
        let _ = writeln!(
            text,
            "{} attacks on profile {}: {} held, {} broken, {} not claimed, {} inconclusive; {:.0} s",
            self.cases.len(),
            self.profile,
            of(Verdict::Held),
            of(Verdict::Broken),
            of(Verdict::NotClaimed),
            of(Verdict::Inconclusive),
            self.seconds
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(verdict: Verdict, weakened: Option<Verdict>) -> Case {
        let word = || "x".to_owned();
        let weak = |verdict| Weakened { switched_off: word(), observed: word(), verdict };
        Case {
            attack: word(),
            plane: word(),
            row: word(),
            expected: word(),
            observed: word(),
            verdict,
            overcome: None,
            weakened: weakened.map(weak),
        }
    }

    #[test]
    fn an_attack_that_no_switch_lets_through_is_a_fault_of_the_suite() {
        let of = |cases| Report { cases, ..Report::default() };
        let good =
            of(vec![case(Verdict::Held, Some(Verdict::Broken)), case(Verdict::NotClaimed, None)]);
        assert_eq!((good.faults(), good.broken()), (0, 0));
        let toothless = of(vec![case(Verdict::Held, Some(Verdict::Held))]);
        assert_eq!((toothless.faults(), toothless.broken()), (1, 0));
        let untried = of(vec![case(Verdict::Inconclusive, None), case(Verdict::Broken, None)]);
        assert_eq!((untried.faults(), untried.broken()), (1, 1));
    }

    #[test]
    fn the_schema_is_the_committed_one() {
        let mut schema = schemars::SchemaGenerator::default().into_root_schema_for::<Report>();
        schema.insert("$id".into(), "ringmail.attack/1".into());
        schema.insert("title".into(), "ringmail.attack/1".into());
        let text = serde_json::to_string_pretty(&schema).expect("JSON") + "\n";
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let file = root.join("docs/schema/ringmail.attack.1.json");
        if std::env::var_os("RINGMAIL_UPDATE").is_some() {
            std::fs::write(&file, &text).expect("it can be written");
        }
        let committed = std::fs::read_to_string(&file).expect("the schema is committed");
        assert_eq!(committed, text, "RINGMAIL_UPDATE=1 writes it anew");
    }
}
