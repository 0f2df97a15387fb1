//! Whether a domain makes sense: all that is wrong, not only the first, each with its place and its mend.
//!
//! An error stops the domain from being used. A warning says that the domain probably does not say what was meant.
//! Files that the domain names (certificates, keys) are not looked at: this crate reads no disk.

mod addresses;
mod attach;
mod change;
mod firewall;
mod flow_export;
mod functions;
mod gateway;
mod last_leg;
mod links;
mod logger;
mod metadata;
mod names;
mod paths;
mod replicas;
mod rules;
mod shadow;
mod standby;
mod strict;
mod wireguard;

pub use self::change::in_place;
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::domain::{Domain, Positions, parse_with_positions};

/// A domain that can be used, and what is odd about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The domain, its replicas written out.
    pub domain: Domain,
    /// Warnings only.
    pub warnings: Diagnostics,
}

/// The domain of a text, if it can be used.
///
/// # Errors
/// All that is wrong with it, warnings included, if an error is among them.
pub fn load(text: &str, file_name: &str) -> Result<Loaded, Diagnostics> {
    let (domain, positions) = parse_with_positions(text, file_name)?;
    let diagnostics = check(&domain, &positions, file_name);
    if diagnostics.has_errors() {
        Err(diagnostics)
    } else {
        Ok(Loaded { domain: domain.expanded(), warnings: diagnostics })
    }
}

/// All that is wrong with a domain, in the order of the file.
pub fn check(domain: &Domain, positions: &Positions, file_name: &str) -> Diagnostics {
    let mut checker =
        Checker { domain, positions, file: file_name, diagnostics: Diagnostics::default() };
    checker.names();
    checker.links();
    checker.addresses();
    checker.gateway();
    checker.standby();
    checker.functions();
    checker.paths();
    checker.metadata();
    checker.replicas();
    checker.rules();
    checker.decision_points();
    checker.flow_exports();
    checker.wireguard();
    checker.shadows();
    // Nobody reads advice beside what has to be mended first.
    if !checker.diagnostics.has_errors() {
        checker.last_legs();
    }
    checker.diagnostics.sort();
    checker.diagnostics
}

struct Checker<'a> {
    domain: &'a Domain,
    positions: &'a Positions,
    file: &'a str,
    diagnostics: Diagnostics,
}

impl Checker<'_> {
    fn error(&mut self, at: &str, code: &'static str, message: String, mend: impl Into<String>) {
        self.say(Severity::Error, at, code, message, mend.into());
    }

    fn warning(&mut self, at: &str, code: &'static str, message: String, mend: impl Into<String>) {
        self.say(Severity::Warning, at, code, message, mend.into());
    }

    fn note(&mut self, at: &str, code: &'static str, message: String, mend: impl Into<String>) {
        self.say(Severity::Note, at, code, message, mend.into());
    }

    fn say(
        &mut self,
        severity: Severity,
        at: &str,
        code: &'static str,
        message: String,
        mend: String,
    ) {
        let position = self.positions.at(at);
        self.diagnostics.push(Diagnostic {
            severity,
            code,
            file: self.file.to_owned(),
            line: position.map_or(0, |p| p.line),
            column: position.map_or(0, |p| p.column),
            at: at.to_owned(),
            message,
            mend,
        });
    }

    /// A number outside what is possible.
    fn range<T: PartialOrd + std::fmt::Display + Copy>(
        &mut self,
        at: &str,
        value: T,
        least: T,
        most: T,
    ) {
        if value < least || value > most {
            let message = format!("{value} is out of range");
            self.error(at, "out-of-range", message, format!("write {least} to {most}"));
        }
    }
}
