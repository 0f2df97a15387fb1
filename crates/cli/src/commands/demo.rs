//! `ringmail demo`: the paper's testbed in one command.

use std::env;
use std::io::{self, Write};

use ringmail_node::demo;
use ringmail_node::layout::Layout;
use ringmail_node::runtime::Place;
use ringmail_node::testbed::{Settings, Testbed};

use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::output::Report;
use crate::privilege;
use crate::signals::Signals;

/// Bring up the testbed of the paper, use it, and report
///
/// Two clients load a web page of 9 files and download a large file over HTTPS, one through a forwarding function, one
/// through forwarding and inspection; a forbidden request is stopped; a client without a certificate is refused.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leave the testbed up until ctrl-C, and say how to reach it
    #[arg(long)]
    keep: bool,
}

impl Report for demo::Report {
    const NAME: &'static str = "demo";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let yes = |yes: bool| if yes { "yes" } else { "NO" };
        writeln!(out, "                         forward   forward + inspection")?;
        let (page, rate) = (self.page_load_ms, self.throughput_mbps);
        writeln!(out, "page of 1.2 MB      {:>9.1} ms {:>12.1} ms", page.forward, page.intrusive)?;
        writeln!(
            out,
            "large download      {:>9.0} Mb/s {:>10.0} Mb/s",
            rate.forward, rate.intrusive
        )?;
        writeln!(out, "forbidden request stopped            {}", yes(self.blocked))?;
        writeln!(out, "client without certificate refused   {}", yes(self.refused))?;
        writeln!(out, "packets lost inside                  {}", self.packets_lost_inside)
    }
}

/// Runs the demo.
pub(crate) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    let place = Place::usual();
    let privilege = privilege::acquire()?;
    let settings = Settings {
        file: demo::campus()?,
        layout: Layout::Processes,
        program: env::current_exe()?,
        place,
        privilege,
        sink: context.log().sink(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        let mut signals = Signals::catch()?;
        let progress = context.progress();
        progress.stage("bringing up gateway, sf1, sf2, egress and the web server");
        let starting = Testbed::start(settings);
        let mut testbed = tokio::select! {
            started = starting => started?,
            signal = signals.next() => return Err(Failure::new(format!("ended by {signal}"))),
        };
        let stage = |what| progress.stage(what);
        let outcome = tokio::select! {
            outcome = demo::run(&testbed, &stage) => outcome.map_err(Failure::from),
            signal = signals.next() => Err(Failure::new(format!("ended by {signal}"))),
        };
        drop(progress);
        if let Ok(report) = &outcome {
            context.emit(report)?;
        }
        if args.keep && outcome.is_ok() {
            eprintln!("{}", testbed.instructions("client2")?);
            tokio::select! {
                ended = testbed.ended() => {
                    ended?;
                    return outcome;
                }
                _ = signals.next() => {}
            }
        }
        testbed.stop().await?;
        outcome
    })?;
    if report.blocked && report.refused {
        Ok(Outcome::Done)
    } else {
        Err(Failure::new("the chain let through what it must not"))
    }
}
