//! How the embedded authority behaves, seen from outside.

mod authority;
mod backup;
mod crash;
mod files;
mod harness;
mod openssl;
mod tls;
mod token;
