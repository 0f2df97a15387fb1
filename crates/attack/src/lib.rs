//! The adversarial suite: a live domain, and every attack that the project says it withstands, tried on it.
//!
//! ```text
//!  client ── outside ── gateway ══ attacker's switch ══ hops ══ egress ── services of the suite
//!    ▲ hostile clients, strangers      ▲ captures, alters, drops, repeats, delays, injects      ▲ say what arrived
//! ```
//!
//! A case sees what is honest pass, attacks in the same place, and judges by what arrived at the service and by the
//! elements' own counters. With `--weaken` each attack is tried again with the one defence switched off that it is
//! against, and has to succeed then: an attack that never succeeds proves nothing.

mod case;
mod cases;
mod client;
mod domain;
mod forge;
mod lab;
mod machines;
mod origin;
mod report;
pub mod switches;
mod wire;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use ringmail_model::defence::Defence;
use ringmail_model::domain::Profile;

use self::case::{Case, Claimed, Row, Switch, Trial};
use self::lab::Lab;
use self::report::{Report, Verdict, Weakened};

const USAGE: &str = "\
usage: cargo xtask attack [--profile NAME] [--case NAME] [--weaken] [--output text|json] [--list]

  --profile NAME   of the domain that is attacked: mpls, mpls-nsh (unless said), nsh; with `+rfc9145` codes are those
                   of RFC 9145
  --case NAME      attacks whose name begins so, and no others
  --weaken         each attack again with the defence switched off that it is against: it has to succeed then.
                   Builds the program a second time, with switches that no release has
  --output FORMAT  text for people, or json: ringmail.attack/1 (text)
  --list           the attacks, without trying them

Exit code 3 when an attack succeeds that should not; 1 when one could not be tried, or its switch makes no difference.
";

/// What domains can be attacked.
const PROFILES: [&str; 5] = ["mpls", "mpls-nsh", "nsh", "mpls-nsh+rfc9145", "nsh+rfc9145"];

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Options {
    profile: String,
    case: Option<String>,
    weaken: bool,
    json: bool,
    list: bool,
}

impl Options {
    /// `None`: the usage is wanted.
    fn of(args: &[String]) -> Result<Option<Options>> {
        let (case, weaken, json, list) = Default::default();
        let mut options = Options { profile: "mpls-nsh".to_owned(), case, weaken, json, list };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value =
                || args.next().with_context(|| format!("`{arg}` needs a value\n{USAGE}"));
            match arg.as_str() {
                "--profile" => options.profile = value()?.clone(),
                "--case" => options.case = Some(value()?.clone()),
                "--output" => {
                    options.json = match value()?.as_str() {
                        "json" => true,
                        "text" => false,
                        other => bail!("--output is text or json, not `{other}`\n{USAGE}"),
                    }
                }
                "--weaken" => options.weaken = true,
                "--list" => options.list = true,
                "--help" | "-h" => return Ok(None),
                other => bail!("`{other}` is not known\n{USAGE}"),
            }
        }
        let known = PROFILES.contains(&options.profile.as_str());
        ensure!(known, "--profile is one of {}\n{USAGE}", PROFILES.join(", "));
        Ok(Some(options))
    }
}

/// Runs the suite with these arguments against elements of this program.
pub fn main(args: &[String], program: &Path) -> ExitCode {
    let options = match Options::of(args) {
        Ok(Some(options)) => options,
        Ok(None) => {
            eprint!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::from(2);
        }
    };
    match run(&options, program) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the report is this program's output")]
fn run(options: &Options, program: &Path) -> Result<ExitCode> {
    let named = |case: &Case| {
        options.case.as_ref().is_none_or(|name| case.attack.starts_with(name.as_str()))
    };
    let cases: Vec<Case> = cases::all().into_iter().filter(named).collect();
    ensure!(!cases.is_empty(), "no attack has a name that begins so; --list names them");
    if options.list {
        cases.iter().for_each(|case| println!("{:<48} {}", case.attack, case.row.name()));
        let uncovered = Row::ALL.iter().filter(|row| cases.iter().all(|case| case.row != **row));
        uncovered.for_each(|row| println!("{:<48} {}", "(none yet)", row.name()));
        return Ok(ExitCode::SUCCESS);
    }
    let can = ringmail_model::defence::CAN_BE_WEAKENED;
    ensure!(
        can || !options.weaken,
        "this build has no switches: `cargo xtask attack --weaken` makes one that has"
    );
    let report = attack(options, &cases, program)?;
    match options.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => print!("{}", report.text()),
    }
    Ok(match (report.faults(), report.broken()) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::from(3),
        _ => ExitCode::FAILURE,
    })
}

