//! What an operator says: a token for a host, a word about a host or function.

use std::io::{self, Write};

use ringmail_model::Name;
use ringmail_trust::manager::api::{TokenAnswer, TokenRequest, WordAnswer, WordRequest};
use ringmail_trust_core::manager::Word;
use schemars::JsonSchema;
use serde::Serialize;

use super::reach::Reach;
use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::output::Report;

/// Make a token that a host enrols with, once; keep it as secret as a key until it is used
#[derive(Debug, clap::Args)]
pub(super) struct TokenArgs {
    /// The host's name
    host: Name,

    /// How many minutes it may be used
    #[arg(long, value_name = "MINUTES", default_value_t = 60)]
    minutes: u64,

    #[command(flatten)]
    reach: Reach,
}

/// Show that something is wrong with a host or function; nothing else changes
#[derive(Debug, clap::Args)]
pub(super) struct WarnArgs {
    #[command(flatten)]
    whom: Whom,
}

/// Take a host or function out of its paths, and issue nothing to it; what it has is not revoked
#[derive(Debug, clap::Args)]
pub(super) struct QuarantineArgs {
    #[command(flatten)]
    whom: Whom,
}

/// Revoke all that a host, with what is on it, or a function has; it comes back only when an operator says so
#[derive(Debug, clap::Args)]
pub(super) struct RevokeArgs {
    /// Revoke the certificate of the host's agent as well: it comes back with a new token only
    #[arg(long)]
    expel: bool,

    #[command(flatten)]
    whom: Whom,
}

/// Let a host or function come back: at once where its evidence is good again, else with the next that is
#[derive(Debug, clap::Args)]
pub(super) struct RecoverArgs {
    #[command(flatten)]
    whom: Whom,
}

#[derive(Debug, clap::Args)]
struct Whom {
    /// host/NAME or function/NAME
    #[arg(value_name = "WHOM")]
    whom: String,

    /// Why, for the log
    #[arg(long, value_name = "TEXT", default_value = "")]
    why: String,

    #[command(flatten)]
    reach: Reach,
}

/// A token for a host.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct HostToken {
    /// The host.
    host: String,
    /// What it enrols with.
    token: String,
}

/// What was said, and what came of it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Said {
    /// Of whom: `host/NAME` or `function/NAME`.
    whom: String,
    /// What: `warn`, `quarantine`, `revoke`, `expel` or `recover`.
    word: String,
    /// How it stands now.
    standing: String,
}

impl Report for HostToken {
    const NAME: &'static str = "trust-token";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.token)
    }
}

impl Report for Said {
    const NAME: &'static str = "trust-word";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{} is {}", self.whom, self.standing)
    }
}

pub(super) fn token(args: TokenArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let question = TokenRequest { host: args.host.clone(), minutes: args.minutes };
    let TokenAnswer { token } = args.reach.post("/v1/tokens", &question)?;
    context.emit(&HostToken { host: args.host.to_string(), token })?;
    Ok(Outcome::Done)
}

pub(super) fn warn(args: WarnArgs, context: &mut Context) -> Result<Outcome, Failure> {
    say(args.whom, Word::Warn, context)
}

pub(super) fn quarantine(args: QuarantineArgs, context: &mut Context) -> Result<Outcome, Failure> {
    say(args.whom, Word::Quarantine, context)
}

pub(super) fn revoke(args: RevokeArgs, context: &mut Context) -> Result<Outcome, Failure> {
    say(args.whom, if args.expel { Word::Expel } else { Word::Revoke }, context)
}

pub(super) fn recover(args: RecoverArgs, context: &mut Context) -> Result<Outcome, Failure> {
    say(args.whom, Word::Recover, context)
}

fn say(whom: Whom, word: Word, context: &mut Context) -> Result<Outcome, Failure> {
    let Whom { whom, why, reach } = whom;
    let wrong = || Failure::usage(format!("`{whom}` is not host/NAME or function/NAME"));
    let (kind, name) = whom.split_once('/').ok_or_else(wrong)?;
    let name: Name = name.parse().map_err(|_| wrong())?;
    let kind = match kind {
        "host" => "hosts",
        "function" => "functions",
        _ => return Err(wrong()),
    };
    let path = format!("/v1/{kind}/{name}/word");
    let WordAnswer { standing } = reach.post(&path, &WordRequest { word, why })?;
    context.emit(&Said { whom, word: word.to_string(), standing })?;
    Ok(Outcome::Done)
}
