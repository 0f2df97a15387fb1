//! The copyright file of the package: the project's own lines, and the notices of every library that the program is linked
//! with, from the sources that it was built of (Debian policy 12.5, DEP-5).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::deb::output;

/// What is chosen where a library may be had under several licences: the shortest notice first.
const CHOICE: [&str; 12] = [
    "MIT",
    "ISC",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "Zlib",
    "0BSD",
    "Unicode-3.0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "MPL-2.0",
    "Unlicense",
    "CC0-1.0",
];

/// Licences whose text every Debian system has, below /usr/share/common-licenses.
const COMMON: [&str; 3] = ["Apache-2.0", "MPL-2.0", "CC0-1.0"];

/// A library that is linked in.
#[derive(Debug)]
struct Library {
    name: String,
    version: String,
    license: String,
    authors: Vec<String>,
    folder: PathBuf,
}

/// The whole file: `head` and a paragraph for each library.
///
/// # Errors
/// A library has no licence that is known here, or cargo does not say where its sources are.
pub(crate) fn copyright(root: &Path, head: &str) -> Result<String> {
    let mut text = head.trim_end().to_owned();
    text.push_str(
        "\n\nFiles: vendor/rust-std/*\nCopyright: The Rust Project Developers\nLicense: MIT\n",
    );
    text.push_str(&indented(&mit("The Rust Project Developers")));
    for library in linked(root)? {
        text.push_str(&paragraph(&library)?);
    }
    Ok(text)
}

/// The libraries of the program, by name: what is only needed to build it is left out.
fn linked(root: &Path) -> Result<Vec<Library>> {
    let cargo = || {
        let mut cargo =
            std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(root).env_remove("RUSTUP_TOOLCHAIN");
        cargo
    };
    let mut tree = cargo();
    tree.args(["tree", "--locked", "--offline", "--package", "ringmail", "--prefix", "none"]);
    tree.args(["--edges", "normal,no-proc-macro", "--format", "{p}"]);
    let tree = String::from_utf8(output(&mut tree)?)?;
    let mut wanted = BTreeSet::new();
    for line in tree.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            wanted.insert((name.to_owned(), version.trim_start_matches('v').to_owned()));
        }
    }
    let mut metadata = cargo();
    metadata.args(["metadata", "--locked", "--offline", "--format-version", "1"]);
    // Sources for other systems need not be here.
    metadata.arg("--filter-platform").arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH));
    let metadata: Value = serde_json::from_slice(&output(&mut metadata)?)?;
    let packages = metadata["packages"].as_array().context("cargo names no packages")?;
    let mut found = BTreeMap::new();
    // The project's own have no source.
    for package in packages.iter().filter(|package| !package["source"].is_null()) {
        let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        let key = (text("name"), text("version"));
        if !wanted.contains(&key) {
            continue;
        }
        let authors = package["authors"].as_array().into_iter().flatten();
        let authors = authors.filter_map(|author| author.as_str().map(str::to_owned)).collect();
        let manifest = PathBuf::from(text("manifest_path"));
        let folder = manifest.parent().context("a manifest is in a folder")?.to_owned();
        let (name, version) = key.clone();
        found.insert(key, Library { name, version, license: text("license"), authors, folder });
    }
    ensure!(found.len() > 20, "cargo names {} libraries only", found.len());
    Ok(found.into_values().collect())
}

