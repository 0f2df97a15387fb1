//! `ringmail man`: the manual pages, made from the same definition as the help.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_mangen::Man;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::Cli;
use crate::context::Context;
use crate::error::{Failure, OrFail, Outcome};
use crate::output::Report;

/// Write the manual page, or the pages of all verbs
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write one page a verb into this directory, which is made if need be
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Manual pages.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ManPages {
    /// The files that were written, in the order of their names.
    files: Vec<PathBuf>,
    /// The page of ringmail itself in roff, unless a directory was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<String>,
}

impl Report for ManPages {
    const NAME: &'static str = "man";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for file in &self.files {
            writeln!(out, "{}", file.display())?;
        }
        out.write_all(self.page.as_deref().unwrap_or_default().as_bytes())
    }
}

pub(crate) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    let mut command = Cli::command();
    command.build();
    let report = match args.dir {
        Some(dir) => ManPages { files: pages(&command, &dir)?, page: None },
        None => {
            let mut page = Vec::new();
            Man::new(command).render(&mut page)?;
            ManPages { files: Vec::new(), page: Some(String::from_utf8(page)?) }
        }
    };
    context.emit(&report)?;
    Ok(Outcome::Done)
}

fn pages(command: &clap::Command, dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    fs::create_dir_all(dir).context(format!("{} cannot be made", dir.display()))?;
    let mut files = Vec::new();
    page(command.clone(), dir, &mut files)?;
    files.sort();
    Ok(files)
}

/// The page of a verb and of those below it. `help` repeats the others, and hidden verbs are not for people.
fn page(command: clap::Command, dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    for verb in
        command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help")
    {
        page(verb.clone(), dir, files)?;
    }
    let man = Man::new(command);
    let path = dir.join(man.get_filename());
    man.generate_to(dir).context(format!("{} cannot be written", path.display()))?;
    files.push(path);
    Ok(())
}
