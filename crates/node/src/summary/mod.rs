//! Files for auditors: what all elements sign of the packets that they passed, collected, kept, and checked again by whoever
//! has the domain's root (`docs/nsh.md`, "Roots"; `ringmail_model::summary`).

mod book;
mod check;
mod keeper;
mod seal;
mod site;

pub use self::check::{Checked, FileReport, check, gather, usual_place};
pub(crate) use self::keeper::{Ask, Keeper, Settings, unix_ms};
pub use self::seal::{seal_statement, seal_summary};
pub(crate) use self::site::DomainSite;
