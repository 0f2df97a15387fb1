//! Composition: elements, namespaces, key agreement over TLS, the admin interface, demo and bench.
