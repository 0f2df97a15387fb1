//! `ringmail wireguard key|conf`: keys for listeners of kind `wireguard`, and what their clients are told.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ringmail_model::PathVersion;
use ringmail_model::pathset::{Issue, PathSet};
use ringmail_node::wireguard::{self, KeyPair};
use schemars::JsonSchema;
use serde::Serialize;

use super::domain::{load, read};
use crate::context::Context;
use crate::error::{Failure, OrFail, Outcome};
use crate::output::Report;

/// Make WireGuard keys, and write what clients need
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a private key in a new file that only its owner can read, and show the public key
    ///
    /// For the gateway's `key_file`, or a client's own. A file that is there stays; its public key is shown.
    Key {
        /// The file
        file: PathBuf,
    },
    /// Write what a client needs to come by WireGuard, as wg-quick reads it
    ///
    /// Addresses, MTU and services are those of the domain file. The private key of the gateway is read for its public
    /// half; the client's is written into the file only where it is given here.
    Conf(Conf),
}

#[derive(Debug, clap::Args)]
struct Conf {
    /// The domain file
    file: PathBuf,
    /// The client's name
    client: String,
    /// The listener that it comes to; the first of kind `wireguard` if left out
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// The client's private key, as `ringmail wireguard key` makes it
    #[arg(long, value_name = "FILE")]
    private_key: Option<PathBuf>,
}

/// A key.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WireguardKey {
    /// Where the private key is.
    file: PathBuf,
    /// Whether it was made now.
    made: bool,
    /// The public key, for the other end.
    public_key: String,
}

/// What a client is told.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WireguardConf {
    /// The client.
    client: String,
    /// Its addresses inside.
    addresses: Vec<String>,
    /// The largest packet that it may send, in bytes.
    mtu_bytes: u16,
    /// Where the gateway is.
    endpoint: String,
    /// The gateway's public key.
    gateway_key: String,
    /// What is reached by the gateway.
    reaches: Vec<String>,
    /// The file for wg-quick.
    text: String,
}

impl Report for WireguardKey {
    const NAME: &'static str = "wireguard-key";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.public_key)
    }
}

impl Report for WireguardConf {
    const NAME: &'static str = "wireguard-conf";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self.text.as_bytes())
    }
}

pub(crate) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    match args.verb {
        Verb::Key { file } => key(&file, context),
        Verb::Conf(conf) => write_conf(&conf, context),
    }
}

fn key(file: &Path, context: &mut Context) -> Result<Outcome, Failure> {
    let made = !file.exists();
    let public_key = if made {
        let KeyPair { danger_private, public } = wireguard::generate()?;
        let mut options = OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(0o600).open(file);
        let written = opened.and_then(|mut opened| opened.write_all(danger_private.as_bytes()));
        written.context(format!("{} cannot be written", file.display()))?;
        public
    } else {
        wireguard::public_key_of(file)?
    };
    context.emit(&WireguardKey { file: file.to_owned(), made, public_key })?;
    Ok(Outcome::Done)
}

fn write_conf(args: &Conf, context: &mut Context) -> Result<Outcome, Failure> {
    let text = read(&args.file)?;
    let domain = load(&text, &args.file)?.domain;
    let issue = Issue { version: PathVersion(1), not_before_unix_s: 0, not_after_unix_s: u64::MAX };
    let set = PathSet::compile(&domain, issue).context("the domain has no path set")?;
    let folder = args.file.parent().unwrap_or(Path::new("."));
    let told = wireguard::told(&domain, &set, folder, &args.client, args.listener.as_deref())?;
    let client = domain.clients.iter().find(|known| *known.name == *args.client);
    let peer = client.and_then(|client| client.wireguard.as_ref());
    let private = match &args.private_key {
        None => None,
        Some(file) => {
            let public = wireguard::public_key_of(file)?;
            if peer.is_some_and(|peer| peer.public_key.to_string() != public) {
                return Err(Failure::new(format!(
                    "{} is not the key of `{}`: its public half is {public}",
                    file.display(),
                    args.client
                ))
                .hint("write that under the client's `wireguard.public_key`, or name its key"));
            }
            Some(secret(file)?)
        }
    };
    let shared = peer.and_then(|peer| peer.preshared_key_file.as_ref());
    let shared = shared.map(|file| secret(&folder.join(file))).transpose()?;
    let text = told.danger_file(private.as_deref(), shared.as_deref());
    context.emit(&WireguardConf {
        client: args.client.clone(),
        addresses: told.addresses.iter().map(ToString::to_string).collect(),
        mtu_bytes: told.mtu_bytes,
        endpoint: told.endpoint.to_string(),
        gateway_key: told.gateway_key.clone(),
        reaches: told.reaches.iter().map(ToString::to_string).collect(),
        text: text.to_string(),
    })?;
    Ok(Outcome::Done)
}

fn secret(file: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file);
    let text = text.context(format!("{} cannot be read", file.display()))?;
    Ok(text.trim_end().to_owned())
}
