//! Evidence of functions.

mod binding;
mod bound;
mod cache;
mod ear;
mod every_byte;
mod forge;
mod fuzzed;
mod real;
mod refused;
mod samples;
