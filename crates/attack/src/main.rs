//! `ringmail-attack`: the adversarial suite against the program `ringmail` that lies beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match std::env::current_exe() {
        Ok(own) => ringmail_attack::main(&args, &own.with_file_name("ringmail")),
        Err(error) => {
            eprintln!("error: this program does not know where it lies: {error}");
            ExitCode::FAILURE
        }
    }
}
