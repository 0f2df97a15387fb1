//! The excludes of a runtime policy: regular expressions that match from a path's first character on, to any character, as
//! Python's `re.match` does.

use regex_automata::meta::Regex;
use regex_automata::{Anchored, Input};

use super::file::PolicyError;
use crate::limits;

/// All excludes of a policy as one program; its time is linear in the path.
#[derive(Debug)]
pub(super) struct Excludes(Option<Regex>);

impl Excludes {
    pub(super) fn new(patterns: &[String]) -> Result<Excludes, PolicyError> {
        if patterns.is_empty() {
            return Ok(Excludes(None));
        }
        let limit = limits::RUNTIME_POLICY_EXCLUDES;
        if patterns.len() > limit {
            return Err(PolicyError::TooMany { what: "excludes", limit });
        }
        let config = Regex::config()
            .nfa_size_limit(Some(limits::RUNTIME_POLICY_REGEX_BYTES))
            .onepass_size_limit(Some(0))
            .dfa_size_limit(Some(0));
        let built = Regex::builder().configure(config).build_many(patterns);
        built.map(|regex| Excludes(Some(regex))).map_err(|error| {
            let number = error.pattern().map_or(0, |pattern| pattern.as_usize());
            let reason = match error.syntax_error() {
                Some(syntax) => syntax.to_string(),
                None => error.to_string(),
            };
            PolicyError::Exclude { number, reason }
        })
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        let input = Input::new(name).anchored(Anchored::Yes).earliest(true);
        self.0.as_ref().is_some_and(|regex| regex.is_match(input))
    }
}

#[cfg(test)]
mod tests {
    use super::Excludes;

    fn excludes(patterns: &[&str]) -> Excludes {
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        Excludes::new(&patterns).expect("patterns")
    }

    #[test]
    fn a_pattern_matches_from_the_front_and_needs_no_end() {
        let tmp = excludes(&["/tmp/", "/var/(log|run)"]);
        for (path, expected) in [
            ("/tmp/x", true),
            ("/var/log/syslog", true),
            ("/usr/tmp/x", false),
            ("/var/lib", false),
            ("boot_aggregate", false),
        ] {
            assert_eq!(tmp.matches(path), expected, "{path}");
        }
        assert!(excludes(&[""]).matches("/anything"));
        assert!(!excludes(&[]).matches("/anything"));
        assert!(excludes(&["/tmp$"]).matches("/tmp") && !excludes(&["/tmp$"]).matches("/tmp/x"));
    }

    #[test]
    fn the_pattern_that_is_wrong_is_named() {
        let patterns = ["/tmp".to_owned(), "(".to_owned()];
        let error = Excludes::new(&patterns).expect_err("no regular expression").to_string();
        assert!(error.starts_with("`excludes[1]`"), "{error}");
        assert!(Excludes::new(&["(?!x)".to_owned()]).is_err(), "needs more than linear time");
        assert!(Excludes::new(&["(((a{999}){999}){999})".to_owned()]).is_err(), "needs gigabytes");
    }
}
