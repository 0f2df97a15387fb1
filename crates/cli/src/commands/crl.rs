//! `ringmail crl reload`: the gateway reads its revocation lists now, and says what is in force.

use std::io::{self, Write};

use ringmail_node::control::ListenerLists;
use schemars::JsonSchema;
use serde::Serialize;

use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::output::Report;
use crate::running::Whom;

/// Look after the revocation lists of a running gateway
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Have the gateway read its revocation lists now, and say what is in force
    ///
    /// It looks at the files twice a second by itself; this says at once how many certificates are revoked at each listener,
    /// or why what the files hold is refused. Then the lists of before stay in force. On a machine of its own the gateway is
    /// named by its state directory (`--state`).
    Reload(Reload),
}

#[derive(Debug, clap::Args)]
struct Reload {
    #[command(flatten)]
    whom: Whom,
}

/// The revocation lists of a gateway.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Crl {
    /// Its listeners, by their names.
    listeners: Vec<ListenerLists>,
}

impl Report for Crl {
    const NAME: &'static str = "crl";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for ListenerLists { listener, files, revoked, refused } in &self.listeners {
            let certificates = if *revoked == 1 { "certificate" } else { "certificates" };
            match refused {
                None => writeln!(out, "{listener}  {revoked} {certificates} revoked")?,
                Some(why) => writeln!(
                    out,
                    "{listener}  refused: {why}; the lists of before stay: {revoked} {certificates} revoked"
                )?,
            }
            files.iter().try_for_each(|file| writeln!(out, "  {}", file.display()))?;
        }
        Ok(())
    }
}

pub(crate) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    let Verb::Reload(Reload { whom }) = args.verb;
    let listeners = whom.find()?.ask(async |client| client.read_lists().await)?;
    let refused = listeners.iter().find_map(|of| Some((of.listener.clone(), of.refused.clone()?)));
    context.emit(&Crl { listeners })?;
    match refused {
        None => Ok(Outcome::Done),
        Some((listener, why)) => Err(Failure::new(format!("listener {listener}: {why}"))
            .unchanged("the lists of before stay in force")),
    }
}
