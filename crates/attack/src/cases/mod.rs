//! The attacks, a file for each place that the attacker has.

mod admin;
mod agreement;
mod claims;
mod classify;
mod clients;
mod control;
mod esp;
mod floods;
mod guards;
mod http;
mod insider;
mod inspect;
mod losses;
mod metadata;
mod nsh;
mod outside;
mod pathset;
mod resets;

use crate::case::Case;

/// Every attack, in the order in which they are tried.
pub(crate) fn all() -> Vec<Case> {
    [
        esp::CASES,
        nsh::CASES,
        claims::CASES,
        metadata::CASES,
        insider::CASES,
        classify::CASES,
        inspect::CASES,
        outside::CASES,
        guards::CASES,
        agreement::CASES,
        pathset::CASES,
        clients::CASES,
        http::CASES,
        floods::CASES,
        resets::CASES,
        admin::CASES,
        control::CASES,
        losses::CASES,
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;
    use std::fs;
    use std::path::{Path, PathBuf};

    use ringmail_model::defence::Defence;

    use super::*;
    use crate::case::{Claimed, Row, Switch};

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    #[test]
    fn every_attack_has_a_name_of_its_own() {
        let names: BTreeSet<_> = all().iter().map(|case| case.attack).collect();
        assert_eq!(names.len(), all().len());
    }

    #[test]
    fn every_attack_is_tried_without_its_defence_and_every_switch_is_used() {
        let mut used: BTreeSet<Defence> = BTreeSet::new();
        for case in all() {
            match case.switch {
                Some(Switch::Off(defences) | Switch::AtStart(defences, _)) => {
                    used.extend(defences.iter().copied());
                }
                Some(Switch::Kernel(..)) => {}
                None => panic!("nobody sees whether `{}` bites", case.attack),
            }
        }
        let unused: Vec<_> = Defence::ALL.iter().filter(|known| !used.contains(*known)).collect();
        assert!(unused.is_empty(), "no attack is against {unused:?}");
    }

    /// The table of attacks in the manual, by row of Table I.
    fn table() -> String {
        let mut text = "| attack | what becomes of it | |\n|---|---|---|\n".to_owned();
        for row in Row::ALL {
            let _ = writeln!(text, "| **{}** | | |", row.name());
            for case in all().iter().filter(|case| case.row == row) {
                let nsh = if case.claimed == Claimed::WithNsh { "NSH" } else { "" };
                let name = case.attack;
                let _ =
                    writeln!(text, "| <a id=\"{name}\"></a>`{name}` | {} | {nsh} |", case.expected);
            }
        }
        text
    }

    #[test]
    fn the_manual_has_every_attack() {
        let file = root().join("docs/manual/src/proved.md");
        let text = fs::read_to_string(&file).expect("the chapter");
        let (before, rest) = text.split_once("<!-- cases: ").expect("a beginning");
        let (note, rest) = rest.split_once("-->\n").expect("a beginning");
        let (_, after) = rest.split_once("<!-- end of cases -->").expect("an end");
        let table = table();
        let now = format!("{before}<!-- cases: {note}-->\n\n{table}\n<!-- end of cases -->{after}");
        if std::env::var_os("RINGMAIL_UPDATE").is_some() {
            fs::write(&file, &now).expect("it can be written");
        }
        assert!(
            text == now || std::env::var_os("RINGMAIL_UPDATE").is_some(),
            "RINGMAIL_UPDATE=1 writes it anew"
        );
    }

    /// README's Table I: what has a mark has an attack of that row behind it.
    #[test]
    fn every_mark_in_the_readme_links_to_attacks_of_its_row() {
        let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
        for row in Row::ALL {
            let begins = format!("| {} |", row.name());
            let line = readme.lines().find(|line| line.starts_with(&begins));
            let line = line.unwrap_or_else(|| panic!("README.md lacks the row {}", row.name()));
            let ours = line.rsplit('|').nth(1).expect("a last column");
            let of_row =
                |name: &str| all().iter().any(|case| case.attack == name && case.row == row);
            let links: Vec<&str> = ours
                .split("proved.md#")
                .skip(1)
                .filter_map(|link| link.split(')').next())
                .collect();
            assert!(links.iter().all(|name| of_row(name)), "{line}");
            assert_eq!(ours.contains('✓'), !links.is_empty(), "{line}");
        }
    }
}
