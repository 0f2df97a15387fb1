//! Authenticated and hostile: requests that are to reach what their client may not have.

use anyhow::{Result, ensure};
use ringmail_model::defence::Defence;

use crate::case::{Case, Claimed, Row, Switch, Trial};
use crate::domain;
use crate::lab::Lab;

pub(super) const CASES: &[Case] = &[
    Case {
        attack: "request-that-no-rule-allows",
        row: Row::LeastPrivilege,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::RequestRules])),
        expected: "a request that no rule allows, by its method or its path, does not reach the service",
        run: no_rule,
    },
    Case {
        attack: "url-encoded-past-a-rule",
        row: Row::LeastPrivilege,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::UrlForm])),
        expected: "no way to write a path makes rule and service see different ones",
        run: url_encoded,
    },
    Case {
        attack: "authority-of-another-certificate",
        row: Row::LeastPrivilege,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::RequestAuthority])),
        expected: "a request for another name than the connection was made for is misdirected",
        run: other_authority,
    },
    Case {
        attack: "identity-claimed-in-a-header",
        row: Row::Authentication,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::ClaimedFields])),
        expected: "what a client says of itself in headers that services trust does not reach them",
        run: claimed,
    },
    Case {
        attack: "request-smuggled",
        row: Row::LeastPrivilege,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::HopByHopFields])),
        expected: "fields that hold for one hop only, framing and upgrades among them, do not reach the service",
        run: smuggled,
    },
    Case {
        attack: "request-without-a-trace",
        row: Row::Visibility,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::AccessRecord])),
        expected: "a request that is refused leaves a line in the access log, with who asked for what",
        run: without_trace,
    },
];

fn no_rule(lab: &mut Lab) -> Result<Trial> {
    let mallory = lab.client("mallory")?;
    lab.control(&mallory, "/public/page")?;
    lab.www.take();
    let path = lab.get(&mallory, "/forbidden-by-path")?;
    let post =
        "POST /public/by-method HTTP/1.1\r\nhost: www.attack.example\r\ncontent-length: 0\r\n\r\n";
    let method = lab.connect(&mallory)?.ask(post)?;
    let succeeded = lab.www.saw("/forbidden-by-path") || lab.www.saw("/public/by-method");
    Ok(Trial::of(succeeded, format!("another path gets {path}, another method {method}")))
}

/// Ways out of `/public/`.
const WAYS_OUT: [&str; 9] = [
    "/public/../secret",
    "/public/%2e%2e/secret",
    "/public/%2E%2E%2Fsecret",
    "/public/..%2fsecret",
    "/public/%252e%252e/secret",
    "/public/..%5csecret",
    "/public//../../secret",
    "/public/..;/secret",
    "/public/./../secret",
];

fn url_encoded(lab: &mut Lab) -> Result<Trial> {
    let mallory = lab.client("mallory")?;
    lab.control(&mallory, "/public/page")?;
    lab.www.take();
    let mut statuses = Vec::new();
    for path in WAYS_OUT {
        // A refusal of what is malformed may also end the connection.
        let status = lab
            .get(&mallory, path)
            .map_or_else(|_| "nothing".to_owned(), |status| status.to_string());
        statuses.push(status);
    }
    let succeeded = lab.www.saw("secret");
    statuses.sort_unstable();
    statuses.dedup();
    Ok(Trial::of(
        succeeded,
        format!("{} ways of writing it get {}", WAYS_OUT.len(), statuses.join(" or ")),
    ))
}

fn other_authority(lab: &mut Lab) -> Result<Trial> {
    let mut bob = lab.client("bob")?;
    bob.sni = domain::VAULT.to_owned();
    lab.control(&bob, "/")?;
    bob.sni = domain::WWW.to_owned();
    lab.control(&bob, "/")?;
    lab.vault.take();
    let status = lab.connect(&bob)?.get(domain::VAULT, "/fronted")?;
    Ok(Trial::of(lab.vault.saw("/fronted"), format!("it gets {status}")))
}

