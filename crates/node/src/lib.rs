//! Composition: elements, namespaces, key agreement over TLS, the admin interface, demo and bench.

pub mod admin;
pub mod assemble;
pub mod attach;
pub mod bench;
pub mod change;
pub mod client;
pub mod conductor;
pub mod control;
pub mod demo;
pub mod doctor;
pub mod element;
mod identities;
pub mod issuer;
pub mod layout;
pub mod limits;
mod listeners;
pub mod notify;
pub mod pdp;
mod random;
pub mod runtime;
pub mod sap;
pub mod see;
pub mod site;
pub mod supervise;
pub mod testbed;
pub mod topology;
pub mod up;
