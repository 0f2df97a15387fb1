//! Text → [`Domain`]. Every error has a line, a column and a mend.

use serde::de::DeserializeOwned;
use serde_saphyr::{DuplicateKeyPolicy, Error};

use super::Domain;
use super::position::Positions;
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::limits::DOMAIN_FILE_BYTES;
use crate::names::shorten;
use crate::suggest;

/// The domain of a text, as it stands there; [`crate::check::load`] also asks whether it makes sense.
///
/// # Errors
/// The first thing that is no YAML, no key of a domain file, or no value of its key.
pub fn parse(text: &str, file_name: &str) -> Result<Domain, Diagnostics> {
    parse_with_positions(text, file_name).map(|(domain, _)| domain)
}

/// The domain of a text and where its parts stand.
///
/// # Errors
/// As [`parse`].
pub fn parse_with_positions(
    text: &str,
    file_name: &str,
) -> Result<(Domain, Positions), Diagnostics> {
    from_yaml(text, file_name)
}

/// A file of any kind, read as the domain file is: strictly, small, told where and how to mend it.
///
/// # Errors
/// The first thing that is no YAML, no key of such a file, or no value of its key.
pub fn from_yaml<T: DeserializeOwned>(
    text: &str,
    file_name: &str,
) -> Result<(T, Positions), Diagnostics> {
    let fail = |line, column, code, message: String, mend: String| {
        let mut diagnostics = Diagnostics::default();
        diagnostics.push(Diagnostic {
            severity: Severity::Error,
            code,
            file: file_name.to_owned(),
            line,
            column,
            at: String::new(),
            message,
            mend,
        });
        diagnostics
    };
    if text.len() > DOMAIN_FILE_BYTES {
        let message = format!("the file has {} bytes, more than {DOMAIN_FILE_BYTES}", text.len());
        let mend = "split the domain, or shorten the file".to_owned();
        return Err(fail(0, 0, "file-too-large", message, mend));
    }
    match serde_saphyr::from_str_with_options::<T>(text, options()) {
        Ok(read) => Ok((read, Positions::of(text))),
        Err(error) => {
            let error = error.without_snippet();
            let location = error.location();
            let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
            let (line, column) = location.map_or((0, 0), |l| (small(l.line()), small(l.column())));
            let (code, message, mend) = say(error);
            Err(fail(line, column, code, message, mend))
        }
    }
}

impl Domain {
    /// The domain as a file that parses to the same.
    ///
    /// # Errors
    /// None for a domain that was parsed; a text that YAML cannot hold otherwise.
    pub fn to_yaml(&self) -> Result<String, serde_saphyr::ser::Error> {
        serde_saphyr::to_string(self)
    }
}

/// How domain files are read: one document, no key twice, small depth, no aliases that swell.
pub(super) fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 32,
            max_documents: 2,
            max_nodes: 200_000,
            max_aliases: 1_000,
            max_anchors: 64,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 20_000,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        emit_comments: false,
        with_snippet: false,
    }
}

/// What is wrong and how to mend it, in the words of this file.
fn say(error: &Error) -> (&'static str, String, String) {
    match error {
        Error::AliasError { error, .. } => say(error),
        Error::SerdeUnknownField { field, expected, .. } => (
            "unknown-key",
            format!("unknown key `{}`", shorten(field)),
            unknown_key(field, expected),
        ),
        Error::SerdeUnknownVariant { variant, expected, .. } => unknown_value(variant, expected),
        Error::SerdeMissingField { field, .. } => (
            "missing-key",
            format!("the key `{field}` is missing"),
            format!("add `{field}: …` here"),
        ),
        Error::DuplicateMappingKey { key, .. } => (
            "duplicate-key",
            match key {
                Some(key) => format!("the key `{}` stands here twice", shorten(key)),
                None => "a key stands here twice".to_owned(),
            },
            "delete one of the two".to_owned(),
        ),
        Error::SerdeInvalidType { unexpected, expected, .. }
        | Error::SerdeInvalidValue { unexpected, expected, .. } => {
            ("bad-value", format!("expected {expected}, found {unexpected}"), String::new())
        }
        Error::InvalidScalar { ty, .. } => bad_scalar(ty),
        Error::InvalidBooleanStrict { .. } => bad_scalar("bool"),
        Error::NullIntoString { .. } => (
            "empty-value",
            "there is no value here".to_owned(),
            "write the value, or delete the key".to_owned(),
        ),
        Error::MultipleDocuments { .. } => (
            "two-documents",
            "a second document begins here".to_owned(),
            "a domain is one document: delete the line `---`".to_owned(),
        ),
        Error::Unexpected { expected, .. } => unexpected(expected),
        Error::Message { msg, .. } => from_type(msg),
        Error::UnsupportedTag { tag, .. } => (
            "tag",
            format!("the tag `{}` has no meaning here", shorten(tag)),
            "delete the tag".to_owned(),
        ),
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => (
            "too-much",
            "the file nests too deep or holds too much".to_owned(),
            "write aliases and lists out flat".to_owned(),
        ),
        Error::UnknownAnchor { .. } => (
            "unknown-anchor",
            "this alias has no anchor".to_owned(),
            "define it before with `&NAME`, or quote the text if it is no alias".to_owned(),
        ),
        other => {
            let text = other.render_with_options(serde_saphyr::render_options! {
                formatter: &serde_saphyr::UserMessageFormatter,
                snippets: serde_saphyr::SnippetMode::Off,
            });
            let text = text.lines().next().unwrap_or_default();
            let text = text.split(" at line ").next().unwrap_or_default().to_owned();
            ("yaml", text, "see that indentation, quotes and brackets are right".to_owned())
        }
    }
}

