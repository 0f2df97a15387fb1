//! `ringmail bench chain|gateway|hop`: what chains, the gateway and hops carry on this machine.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use ringmail_model::domain::{LinkDriver, LinkKind, Profile};
use ringmail_node::bench::chain::{self, Kind, Plan, Row, Traffic};
use ringmail_node::bench::{self, Figure, hop};
use ringmail_node::layout::Layout;
use ringmail_node::runtime::Place;

use super::{bench_gateway, bench_rekey};
use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::output::Report;
use crate::privilege;

/// Measure chains on this machine
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Throughput and page loads through chains of functions, over HTTPS, every link watched
    ///
    /// The paper's Figure 4. Fails if a frame on a link lacks ESP or is longer than the MTU, or if an element's counters
    /// disagree with its link.
    Chain(ChainArgs),
    /// The gateway's proxy beside haproxy: bytes, requests and handshakes a second of processor time
    ///
    /// Same certificates, same clients, same service, mutual TLS on both, one processor each. Needs two processors and
    /// Debian's haproxy.
    Gateway(bench_gateway::Args),
    /// What it costs a chain under load that its keys change every second
    ///
    /// Datagrams at a share of the highest rate, and how long they take, beside the same chain whose keys stay. Exits 1
    /// if one is lost while keys change.
    Rekey(bench_rekey::Args),
    /// What one intrusive hop costs a packet, beside the bare cipher
    ///
    /// Nanoseconds a packet on one core, in memory: no link, no kernel. Needs no rights.
    Hop(HopArgs),
}

#[derive(Debug, clap::Args)]
struct HopArgs {
    /// Runs of every figure; from 10 on with the 95 % interval
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    runs: u64,

    /// Milliseconds that each run of a figure should take
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    milliseconds: u64,

    /// Measure tables of so many flows instead: the classifier's and a hop's, all of them full
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..=1 << 24))]
    flows: Vec<u64>,
}

#[derive(Debug, clap::Args)]
struct ChainArgs {
    /// Numbers of functions in the chain, such as 3 or 1..6
    #[arg(long, value_name = "N|N..M", default_value = "1..6", value_parser = functions)]
    functions: RangeInclusive<usize>,

    /// Kinds of functions
    #[arg(long, value_delimiter = ',', default_values = ["forward", "intrusive"])]
    kinds: Vec<KindArg>,

    /// Measure functions outside of ringmail, too: a Linux router in the place of each
    #[arg(long)]
    attach: bool,

    /// How elements share processes
    #[arg(long, value_delimiter = ',', default_values = ["processes"])]
    layout: Vec<LayoutArg>,

    /// Runs of every figure; from 10 on with the 95 % interval
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    runs: u64,

    /// How frames travel between elements
    #[arg(long, default_value = "udp")]
    link: LinkArg,

    /// What stands in front of ESP
    #[arg(long, default_value = "mpls")]
    profile: ProfileArg,

