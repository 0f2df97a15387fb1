//! The built-in service functions.
