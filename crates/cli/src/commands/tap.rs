//! `ringmail tap`: what one element sees in plain on a path, as pcapng, for Wireshark.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use ringmail_node::admin::{AdminError, Client};

use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::running::Whom;
use crate::signals::Signals;

/// Write decrypted packets of a path at one element to standard output, as pcapng
///
/// For Wireshark: `ringmail tap PATH HOP --danger-decrypted | wireshark -k -i -`. Both directions, until ctrl-C. The
/// domain file has to allow it (`limits.taps`), and who taps what stands in the log and the metrics. Traffic never waits:
/// packets that find no room are not copied, and counted in the stream.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The path's name
    path: String,

    /// The element: an intrusive hop, the gateway or the egress
    hop: String,

    /// Yes, decrypted traffic leaves the chain
    #[arg(long)]
    danger_decrypted: bool,

    #[command(flatten)]
    whom: Whom,
}

/// Copies until nobody reads any more, or a signal comes.
pub(crate) fn run(args: Args, _context: &mut Context) -> Result<Outcome, Failure> {
    if !args.danger_decrypted {
        return Err(Failure::usage("what users send and get would be laid open")
            .hint("say --danger-decrypted if that is meant"));
    }
    if io::stdout().is_terminal() {
        return Err(Failure::usage("a terminal shows no packets")
            .hint("pipe it: `| wireshark -k -i -`, or `| tshark -r -`, or into a file"));
    }
    let running = args.whom.find()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::catch()?;
        let client = Client::connect(&running.socket()).await?;
        let mut copies = client.danger_tap(&args.path, &args.hop).await.map_err(refused)?;
        // Written by another thread, so that a reader who does not read cannot keep signals away.
        let out = io::stdout().as_fd().try_clone_to_owned()?;
        let mut out = tokio::fs::File::from_std(out.into());
        tokio::select! {
            // Until the element is gone, or whoever reads.
            _ = tokio::io::copy(&mut copies, &mut out) => {}
            _ = signals.next() => {}
        }
        Ok::<_, Failure>(())
    })?;
    // A write that waits must not keep the process.
    runtime.shutdown_background();
    Ok(Outcome::Done)
}

fn refused(error: AdminError) -> Failure {
    let failure = Failure::from(error);
    failure
        .hint("`limits: {taps: 1}` in the domain file allows one; an element must hold plaintext")
}
