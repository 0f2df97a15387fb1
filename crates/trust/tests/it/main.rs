//! How the embedded authority behaves, seen from outside.

mod agent;
mod authority;
mod backup;
mod crash;
mod files;
mod harness;
mod manager;
mod openssl;
mod rotation;
mod tls;
mod token;
