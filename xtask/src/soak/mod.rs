//! `cargo xtask soak`: a real domain under `ringmail up`, with mixed traffic, reloads, kills and faults on every link.
//!
//! ```text
//!  round:  traffic ── reload ── reload | kill ──┐ stop ── all is still ── every packet accounted for? ── next round
//!          counters and memory looked at ───────┘
//! ```
//!
//! It passes when memory does not grow, every packet of a round without a kill is delivered or counted with a reason, and no
//! transfer is lost but by a kill. It needs root, curl, and nothing else of the machine; it ends by itself and leaves
//! nothing but its report.

mod domain;
mod ledger;
mod memory;
mod plan;
mod plot;
mod report;
mod traffic;
mod world;

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use self::ledger::{Between, Ledger};
use self::memory::Memory;
use self::plan::{Event, ROUND_MS, Round};
use self::report::{Kill, Report};
use self::traffic::{Tally, Traffic, lock};
use self::world::World;
use crate::stages;

const USAGE: &str = "\
usage: cargo xtask soak [--minutes N] [--seed N] [--dev] [--no-faults] [--out DIR]

  --minutes N   how long (30); the round that runs then is finished
  --seed N      what events and faults are drawn by (1)
  --dev         the dev build instead of the release build
  --no-faults   leave the links as they are
  --out DIR     where report.json, rss.svg and the logs go (target/soak)

Exit code 1 when memory grows, or packets or transfers are lost and nothing says why.
";

/// Loss, repetition, overtaking, corruption and delay on every link, both ways.
const FAULTS: &str =
    "loss=1000,duplicate=500,reorder=2000,corrupt=200,reorder_us=2000,delay_us=100,jitter_us=200";

/// So many failures of a round are told at once; all are in the report.
const FAILURES_TOLD: usize = 5;

/// How often counters are looked at under traffic.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long counters have to stand still before a round is over, and how long that may take.
const STILL_FOR: Duration = Duration::from_millis(700);
const STILL_WITHIN: Duration = Duration::from_secs(30);

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Options {
    minutes: u64,
    seed: u64,
    dev: bool,
    faults: bool,
    out: Option<PathBuf>,
}

impl Options {
    /// `None`: the usage is wanted.
    fn of(args: &[&str]) -> Result<Option<Options>> {
        let mut options = Options { minutes: 30, seed: 1, dev: false, faults: true, out: None };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value =
                || args.next().with_context(|| format!("`{arg}` needs a value\n{USAGE}"));
            match *arg {
                "--minutes" => options.minutes = value()?.parse().context("--minutes")?,
                "--seed" => options.seed = value()?.parse().context("--seed")?,
                "--out" => options.out = Some(PathBuf::from(value()?)),
                "--dev" => options.dev = true,
                "--no-faults" => options.faults = false,
                "--help" | "-h" => return Ok(None),
                other => bail!("`{other}` is not known\n{USAGE}"),
            }
        }
        ensure!((1..=24 * 60).contains(&options.minutes), "--minutes is 1 to 1440");
        Ok(Some(options))
    }
}

/// Builds the program, soaks it, and writes the report.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    let Some(options) = Options::of(args)? else {
        eprint!("{USAGE}");
        return Ok(());
    };
    let profile: &[&str] = if options.dev { &[] } else { &["--release"] };
    stages::cargo(&[&["build", "--package", "ringmail"], profile].concat())?;
    let target = stages::target_dir()?;
    let program = target.join(if options.dev { "debug" } else { "release" }).join("ringmail");
    let out = options.out.clone().unwrap_or_else(|| target.join("soak"));
    fs::create_dir_all(&out)?;
    // Short: the path of the admin socket in it has at most 107 bytes.
    let dir = std::env::temp_dir().join(format!("ringmail-soak-{}", std::process::id()));
    fs::create_dir(&dir)?;
    let soaked = Soak::new(&options).soak(&program, &dir);
    let log = fs::copy(dir.join("up.log"), out.join("up.log"));
    // What became of each request, for whoever looks for one that was lost.
    let _access = fs::copy(dir.join("access.log"), out.join("access.log"));
    drop(fs::remove_dir_all(&dir));
    let (report, memory) = soaked.with_context(|| match log {
        Ok(_) => format!("the soak broke off; its log is {}", out.join("up.log").display()),
        Err(_) => "the soak broke off".to_owned(),
    })?;
    let file = out.join("report.json");
    fs::write(&file, serde_json::to_string_pretty(&report)? + "\n")?;
    fs::write(out.join("rss.svg"), plot::plot(&memory))?;
    eprint!("{}", report.text());
    eprintln!("report: {}", file.display());
    ensure!(report.passed, "{}", report.failures.join("\n"));
    Ok(())
}

