//! Every link of a bench watched: no frame without ESP, none longer than the link MTU, and as many as the elements say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ringmail_dataplane_io::capture::{Capture, Frames, Kind, Want};
use ringmail_dataplane_io::poll::Poller;
use ringmail_model::domain::Domain;

use crate::topology::Netns;

/// How often a watch looks whether it is to end, where there is nothing to see.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Captures of every element's link, on a thread.
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Seen>>,
}

/// Where an element's link is watched.
pub(super) struct Place {
    /// The element.
    pub(super) element: String,
    /// The namespace and the interface in it.
    pub(super) netns: Arc<Netns>,
    pub(super) interface: String,
    /// Whether that is the other end of the element's cable: what comes in there the element sent.
    pub(super) far: bool,
}

/// What was seen, by element.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Frames with ESP that the element sent and received.
    pub(super) protected: BTreeMap<String, Both>,
    /// Frames that should not be there.
    pub(super) unprotected: u64,
    /// The longest IP packet in bytes.
    pub(super) longest_bytes: usize,
    /// Captures that the watch was too slow for.
    pub(super) lost: u64,
}

/// Frames in each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Both {
    pub(super) sent: u64,
    pub(super) received: u64,
}

impl Watch {
    /// Watches links. `everything` takes whole frames and counts them, which costs; otherwise only
    /// what should not be there is taken, by a filter in the kernel.
    pub(super) fn start(domain: &Domain, places: Vec<Place>, everything: bool) -> Result<Watch> {
        let (udp_port, control_port) = (domain.links.udp_port, domain.links.control_port);
        let want = match everything {
            true => Want::Everything,
            false => Want::Unprotected { udp_port, control_port },
        };
        let mut captures = Vec::new();
        for place in places {
            let capture = place.netns.run(|| Capture::open(&place.interface, want))?;
            captures.push((place, capture.context("a link cannot be watched")?));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let work = move || look(captures, udp_port, control_port, &stopping);
        let thread = std::thread::Builder::new().name("watch".to_owned()).spawn(work)?;
        Ok(Watch { stop, thread })
    }

    /// Ends the watch once all that was captured is counted.
    pub(super) fn end(self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(seen) => seen,
            Err(_) => bail!("the watch panicked"),
        }
    }
}

impl Seen {
    /// # Errors
    /// When something was seen that must not be there.
    pub(super) fn check(&self, link_mtu_bytes: usize) -> Result<()> {
        ensure!(self.lost == 0, "{} captures were lost; the links were not watched", self.lost);
        ensure!(self.unprotected == 0, "{} frames without ESP on the links", self.unprotected);
        ensure!(
            self.longest_bytes <= link_mtu_bytes,
            "a frame of {} bytes on links of {link_mtu_bytes}",
            self.longest_bytes
        );
        Ok(())
    }
}

fn look(
    mut captures: Vec<(Place, Capture)>,
    udp_port: u16,
    control_port: u16,
    stop: &AtomicBool,
) -> Result<Seen> {
    let poller = Poller::new()?;
    for (token, (_, capture)) in (0..).zip(&captures) {
        poller.add(capture, token)?;
    }
    let mut seen = Seen::default();
    loop {
        // Read before the captures are: what came until then is counted.
        let last = stop.load(Ordering::Relaxed);
        for (place, capture) in &mut captures {
            while let Some(captured) = capture.take()? {
                let both = match seen.protected.get_mut(&place.element) {
                    Some(both) => both,
                    None => seen.protected.entry(place.element.clone()).or_default(),
                };
                for kind in Frames::of(&captured, udp_port, control_port) {
                    match kind {
                        Kind::Protected { ip_len_bytes } => {
                            seen.longest_bytes = seen.longest_bytes.max(ip_len_bytes);
                            match captured.outgoing != place.far {
                                true => both.sent += 1,
                                false => both.received += 1,
                            }
                        }
                        Kind::Unprotected => seen.unprotected += 1,
                        Kind::Control | Kind::Neighbourhood => {}
                    }
                }
            }
            seen.lost += capture.lost()?;
        }
        if last {
            return Ok(seen);
        }
        poller.wait(Some(LOOK_EVERY))?;
    }
}
