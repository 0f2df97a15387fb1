//! The whole program from outside: standard output, standard error and exit code of each verb.

mod ca;
mod command_line;
mod deb;
mod defences;
mod doctor;
mod domain;
mod live;
mod manual;
mod p12;
mod run;
mod running;
mod trust;
mod trust_manager;
#[allow(unreachable_pub, dead_code, reason = "the samples of another crate's tests")]
#[path = "../../../trust-core/tests/it/function/samples.rs"]
mod trust_samples;
mod units;
mod wireguard;