/// A soak under way.
struct Soak {
    options: Options,
    began: Instant,
    report: Report,
    ledger: Ledger,
    memory: Memory,
    tally: Arc<Mutex<Tally>>,
    weighed: Option<Instant>,
}

impl Soak {
    fn new(options: &Options) -> Soak {
        let report = Report {
            schema: "ringmail.soak/1".to_owned(),
            seed: options.seed,
            build: if options.dev { "dev" } else { "release" }.to_owned(),
            faults: if options.faults { FAULTS } else { "" }.to_owned(),
            ..Report::default()
        };
        let (ledger, memory, tally) = Default::default();
        let (options, began) = (options.clone(), Instant::now());
        Soak { options, began, report, ledger, memory, tally, weighed: None }
    }

    fn soak(
        mut self,
        program: &std::path::Path,
        dir: &std::path::Path,
    ) -> Result<(Report, Memory)> {
        let faults = match self.options.faults {
            true => format!("seed={},{FAULTS}", self.options.seed),
            false => format!("seed={}", self.options.seed),
        };
        let mut world = World::up(program, dir, &faults)?;
        self.began = Instant::now();
        let length = Duration::from_secs(self.options.minutes * 60);
        let mut number = 0;
        while self.began.elapsed() < length {
            let round = Round::of(self.options.seed, number);
            self.round(&mut world, number, &round)?;
            number += 1;
        }
        self.report.rounds = number;
        self.report.seconds = self.began.elapsed().as_secs();
        world.down()?;
        let tally = lock(&self.tally).clone();
        let done = tally.done.iter().map(|(kind, count)| ((*kind).to_owned(), *count));
        self.report.transfers = done.collect();
        self.report.conclude(&self.ledger, &self.memory);
        Ok((self.report, self.memory))
    }

    fn round(&mut self, world: &mut World, number: u64, round: &Round) -> Result<()> {
        let before = self.ledger.between();
        let lost = lock(&self.tally).failed.len();
        let traffic = Traffic::start(&world.tools, &self.tally);
        let happened = self.happen(world, round);
        traffic.stop();
        happened?;
        world.whole()?;
        let after = self.still(world)?;
        let failed = lock(&self.tally).failed.split_off(lost);
        let unaccounted = after.unaccounted_since(&before);
        for why in failed.iter().take(FAILURES_TOLD) {
            eprintln!("soak: {why}");
        }
        self.judge(round, &failed, unaccounted, &(before, after));
        eprintln!(
            "soak: {:4} s, round {number}: {:?}; {} transfers failed, {unaccounted} packets unaccounted for{}",
            self.began.elapsed().as_secs(),
            round.events.iter().map(|(_, event)| event).collect::<Vec<_>>(),
            failed.len(),
            if round.kills() { " by the kill" } else { "" }
        );
        Ok(())
    }