    /// Link MTU in bytes; above 1500 only with --jumbo
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u16).range(576..))]
    mtu: u16,

    /// Allow frames longer than 1500 bytes
    #[arg(long)]
    jumbo: bool,

    /// Seconds that one download should take
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,

    /// What is sent
    #[arg(long, default_value = "http")]
    traffic: TrafficArg,

    /// Show where a packet's time goes: processor time of every process during downloads
    #[arg(long)]
    profile_parts: bool,

    /// Measure the same client and server without a chain, too
    #[arg(long)]
    baseline: bool,

    /// Write Figure 4 as SVG
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KindArg {
    /// Forwarding functions that see no payload
    Forward,
    /// Inspections that open and seal every packet
    Intrusive,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ProfileArg {
    /// Labels alone
    Mpls,
    /// Labels and a Network Service Header: proof of transit, and a code over what steers on every link
    MplsNsh,
    /// The Network Service Header without labels of hops
    Nsh,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TrafficArg {
    /// Page loads and downloads over HTTPS
    Http,
    /// Datagrams at the highest rate that at most 0.1 % are lost at
    Udp,
    /// Downloads over HTTPS beside 100 Mb/s of datagrams
    Mixed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LinkArg {
    /// In UDP, many a system call
    Udp,
    /// In Ethernet frames of EtherType 0x8847
    Ethernet,
    /// The same by AF_XDP, as root
    Xdp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LayoutArg {
    /// One process, namespace and trust boundary an element
    Processes,
    /// All elements in one process, frames handed over in memory
    Single,
}

impl From<ProfileArg> for Profile {
    fn from(profile: ProfileArg) -> Profile {
        match profile {
            ProfileArg::Mpls => Profile::Mpls,
            ProfileArg::MplsNsh => Profile::MplsNsh,
            ProfileArg::Nsh => Profile::Nsh,
        }
    }
}

impl From<LayoutArg> for Layout {
    fn from(layout: LayoutArg) -> Layout {
        match layout {
            LayoutArg::Processes => Layout::Processes,
            LayoutArg::Single => Layout::Single,
        }
    }
}

impl Report for chain::Report {
    const NAME: &'static str = "bench-chain";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let machine = &self.machine;
        let link = match (self.link, self.driver) {
            (LinkKind::Udp, _) => "UDP",
            (LinkKind::Ethernet, LinkDriver::Packet) => "Ethernet",
            (LinkKind::Ethernet, LinkDriver::Xdp) => "Ethernet by AF_XDP",
        };
        writeln!(
            out,
            "{} x {}, kernel {}, profile {}, links of {}, MTU {}",
            machine.cpus,
            machine.cpu,
            machine.kernel,
            self.profile.name(),
            link,
            self.mtu
        )?;
        writeln!(
            out,
            "functions  kind       layout     traffic  inner MTU   throughput Mb/s        page load ms          lost"
        )?;
        for row in &self.rows {
            let page_load = row.page_load_ms.as_ref().map(|load| figure(load, 1));
            writeln!(
                out,
                "{:>9}  {:<9}  {:<9}  {:<7}  {:>9}   {:<20}   {:<20}  {:>4}",
                row.functions,
                row.kind.name(),
                row.layout.name(),
                row.traffic.name(),
                row.inner_mtu,
                figure(&row.throughput_mbps, 0),
                page_load.as_deref().unwrap_or("-"),
                row.packets_lost_inside
            )?;
        }
        for row in &self.rows {
            details(row, out)?;
        }
        if let Some(parts) = &self.hop_parts {
            writeln!(
                out,
                "inside an intrusive hop, {} bytes, ns a packet: open {}, seal {}, function {:.0}, rest {:.0}",
                parts.inner_bytes,
                figure(&parts.open_ns, 0),
                figure(&parts.seal_ns, 0),
                parts.function_ns,
                parts.rest_ns
            )?;
        }
        for ratio in &self.ratios {
            write!(
                out,
                "{} / forward, {} functions, {}: throughput {:.2}",
                ratio.kind.name(),
                ratio.functions,
                ratio.layout.name(),
                ratio.throughput
            )?;
            match ratio.page_load {
                Some(page_load) => writeln!(out, ", page load {page_load:.2}")?,
                None => writeln!(out)?,
            }
        }
        Ok(())
    }
}

/// What does not fit into a row's line.
fn details(row: &Row, out: &mut dyn Write) -> io::Result<()> {
    let name = format!("{} {}, {}", row.functions, row.kind.name(), row.layout.name());
    if let Some(datagrams) = &row.datagrams {
        writeln!(
            out,
            "{name}: {} Mb/s of datagrams offered, {} delivered, {} of {} lost",
            figure(&datagrams.offered_mbps, 0),
            figure(&datagrams.delivered_mbps, 0),
            datagrams.lost,
            datagrams.sent
        )?;
    }
    for (reason, packets) in &row.lost_by_reason {
        writeln!(out, "{name}: {packets} packets lost: {reason}")?;
    }
    let Some(parts) = &row.parts else { return Ok(()) };
    writeln!(
        out,
        "{name}: processor time an inner packet\n  {:<12} {:<16} {:>8} {:>9}",
        "process", "thread", "user ns", "system ns"
    )?;
    for part in parts {
        writeln!(
            out,
            "  {:<12} {:<16} {:>8.0} {:>9.0}",
            part.process, part.thread, part.user_ns, part.system_ns
        )?;
    }
    Ok(())
}

pub(super) fn figure(figure: &Figure, digits: usize) -> String {
    format!("{:.digits$} ({:.digits$}-{:.digits$})", figure.median, figure.min, figure.max)
}

impl Report for hop::Report {
    const NAME: &'static str = "bench-hop";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let machine = &self.machine;
        writeln!(
            out,
            "{}, kernel {}, one core; nanoseconds a packet",
            machine.cpu, machine.kernel
        )?;
        if !self.tables.is_empty() {
            return flows(&self.tables, out);
        }
        writeln!(
            out,
            "inner bytes  flows  batch  {:<20} {:<20} {:<20} {:<20} own work / cipher",
            "cipher", "esp", "hop, forward", "hop, dpi"
        )?;
        for row in &self.rows {
            writeln!(
                out,
                "{:>11}  {:>5}  {:>5}  {:<20} {:<20} {:<20} {:<20} {:.2}",
                row.inner_bytes,
                row.flows,
                row.batch,
                figure(&row.cipher_ns, 0),
                figure(&row.esp_ns, 0),
                figure(&row.forward_ns, 0),
                figure(&row.dpi_ns, 0),
                row.forward_ns.median / row.cipher_ns.median - 1.0
            )?;
        }
        Ok(())
    }
}

fn flows(rows: &[hop::FlowRow], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "table       inner bytes     flows  {:<20} throughput  bytes a flow", "packet")?;
    for row in rows {
        let table = match row.table {
            hop::Table::Classifier => "classifier",
            hop::Table::Hop => "hop",
            hop::Table::HopSyn => "hop, SYN",
        };
        writeln!(
            out,
            "{table:<11} {:>11}  {:>8}  {:<20} {:>10.2}  {:>12}",
            row.inner_bytes,
            row.flows,
            figure(&row.packet_ns, 0),
            row.throughput_ratio,
            row.bytes_per_flow
        )?;
    }
    Ok(())
}

/// Runs the bench.
pub(crate) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    match args.verb {
        Verb::Chain(args) => chain(&args, context),
        Verb::Gateway(args) => bench_gateway::run(&args, context),
        Verb::Rekey(args) => bench_rekey::run(&args, context),
        Verb::Hop(args) => hop(&args, context),
    }
}

