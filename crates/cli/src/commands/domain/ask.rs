//! `ringmail domain test FILE --client ID --url URL`: what the rules say of a request, and why, without traffic.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use ringmail_model::domain::{ApplicationProtocol, Client, Domain, Per};
use ringmail_model::pathset::{Issue, Path, PathSet};
use ringmail_model::rules::{CertificateFacts, Decision, Demands, Headers, RequestFacts};
use ringmail_model::{PathVersion, RuleSet};
use ringmail_node::certificate::client_certificate;
use schemars::JsonSchema;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{load, read, warn};
use crate::context::Context;
use crate::error::{Failure, OrFail, Outcome};
use crate::output::Report;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The domain file; - for standard input
    file: PathBuf,

    /// Who asks: the name of a client in the file, or what its certificate says (spiffe://…, dns:…, email:…)
    #[arg(long, value_name = "ID", required_unless_present = "certificate")]
    client: Option<String>,

    /// The client's certificate in PEM, where rules look at more than its name; may stand instead of --client
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,

    /// When, as in 2026-11-20T08:00:00Z, where rules look at the time; now if left out
    #[arg(long, value_name = "TIME")]
    at: Option<String>,

    /// What is asked for
    #[arg(long)]
    url: String,

    /// The method
    #[arg(long, default_value = "GET")]
    method: String,

    /// A header field, such as `accept: text/html`; may be given again
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,

    /// The server name in TLS; the host of the URL if left out
    #[arg(long)]
    sni: Option<String>,

    /// Where the client comes from; its address in the file if left out
    #[arg(long, value_name = "ADDRESS")]
    source: Option<IpAddr>,

    /// The beginning of the body, where rules look at it
    #[arg(long, default_value = "")]
    body: String,
}

/// What the rules say of a request.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Tested {
    /// The file as it was named.
    file: String,
    /// The identity that the rules were asked about.
    client: String,
    /// The method.
    method: String,
    /// The URL.
    url: String,
    /// Whether the request may go.
    allowed: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The HTTP status of the refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// The rule that decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    /// The service that it goes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    /// What the rule that decides demands besides, which only is known at run time: its rate, a decision point.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    at_run_time: Vec<String>,
    /// The way there.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Route>,
    /// The way back.
    #[serde(skip_serializing_if = "Option::is_none")]
    return_path: Option<Route>,
    /// The rules that were asked before one decided, in order, and what does not hold of each.
    rules: Vec<Asked>,
}

/// A path with its elements.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Route {
    /// The path's name.
    name: String,
    /// The elements from its beginning to its end.
    elements: Vec<String>,
}

/// A rule that was asked.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Asked {
    /// The rule.
    rule: String,
    /// The conditions that do not hold; none for the rule that decides.
    failed: Vec<String>,
    /// Whether only one condition is missing.
    near: bool,
}

