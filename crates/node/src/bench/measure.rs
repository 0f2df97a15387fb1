//! What is measured of one row, with every link watched.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use ringmail_model::domain::LinkDriver;
use ringmail_model::pathset::PathSet;

use super::chain::Datagrams;
use super::counts::Counts;
use super::parts::{Part, Times};
use super::plan::{Plan, Traffic};
use super::stream::{Outcome, Stream};
use super::watch::{Place, Watch};
use super::{Figure, domain, http, udp};
use crate::client::Client;
use crate::issuer;
use crate::layout::{FABRIC, LINK, Layout, fabric_port};
use crate::testbed::Testbed;
use crate::topology::Netns;

/// Megabits of payload a second of the datagrams beside downloads.
const MIXED_UDP_MBPS: f64 = 100.0;

/// How often a rate that the search found is sent for the full time, lower each time, until hardly anything is lost.
const ATTEMPTS: usize = 12;

/// How much lower.
const STEP_DOWN: f64 = 0.9;

/// The figures of a row.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) throughput_mbps: Option<Figure>,
    pub(super) page_load_ms: Option<Figure>,
    pub(super) datagrams: Option<Datagrams>,
    pub(super) lost_by_reason: BTreeMap<String, u64>,
    pub(super) parts: Option<Vec<Part>>,
}

impl Measured {
    /// Takes in what further runs gave.
    pub(super) fn add(&mut self, more: Measured) {
        add(&mut self.throughput_mbps, more.throughput_mbps);
        add(&mut self.page_load_ms, more.page_load_ms);
        self.add_lost(more.lost_by_reason);
        self.parts = more.parts.or_else(|| self.parts.take());
        match (&mut self.datagrams, more.datagrams) {
            (Some(known), Some(more)) => {
                known.offered_mbps.add(more.offered_mbps);
                known.delivered_mbps.add(more.delivered_mbps);
                known.sent += more.sent;
                known.lost += more.lost;
            }
            (known, more) => *known = known.take().or(more),
        }
    }
}

fn add(known: &mut Option<Figure>, more: Option<Figure>) {
    match (known.as_mut(), more) {
        (Some(known), Some(more)) => known.add(more),
        (_, more) => *known = known.take().or(more),
    }
}

/// A testbed and who uses it.
pub(super) struct Measuring<'a> {
    pub(super) plan: &'a Plan,
    pub(super) testbed: &'a Testbed,
    pub(super) layout: Layout,
    /// Whether there is a chain between gateway and service.
    pub(super) chain: bool,
    pub(super) packet_bytes: u16,
}

