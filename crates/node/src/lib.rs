//! Composition: elements, namespaces, key agreement over TLS, the admin interface, demo and bench.

pub mod limits;
pub mod runtime;
pub mod topology;