impl Report for Tested {
    const NAME: &'static str = "domain-test";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Tested { client, method, url, rule, service, reason, status, .. } = self;
        writeln!(out, "{client}: {method} {url}")?;
        match (rule, service) {
            (Some(rule), Some(service)) => {
                writeln!(out, "allowed by rule {rule}, to service {service}")?;
            }
            _ => {
                let status = status.map_or(String::new(), |status| format!(" ({status})"));
                writeln!(out, "refused{status}: {}", reason.as_deref().unwrap_or("no rule"))?;
            }
        }
        for demand in &self.at_run_time {
            writeln!(out, "  asked at run time: {demand}")?;
        }
        for (what, route) in [("path", &self.path), ("back by", &self.return_path)] {
            if let Some(Route { name, elements }) = route {
                writeln!(out, "  {what} {name}: {}", elements.join(" → "))?;
            }
        }
        for Asked { rule, failed, near } in &self.rules {
            if !failed.is_empty() {
                let nearly = if *near { "nearly: " } else { "" };
                writeln!(out, "  not rule {rule}: {nearly}{}", failed.join("; "))?;
            }
        }
        Ok(())
    }
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    let text = read(&args.file)?;
    let loaded = load(&text, &args.file)?;
    warn(&loaded.warnings);
    let domain = loaded.domain;
    let issue = Issue { version: PathVersion(1), not_before_unix_s: 0, not_after_unix_s: u64::MAX };
    let set = PathSet::compile(&domain, issue).context("the domain has no path set")?;
    let rules = RuleSet::compile(&domain, &set).context("the domain's rules cannot be asked")?;
    let Some((authority, path)) = split(&args.url) else {
        return Err(Failure::usage(format!("`{}` is no https URL with a host", args.url))
            .hint("such as https://www.campus.example/index.html"));
    };
    let certificate = args.certificate.as_deref().map(client_certificate).transpose();
    let certificate = certificate.context("the certificate cannot be read")?;
    let shown = certificate.as_ref().map(|shown| shown.names.as_slice()).unwrap_or_default();
    let given = match &args.client {
        Some(given) => given.clone(),
        None => rules
            .identify(shown.iter().map(String::as_str))
            .or(shown.first().map(String::as_str))
            .unwrap_or_default()
            .to_owned(),
    };
    let identified =
        |client: &&Client| *client.name == *given || client.identity_in(&domain.domain) == given;
    let known = domain.clients.iter().find(identified);
    let client = known.map_or(given, |client| client.identity_in(&domain.domain));
    let now_unix_s = args.at.as_deref().map_or_else(now, moment)?;
    if known.is_none() && !client.contains(':') {
        return Err(Failure::usage(format!("the domain has no client `{client}`"))
            .hint(format!("its clients are {}", names(&domain))));
    }
    let address = args.source.or_else(|| known.and_then(|client| client.address));
    let headers = args.header.iter().map(|field| {
        let (name, value) = field.split_once(':')?;
        Some((name.trim(), value.trim().as_bytes()))
    });
    let headers: Option<Vec<(&str, &[u8])>> = headers.collect();
    let headers = headers.ok_or_else(|| Failure::usage("a header field is `NAME: VALUE`"))?;
    let headers = Fields(headers);
    // Without the certificate, what is known of it is whose it is.
    let own = [client.clone()];
    let alone = CertificateFacts { names: &own, ..CertificateFacts::default() };
    let facts = RequestFacts {
        client: &client,
        certificate: certificate.as_ref().map_or(alone, |certificate| certificate.facts()),
        now_unix_s,
        sni: Some(args.sni.as_deref().unwrap_or(host(authority))),
        source: address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        host: authority,
        method: &args.method,
        protocol: ApplicationProtocol::Http,
        path,
        headers: &headers,
        body_prefix: Some(args.body.as_bytes()),
    };
    let asked = rules.asked(&facts).into_iter().map(|(rule, failed)| Asked {
        rule: rule.to_owned(),
        near: failed.len() == 1,
        failed: failed.iter().map(ToString::to_string).collect(),
    });
    let mut tested = Tested {
        file: args.file.display().to_string(),
        client: client.clone(),
        method: args.method.clone(),
        url: args.url.clone(),
        allowed: false,
        reason: None,
        status: None,
        rule: None,
        service: None,
        at_run_time: Vec::new(),
        path: None,
        return_path: None,
        rules: asked.collect(),
    };
    match rules.evaluate(&facts) {
        Decision::Allow { rule, path, service, demands } => {
            let path = set.path(path);
            let back = path.and_then(|path| set.path(path.return_path?));
            tested.allowed = true;
            tested.rule = Some(rule.to_owned());
            tested.service = Some(service.to_owned());
            tested.at_run_time = at_run_time(demands, &domain);
            tested.path = path.map(|path| route(&set, path));
            tested.return_path = back.map(|path| route(&set, path));
        }
        Decision::Deny { reason } => {
            tested.reason = Some(reason.to_string());
            tested.status = Some(reason.http_status());
        }
        Decision::NeedBodyPrefix { .. } => tested.reason = Some("the body was not read".to_owned()),
    }
    let outcome = if tested.allowed { Outcome::Done } else { Outcome::VerdictNo };
    context.emit(&tested)?;
    Ok(outcome)
}

/// What is only known at run time, in words.
fn at_run_time(demands: Demands<'_>, domain: &Domain) -> Vec<String> {
    let rate = demands.rate.map(|rate| {
        let per = match rate.per {
            Per::Second => "second",
            Per::Minute => "minute",
            Per::Hour => "hour",
        };
        let (most, burst) = (rate.most, rate.burst());
        format!("its rate, {most} a {per} for each client, {burst} at once")
    });
    let point = demands.ask.map(|name| {
        let point = domain.decision_points.iter().find(|point| *point.name == *name);
        let url = point.map_or(String::new(), |point| format!(", {}", point.url));
        format!("the decision point {name}{url}")
    });
    rate.into_iter().chain(point).collect()
}

fn now() -> Result<u64, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Ok(now.context("the clock is before 1970")?.as_secs())
}

fn moment(text: &str) -> Result<u64, Failure> {
    let parsed = OffsetDateTime::parse(text, &Rfc3339).ok();
    let unix_s = parsed.and_then(|time| u64::try_from(time.unix_timestamp()).ok());
    unix_s.ok_or_else(|| {
        Failure::usage(format!("`{text}` is no time")).hint("such as 2026-11-20T08:00:00Z")
    })
}

/// Header fields as rules read them.
struct Fields<'a>(Vec<(&'a str, &'a [u8])>);

impl Headers for Fields<'_> {
    fn for_each(&self, name: &str, visit: &mut dyn FnMut(&[u8])) {
        self.0.as_slice().for_each(name, visit);
    }
}

/// Authority and path of a URL.
fn split(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("https://")?;
    let rest = &rest[..rest.find('#').unwrap_or(rest.len())];
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(at);
    let path = rest.split('?').next().unwrap_or_default();
    (!authority.is_empty()).then_some((authority, if path.is_empty() { "/" } else { path }))
}

/// The host of an authority, without its port.
fn host(authority: &str) -> &str {
    let port =
        authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    port.map_or(authority, |(host, _)| host)
}

fn route(set: &PathSet, path: &Path) -> Route {
    let all = (0..=path.hops.len() + 1).filter_map(|at| set.element(path.element_at(at)?));
    Route { name: path.name.clone(), elements: all.map(|element| element.name.clone()).collect() }
}

fn names(domain: &Domain) -> String {
    domain.clients.iter().map(|client| client.name.to_string()).collect::<Vec<_>>().join(", ")
}