impl Measuring<'_> {
    /// Measures all that the plan wants.
    ///
    /// # Errors
    /// When something does not work, a link carries what it must not, or counters disagree.
    pub(super) async fn run(&self) -> Result<Measured> {
        let mut measured = Measured::default();
        if self.plan.traffic != Traffic::Udp {
            measured.page_load_ms = Figure::of(self.pages(&mut measured).await?);
        }
        let watch = self.watch(false)?;
        let transferred = self.transfers(&mut measured).await;
        self.end(watch)?;
        transferred?;
        if self.plan.profile_parts && self.chain {
            measured.parts = Some(self.parts().await?);
        }
        Ok(measured)
    }

    async fn transfers(&self, measured: &mut Measured) -> Result<()> {
        if self.plan.traffic == Traffic::Http {
            let before = self.counts().await?;
            measured.throughput_mbps = Figure::of(self.downloads().await?);
            return self.lost(&before, measured).await;
        }
        let stream = match self.chain {
            true => udp::through_chain(self.testbed, self.packet_bytes).await?,
            false => udp::over_cable(self.testbed, self.packet_bytes)?,
        };
        match self.plan.traffic {
            Traffic::Udp => self.datagrams(&stream, measured).await,
            _ => self.mixed(&stream, measured).await,
        }
    }

    /// Page loads with every frame counted.
    async fn pages(&self, measured: &mut Measured) -> Result<Vec<f64>> {
        let (client, netns) = self.client()?;
        let before_all = self.counts().await?;
        let watch = self.watch(true)?;
        let before = self.counts().await?;
        let pages = http::pages(client, netns, self.plan.runs).await;
        let after = self.counts().await?;
        let carried = after.since(&before);
        if let Some(watch) = watch {
            let seen = watch.end()?;
            seen.check(self.plan.mtu.into())?;
            if self.layout == Layout::Processes {
                let around = Counts::now(self.testbed).await?.since(&before_all);
                carried.agree(&around, &seen)?;
            }
        }
        measured.add_lost(carried.lost());
        pages
    }

    async fn downloads(&self) -> Result<Vec<f64>> {
        let (client, netns) = self.client()?;
        http::downloads(client, netns, self.plan.runs, self.plan.download).await
    }

    /// The highest rate, searched anew in each run and then sent once more.
    async fn datagrams(&self, stream: &Stream, measured: &mut Measured) -> Result<()> {
        let mut outcomes = Vec::new();
        for _ in 0..self.plan.runs {
            let mut rate = udp::highest_mbps(stream, self.plan.download / 2).await?;
            for attempt in 1.. {
                let before = self.counts().await?;
                let outcome = stream.run(rate, self.plan.download).await?;
                if udp::passes(&outcome) || attempt == ATTEMPTS {
                    self.lost(&before, measured).await?;
                    outcomes.push(outcome);
                    break;
                }
                // Queues hide for a short while that a rate is too high.
                rate *= STEP_DOWN;
            }
        }
        measured.throughput_mbps = Figure::of(outcomes.iter().map(|o| o.delivered_mbps).collect());
        measured.datagrams = datagrams(&outcomes);
        Ok(())
    }

    /// Downloads beside a stream.
    async fn mixed(&self, stream: &Stream, measured: &mut Measured) -> Result<()> {
        let before = self.counts().await?;
        let running = stream.start(MIXED_UDP_MBPS)?;
        let rates = self.downloads().await;
        let outcome = running.stop().await?;
        measured.throughput_mbps = Figure::of(rates?);
        measured.datagrams = datagrams(&[outcome]);
        self.lost(&before, measured).await
    }

    /// Processor time during downloads that nobody watches.
    async fn parts(&self) -> Result<Vec<Part>> {
        let (counted, before) = (self.counts().await?, Times::now(self.testbed)?);
        self.downloads().await?;
        let times = Times::now(self.testbed)?;
        let gateway = self.counts().await?.since(&counted).of(domain::GATEWAY);
        Ok(times.since(&before, gateway.inner_in + gateway.inner_out))
    }

    fn client(&self) -> Result<(Client, Arc<Netns>)> {
        Ok((self.testbed.client(domain::CLIENT)?, self.testbed.namespace(domain::CLIENT)?))
    }

    async fn lost(&self, before: &Counts, measured: &mut Measured) -> Result<()> {
        measured.add_lost(self.counts().await?.since(before).lost());
        Ok(())
    }

    /// The counts of the chain at rest; none where there is no chain.
    async fn counts(&self) -> Result<Counts> {
        match self.chain {
            true => Counts::at_rest(self.testbed).await,
            false => Ok(Counts::default()),
        }
    }

    fn watch(&self, everything: bool) -> Result<Option<Watch>> {
        if !self.chain {
            return Ok(None);
        }
        let domain = self.testbed.domain();
        // What AF_XDP moves no packet socket of the element's own interface sees; the other end of the cable has it all.
        let far = domain.links.driver == LinkDriver::Xdp;
        let set = PathSet::compile(domain, issuer::issue()?)?;
        let place = |element: String| -> Result<Place> {
            let known = set.element_named(&element).context("an element of no path set")?;
            let (namespace, interface) = match far {
                true => (FABRIC, fabric_port(known.id)),
                false => (element.as_str(), LINK.to_owned()),
            };
            let netns = self.testbed.namespace(namespace)?;
            Ok(Place { element, netns, interface, far })
        };
        let places = self.testbed.elements().into_iter().map(place).collect::<Result<_>>()?;
        Watch::start(domain, places, everything).map(Some)
    }

    fn end(&self, watch: Option<Watch>) -> Result<()> {
        watch.map_or(Ok(()), |watch| watch.end()?.check(self.plan.mtu.into()))
    }
}

impl Measured {
    fn add_lost(&mut self, lost: BTreeMap<String, u64>) {
        for (reason, packets) in lost {
            *self.lost_by_reason.entry(reason).or_default() += packets;
        }
    }
}

fn datagrams(outcomes: &[Outcome]) -> Option<Datagrams> {
    let figure = |part: fn(&Outcome) -> f64| Figure::of(outcomes.iter().map(part).collect());
    Some(Datagrams {
        offered_mbps: figure(|o| o.offered_mbps)?,
        delivered_mbps: figure(|o| o.delivered_mbps)?,
        sent: outcomes.iter().map(|o| o.sent).sum(),
        lost: outcomes.iter().map(Outcome::lost).sum(),
    })
}
