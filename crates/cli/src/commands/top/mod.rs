//! `ringmail top`: a running domain in the terminal, drawn anew every second.

mod draw;
mod rates;

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use ringmail_node::admin::Client;
use tokio::time::sleep;

use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::output::{Format, Report};
use crate::running::Whom;
use crate::signals::Signals;
pub(crate) use rates::Top;

/// Watch a running domain: paths, hops, rates, drops by reason, time inside elements
///
/// Drawn anew until ctrl-C. Where standard output is no terminal, and with --once, one report over one interval is written.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write one report and end
    #[arg(long)]
    once: bool,

    /// Over how long rates are taken
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    interval_ms: u64,

    #[command(flatten)]
    whom: Whom,
}

impl Report for Top {
    const NAME: &'static str = "top";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        draw::draw(self, draw::Size::UNBOUNDED).iter().try_for_each(|line| writeln!(out, "{line}"))
    }
}

pub(crate) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    let running = args.whom.find()?;
    let interval = Duration::from_millis(args.interval_ms);
    let once = args.once || !io::stdout().is_terminal() || context.format() == Format::Json;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::catch()?;
        let mut client = Client::connect(&running.socket()).await?;
        let mut before = (Instant::now(), client.status().await?);
        let mut screen = None;
        loop {
            tokio::select! {
                () = sleep(interval) => {}
                _ = signals.next() => return Ok(Outcome::Done),
            }
            let now = (Instant::now(), client.status().await?);
            let top = Top::between(&before.1, &now.1, now.0 - before.0);
            before = now;
            if once {
                context.emit(&top)?;
                return Ok(Outcome::Done);
            }
            let screen = match &mut screen {
                Some(screen) => screen,
                None => screen.insert(Screen::enter()?),
            };
            screen.show(&draw::draw(&top, size()))?;
        }
    })
}

/// The terminal's other screen, left when this is dropped.
struct Screen;

impl Screen {
    fn enter() -> io::Result<Screen> {
        // The other screen, without a cursor (ECMA-48, xterm's private modes 1049 and 25).
        io::stdout().lock().write_all(b"\x1b[?1049h\x1b[?25l")?;
        Ok(Screen)
    }

    /// Shows lines from the top left, in one write so that nothing flickers.
    fn show(&mut self, lines: &[String]) -> io::Result<()> {
        let mut text = String::from("\x1b[H");
        for (nth, line) in lines.iter().enumerate() {
            text.push_str(if nth == 0 { "" } else { "\r\n" });
            text.push_str(line);
            text.push_str("\x1b[K");
        }
        text.push_str("\x1b[J");
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut out = io::stdout().lock();
        // A terminal that is gone needs no order.
        drop(out.write_all(b"\x1b[?25h\x1b[?1049l").and_then(|()| out.flush()));
    }
}

fn size() -> draw::Size {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    let bounded = |cells: u16| usize::from(cells).max(1);
    size.map_or(draw::Size::UNBOUNDED, |size| draw::Size {
        columns: bounded(size.ws_col),
        rows: bounded(size.ws_row),
    })
}
