//! The finer conditions of rules: certificates, hours, rates, and decision points.

use super::Checker;
use super::rules::is_token;
use crate::domain::{CertificateMatch, DecisionPoint, Hours, Rate, Rule};
use crate::limits;

impl Checker<'_> {
    pub(super) fn strict(&mut self, at: &str, rule: &Rule) {
        if let Some(certificate) = &rule.when.certificate {
            self.certificate_match(&format!("{at}.when.certificate"), certificate);
        }
        for (n, hours) in rule.when.times.iter().flatten().enumerate() {
            self.hours(&format!("{at}.when.times[{n}]"), hours);
        }
        if let Some(rate) = &rule.rate {
            self.rate(&format!("{at}.rate"), rate);
        }
    }

    fn certificate_match(&mut self, at: &str, certificate: &CertificateMatch) {
        if certificate.is_empty() {
            let message = "`certificate` asks for nothing: it always holds".to_owned();
            let mend = "add `spiffe_ids`, `names`, `issuers` or `max_age_s`, or delete it";
            self.error(at, "empty-condition", message, mend);
        }
        for (n, issuer) in certificate.issuers.iter().flatten().enumerate() {
            let printed = issuer.contains('=') && !issuer.contains(" = ") && !issuer.contains(", ");
            if !printed || issuer.len() > limits::ISSUER_BYTES {
                let message = format!("`{}` is no issuer's name", crate::names::shorten(issuer));
                let mend = "write what `openssl x509 -noout -issuer -nameopt RFC2253` prints, such as `CN=Staff CA,O=Campus`";
                self.error(&format!("{at}.issuers[{n}]"), "bad-issuer", message, mend);
            }
        }
        if let Some(age) = certificate.max_age_s {
            self.range(&format!("{at}.max_age_s"), age, 1, limits::CERTIFICATE_AGE_S);
        }
    }

    fn hours(&mut self, at: &str, hours: &Hours) {
        let Hours { days, from, to, .. } = hours;
        if days.as_ref().is_some_and(Vec::is_empty) {
            let message = "an empty list `days` never holds".to_owned();
            let mend = "add a day, or delete the key for every day";
            self.error(&format!("{at}.days"), "empty-condition", message, mend);
        }
        let begin = from.map_or(0, |from| from.minutes());
        let end = to.map_or(24 * 60, |to| to.minutes());
        if begin == end {
            let message = "these hours begin when they end".to_owned();
            let mend = "for a whole day leave out `from` and `to`, or write another time";
            self.error(at, "never-matches", message, mend);
        } else if days.is_none() && from.is_none() && to.is_none() {
            let message = "hours without `days`, `from` and `to` always hold".to_owned();
            self.error(at, "empty-condition", message, "add one of them, or delete the entry");
        } else if begin == 24 * 60 {
            let message = "nothing begins at 24:00".to_owned();
            self.error(&format!("{at}.from"), "never-matches", message, "write `\"00:00\"`");
        }
    }

    fn rate(&mut self, at: &str, rate: &Rate) {
        self.range(&format!("{at}.most"), rate.most, 1, limits::RATE_TOKENS);
        if let Some(burst) = rate.burst {
            self.range(&format!("{at}.burst"), burst, 1, limits::RATE_TOKENS);
        }
    }

    pub(super) fn decision_points(&mut self) {
        for (index, point) in self.domain.decision_points.iter().enumerate() {
            let at = format!("decision_points[{index}]");
            self.decision_address(&at, point);
            self.range(
                &format!("{at}.timeout_ms"),
                point.timeout_ms,
                1,
                limits::DECISION_TIMEOUT_MS,
            );
            if let Some(cache) = &point.cache {
                let keep = format!("{at}.cache.keep_ms");
                self.range(&keep, cache.keep_ms, 1, limits::DECISION_KEEP_MS);
                let entries = format!("{at}.cache.entries");
                self.range(&entries, cache.entries, 1, limits::DECISION_ENTRIES);
            }
            for (n, name) in point.headers.iter().enumerate() {
                if !is_token(name) {
                    let name = crate::names::shorten(name);
                    let message = format!("`{name}` is no name of a header field");
                    let mend = "letters, digits and hyphens, such as `x-role`";
                    self.error(&format!("{at}.headers[{n}]"), "bad-header", message, mend);
                }
            }
            if !self.domain.rules.iter().any(|rule| rule.ask.as_ref() == Some(&point.name)) {
                let message = format!("no rule asks `{}`", point.name);
                let mend = format!("add `ask: {}` to a rule, or delete it", point.name);
                self.warning(&at, "never-asked", message, mend);
            }
        }
    }

    fn decision_address(&mut self, at: &str, point: &DecisionPoint) {
        let Some(address) = point.reached_at() else {
            let message = format!("where `{}` listens is not said", point.url.host());
            let mend = "add `address: IP:PORT` or `address: unix:/PATH`: names are not looked up";
            return self.error(&format!("{at}.url"), "no-address", message, mend);
        };
        match (point.url.is_tls(), &point.ca) {
            (true, None) => {
                let message = "https needs to know whom to believe".to_owned();
                let mend = "add `ca: FILE` with the trust anchors of its certificate";
                self.error(&format!("{at}.url"), "no-trust-anchor", message, mend);
            }
            (false, Some(_)) => {
                let message = "plain http has no certificate to check".to_owned();
                self.error(&format!("{at}.ca"), "no-tls", message, "write https, or delete `ca`");
            }
            _ => {}
        }
        if !point.url.is_tls() && !address.is_local() && !point.danger_plaintext {
            let message =
                format!("whoever stands between here and {address} can answer for it over http");
            let mend = "use https with `ca`, or a Unix socket; or write `danger_plaintext: true`";
            self.error(&format!("{at}.url"), "plain-decision", message, mend);
        }
    }
}