fn hop(args: &HopArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let (runs, each) = (usize::try_from(args.runs)?, Duration::from_millis(args.milliseconds));
    let progress = context.progress();
    let counts = args.flows.iter().map(|n| usize::try_from(*n)).collect::<Result<Vec<_>, _>>()?;
    let report = match counts.is_empty() {
        true => hop::run(runs, each, &|what| progress.stage(what))?,
        false => hop::run_flows(&counts, runs, each, &|what| progress.stage(what))?,
    };
    drop(progress);
    context.emit(&report)?;
    Ok(Outcome::Done)
}

fn chain(args: &ChainArgs, context: &mut Context) -> Result<Outcome, Failure> {
    if args.mtu > 1500 && !args.jumbo {
        return Err(Failure::usage(format!("an MTU of {} needs --jumbo", args.mtu)));
    }
    let place = Place::usual();
    let privilege = privilege::acquire()?;
    let kinds = args.kinds.iter().map(|kind| match kind {
        KindArg::Forward => Kind::Forward,
        KindArg::Intrusive => Kind::Intrusive,
    });
    let plan = Plan {
        functions: args.functions.clone().collect(),
        kinds: kinds.chain(args.attach.then_some(Kind::Attached)).collect(),
        layouts: args.layout.iter().map(|layout| (*layout).into()).collect(),
        traffic: match args.traffic {
            TrafficArg::Http => Traffic::Http,
            TrafficArg::Udp => Traffic::Udp,
            TrafficArg::Mixed => Traffic::Mixed,
        },
        profile_parts: args.profile_parts,
        baseline: args.baseline,
        runs: usize::try_from(args.runs)?,
        link: match args.link {
            LinkArg::Udp => LinkKind::Udp,
            LinkArg::Ethernet | LinkArg::Xdp => LinkKind::Ethernet,
        },
        driver: match args.link {
            LinkArg::Udp | LinkArg::Ethernet => LinkDriver::Packet,
            LinkArg::Xdp => LinkDriver::Xdp,
        },
        profile: args.profile.into(),
        mtu: args.mtu,
        download: Duration::from_secs(args.seconds),
        program: env::current_exe()?,
        place,
        privilege,
    };
    let report = measure(context, async |stage| chain::run(&plan, stage).await)?;
    if let Some(file) = &args.plot {
        fs::write(file, bench::plot(&report.rows))?;
    }
    context.emit(&report)?;
    Ok(Outcome::Done)
}

/// Runs a measurement of chains to its end, or until ctrl-C; it says on the way what it is at.
pub(super) fn measure<R>(
    context: &Context,
    run: impl AsyncFnOnce(&dyn Fn(String)) -> anyhow::Result<R>,
) -> Result<R, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let progress = context.progress();
    let measured = runtime.block_on(async {
        let stage = |what| progress.stage(what);
        tokio::select! {
            measured = run(&stage) => measured,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        }
    });
    Ok(measured?)
}

/// `3` or `1..6`, both ends included.
fn functions(text: &str) -> Result<RangeInclusive<usize>, String> {
    let number = |text: &str| match text.parse::<usize>() {
        Ok(number @ 1..=14) => Ok(number),
        _ => Err(format!("`{text}` is no number of functions from 1 to 14")),
    };
    let range = match text.split_once("..") {
        Some((first, last)) => number(first)?..=number(last.trim_start_matches('='))?,
        None => number(text)?..=number(text)?,
    };
    if range.is_empty() { Err(format!("`{text}` counts backwards")) } else { Ok(range) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_functions_are_one_or_a_range() {
        assert_eq!(functions("3"), Ok(3..=3));
        assert_eq!(functions("1..6"), Ok(1..=6));
        for bad in ["0", "6..1", "15", "x", "1..", ""] {
            assert!(functions(bad).is_err(), "{bad}");
        }
    }
}
