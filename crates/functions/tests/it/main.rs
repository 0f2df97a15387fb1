//! How the built-in functions behave, seen from outside.

mod allocation;
mod connections;
mod firewall;
mod harness;
mod hostile;
mod logger;
mod rules;
mod segments;
mod workers;
