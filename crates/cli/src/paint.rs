//! Red, where people look: what has to be seen on a terminal, and plain text everywhere else.

use std::io::{self, IsTerminal};

/// A text in red on a terminal; as it is in files and pipes, and where `NO_COLOR` is set (no-color.org).
pub(crate) fn red(text: &str) -> String {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    paint(text, !plain && io::stdout().is_terminal())
}

fn paint(text: &str, colour: bool) -> String {
    if colour { format!("\u{1b}[1;31m{text}\u{1b}[0m") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_hold_no_colours() {
        assert_eq!(paint("software", false), "software");
        assert_eq!(paint("software", true), "\u{1b}[1;31msoftware\u{1b}[0m");
    }
}
