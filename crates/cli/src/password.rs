//! A password from a file or from the terminal; never from the command line, which everybody on the machine can read.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use ringmail_trust::Password;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::error::{Failure, OrFail};

/// More than any password is long.
const LINE_BYTES: u64 = 4096;

/// Where a password comes from.
#[derive(Debug, clap::Args)]
pub(crate) struct From {
    /// Read the password from the first line of a file instead of asking for it; - for standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl From {
    /// Whether the command line says anything about it.
    pub(crate) fn is_given(&self) -> bool {
        self.password_file.is_some()
    }

    /// A password for something new: who types it does so twice.
    pub(crate) fn new_password(&self, of: &str) -> Result<Password, Failure> {
        let Some(file) = &self.password_file else {
            let mut terminal = Terminal::open()?;
            let first = terminal.ask(&format!("Password for {of}: "))?;
            let password = parsed(&first)?;
            return match terminal.ask("The same again: ")? == first {
                true => Ok(password),
                false => Err(Failure::usage("the two passwords differ")),
            };
        };
        from_file(file)
    }

    /// The password of something that is there.
    pub(crate) fn known_password(&self, of: &str) -> Result<Password, Failure> {
        match &self.password_file {
            Some(file) => from_file(file),
            None => parsed(&Terminal::open()?.ask(&format!("Password of {of}: "))?),
        }
    }
}

fn from_file(path: &Path) -> Result<Password, Failure> {
    let read = match path == Path::new("-") {
        true => line(&mut io::stdin().lock()),
        false => File::open(path).and_then(|file| line(&mut BufReader::new(file))),
    };
    parsed(&read.context(format!("{} cannot be read", path.display()))?)
}

fn parsed(text: &str) -> Result<Password, Failure> {
    text.parse().map_err(Failure::usage)
}

/// The first line, without its end.
fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut text = String::new();
    from.take(LINE_BYTES).read_line(&mut text)?;
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    Ok(text)
}

/// The terminal of whoever runs the program, wherever its input and output go. It shows what is typed again when this
/// is dropped.
struct Terminal {
    file: File,
    before: Termios,
}

impl Terminal {
    fn open() -> Result<Terminal, Failure> {
        let open = || -> io::Result<Terminal> {
            let file = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
            let before = tcgetattr(&file)?;
            let mut silent = before.clone();
            silent.local_modes -= LocalModes::ECHO;
            silent.local_modes |= LocalModes::ECHONL | LocalModes::ICANON;
            tcsetattr(&file, OptionalActions::Flush, &silent)?;
            Ok(Terminal { file, before })
        };
        open()
            .context("there is no terminal to ask for a password on")
            .hint("give a file with --password-file FILE, or - for standard input")
    }

    fn ask(&mut self, question: &str) -> Result<String, Failure> {
        self.file.write_all(question.as_bytes())?;
        Ok(line(&mut BufReader::with_capacity(1, &self.file))?)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that is gone needs no settings.
        let _gone = tcsetattr(&self.file, OptionalActions::Flush, &self.before);
    }
}
