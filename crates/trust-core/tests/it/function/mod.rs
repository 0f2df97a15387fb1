//! Evidence of functions.

mod real;
mod samples;
