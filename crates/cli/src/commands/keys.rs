//! `ringmail keys export`: the traffic keys of a running domain, for a program that decrypts captures.

use std::io::{self, Write};
use std::net::IpAddr;

use ringmail_node::control::KeyExport;
use schemars::JsonSchema;
use serde::Serialize;

use crate::context::Context;
use crate::error::{Failure, OrFail, Outcome};
use crate::output::Report;
use crate::running::Whom;

/// Look after traffic keys
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Write the keys of all security associations, for tshark's file esp_sa
    ///
    /// Whoever has them reads and forges the traffic until the keys change. Every export is logged.
    Export(Export),
}

#[derive(Debug, clap::Args)]
struct Export {
    #[command(flatten)]
    whom: Whom,

    /// Say that you know what the keys are good for
    #[arg(long)]
    danger_export_keys: bool,
}

/// The keys of all security associations of a domain.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Keys {
    /// The domain.
    domain: String,
    /// In the order of the receiving elements' names.
    associations: Vec<Association>,
}

/// One security association.
#[derive(Debug, Serialize, JsonSchema)]
struct Association {
    /// The path's name.
    path: String,
    /// Outer source address.
    source: IpAddr,
    /// Outer destination address.
    destination: IpAddr,
    /// The receiver's index; of a code of RFC 9145 its key id.
    sa_spi: u32,
    /// E.g. `aes-128-gcm`; `hmac-sha-256-128` for codes of RFC 9145 on the link between two elements.
    suite: String,
    /// Key and salt, in hexadecimal digits.
    key_and_salt: String,
}

impl Report for Keys {
    const NAME: &'static str = "keys";

    /// The lines of tshark's esp_sa file. It has no ChaCha20-Poly1305 for ESP: those are a comment.
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for association in &self.associations {
            let Association { path, source, destination, sa_spi, suite, key_and_salt } =
                association;
            let family = if source.is_ipv4() { "IPv4" } else { "IPv6" };
            writeln!(out, "# path {path}, {suite}")?;
            if suite.starts_with("hmac") {
                writeln!(out, "# {source} to {destination}, key id {sa_spi}: 0x{key_and_salt}")?;
                continue;
            }
            let known = suite.contains("gcm");
            writeln!(
                out,
                "{}\"{family}\",\"{source}\",\"{destination}\",\"0x{sa_spi:08x}\",\
                 \"AES-GCM with 16 octet ICV [RFC4106]\",\"0x{key_and_salt}\",\"NULL\",\"\"",
                if known { "" } else { "# tshark cannot decrypt: " }
            )?;
        }
        Ok(())
    }
}

pub(crate) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    let Verb::Export(export) = args.verb;
    if !export.danger_export_keys {
        return Err(Failure::usage("traffic keys are not exported without --danger-export-keys")
            .unchanged("no key left its element")
            .hint("whoever has the keys reads and forges the traffic until they change"));
    }
    let running = export.whom.find()?;
    let (domain, keys) = running
        .ask(async |client| Ok((client.status().await?.domain, client.danger_export_keys().await?)))
        .unchanged("no key was written")?;
    let associations = keys.iter().map(association).collect();
    context.emit(&Keys { domain, associations })?;
    Ok(Outcome::Done)
}

fn association(key: &KeyExport) -> Association {
    let hex = key.key_and_salt.danger_bytes().iter().map(|byte| format!("{byte:02x}"));
    Association {
        path: key.path.clone(),
        source: key.source,
        destination: key.destination,
        sa_spi: key.sa_spi,
        suite: key.suite.clone(),
        key_and_salt: hex.collect(),
    }
}
