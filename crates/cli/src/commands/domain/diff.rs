//! `ringmail domain diff A B`: what differs between two domain files, by meaning.

use std::io::{self, Write};
use std::path::PathBuf;

use ringmail_model::diff::{self, Difference, Field, Kind, Place, Side};
use ringmail_model::domain::parse_with_positions;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::read;
use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::output::Report;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The domain file as it is; - for standard input
    before: PathBuf,

    /// The domain file as it is to be
    after: PathBuf,
}

/// What differs between two domain files.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Differs {
    /// The first file as it was named.
    before: String,
    /// The second file as it was named.
    after: String,
    /// Whether anything differs.
    differs: bool,
    /// What differs, in the order of the format's parts, then by name.
    differences: Vec<Difference>,
}

impl Report for Differs {
    const NAME: &'static str = "domain-diff";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.differences.is_empty() {
            return writeln!(out, "{} and {} mean the same", self.before, self.after);
        }
        for difference in &self.differences {
            let Difference { kind, what, name, fields, before, after } = difference;
            let (sign, file, place) = match kind {
                Kind::Added => ("+", &self.after, after),
                Kind::Removed => ("-", &self.before, before),
                Kind::Changed | Kind::Moved => ("~", &self.after, after),
            };
            write!(out, "{sign} {what}")?;
            if let Some(name) = name {
                write!(out, " {name}")?;
            }
            if *kind == Kind::Moved {
                write!(out, " is asked in another place")?;
            }
            match place {
                Some(Place { line, column }) => writeln!(out, "  ({file}:{line}:{column})")?,
                None => writeln!(out)?,
            }
            for Field { field, before, after } in fields {
                writeln!(
                    out,
                    "    {field}: {} → {}",
                    shown(before.as_ref()),
                    shown(after.as_ref())
                )?;
            }
        }
        Ok(())
    }
}

/// A value for people.
fn shown(value: Option<&Value>) -> String {
    match value {
        None => "(not given)".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(entries)) => {
            let entries: Vec<_> = entries.iter().map(|entry| shown(Some(entry))).collect();
            format!("[{}]", entries.join(", "))
        }
        Some(other) => other.to_string(),
    }
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    let parsed = |file: &PathBuf| -> Result<_, Failure> {
        let name = file.display().to_string();
        let parsed = parse_with_positions(&read(file)?, &name).map_err(|diagnostics| {
            super::warn(&diagnostics);
            Failure::new(format!("{name} cannot be read as a domain file"))
        })?;
        Ok((name, parsed))
    };
    let (before, (one, at)) = parsed(&args.before)?;
    let (after, (other, there)) = parsed(&args.after)?;
    let differences = diff::diff(
        Side { domain: &one, positions: &at },
        Side { domain: &other, positions: &there },
    );
    context.emit(&Differs { before, after, differs: !differences.is_empty(), differences })?;
    Ok(Outcome::Done)
}