const CLAIMS: [&str; 5] =
    ["x-forwarded-for", "forwarded", "x-forwarded-client-cert", "x-client-cert", "x-real-ip"];

fn claimed(lab: &mut Lab) -> Result<Trial> {
    let alice = lab.client("alice")?;
    lab.control(&alice, "/")?;
    lab.www.take();
    let claims: String = CLAIMS.iter().map(|name| format!("{name}: for=10.0.0.1\r\n")).collect();
    let request =
        format!("GET /claims HTTP/1.1\r\nhost: {}\r\nx-honest: 1\r\n{claims}\r\n", domain::WWW);
    let status = lab.connect(&alice)?.ask(&request)?;
    let seen = lab.www.take().to_lowercase();
    ensure!(
        seen.contains("/claims") && seen.contains("x-honest: 1"),
        "the request itself gets {status}"
    );
    let passed: Vec<&str> =
        CLAIMS.into_iter().filter(|name| seen.contains(&format!("\r\n{name}:"))).collect();
    Ok(Trial::of(
        !passed.is_empty(),
        format!("{} of {} claims reach the service", passed.len(), CLAIMS.len()),
    ))
}

/// A body whose two framings disagree, with a request behind the shorter one; and an upgrade that would take the service
/// away from the gateway's eyes.
fn smuggled(lab: &mut Lab) -> Result<Trial> {
    let alice = lab.client("alice")?;
    lab.control(&alice, "/")?;
    lab.www.take();
    let host = domain::WWW;
    let two = format!(
        "POST /framed HTTP/1.1\r\nhost: {host}\r\ncontent-length: 47\r\ntransfer-encoding: chunked\r\n\r\n\
         0\r\n\r\nGET /smuggled HTTP/1.1\r\nx-hidden: yes\r\n\r\n"
    );
    // Refused, or read by the one framing that the gateway makes anew.
    let framed = lab
        .connect(&alice)?
        .ask(&two)
        .map_or_else(|_| "nothing".to_owned(), |status| status.to_string());
    let upgrade = format!(
        "GET /upgraded HTTP/1.1\r\nhost: {host}\r\nconnection: upgrade, http2-settings, x-dropped\r\nupgrade: h2c\r\n\
         http2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nx-dropped: 1\r\n\r\n"
    );
    let upgraded = lab.connect(&alice)?.ask(&upgrade)?;
    let seen = lab.www.take().to_lowercase();
    ensure!(seen.contains("/upgraded"), "the request beside the upgrade gets {upgraded}");
    let both = seen.contains("content-length: 47") && seen.contains("transfer-encoding: chunked");
    let smuggled = seen.contains("/smuggled");
    let passed = seen.contains("upgrade: h2c") || seen.contains("http2-settings");
    let observed = format!(
        "two framings get {framed}; the offer of h2c {} the service",
        if passed { "reaches" } else { "does not reach" }
    );
    Ok(Trial::of(both || smuggled || passed, observed))
}

fn without_trace(lab: &mut Lab) -> Result<Trial> {
    let mallory = lab.client("mallory")?;
    lab.control(&mallory, "/public/traced")?;
    let log = lab.folder().join("access.log");
    let lines = || std::fs::read_to_string(&log).unwrap_or_default();
    lab.eventually("an honest request is in the log", || {
        lines().contains("/public/traced").then_some(())
    })?;
    let nth = lines().lines().count();
    let path = format!("/untraced-{nth}");
    let status = lab.get(&mallory, &path)?;
    // Lines come in order: behind an honest one the refused one has come, or never will.
    let behind = format!("/public/behind-{nth}");
    lab.control(&mallory, &behind)?;
    lab.eventually("an honest request is in the log", || lines().contains(&behind).then_some(()))?;
    let lines = lines();
    let line = lines.lines().find(|line| line.contains(&path));
    let told = line.is_some_and(|line| line.contains("client/mallory") && line.contains("refused"));
    Ok(Trial::of(
        !told,
        format!(
            "it gets {status}, and {} in the log",
            if told { "stands" } else { "does not stand" }
        ),
    ))
}
