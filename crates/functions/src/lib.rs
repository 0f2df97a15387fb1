//! The built-in service functions.
//!
//! A core: packets, time and random seeds come in by call; no clock, socket, disk or environment is read here.

#![forbid(unsafe_code)]

mod alerts;
pub mod catalog;
mod described;
pub mod dpi;
pub mod firewall;
pub mod forward;
pub mod limits;
pub mod logger;
mod refusals;
pub mod settings;

use std::any::Any;

use ringmail_dataplane::Function;

pub use dpi::Dpi;
pub use firewall::{Firewall, FirewallRule, FirewallRules, FirewallSettings};
pub use forward::Forward;
pub use logger::{Logger, LoggerSettings};
pub use settings::{BuildError, DpiRule, DpiSettings, OnMatch, Pattern, Settings};

/// Builds a function for one worker. A logger built here records for nobody: see [`Logger::new`]. `seeds` come from a random source; they keep who chooses addresses and ports from
/// choosing collisions in tables.
///
/// # Errors
/// [`BuildError`], always a fault of the settings.
pub fn build(settings: &Settings, seeds: [u64; 4]) -> Result<Box<dyn Function>, BuildError> {
    Ok(match settings {
        Settings::Forward => Box::new(Forward::default()),
        Settings::Dpi(settings) => Box::new(Dpi::new(settings, seeds)?),
        Settings::Firewall(settings) => Box::new(Firewall::new(settings, seeds)?),
        Settings::Logger(settings) => Box::new(Logger::idle(settings)?),
    })
}

/// Builds a function for each worker of an element, one for each of the seeds. They share what they must know of a
/// connection whose directions come to different workers.
///
/// # Errors
/// As [`build`].
pub fn build_each(
    settings: &Settings,
    seeds: &[[u64; 4]],
) -> Result<Vec<Box<dyn Function>>, BuildError> {
    if let (Settings::Firewall(settings), Some(first)) = (settings, seeds.first()) {
        let firewalls = Firewall::for_workers(settings, seeds.len(), *first)?;
        return Ok(firewalls.into_iter().map(|one| Box::new(one) as Box<dyn Function>).collect());
    }
    if let (Settings::Dpi(settings), [first, _, ..]) = (settings, seeds) {
        let workers = Dpi::for_workers(settings, seeds.len(), *first)?;
        return Ok(workers.into_iter().map(|one| Box::new(one) as Box<dyn Function>).collect());
    }
    seeds.iter().map(|seeds| build(settings, *seeds)).collect()
}

/// Settings as [`Function::retune`] takes them; `None` for a function that takes none in place.
///
/// # Errors
/// As [`build`].
pub fn settings_in_place(settings: &Settings) -> Result<Option<Box<dyn Any + Send>>, BuildError> {
    Ok(match settings {
        Settings::Firewall(settings) => Some(Box::new(FirewallRules::new(settings)?)),
        _ => None,
    })
}
