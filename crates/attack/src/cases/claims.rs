//! What is said afterwards of the way that packets came: by an end of a path that somebody took over, and by nobody.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use ringmail_model::defence::Defence;
use ringmail_model::summary::{ElementAudit, Node, PathAudit, Signed, Statement, Summary, Trail};
use ringmail_node::control::{Observe, Observed};
use ringmail_node::summary::{check, seal_statement, seal_summary};
use ringmail_trust::{Authority, ElementKey, Identity};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::nsh::proof_altered;
use crate::case::{Case, Claimed, Row, Switch, Trial};
use crate::lab::{Flow, LONG_BYTES, Lab, long};

pub(super) const CASES: &[Case] = &[
    Case {
        attack: "packet-claimed-that-no-hop-passed",
        row: Row::ProofOfTransit,
        claimed: Claimed::WithNsh,
        given: &[],
        switch: Some(Switch::Off(&[Defence::SummaryRoots])),
        expected: "an end of a path that claims a packet which a hop never passed is contradicted by what the hop signed",
        run: claimed,
    },
    Case {
        attack: "failed-proof-kept-quiet",
        row: Row::ProofOfTransit,
        claimed: Claimed::WithNsh,
        given: &[Defence::LinkCode],
        switch: Some(Switch::Off(&[Defence::ProofRecord])),
        expected: "a packet whose way was not proved is shown by `ringmail prove`, which ends with 3",
        run: quiet,
    },
];

/// The path whose end is taken over.
const PATH: &str = "inspected";

/// Datagrams that are sent at once; more than fit into a socket would be lost.
const AT_ONCE: usize = 100;

/// Datagrams before and behind the one that is taken away, in such parts: its group is over then.
const BEFORE: usize = 3;
const BEHIND: usize = 24;

/// What every element signs of what it passed since this was asked last.
fn told(lab: &Lab) -> Result<Vec<Signed>> {
    let mut said = Vec::new();
    for element in &lab.set.elements {
        loop {
            let asked = lab.handle();
            match lab.block_on(asked.observe(&element.name, Observe::Statement))? {
                Observed::Statement { signed, more } => {
                    said.extend(signed.map(|signed| *signed));
                    if !more {
                        break;
                    }
                }
                _ => bail!("{} answers another question", element.name),
            }
        }
    }
    Ok(said)
}

/// What an auditor finds of the path in these statements, whoever wrote them down.
fn audited(lab: &Lab, statements: Vec<Signed>) -> Result<PathAudit> {
    let to_ms = statements.iter().map(|signed| signed.statement.at_ms).max().unwrap_or(0);
    let domain = lab.authority().trust_domain().to_string();
    let summary = Summary { domain, number: 1, to_ms, statements, ..Summary::default() };
    let file = lab.folder().join("claims.json");
    fs::write(&file, seal_summary(summary, &identity(lab, "control")?)?.to_bytes())?;
    let checked = check(&[file], &lab.authority().trust_bundle()?.roots, 0)?;
    let problems: Vec<_> = checked.files.iter().flat_map(|file| &file.problems).collect();
    ensure!(problems.is_empty(), "the signatures do not hold: {problems:?}");
    let found = checked.paths.into_iter().find(|path| path.path == PATH);
    found.context("nobody speaks of the path")
}

/// What was stolen: the keys of an element, or of who writes summaries.
fn identity(lab: &Lab, name: &str) -> Result<Identity> {
    let (key, element) = (ElementKey::generate()?, name.parse()?);
    let request = key.signing_request(lab.authority().trust_domain(), &element)?;
    let certificates = match name {
        "control" => lab.authority().sign_control(&request)?,
        _ => lab.authority().sign_element(&element, &request)?,
    };
    Ok(key.into_identity(certificates))
}

fn contradicted(path: &PathAudit) -> Vec<&str> {
    let against = path.elements.iter().filter(|of: &&ElementAudit| of.contradicted > 0);
    against.map(|of| of.element.as_str()).collect()
}

fn send(flow: &Flow, parts: usize) -> Result<()> {
    for _ in 0..parts {
        (0..AT_ONCE).try_for_each(|_| flow.send(b"honest"))?;
        flow.arrived()?;
    }
    Ok(())
}

