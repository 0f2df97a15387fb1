//! The bodies of the fuzz targets, one module a crate.

pub mod packet;