/// A library's paragraph, with the notices that its licence asks to be kept.
fn paragraph(library: &Library) -> Result<String> {
    let Library { name, version, license, .. } = library;
    let chosen = chosen(license).with_context(|| format!("{name} {version}: `{license}`"))?;
    let notices = notices(&library.folder)?;
    let mut holders: BTreeSet<String> = BTreeSet::new();
    for (_, text) in &notices {
        let lines = text.lines().map(|line| line.trim().trim_start_matches(['*', '/', '#', ' ']));
        let says = |line: &&str| {
            let rest = line.strip_prefix("Copyright").or_else(|| line.strip_prefix("copyright"));
            // A year, (c) or a name; not the sentences of a licence, nor the blanks of its appendix.
            rest.is_some_and(|rest| rest.starts_with([' ', ':', '(']))
                && !line.contains(['[', '{', '<'])
                && line.len() < 160
                && !line.starts_with("copyright ")
                && !line.contains("License")
        };
        holders.extend(lines.filter(says).map(|line| line.trim_end_matches('.').to_owned()));
    }
    if holders.is_empty() {
        holders.extend(said_in_sources(&library.folder));
    }
    if holders.is_empty() {
        holders.extend(library.authors.iter().cloned());
    }
    if holders.is_empty() {
        holders.insert(format!("the authors of {name}"));
    }
    let mut text = format!("\nFiles: vendor/{name}-{version}/*\nCopyright:\n");
    for holder in &holders {
        writeln!(text, " {holder}")?;
    }
    writeln!(text, "License: {}", chosen.join(" and ").replace(" WITH ", "-with-"))?;
    let mut kept = String::new();
    for (file, notice) in &notices {
        if wanted(&chosen, file, notice) {
            kept.push_str(notice.trim());
            kept.push_str("\n\n");
        }
    }
    for licence in chosen.iter().map(|licence| licence.split(" WITH ").next().unwrap_or(licence)) {
        if COMMON.contains(&licence) {
            writeln!(
                kept,
                "The full text of {licence} is in /usr/share/common-licenses/{licence} on Debian systems."
            )?;
        } else if licence == "MIT" && !kept.contains("Permission is hereby granted") {
            let holders: Vec<&str> = holders.iter().map(String::as_str).collect();
            kept.push_str(&mit(&holders.join(", ")));
        } else if licence == "BSD-3-Clause" && !kept.contains("Redistributions of source code") {
            let holders: Vec<&str> = holders.iter().map(String::as_str).collect();
            kept.push_str(&bsd3(&holders.join(", ")));
        }
    }
    ensure!(!kept.trim().is_empty(), "{name} {version} ({license}) has no file with its notice");
    text.push_str(&indented(&kept));
    Ok(text)
}

/// Which licences of an expression (SPDX) the package takes the library under.
fn chosen(expression: &str) -> Result<Vec<String>> {
    // A slash is how it was written before SPDX.
    let plain = expression.replace('/', " OR ").replace(['(', ')'], " ");
    let mut taken = Vec::new();
    for part in plain.split(" AND ") {
        let offered: Vec<&str> = part.split(" OR ").map(str::trim).collect();
        match CHOICE.iter().find(|licence| offered.contains(licence)) {
            Some(licence) if !taken.contains(&(*licence).to_owned()) => {
                taken.push((*licence).to_owned());
            }
            Some(_) => {}
            None => bail!("no licence of it is one that is taken here"),
        }
    }
    Ok(taken)
}

