//! `ringmail rekey`: a running domain's elements agree on new keys now.

use std::io::{self, Write};

use ringmail_node::admin::ElementRekeyed;
use schemars::JsonSchema;
use serde::Serialize;

use crate::context::Context;
use crate::error::{Failure, OrFail, Outcome};
use crate::output::Report;
use crate::running::Whom;

/// Change the traffic keys of a running domain now
///
/// Each element makes a new handshake with every neighbour, from which all keys between the two come: of ESP, of links, of
/// proofs. No packet is lost: old keys stay until what is under way has come. Ends when the new keys are in use.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Elements whose keys change, with all of their neighbours; without any, those of all
    elements: Vec<String>,

    #[command(flatten)]
    whom: Whom,
}

/// What changed.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Rekeyed {
    /// The domain, or the state directory of who was asked.
    domain: String,
    /// Associations that are new; one between two elements that were both asked counts once.
    associations: u64,
    /// The elements that were asked.
    elements: Vec<ElementRekeyed>,
}

impl Report for Rekeyed {
    const NAME: &'static str = "rekey";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for ElementRekeyed { element, neighbours, reason } in &self.elements {
            for with in neighbours {
                let neighbour = &with.neighbour;
                match with.epoch {
                    Some(epoch) => writeln!(
                        out,
                        "{element}  {neighbour}  epoch {epoch}  {} sending, {} receiving",
                        with.sending, with.receiving
                    )?,
                    None => writeln!(out, "{element}  {neighbour}  late")?,
                }
            }
            if let Some(reason) = reason {
                writeln!(out, "{element}  {reason}")?;
            }
        }
        writeln!(out, "{} associations have new keys", self.associations)
    }
}

pub(crate) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    let running = args.whom.find()?;
    let progress = context.progress();
    progress.stage(format!("new keys for {}", running.name));
    let asked = running.ask(async |client| client.rekey(args.elements).await);
    let elements = asked.unchanged("keys are as they were")?;
    drop(progress);
    let late = late(&elements);
    let (domain, associations) = (running.name.clone(), associations(&elements));
    context.emit(&Rekeyed { domain, associations, elements })?;
    match late {
        None => Ok(Outcome::Done),
        Some(late) => Err(Failure::new(late)
            .unchanged("keys that are not replaced go on until their leases end")
            .hint("see `ringmail status` for how that element is")),
    }
}

/// Who sends by a new association is its one owner, unless only its receiver was asked.
fn associations(elements: &[ElementRekeyed]) -> u64 {
    let asked = |name: &str| elements.iter().any(|one| one.element == name);
    let all = elements.iter().flat_map(|element| &element.neighbours);
    all.map(|with| match asked(&with.neighbour) {
        true => with.sending,
        false => with.sending + with.receiving,
    })
    .sum()
}

/// Whose keys are not known to have changed.
fn late(elements: &[ElementRekeyed]) -> Option<String> {
    elements.iter().find_map(|ElementRekeyed { element, neighbours, reason }| {
        if let Some(reason) = reason {
            return Some(format!("element {element}: {reason}"));
        }
        let late = neighbours.iter().find(|with| with.epoch.is_none())?;
        Some(format!("the new keys of {element} and {} are not in use in time", late.neighbour))
    })
}

#[cfg(test)]
mod tests {
    use ringmail_node::control;

    use super::*;

    fn element(element: &str, with: &[(&str, Option<u32>, u64, u64)]) -> ElementRekeyed {
        let with = with.iter().map(|(neighbour, epoch, sending, receiving)| control::Rekeyed {
            neighbour: (*neighbour).to_owned(),
            epoch: *epoch,
            sending: *sending,
            receiving: *receiving,
        });
        ElementRekeyed { element: element.to_owned(), neighbours: with.collect(), reason: None }
    }

    #[test]
    fn an_association_between_two_that_were_asked_counts_once() {
        let one = element("a", &[("b", Some(2), 3, 1), ("c", Some(2), 5, 7)]);
        let other = element("b", &[("a", Some(2), 1, 3)]);
        assert_eq!(associations(std::slice::from_ref(&one)), 16);
        assert_eq!(associations(&[one, other]), 3 + 12 + 1);
    }

    #[test]
    fn who_is_late_or_silent_is_named() {
        let well = element("a", &[("b", Some(2), 3, 1)]);
        assert_eq!(late(std::slice::from_ref(&well)), None);
        let late_one = element("b", &[("a", Some(2), 1, 3), ("c", None, 0, 0)]);
        let said = late(&[well, late_one]).expect("one is late");
        assert!(said.contains("b and c"), "{said}");
        let reason = Some("it has ended".to_owned());
        let silent = ElementRekeyed { reason, ..element("d", &[]) };
        assert_eq!(late(&[silent]).as_deref(), Some("element d: it has ended"));
    }
}
