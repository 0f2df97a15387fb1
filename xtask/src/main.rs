//! The project's own tasks: `cargo xtask attack|demo|test|deb|mixed|soak|ci-times`.

mod attack;
mod demo;
mod keylime;
mod mixed;
mod package;
mod packages;
mod soak;
mod stages;
mod test;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask TASK

  attack [OPTIONS]    a live domain, and every attack that it is to withstand; for what they are: attack --help
  demo [-- ARGS]      build the shipped programs in release and run `ringmail demo ARGS`
  test [--no-install] format, lints, licences, build and every test; installs the Debian packages
                      that the interop tests need when it is root
  deb [--program FILE] [--lint]
                      a Debian package below target/debian, of the release build unless FILE is named;
                      lintian judges it
  mixed [--against REV]
                      run a domain of several machines with elements of this build and of REV's, the
                      last tag's unless REV is given, or else that of the commit before
  soak [OPTIONS]      a domain under traffic, reloads, kills and faults; for what they are: soak --help
  ci-times            how long each stage of the last `test` took
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["attack", rest @ ..] => match attack::run(rest) {
            Ok(code) => return ExitCode::from(u8::try_from(code).unwrap_or(1)),
            Err(error) => Err(error),
        },
        ["demo", rest @ ..] => demo::run(rest.strip_prefix(&["--"]).unwrap_or(rest)),
        ["test"] => test::run(true),
        ["test", "--no-install"] => test::run(false),
        ["deb", rest @ ..] => package::run(rest),
        ["mixed"] => mixed::run(None),
        ["mixed", "--against", revision] => mixed::run(Some(revision)),
        ["soak", rest @ ..] => soak::run(rest),
        ["ci-times"] => stages::print_last(),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
