//! The encryption proxy: mutual TLS, HTTP and authorization at the edge of a chain.
