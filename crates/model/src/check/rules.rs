//! Rules: conditions that can hold.

use super::Checker;
use crate::domain::{BodyMatch, HeaderMatch, ListenerKind, Rule, When};
use crate::limits;
use crate::names::HostPattern;

/// Methods that a typing error is likely to mean (RFC 9110 section 9.3, RFC 5789).
const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

impl Checker<'_> {
    pub(super) fn rules(&mut self) {
        if self.domain.rules.is_empty() {
            let message = "there are no rules: nobody gets anything".to_owned();
            let mend = "add a rule with `name`, `when` and `path`";
            self.warning("rules", "no-rules", message, mend);
        }
        for (index, rule) in self.domain.rules.iter().enumerate() {
            let at = format!("rules[{index}].when");
            self.lists(&at, &rule.when);
            self.hosts(&at, rule);
            self.sources(&at, &rule.when);
            self.methods(&at, &rule.when);
            self.protocols(&at, &rule.when);
            for (n, header) in rule.when.headers.iter().flatten().enumerate() {
                self.header(&format!("{at}.headers[{n}]"), header);
            }
            if let Some(body) = &rule.when.body_prefix {
                self.body(&format!("{at}.body_prefix"), body);
            }
            self.strict(&format!("rules[{index}]"), rule);
        }
    }

    fn lists(&mut self, at: &str, when: &When) {
        let certificate = when.certificate.as_ref();
        for (key, count) in [
            ("clients", when.clients.as_ref().map(Vec::len)),
            ("protocols", when.protocols.as_ref().map(Vec::len)),
            ("server_names", when.server_names.as_ref().map(Vec::len)),
            ("sources", when.sources.as_ref().map(Vec::len)),
            ("times", when.times.as_ref().map(Vec::len)),
            ("hosts", when.hosts.as_ref().map(Vec::len)),
            ("methods", when.methods.as_ref().map(Vec::len)),
            ("paths", when.paths.as_ref().map(Vec::len)),
            ("headers", when.headers.as_ref().map(Vec::len)),
            (
                "certificate.spiffe_ids",
                certificate.and_then(|c| Some(c.spiffe_ids.as_ref()?.len())),
            ),
            ("certificate.names", certificate.and_then(|c| Some(c.names.as_ref()?.len()))),
            ("certificate.issuers", certificate.and_then(|c| Some(c.issuers.as_ref()?.len()))),
        ] {
            let at = format!("{at}.{key}");
            match count {
                Some(0) => {
                    let message = format!("an empty list `{key}` never holds");
                    let mend = "add an entry, or delete the key if it should always hold";
                    self.error(&at, "empty-condition", message, mend);
                }
                Some(count) if count > limits::LIST_ENTRIES => {
                    let message = format!("{count} entries are more than {}", limits::LIST_ENTRIES);
                    self.error(&at, "too-many", message, "split the rule");
                }
                _ => {}
            }
        }
    }

    /// Hosts that the service of the rule answers to, and server names that a listener has.
    fn hosts(&mut self, at: &str, rule: &Rule) {
        let d = self.domain;
        let path = d.paths.iter().find(|p| p.name == rule.path);
        let service = path.and_then(|path| d.services.iter().find(|s| s.name == path.service));
        if let (Some(hosts), Some(service)) = (&rule.when.hosts, service) {
            for (n, host) in hosts.iter().enumerate() {
                if !service.server_names.iter().any(|name| name.meets(host)) {
                    let message =
                        format!("the service `{}` does not answer to `{host}`", service.name);
                    let names: Vec<&str> =
                        service.server_names.iter().map(|n| n.as_str()).collect();
                    let mend =
                        crate::suggest::mend(host, "its server names", names.iter().copied());
                    self.error(&format!("{at}.hosts[{n}]"), "host-of-other-service", message, mend);
                }
            }
        }
        let certificates = d.gateway.listeners.iter().flat_map(|l| &l.certificates);
        let shown: Vec<&HostPattern> = certificates.flat_map(|c| &c.server_names).collect();
        for (n, name) in rule.when.server_names.iter().flatten().enumerate() {
            if !shown.iter().any(|pattern| pattern.meets(name)) {
                let message =
                    format!("no listener has a certificate for `{name}`: it is never asked for");
                let mend =
                    crate::suggest::mend(name, "server names", shown.iter().map(|n| n.as_str()));
                self.error(&format!("{at}.server_names[{n}]"), "no-certificate", message, mend);
            }
        }
    }

    fn sources(&mut self, at: &str, when: &When) {
        for (n, source) in when.sources.iter().flatten().enumerate() {
            let inside = [&self.domain.gateway.inner, &self.domain.egress.networks];
            let inside = inside.into_iter().flatten().chain([&self.domain.links.network]);
            if let Some(network) = inside.copied().find(|network| network.covers(*source)) {
                let message =
                    format!("no client comes from {source}: {network} is inside the domain");
                let mend = "write a network outside, such as one of `gateway.outside`";
                self.error(&format!("{at}.sources[{n}]"), "source-inside", message, mend);
            }
        }
    }

    fn methods(&mut self, at: &str, when: &When) {
        for (n, method) in when.methods.iter().flatten().enumerate() {
            let at = format!("{at}.methods[{n}]");
            let upper = method.to_ascii_uppercase();
            if !is_token(method) {
                let message = format!("`{}` is no method", crate::names::shorten(method));
                let mend = format!("methods: {}", METHODS.join(", "));
                self.error(&at, "bad-method", message, mend);
            } else if *method != upper && METHODS.contains(&upper.as_str()) {
                let message =
                    format!("methods are compared case and all: `{method}` is not `{upper}`");
                self.error(&at, "bad-method", message, format!("did you mean `{upper}`?"));
            }
        }
    }

    /// Protocols that some listener carries, and no condition on HTTP where nothing of HTTP is seen.
    fn protocols(&mut self, at: &str, when: &When) {
        let carried = |kind| self.domain.gateway.listeners.iter().any(|l| l.kind == kind);
        let (requests, connections) = (carried(ListenerKind::Https), carried(ListenerKind::Tls));
        for (n, protocol) in when.protocols.iter().flatten().enumerate() {
            let at = format!("{at}.protocols[{n}]");
            if !protocol.is_of_requests() && when.is_of_requests() {
                let message = format!(
                    "a connection that speaks `{protocol}` passes unread: conditions on HTTP never hold for it"
                );
                let mend = "split the rule: leave out `hosts`, `methods`, `paths`, `headers` and `body_prefix` here";
                self.error(&at, "never-matches", message, mend);
            } else if if protocol.is_of_requests() { !requests } else { !connections } {
                let kind = if protocol.is_of_requests() { "https" } else { "tls" };
                let message = format!("no listener is of kind `{kind}`, which `{protocol}` needs");
                self.warning(&at, "never-matches", message, "add the listener, or delete this");
            }
        }
    }

    fn header(&mut self, at: &str, header: &HeaderMatch) {
        if !is_token(&header.name) {
            let message =
                format!("`{}` is no name of a header field", crate::names::shorten(&header.name));
            let mend = "letters, digits and hyphens, such as `x-role`";
            self.error(&format!("{at}.name"), "bad-header", message, mend);
        }
        if header.name.eq_ignore_ascii_case("host") {
            let message = "`host` is no field here: HTTP/2 has :authority instead".to_owned();
            self.error(&format!("{at}.name"), "bad-header", message, "use the condition `hosts`");
        }
        if header.exact.is_some() && header.prefix.is_some() {
            let message = "`exact` and `prefix` stand here together".to_owned();
            self.error(at, "two-matches", message, "delete one of the two");
        }
        if !header.present && (header.exact.is_some() || header.prefix.is_some()) {
            let message = "a field that must not be there has no value".to_owned();
            let mend = "delete `present: false`, or `exact` and `prefix`";
            self.error(at, "two-matches", message, mend);
        }
    }

    fn body(&mut self, at: &str, body: &BodyMatch) {
        let held = self.domain.gateway.limits.body_prefix_bytes;
        if body.bytes == 0 || body.bytes > held {
            let message = format!("{} bytes of the body cannot be looked at", body.bytes);
            let mend = format!("write 1 to {held}, or raise `gateway.limits.body_prefix_bytes`");
            self.error(&format!("{at}.bytes"), "out-of-range", message, mend);
        }
        if body.starts_with.is_empty() && body.contains.is_empty() {
            let message = "there is no text to look for in the body".to_owned();
            self.error(at, "no-pattern", message, "add `starts_with` or `contains`");
        }
        for (key, texts) in [("starts_with", &body.starts_with), ("contains", &body.contains)] {
            for (n, text) in texts.iter().enumerate() {
                let at = format!("{at}.{key}[{n}]");
                if text.is_empty() {
                    let message = "an empty text stands in every body".to_owned();
                    self.error(&at, "empty-pattern", message, "write what to look for");
                } else if text.len() > body.bytes as usize {
                    let message =
                        format!("{} bytes of text never fit in {} bytes", text.len(), body.bytes);
                    self.error(&at, "never-matches", message, "raise `bytes`, or shorten the text");
                }
            }
        }
    }
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
