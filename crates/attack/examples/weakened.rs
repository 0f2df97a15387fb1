//! The whole program with switches for its defences, and the suite that uses them: what `cargo xtask attack --weaken` runs.
//! `weakened attack …` is the suite; with other arguments it is `ringmail`, started by the suite for each element.

use std::process::ExitCode;

use ringmail_attack::switches;

fn main() -> ExitCode {
    eprintln!("warning: {}", ringmail_model::defence::MARK);
    let args: Vec<String> = std::env::args().skip(1).collect();
    match (args.split_first(), std::env::current_exe()) {
        (Some((first, rest)), Ok(own)) if first == "attack" => ringmail_attack::main(rest, &own),
        _ => {
            if let Err(error) = switches::obey() {
                eprintln!("error: the switches cannot be read: {error}");
                return ExitCode::FAILURE;
            }
            ringmail::main()
        }
    }
}
