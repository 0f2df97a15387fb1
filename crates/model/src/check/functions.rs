//! Functions and their settings, and what a function without plaintext cannot do.

use std::collections::BTreeMap;

use super::Checker;
use crate::domain::{DpiRule, DpiSettings, Function, FunctionKind, Pattern, PatternError};
use crate::limits;

impl Checker<'_> {
    pub(super) fn functions(&mut self) {
        for (index, function) in self.domain.functions.iter().enumerate() {
            let at = format!("functions[{index}]");
            self.settings_of_other_kinds(&at, function);
            match function.kind {
                FunctionKind::Forward => {}
                FunctionKind::Dpi => match &function.dpi {
                    Some(dpi) => self.dpi(&at, function, dpi),
                    None => {
                        let message =
                            format!("the dpi function `{}` has nothing to look for", function.name);
                        let mend = "add `dpi: {rules: […]}`, or write `kind: forward`";
                        self.error(&at, "no-settings", message, mend);
                    }
                },
                FunctionKind::Firewall => match &function.firewall {
                    Some(firewall) => self.firewall(&at, function, firewall),
                    None => {
                        let message = format!("the firewall `{}` has no rules", function.name);
                        let mend = "add `firewall: {rules: […]}`, or write `kind: forward`";
                        self.error(&at, "no-settings", message, mend);
                    }
                },
                FunctionKind::Logger => match &function.logger {
                    Some(logger) => self.logger(&at, function, logger),
                    None => {
                        let message = format!("the logger `{}` has no folder", function.name);
                        let mend = "add `logger: {directory: /var/log/ringmail/NAME}`";
                        self.error(&at, "no-settings", message, mend);
                    }
                },
                FunctionKind::Attached => match &function.attached {
                    Some(attached) => self.attached(&at, function, attached),
                    None => {
                        let message =
                            format!("nothing is said of the attached function `{}`", function.name);
                        let mend = "add `attached: {setup: […], run: […]}`";
                        self.error(&at, "no-settings", message, mend);
                    }
                },
            }
        }
    }

    fn settings_of_other_kinds(&mut self, at: &str, function: &Function) {
        for (key, kind, given) in [
            ("dpi", FunctionKind::Dpi, function.dpi.is_some()),
            ("firewall", FunctionKind::Firewall, function.firewall.is_some()),
            ("logger", FunctionKind::Logger, function.logger.is_some()),
            ("attached", FunctionKind::Attached, function.attached.is_some()),
        ] {
            if given && function.kind != kind {
                let message = format!("`{key}` has no meaning with `kind: {}`", function.kind);
                let mend = format!("delete it, or write `kind: {kind}`");
                self.error(&format!("{at}.{key}"), "settings-of-other-kind", message, mend);
            }
        }
    }

    fn dpi(&mut self, at: &str, function: &Function, dpi: &DpiSettings) {
        if dpi.rules.is_empty() {
            let message = format!("the dpi function `{}` has nothing to look for", function.name);
            self.error(&format!("{at}.dpi.rules"), "empty", message, "add a rule");
        }
        if dpi.rules.len() > limits::LIST_ENTRIES {
            let message =
                format!("{} rules are more than {}", dpi.rules.len(), limits::LIST_ENTRIES);
            self.error(&format!("{at}.dpi.rules"), "too-many", message, "split the function");
        }
        self.range(&format!("{at}.dpi.limits.connections"), dpi.limits.connections, 1, 4 << 20);
        self.range(
            &format!("{at}.dpi.limits.stream_bytes"),
            dpi.limits.stream_bytes,
            2048,
            16 << 30,
        );
        let mut names = BTreeMap::new();
        for (index, rule) in dpi.rules.iter().enumerate() {
            let at = format!("{at}.dpi.rules[{index}]");
            if let Some(first) = names.insert(&rule.name, index) {
                let message = format!("the rule `{}` is there already (rules[{first}])", rule.name);
                let mend = "give one of them another name";
                self.error(&format!("{at}.name"), "duplicate-name", message, mend);
            }
            if !function.intrusive {
                self.blind(&at, function, rule);
            }
            self.dpi_rule(&at, rule);
        }
    }

    /// ESP hides all but outer addresses, protocol and SPI.
    fn blind(&mut self, at: &str, function: &Function, rule: &DpiRule) {
        let name = &function.name;
        if !rule.ports.is_empty() {
            let message = format!("`{name}` is not intrusive and sees no ports: ESP encrypts them");
            let mend = format!("write `intrusive: true` for `{name}`, or delete `ports`");
            self.error(&format!("{at}.ports"), "ports-without-plaintext", message, mend);
        }
        if rule.bytes.is_some() || rule.hex.is_some() || rule.regex.is_some() {
            let message = format!("`{name}` is not intrusive and sees no payload: ESP encrypts it");
            let mend = format!("write `intrusive: true` for `{name}`, or `kind: forward`");
            self.error(at, "payload-without-plaintext", message, mend);
        }
    }

    fn dpi_rule(&mut self, at: &str, rule: &DpiRule) {
        if let Some(index) = rule.ports.iter().position(|port| *port == 0) {
            let message = "no packet has port 0".to_owned();
            self.error(&format!("{at}.ports[{index}]"), "port-zero", message, "delete it");
        }
        if rule.ignore_case && rule.hex.is_some() {
            let message = "`ignore_case` has no meaning with `hex`".to_owned();
            let mend = "delete it, or write the text as `bytes`";
            self.error(&format!("{at}.ignore_case"), "ignore-case-of-hex", message, mend);
        }
        match rule.pattern() {
            Err(error) => {
                let (code, mend) = match error {
                    PatternError::Missing => {
                        ("no-pattern", "add one of them, such as `bytes: test`")
                    }
                    PatternError::Several => {
                        ("two-patterns", "delete all but one, or make two rules")
                    }
                    PatternError::Empty => ("empty-pattern", "write what to look for"),
                    PatternError::Hex(_) => (
                        "bad-hex",
                        "an even number of hex digits; spaces and colons may stand between",
                    ),
                };
                let place = match error {
                    PatternError::Hex(_) => format!("{at}.hex"),
                    _ => at.to_owned(),
                };
                self.error(&place, code, error.to_string(), mend);
            }
            Ok(Pattern::Literal(bytes)) if bytes.len() > limits::PATTERN_BYTES => {
                let message = format!("a pattern of {} bytes is too long", bytes.len());
                let mend =
                    format!("at most {} bytes: a part of it is enough", limits::PATTERN_BYTES);
                self.error(at, "long-pattern", message, mend);
            }
            Ok(Pattern::Literal(_)) => {}
            Ok(Pattern::Regex(regex)) => self.regex(&format!("{at}.regex"), &regex),
        }
    }

    fn regex(&mut self, at: &str, regex: &str) {
        if regex.len() > limits::REGEX_BYTES {
            let message = format!("a regular expression of {} bytes is too long", regex.len());
            let mend = format!("at most {} bytes: make several rules", limits::REGEX_BYTES);
            self.error(at, "long-pattern", message, mend);
            return;
        }
        let mut parser = regex_syntax::ParserBuilder::new();
        match parser.unicode(false).utf8(false).nest_limit(64).build().parse(regex) {
            Err(error) => {
                let text = error.to_string();
                let last = text.lines().last().unwrap_or_default().trim();
                let why = last.strip_prefix("error: ").unwrap_or(last);
                let message = format!("this is no regular expression: {why}");
                let mend =
                    "use the syntax of Rust's regex crate: no look-around, no backreferences";
                self.error(at, "bad-regex", message, mend);
            }
            Ok(parsed) if parsed.properties().minimum_len() == Some(0) => {
                let message = "this regular expression matches the empty text, and so every packet"
                    .to_owned();
                self.error(at, "empty-pattern", message, "make it match at least one byte");
            }
            Ok(parsed) if !parsed.properties().look_set().iter().all(is_start) => {
                let message =
                    "of the assertions only `^` is known: a stream that is still running has no end"
                        .to_owned();
                self.error(
                    at,
                    "bad-regex",
                    message,
                    "leave `$`, `\\b`, `\\B`, `\\z` and the like out",
                );
            }
            Ok(_) => {}
        }
    }
}

fn is_start(look: regex_syntax::hir::Look) -> bool {
    use regex_syntax::hir::Look;
    matches!(look, Look::Start | Look::StartLF)
}
