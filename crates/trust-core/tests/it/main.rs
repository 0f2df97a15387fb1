//! The crate's behaviour, from outside, a folder a part.

mod function;
mod host;
mod manager;
