//! The fenced blocks of the manual's chapters, and the commands in them.
//!
//! A block says behind its language what becomes of it in the test that follows the chapter, `live::manual`:
//!
//! | words | |
//! |---|---|
//! | `console,run` | commands behind `$ `, run one after the other in the chapter's shell; the lines behind each are in what it says |
//! | `console,run,about` | the same, but numbers may differ |
//! | `sh,run` | commands alone |
//! | `console,background` | one command that goes on, and what it says once it is there |
//! | `LANGUAGE,file=NAME` | a file of this name |
//!
//! What cannot be run has a line `<!-- not run: REASON -->` before it. A command may fail where `echo $?` comes next.

use std::fs;
use std::path::{Path, PathBuf};

/// A fenced block of a chapter.
#[derive(Debug)]
pub(crate) struct Block {
    /// The line of its first fence.
    pub(crate) line: usize,
    pub(crate) language: String,
    /// What stands behind the language.
    pub(crate) marks: Vec<String>,
    /// Why it is not run, if it says so.
    pub(crate) not_run: Option<String>,
    pub(crate) text: String,
}

/// A command, and the lines that are shown of what it says.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) command: String,
    pub(crate) shown: Vec<String>,
}

/// The folder of the chapters.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manual/src")
}

/// The names of all chapters, in order.
pub(crate) fn chapters() -> Vec<String> {
    let entries = fs::read_dir(folder()).expect("the manual");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let names = names.map(|name| name.into_string().expect("a name in UTF-8"));
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".md")).collect();
    names.sort();
    names
}

/// The blocks of a text in Markdown.
pub(crate) fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut before = "";
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else {
            before = if line.is_empty() { before } else { line };
            continue;
        };
        let inside: Vec<_> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        let mut words = info.split(',').map(str::to_owned);
        let reason = before.strip_prefix("<!-- not run: ").and_then(|r| r.strip_suffix(" -->"));
        blocks.push(Block {
            line: number + 1,
            language: words.next().unwrap_or_default(),
            marks: words.collect(),
            not_run: reason.map(str::to_owned),
            text: inside.join("\n") + "\n",
        });
        before = "";
    }
    blocks
}

impl Block {
    /// Whether it holds commands for a shell.
    pub(crate) fn is_commands(&self) -> bool {
        ["sh", "console"].contains(&self.language.as_str())
    }

    /// Its commands. A line that ends in a backslash goes on in the next.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        let mut goes_on = false;
        for line in self.text.lines() {
            let begins = match self.language.as_str() {
                "console" => line.strip_prefix("$ "),
                _ => Some(line).filter(|line| !line.is_empty() && !line.starts_with('#')),
            };
            match (steps.last_mut(), begins) {
                (Some(step), _) if goes_on => {
                    step.command.push('\n');
                    step.command.push_str(line.trim_start_matches("> "));
                }
                (_, Some(command)) => {
                    steps.push(Step { command: command.to_owned(), shown: Vec::new() });
                }
                (Some(step), None) => step.shown.push(line.to_owned()),
                (None, None) => {}
            }
            goes_on = line.ends_with('\\') && (goes_on || begins.is_some());
        }
        steps
    }
}
