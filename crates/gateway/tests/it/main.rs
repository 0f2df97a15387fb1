//! The gateway as its clients and its services see it: over loopback, with real TLS and, where a
//! program that nobody here wrote can be the judge, with curl, aria2 and nginx.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must stop")]

mod access;
mod aria2;
mod authorization;
mod backend;
mod backpressure;
mod bodies;
mod curl;
mod demands;
mod flood;
mod leg;
mod limits;
mod nginx;
mod passing;
mod pki;
mod pool;
mod requests;
mod revocation;
mod shutdown;
mod tls;
mod tunnels;
mod wireguard;
mod world;