fn attack(options: &Options, cases: &[Case], program: &Path) -> Result<Report> {
    let started = Instant::now();
    let mut lab = Lab::up(&options.profile, program, options.weaken)?;
    let mut report = Report {
        schema: "ringmail.attack/1".to_owned(),
        profile: options.profile.clone(),
        weakened: options.weaken,
        ..Report::default()
    };
    for case in cases {
        let begun = Instant::now();
        let (verdict, observed) = judged(case, &options.profile, trial(case, &mut lab));
        let weakened = options.weaken.then(|| weakened(case, &mut lab)).flatten();
        let says =
            weakened.as_ref().map(|weak| format!(", without its defence {}", weak.verdict.name()));
        let seconds = begun.elapsed().as_secs_f64();
        eprintln!(
            "attack: {}: {}{} ({seconds:.1} s)",
            case.attack,
            verdict.name(),
            says.unwrap_or_default()
        );
        report.cases.push(report::Case {
            attack: case.attack.to_owned(),
            plane: "chain".to_owned(),
            row: case.row.name().to_owned(),
            expected: case.expected.to_owned(),
            observed,
            verdict,
            overcome: options
                .weaken
                .then(|| case.given.iter().map(|it| it.name().to_owned()).collect()),
            weakened,
        });
    }
    lab.down()?;
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// Tries an attack, and leaves the domain as honest as it was.
fn trial(case: &Case, lab: &mut Lab) -> Result<Trial> {
    lab.whole()?;
    lab.take_away(case.given, &[])?;
    let trial = (case.run)(lab);
    lab.calm();
    lab.take_away(&[], &[])?;
    trial
}

fn judged(case: &Case, profile: &str, trial: Result<Trial>) -> (Verdict, String) {
    let unclaimed = case.claimed == Claimed::WithNsh && profile == "mpls";
    match trial {
        Ok(Trial { held: true, observed }) => (Verdict::Held, observed),
        Ok(Trial { observed, .. }) if unclaimed => (Verdict::NotClaimed, observed),
        Ok(Trial { observed, .. }) => (Verdict::Broken, observed),
        Err(error) => (Verdict::Inconclusive, format!("{error:#}")),
    }
}

/// The same attack without the defence.
fn weakened(case: &Case, lab: &mut Lab) -> Option<Weakened> {
    let switch = case.switch?;
    // Without labels there is nothing to fall back to: what the parser does not know no switch lets in.
    let alone = matches!(switch, Switch::Off([Defence::ProfileAlone]));
    if alone && lab.set.profile == Profile::Nsh {
        return None;
    }
    let tried = lab.without(switch, case.given, |lab| (case.run)(lab));
    lab.calm();
    let restored = lab.restore(switch);
    let tried = tried.and_then(|trial| restored.map(|()| trial));
    let (verdict, observed) = match tried {
        Ok(Trial { held: false, observed }) => (Verdict::Broken, observed),
        Ok(Trial { observed, .. }) => (Verdict::Held, observed),
        Err(error) => (Verdict::Inconclusive, format!("{error:#}")),
    };
    Some(Weakened { switched_off: switch.name(), observed, verdict })
}

/// A folder of this run's own, short: the path of the admin socket in it has at most 107 bytes.
fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("ringmail-attack-{}", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_what_is_not_known_is_refused() {
        let of =
            |args: &[&str]| Options::of(&args.iter().map(ToString::to_string).collect::<Vec<_>>());
        let options = of(&["--profile", "nsh", "--case", "esp", "--weaken", "--output", "json"]);
        let options = options.expect("good").expect("no help");
        assert_eq!((options.profile.as_str(), options.case.as_deref()), ("nsh", Some("esp")));
        assert!(options.weaken && options.json && !options.list);
        assert_eq!(of(&["--help"]).expect("good"), None);
        for wrong in [&["--profile", "ip"][..], &["--case"], &["--output", "xml"], &["--weak"]] {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
    }
}
