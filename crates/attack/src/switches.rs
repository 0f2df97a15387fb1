//! How the suite switches defences off in elements that run: by a file which the weakened program reads again and again,
//! and beside which it says what it has read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The environment variable that names the file.
pub(crate) const VARIABLE: &str = "RINGMAIL_DANGER_WEAKEN";

/// Where a process says what it obeys.
pub(crate) fn answer(file: &Path, pid: u32) -> PathBuf {
    file.with_extension(pid.to_string())
}

/// Writes a file so that no reader sees half of it.
pub(crate) fn write(file: &Path, text: &str) -> io::Result<()> {
    let draft = file.with_extension(format!("{}.draft", std::process::id()));
    fs::write(&draft, text)?;
    fs::rename(draft, file)
}

/// Obeys the switches from now on, in a thread of its own.
///
/// # Errors
/// When there is a file and it cannot be read.
#[cfg(feature = "weaken")]
pub fn obey() -> io::Result<()> {
    use std::time::Duration;

    /// How often the file is read.
    const EVERY: Duration = Duration::from_millis(5);

    fn once(file: &Path, known: &mut Option<u64>) -> io::Result<()> {
        let bits = fs::read_to_string(file)?.trim().parse();
        let bits: u64 = bits.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        if *known != Some(bits) {
            *known = Some(bits);
            ringmail_model::defence::set(bits);
            write(&answer(file, std::process::id()), &bits.to_string())?;
        }
        Ok(())
    }

    let Some(file) = std::env::var_os(VARIABLE).map(PathBuf::from) else { return Ok(()) };
    let mut known = None;
    once(&file, &mut known)?;
    let read = move || {
        // Whoever takes the file away ends the domain next.
        while once(&file, &mut known).is_ok() {
            std::thread::sleep(EVERY);
        }
    };
    std::thread::Builder::new().name("switches".into()).spawn(read).map(drop)
}