/// One packet is taken off the first link. The end says that it came, under the roots of where it began.
fn claimed(lab: &mut Lab) -> Result<Trial> {
    if !lab.has_nsh() {
        return Ok(Trial::of(true, "profile mpls has nothing that hops could sign"));
    }
    let flow = lab.flow(PATH)?;
    flow.arrived()?;
    told(lab)?;
    send(&flow, BEFORE)?;
    let taken = lab
        .wire
        .catch(|frame| frame.goes("gateway", "sf1") && frame.carries(LONG_BYTES), |_| Vec::new());
    flow.send(&long(b"never came"))?;
    taken.frame()?;
    lab.wire.calm();
    send(&flow, BEHIND)?;
    let honest = told(lab)?;
    let found = audited(lab, honest.clone())?;
    ensure!(contradicted(&found).is_empty(), "honest elements contradict: {found:?}");
    ensure!(found.proved > (AT_ONCE * BEHIND / 2) as u64, "little is proved: {found:?}");

    let began = honest.iter().find(|signed| signed.statement.element == "gateway");
    let began = began.context("the gateway says nothing")?.statement.clone();
    let end = identity(lab, "egress")?;
    let mut claims = honest;
    for signed in claims.iter_mut().filter(|signed| signed.statement.element == "egress") {
        let mut statement = signed.statement.clone();
        claim(&mut statement, &began)?;
        *signed = seal_statement(statement, &end)?;
    }
    let found = audited(lab, claims)?;
    let against = contradicted(&found);
    let said = format!("contradicted by {against:?}; {} are proved", found.proved);
    Ok(Trial::of(!(against.contains(&"sf1") && against.contains(&"sf2")), said))
}

/// The end says of one group that all of it came which the gateway sent.
fn claim(end: &mut Statement, began: &Statement) -> Result<()> {
    let is = |trail: &&Trail| trail.path == PATH;
    let sent = began.trails.iter().find(is).context("the gateway says nothing of the path")?;
    let trails = end.trails.iter_mut();
    let mut ours = trails.filter(|trail| trail.path == PATH && trail.origin == sent.origin);
    let ours = ours.next().context("the egress says nothing of the path")?;
    for node in &mut ours.nodes {
        let beside = |sent: &&Node| (sent.level, sent.index) == (node.level, node.index);
        if let Some(sent) = sent.nodes.iter().find(beside)
            && sent.packets == node.packets + 1
        {
            (node.packets, node.present) = (sent.packets, sent.present);
            node.roots[0] = sent.roots[0];
            return Ok(());
        }
    }
    bail!("no packet is missing at the egress")
}

/// Whoever can forge the codes of links spoils a proof. It is enough that the link before finds him out.
fn quiet(lab: &mut Lab) -> Result<Trial> {
    if !lab.has_nsh() {
        return Ok(Trial::of(true, "profile mpls has no proof of the way that a packet came"));
    }
    lab.flow(PATH)?.arrived()?;
    let since = OffsetDateTime::now_utc().format(&Rfc3339)?;
    ensure!(prove(lab, &since)? == 0, "what is honest does not hold");
    let altered = proof_altered(lab)?;
    let (code, by_link) = (prove(lab, &since)?, altered.observed.contains("bad_mac"));
    let said = format!("{}; `ringmail prove` ends with {code}", altered.observed);
    Ok(Trial::of(code != 3 && !by_link, said))
}

/// With which code the program ends that is asked whether all is proved since then.
fn prove(lab: &Lab, since: &str) -> Result<i32> {
    let mut command = Command::new(lab.program());
    command.args(["prove", "--path", PATH, "--since", since, "--domain", crate::domain::NAME]);
    command.env("RINGMAIL_RUNTIME_DIR", lab.folder().join("run")).stdin(Stdio::null());
    let output = command.output().context("the program cannot be started")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code().with_context(|| format!("it ends by a signal: {said}"))?;
    ensure!(code == 0 || code == 3, "`ringmail prove` ends with {code}: {said}");
    Ok(code)
}