/// Files of a library that have its notices, by name.
fn notices(folder: &Path) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for below in [folder.to_owned(), folder.join("LICENSES"), folder.join("aws-lc")] {
        let Ok(entries) = fs::read_dir(&below) else { continue };
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
            let is_one = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"]
                .iter()
                .any(|begin| name.starts_with(begin));
            if (is_one || below.ends_with("LICENSES")) && path.is_file() {
                let text = fs::read(&path)?;
                found.push((name, String::from_utf8_lossy(&text).into_owned()));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a file is to be kept: it has the notice of a licence that is taken, and is not the full text of a common one.
fn wanted(chosen: &[String], file: &str, text: &str) -> bool {
    let is_apache = text.contains("TERMS AND CONDITIONS FOR USE, REPRODUCTION")
        && !text.contains("Permission is hereby granted")
        && !text.contains("Permission to use, copy, modify");
    let is_mpl = text.contains("Mozilla Public License Version 2.0")
        || text.contains("Mozilla Public License, version 2.0\n");
    if is_apache || is_mpl {
        return false;
    }
    let mark = |licence: &String| match licence.as_str() {
        "MIT" => text.contains("Permission is hereby granted, free of charge"),
        "ISC" => text.contains("Permission to use, copy, modify"),
        "BSD-2-Clause" | "BSD-3-Clause" => text.contains("Redistributions of source code"),
        _ => true,
    };
    file.starts_with("NOTICE") || file.starts_with("COPYRIGHT") || chosen.iter().any(mark)
}

/// As a field of many lines: each begins with a blank, and an empty one is a dot.
fn indented(text: &str) -> String {
    let mut out = String::new();
    let mut empty = false;
    for line in text.trim().lines().map(str::trim_end) {
        // Several empty lines say no more than one.
        if line.is_empty() && empty {
            continue;
        }
        empty = line.is_empty();
        let line = if empty { "." } else { line };
        out.push(' ');
        out.push_str(&line.replace('\u{c}', ""));
        out.push('\n');
    }
    out
}

/// Whose a library is by the head of its sources, where it has no file that says so.
fn said_in_sources(folder: &Path) -> Option<String> {
    let source = fs::read_to_string(folder.join("src/lib.rs")).ok()?;
    let head = source.lines().take(5).map(|line| line.trim_start_matches(['/', ' ']));
    let line = head.into_iter().find(|line| line.starts_with("Copyright"))?;
    Some(line.trim_end_matches(" All rights reserved.").to_owned())
}

/// The licence BSD-3-Clause, as SPDX has it.
fn bsd3(holders: &str) -> String {
    let holders = holders.trim_start_matches("Copyright (c) ");
    format!(
        "Copyright (c) {holders}\n\n\
         Redistribution and use in source and binary forms, with or without modification, are permitted provided that\n\
         the following conditions are met:\n\n\
         1. Redistributions of source code must retain the above copyright notice, this list of conditions and the\n\
         following disclaimer.\n\n\
         2. Redistributions in binary form must reproduce the above copyright notice, this list of conditions and the\n\
         following disclaimer in the documentation and/or other materials provided with the distribution.\n\n\
         3. Neither the name of the copyright holder nor the names of its contributors may be used to endorse or promote\n\
         products derived from this software without specific prior written permission.\n\n\
         THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS \"AS IS\" AND ANY EXPRESS OR IMPLIED\n\
         WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A\n\
         PARTICULAR PURPOSE ARE DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE FOR ANY\n\
         DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED TO,\n\
         PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER\n\
         CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR\n\
         OTHERWISE) ARISING IN ANY WAY OUT OF THE USE OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH\n\
         DAMAGE.\n"
    )
}

fn mit(holders: &str) -> String {
    format!(
        "Copyright {holders}\n\n\
         Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated\n\
         documentation files (the \"Software\"), to deal in the Software without restriction, including without limitation\n\
         the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and\n\
         to permit persons to whom the Software is furnished to do so, subject to the following conditions:\n\n\
         The above copyright notice and this permission notice shall be included in all copies or substantial portions\n\
         of the Software.\n\n\
         THE SOFTWARE IS PROVIDED \"AS IS\", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED\n\
         TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL\n\
         THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF\n\
         CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER\n\
         DEALINGS IN THE SOFTWARE."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_licence_of_several_is_taken_and_all_of_a_sum() {
        let taken = |expression| chosen(expression).map(|taken| taken.join(" + ")).ok();
        assert_eq!(taken("MIT OR Apache-2.0").as_deref(), Some("MIT"));
        assert_eq!(taken("Apache-2.0/MIT").as_deref(), Some("MIT"));
        assert_eq!(taken("ISC AND (Apache-2.0 OR ISC)").as_deref(), Some("ISC"));
        assert_eq!(
            taken("(MIT OR Apache-2.0) AND Unicode-3.0").as_deref(),
            Some("MIT + Unicode-3.0")
        );
        assert_eq!(taken("GPL-3.0-only"), None);
        assert_eq!(taken("MIT AND GPL-2.0"), None);
    }

    #[test]
    fn empty_lines_of_a_field_are_dots() {
        assert_eq!(indented("a\n\n\n  b\n\n"), " a\n .\n   b\n");
    }
}
