//! The manual beside the command line: its list of commands comes from the definitions, every command that it or the
//! README names exists, and what no test runs says why.
//!
//! `RINGMAIL_UPDATE=1` writes the list anew.

use std::fmt::Write;
use std::fs;

use clap::{Arg, Command, CommandFactory, Parser};

use crate::cli::Cli;

#[path = "../tests/it/manual/blocks.rs"]
mod blocks;

const BEGIN: &str = "<!-- generated: begin -->\n";
const END: &str = "<!-- generated: end -->\n";

fn definition() -> Command {
    let mut command = Cli::command();
    command.build();
    command
}

fn verbs(command: &Command) -> impl Iterator<Item = &Command> {
    let verbs = command.get_subcommands();
    verbs.filter(|verb| !verb.is_hide_set() && verb.get_name() != "help")
}

#[test]
fn every_command_is_in_the_manual() {
    let mut list = String::new();
    let command = definition();
    writeln!(list, "## Options of every command\n").unwrap();
    options(command.get_arguments().filter(|arg| arg.is_global_set()), &mut list);
    for verb in verbs(&command) {
        describe(verb, "ringmail", "##", &mut list);
    }
    let path = blocks::folder().join("commands.md");
    let text = fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once(BEGIN).expect("the mark where the list begins");
    let (kept, tail) = rest.split_once(END).expect("the mark where the list ends");
    if std::env::var_os("RINGMAIL_UPDATE").is_some() {
        fs::write(&path, format!("{head}{BEGIN}{list}{END}{tail}")).unwrap();
    } else {
        let differs = list.lines().zip(kept.lines()).find(|(made, kept)| made != kept);
        assert!(kept == list, "commands.md is stale: run with RINGMAIL_UPDATE=1; {differs:?}");
    }
}

/// A verb and those below it.
fn describe(verb: &Command, parent: &str, heading: &str, list: &mut String) {
    let name = format!("{parent} {}", verb.get_name());
    writeln!(list, "{heading} {name}\n").unwrap();
    let about = verb.get_long_about().or_else(|| verb.get_about());
    writeln!(list, "{}\n", escaped(&about.expect("it is described").to_string())).unwrap();
    if verbs(verb).next().is_none() {
        let usage = verb.clone().render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").replace(" [OPTIONS]", " [OPTION…]");
        writeln!(list, "```text\n{usage}\n```\n").unwrap();
        let own = verb.get_arguments().filter(|arg| !arg.is_global_set());
        options(own, list);
    }
    for below in verbs(verb) {
        describe(below, &name, &format!("{heading}#"), list);
    }
}

/// A table of arguments, where there are any.
fn options<'a>(args: impl Iterator<Item = &'a Arg>, list: &mut String) {
    let shown =
        |arg: &&Arg| !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str());
    let rows: Vec<_> = args.filter(shown).map(row).collect();
    if !rows.is_empty() {
        writeln!(list, "| | |\n|---|---|\n{}\n", rows.join("\n")).unwrap();
    }
}

fn row(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    let values: Vec<String> = names.iter().map(ToString::to_string).collect();
    let takes = arg.get_action().takes_values();
    let optional = arg.get_num_args().is_some_and(|count| count.min_values() == 0);
    let value = match (takes, optional) {
        (false, _) => String::new(),
        (true, false) => values.join(" "),
        (true, true) => format!("[{}]", values.join(" ")),
    };
    let mut words: Vec<String> = Vec::new();
    words.extend(arg.get_short().map(|short| format!("-{short},")));
    words.extend(arg.get_long().map(|long| format!("--{long}")));
    words.extend((!value.is_empty()).then_some(value));
    let name = words.join(" ").replace('|', "\\|");
    let help = arg.get_long_help().or_else(|| arg.get_help());
    let mut says = help.map(|help| escaped(&help.to_string())).unwrap_or_default();
    says = says.split_whitespace().collect::<Vec<_>>().join(" ");
    let values = if takes { arg.get_possible_values() } else { Vec::new() };
    let values: Vec<_> = values.iter().filter(|value| !value.is_hide_set()).collect();
    if !values.is_empty() {
        let values = values.iter().map(|value| match value.get_help() {
            Some(help) => format!("`{}` ({})", value.get_name(), escaped(&help.to_string())),
            None => format!("`{}`", value.get_name()),
        });
        write!(says, ": {}", values.collect::<Vec<_>>().join(", ")).unwrap();
    }
    let defaults = arg.get_default_values().iter().map(|value| value.to_string_lossy());
    let defaults = defaults.collect::<Vec<_>>().join(",");
    if takes && !defaults.is_empty() {
        write!(says, "; `{defaults}` unless given").unwrap();
    }
    format!("| `{name}` | {} |", says.replace('|', "\\|"))
}