fn unknown_key(field: &str, expected: &[&'static str]) -> String {
    if suggest::nearest(field, expected.iter().copied()).is_none() && field == "nat" {
        return "no function rewrites addresses yet: delete it".to_owned();
    }
    suggest::mend(field, "keys here", expected.iter().copied())
}

fn unknown_value(variant: &str, expected: &[&'static str]) -> (&'static str, String, String) {
    let shown = shorten(variant);
    let mend = suggest::mend(variant, "values here", expected.iter().copied());
    ("unknown-value", format!("unknown value `{shown}`"), mend)
}

fn bad_scalar(ty: &str) -> (&'static str, String, String) {
    let (what, mend) = match ty {
        "bool" | "boolean" => ("no boolean", "write `true` or `false`"),
        "u8" => ("no whole number from 0 to 255", "write one, without unit"),
        "u16" => ("no whole number from 0 to 65535", "write one, without unit"),
        "u32" => ("no whole number from 0 to 4294967295", "write one, without unit"),
        _ => ("no value of this key", "write a whole number, not negative, without unit"),
    };
    ("bad-value", format!("this is {what}"), mend.to_owned())
}

fn unexpected(expected: &str) -> (&'static str, String, String) {
    let (what, mend) = if expected.contains("sequence") {
        ("a list", "write `[a, b]`, or each entry on a line of its own behind `- `")
    } else if expected.contains("mapping") {
        ("a section", "write `key: value` on lines of their own, indented")
    } else {
        ("a single value", "write a text or a number, no list and no section")
    };
    ("wrong-shape", format!("expected {what} here"), mend.to_owned())
}

/// Our own types say what is wrong and, behind a semicolon or colon, what to write.
fn from_type(message: &str) -> (&'static str, String, String) {
    let cut = message.rfind("; ").or_else(|| message.find(": "));
    let (message, mend) = match cut {
        Some(at) => (&message[..at], &message[at + 2..]),
        None if message.contains("socket address") => {
            (message, "write address and port, such as 192.0.2.1:443 or [2001:db8::1]:443")
        }
        None if message.contains("IP") => (message, "write an address, such as 192.0.2.1"),
        None => (message, "write a value that is in range"),
    };
    ("bad-value", message.to_owned(), mend.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAMPUS: &str = include_str!("../../../../examples/campus.yaml");

    fn first(text: &str) -> (&'static str, u32) {
        let diagnostics = parse(text, "test").expect_err("a bad file");
        let first = diagnostics.iter().next().expect("a diagnostic");
        (first.code, first.line)
    }

    #[test]
    fn aliases_that_swell_are_refused() {
        let names = vec!["sf1"; 500].join(", ");
        let (before, rest) = CAMPUS.split_once("  - name: plain\n").expect("a path");
        let (_, after) = rest.split_once("  - name: inspected\n").expect("another");
        let bomb = format!("  - {{name: a, service: www, hops: &all [{names}]}}\n")
            + &"  - {name: b, service: www, hops: *all}\n".repeat(200);
        let text = format!("{before}{bomb}  - name: inspected\n{after}");
        let (code, line) = first(&text);
        assert_eq!(code, "too-much");
        assert!(line > 0);
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let text = format!("{CAMPUS}#{}", "x".repeat(DOMAIN_FILE_BYTES));
        assert_eq!(first(&text).0, "file-too-large");
    }
}
