//! Runs the program that was built for these tests.

use std::process::{Command, Output};

pub(crate) fn ringmail(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringmail"))
        .args(args)
        .env_remove("RINGMAIL_LOG")
        .env("COLUMNS", "100")
        .output()
        .expect("the program starts")
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().expect("the program ended by itself")
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("standard output is UTF-8")
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("standard error is UTF-8")
}

pub(crate) fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).expect("standard output is one JSON value")
}