/// Nothing in it is markup, code in backquotes left out.
fn escaped(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let parts = parts.map(|(number, part)| match number % 2 {
        0 => part.replace('<', "&lt;").replace('*', "\\*").replace('_', "\\_"),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("`")
}

#[test]
fn every_command_in_the_manual_is_one() {
    let command = definition();
    let mut found = 0;
    for name in blocks::chapters().into_iter().chain(["../../../README.md".to_owned()]) {
        let text = fs::read_to_string(blocks::folder().join(&name)).unwrap();
        for block in blocks::blocks(&text) {
            let steps = if block.is_commands() { block.steps() } else { Vec::new() };
            for words in steps.iter().flat_map(|step| commands(&step.command)) {
                let at = format!("{name}:{}: {}", block.line, words.join(" "));
                if let Err(wrong) = known(&command, &words) {
                    panic!("{at}: {wrong}");
                }
                use clap::error::ErrorKind::{DisplayHelp, DisplayVersion};
                match Cli::try_parse_from(&words) {
                    Err(error) if ![DisplayHelp, DisplayVersion].contains(&error.kind()) => {
                        panic!("{at}: {error}")
                    }
                    _ => found += 1,
                }
            }
        }
        // In the text commands are named with some of their words, and with placeholders.
        let text = outside_of_blocks(&text);
        for span in text.split('`').skip(1).step_by(2) {
            for words in commands(&span.replace(['[', ']'], "")) {
                if let Err(wrong) = known(&command, &words) {
                    panic!("{name}: `{span}`: {wrong}");
                }
                found += 1;
            }
        }
    }
    assert!(found > 60, "{found} commands");
}

#[test]
fn what_is_not_run_says_why() {
    for name in blocks::chapters() {
        let text = fs::read_to_string(blocks::folder().join(&name)).unwrap();
        for block in blocks::blocks(&text) {
            let at = format!("{name}:{}", block.line);
            assert!(!block.language.is_empty(), "{at}: say what language it is");
            let why = block.not_run.as_deref().is_some_and(|why| why.split(' ').count() >= 2);
            let run = !block.marks.is_empty();
            assert!(
                !block.is_commands() || run != why,
                "{at}: mark it to be run, or say before it `<!-- not run: REASON -->`"
            );
        }
    }
}

/// A text without its fenced blocks.
fn outside_of_blocks(text: &str) -> String {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        let fence = line.starts_with("```");
        if !inside && !fence {
            lines.push(line);
        }
        inside ^= fence;
    }
    lines.join("\n")
}

/// The words of each simple command of a line of shell that starts ringmail.
fn commands(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('#', None) if word.is_none() => break,
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, Some(q)) if c == q => quote = None,
            ('\\', None) => {
                word.get_or_insert_default().extend(chars.next().filter(|c| *c != '\n'));
            }
            ('|' | ';' | '&' | '(' | ')' | '{' | '}', None) => {
                commands.last_mut().unwrap().extend(word.take());
                commands.push(Vec::new());
            }
            ('<' | '>', None) => {
                commands.last_mut().unwrap().extend(word.take());
                commands.last_mut().unwrap().push(">".to_owned());
            }
            (c, None) if c.is_whitespace() => commands.last_mut().unwrap().extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    commands.last_mut().unwrap().extend(word);
    commands.into_iter().filter_map(of_ringmail).collect()
}

/// A command's words from `ringmail` on, without redirections.
fn of_ringmail(words: Vec<String>) -> Option<Vec<String>> {
    let before = |word: &String| word.contains('=') || word == "sudo";
    let mut words = words.into_iter().skip_while(before).peekable();
    words.next_if_eq("ringmail")?;
    let mut kept = vec!["ringmail".to_owned()];
    while let Some(word) = words.next() {
        if word == ">" {
            words.next();
        } else if !word.is_empty() {
            kept.push(word);
        }
    }
    Some(kept)
}

/// Whether its verbs and options are there.
fn known(root: &Command, words: &[String]) -> Result<(), String> {
    let mut command = root;
    for word in words[1..].iter().take_while(|word| *word != "--") {
        let flag = word.split('=').next().unwrap_or_default();
        if let Some(long) = flag.strip_prefix("--") {
            let is = |arg: &Arg| arg.get_long() == Some(long);
            if !command.get_arguments().any(is) {
                return Err(format!("`{}` has no option `{flag}`", command.get_name()));
            }
        } else if word.starts_with('-') || !command.has_subcommands() {
            // Short options and values: whole commands are parsed besides.
        } else if let Some(verb) = command.find_subcommand(word) {
            command = verb;
        } else if !placeholder(word) && !of_an_option(words, word) {
            return Err(format!("`{}` has no verb `{word}`", command.get_name()));
        }
    }
    Ok(())
}

fn placeholder(word: &str) -> bool {
    word == "…" || word.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

/// Whether it is the value of the option before it.
fn of_an_option(words: &[String], word: &String) -> bool {
    words
        .windows(2)
        .any(|pair| pair[0].starts_with("--") && !pair[0].contains('=') && &pair[1] == word)
}

#[test]
fn misspelt_commands_are_found() {
    let root = definition();
    let wrong = |line: &str| commands(line).iter().find_map(|words| known(&root, words).err());
    assert_eq!(
        wrong("ringmail domain chekc FILE"),
        Some("`domain` has no verb `chekc`".to_owned())
    );
    assert_eq!(wrong("x=1 ringmail up --bogus"), Some("`up` has no option `--bogus`".to_owned()));
    assert_eq!(
        wrong("cat x | ringmail reload a > b --sry-run"),
        Some("`reload` has no option `--sry-run`".to_owned())
    );
    assert_eq!(wrong("ringmail exec client1 -- curl --bogus \"a b\""), None);
    assert_eq!(wrong("ringmail --output json ca --dir d list; true # ringmail fly"), None);
    assert_eq!(commands("ringmail a \\\n  'b c' 2>&1 | ringmail d").len(), 2);
}
