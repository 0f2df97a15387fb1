//! The behaviour of the crate as a whole: files in, diagnostics, path sets and decisions out.

mod bad_files;
mod examples;
mod golden;
mod pathset;
mod round_trip;
mod rules;
mod schema;
mod shadow;
mod show;
