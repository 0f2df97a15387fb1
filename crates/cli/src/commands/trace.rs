//! `ringmail trace`: what becomes of packets at each element of a path and of its way back.

use std::io::{self, Write};
use std::net::SocketAddr;

use ringmail_node::control::TraceFlow;
use ringmail_node::see::trace::{HopTrace, Spread, Trace, TraceWish, Way};
use schemars::JsonSchema;
use serde::Serialize;

use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::output::Report;
use crate::running::Whom;

/// Follow packets along a path: each hop with packets, bytes, microseconds and verdict
///
/// Opens a TCP connection through the path to its service and closes it, or, with --from and --to, looks at a flow that is
/// there. Nothing is added to packets. Times between elements are of one clock while all run on one machine. Where control
/// distributes the domain to several machines, name its state directory (`--state`): it asks the elements, and says which
/// it cannot ask.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The forward path's name
    path: String,

    /// Where a flow comes from, on the gateway's inner side, such as 10.78.0.1:20000
    #[arg(long, value_name = "ADDRESS", requires = "to")]
    from: Option<SocketAddr>,

    /// Where it goes: the service
    #[arg(long, value_name = "ADDRESS", requires = "from")]
    to: Option<SocketAddr>,

    /// The IP protocol of the flow
    #[arg(long, value_name = "NUMBER", default_value_t = 6, requires = "from")]
    protocol: u8,

    /// How long packets of the flow are looked at
    #[arg(long, value_name = "MS", default_value_t = 1000, requires = "from")]
    wait_ms: u64,

    #[command(flatten)]
    whom: Whom,
}

/// What became of packets.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Traced {
    #[serde(flatten)]
    trace: Trace,
}

impl Report for Traced {
    const NAME: &'static str = "trace";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Trace { path, flow, probe, ways, overwritten } = &self.trace;
        let TraceFlow { source, destination, protocol } = flow;
        writeln!(out, "{path}: {source} to {destination}, protocol {protocol}")?;
        if let Some(probe) = probe {
            match &probe.error {
                None => writeln!(out, "connected in {:.0} µs", probe.connected_us)?,
                Some(why) => writeln!(out, "not connected: {why} ({:.0} µs)", probe.connected_us)?,
            }
        }
        for way in ways {
            let Way { path, direction, hops } = way;
            writeln!(
                out,
                "\n{path} ({direction})\n{:<12} {:<8} {:>7} {:>9} {:>10} {:>10}  verdict",
                "element", "role", "packets", "bytes", "link µs", "inside µs"
            )?;
            hops.iter().try_for_each(|hop| line(hop, out))?;
        }
        if *overwritten > 0 {
            writeln!(out, "\n{overwritten} notes were overwritten: some packets may be missing")?;
        }
        Ok(())
    }
}

fn line(hop: &HopTrace, out: &mut dyn Write) -> io::Result<()> {
    if let Some(why) = &hop.unknown {
        let (element, role) = (&hop.element, &hop.role);
        return writeln!(
            out,
            "{element:<12} {role:<8} {:>7} {:>9} {:>10} {:>10}  not known: {why}",
            "-", "-", "-", "-"
        );
    }
    let HopTrace { element, role, packets, bytes, passed, dropped, inside_us, on_link_us, .. } =
        hop;
    let median = |spread: &Option<Spread>| {
        spread.map_or_else(|| "-".to_owned(), |spread| format!("{:.1}", spread.median))
    };
    let (link, inside) = (median(on_link_us), median(inside_us));
    write!(
        out,
        "{element:<12} {role:<8} {packets:>7} {bytes:>9} {link:>10} {inside:>10}  {passed} passed"
    )?;
    if hop.given_back > 0 {
        write!(out, ", {} given back by the function", hop.given_back)?;
    }
    for (reason, packets) in dropped {
        write!(out, ", {packets} dropped: {reason}")?;
    }
    writeln!(out)
}

/// Runs a trace; the verdict is no where a packet was dropped or the connection does not stand.
pub(crate) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    let protocol = args.protocol;
    let flow = args.from.zip(args.to);
    let flow = flow.map(|(source, destination)| TraceFlow { source, destination, protocol });
    let wish = TraceWish { path: args.path, flow, wait_ms: args.wait_ms };
    let running = args.whom.find()?;
    let trace = running.ask(async move |client| client.trace(wish.clone()).await)?;
    let failed = trace.probe.as_ref().is_some_and(|probe| probe.error.is_some());
    let mut hops = trace.ways.iter().flat_map(|way| &way.hops);
    let lost = hops.any(|hop| !hop.dropped.is_empty());
    context.emit(&Traced { trace })?;
    Ok(if failed || lost { Outcome::VerdictNo } else { Outcome::Done })
}