    /// Lets happen what the round has in store, and looks on.
    fn happen(&mut self, world: &mut World, round: &Round) -> Result<()> {
        let began = Instant::now();
        let mut events = round.events.iter().peekable();
        while began.elapsed() < Duration::from_millis(ROUND_MS) {
            let due = |at: u64| began.elapsed() >= Duration::from_millis(at);
            if let Some((_, event)) = events.next_if(|(at, _)| due(*at)) {
                match event {
                    Event::Reload(variant) => {
                        world.reload(*variant).with_context(|| format!("variant {variant}"))?;
                        self.report.reloads += 1;
                    }
                    Event::Kill(element) => {
                        self.look(world)?;
                        world.kill(element)?;
                        let at_s = self.began.elapsed().as_secs();
                        let killed = Instant::now();
                        world.whole()?;
                        self.report.kills.push(Kill {
                            element: (*element).to_owned(),
                            at_s,
                            whole_after_s: killed.elapsed().as_secs_f64(),
                            packets: 0,
                            transfers: 0,
                        });
                    }
                }
            }
            self.look(world)?;
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Looks at counters, and now and then at memory.
    fn look(&mut self, world: &World) -> Result<()> {
        let elements = world.look(&mut self.ledger)?;
        // Thirty times at least, and each minute at most.
        let every = Duration::from_secs((self.options.minutes * 60 / 30).clamp(2, 60));
        if self.weighed.is_none_or(|weighed| weighed.elapsed() >= every) {
            self.weighed = Some(Instant::now());
            world.weigh(self.began.elapsed().as_secs(), &elements, &mut self.memory);
        }
        Ok(())
    }

    /// Waits until nothing is on its way.
    fn still(&mut self, world: &World) -> Result<Between> {
        let until = Instant::now() + STILL_WITHIN;
        let names = ["link_out_packets", "link_received_packets", "inner_in_packets"];
        let mut since = Instant::now();
        let mut seen = None;
        while since.elapsed() < STILL_FOR {
            ensure!(
                Instant::now() < until,
                "packets still move {STILL_WITHIN:?} after the last transfer: {seen:?}"
            );
            self.look(world)?;
            let held = self.ledger.held();
            let now = Some((names.map(|name| self.ledger.total(name)), held));
            if now != seen || held > 0 {
                (seen, since) = (now, Instant::now());
            }
            std::thread::sleep(LOOK_EVERY / 5);
        }
        Ok(self.ledger.between())
    }

    /// What of a round is a failure, and what a kill's price.
    fn judge(
        &mut self,
        round: &Round,
        failed: &[String],
        unaccounted: i64,
        between: &(Between, Between),
    ) {
        for leak in self.ledger.leaks() {
            let why = format!("{}: {} packets {} of it", leak.element, leak.packets, leak.place);
            if !self.report.failures.contains(&why) {
                self.report.packets.unaccounted += leak.packets;
                self.report.failures.push(why);
            }
        }
        match self.report.kills.last_mut().filter(|_| round.kills()) {
            Some(kill) => {
                kill.packets = unaccounted;
                kill.transfers = failed.len() as u64;
            }
            None => {
                self.report.failures.extend(failed.iter().cloned());
                if unaccounted != 0 {
                    self.report.packets.unaccounted += unaccounted;
                    let (before, after) = between;
                    let why =
                        format!("{unaccounted} packets between elements: {before:?}, {after:?}");
                    self.report.failures.push(why);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_what_is_not_known_is_refused() {
        let options = Options::of(&["--minutes", "2", "--seed", "9", "--dev", "--no-faults"]);
        let options = options.expect("good").expect("no help");
        assert_eq!(
            (options.minutes, options.seed, options.dev, options.faults),
            (2, 9, true, false)
        );
        assert_eq!(Options::of(&[]).expect("good").expect("no help").minutes, 30);
        assert_eq!(Options::of(&["--help"]).expect("good"), None);
        for wrong in [&["--minute", "1"][..], &["--minutes"], &["--minutes", "0"], &["--seed", "x"]]
        {
            assert!(Options::of(wrong).is_err(), "{wrong:?}");
        }
    }

    /// A soak in which this went wrong.
    fn judged(events: &[(u64, Event)], failed: &[&str], unaccounted: i64) -> Report {
        let options = Options::of(&[]).expect("good").expect("no help");
        let mut soak = Soak::new(&options);
        soak.report.kills.push(Kill {
            element: "sf1".to_owned(),
            at_s: 1,
            whole_after_s: 0.1,
            packets: 0,
            transfers: 0,
        });
        let failed: Vec<String> = failed.iter().map(|why| (*why).to_owned()).collect();
        let round = Round { events: events.to_vec() };
        soak.judge(&round, &failed, unaccounted, &(Between::default(), Between::default()));
        soak.report
    }

    #[test]
    fn only_a_kill_may_cost_anything() {
        let (reload, kill) = ((1, Event::Reload(1)), (2, Event::Kill("sf1")));
        assert!(judged(&[reload], &[], 0).failures.is_empty());
        assert_eq!(judged(&[reload], &["cut"], 0).failures, ["cut"]);
        let lost = judged(&[reload], &[], 7);
        assert_eq!((lost.failures.len(), lost.packets.unaccounted), (1, 7));
        let killed = judged(&[reload, kill], &["cut"], 7);
        assert!(killed.failures.is_empty());
        assert_eq!((killed.kills[0].packets, killed.kills[0].transfers), (7, 1));
    }
}
