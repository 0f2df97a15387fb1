//! Evidence of functions.
