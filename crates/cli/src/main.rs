//! The program ringmail.
fn main() {}
