//! What of the project's own tasks the tests use too.

pub mod deb;
mod notices;
