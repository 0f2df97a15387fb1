//! What the elements of a chain counted between two moments: frames on links, packets at the ends, drops.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::watch::Seen;
use crate::control::ElementStatus;
use crate::testbed::Testbed;

/// How long a chain is left alone before it is asked whether it rests: more than Linux delays an acknowledgement.
const SETTLE: Duration = Duration::from_millis(250);

/// How often a chain is looked at before it is given up, and how far apart: connections that say every second that
/// they are alive leave gaps.
const SETTLE_LOOKS: usize = 200;
const SETTLE_EVERY: Duration = Duration::from_millis(25);

/// What frames count as that one element sent and none received.
const ON_LINKS: &str = "on_links";

/// One element's counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Frames handed to its link.
    pub(super) link_out: u64,
    /// Frames taken from its link.
    pub(super) link_in: u64,
    /// Packets that came from the inner side.
    pub(super) inner_in: u64,
    /// Packets handed to the inner side.
    pub(super) inner_out: u64,
    /// Packets that it dropped, by reason.
    pub(super) drops: BTreeMap<String, u64>,
}

/// All elements' counts, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts(BTreeMap<String, Count>);

impl Counts {
    /// As of now.
    pub(super) async fn now(testbed: &Testbed) -> Result<Counts> {
        let handle = testbed.handle();
        let mut all = BTreeMap::new();
        for name in testbed.elements() {
            let status = handle.status(&name).await.with_context(|| format!("element `{name}`"))?;
            all.insert(name, Count::of(&status));
        }
        Ok(Counts(all))
    }

    /// As soon as delayed acknowledgements have come and nothing moves while all elements are asked twice.
    pub(super) async fn at_rest(testbed: &Testbed) -> Result<Counts> {
        tokio::time::sleep(SETTLE).await;
        for _ in 0..SETTLE_LOOKS {
            let once = Counts::now(testbed).await?;
            let again = Counts::now(testbed).await?;
            if once == again {
                return Ok(again);
            }
            tokio::time::sleep(SETTLE_EVERY).await;
        }
        bail!("the chain does not come to rest")
    }

    /// What was counted from `before` on.
    pub(super) fn since(&self, before: &Counts) -> Counts {
        let differ = |(name, now): (&String, &Count)| {
            let then = before.0.get(name).cloned().unwrap_or_default();
            (name.clone(), now.since(&then))
        };
        Counts(self.0.iter().map(differ).collect())
    }

    /// The counts of one element.
    pub(super) fn of(&self, element: &str) -> Count {
        self.0.get(element).cloned().unwrap_or_default()
    }

    /// Packets that got lost, by where or why: frames that were sent and not received, and what elements dropped.
    pub(super) fn lost(&self) -> BTreeMap<String, u64> {
        let sum = |part: fn(&Count) -> u64| self.0.values().map(part).sum::<u64>();
        let on_links = sum(|c| c.link_out).saturating_sub(sum(|c| c.link_in));
        let mut lost = BTreeMap::from([(ON_LINKS.to_owned(), on_links)]);
        for (reason, packets) in self.0.values().flat_map(|count| &count.drops) {
            *lost.entry(reason.clone()).or_default() += packets;
        }
        lost.retain(|_, packets| *packets > 0);
        lost
    }

    /// Whether each link carried what its element counted: no less than while it was surely watched, and no more than
    /// `around` that. The two differ by what connections at rest say to be kept alive.
    pub(super) fn agree(&self, around: &Counts, seen: &Seen) -> Result<()> {
        for (name, count) in &self.0 {
            let both = seen.protected.get(name).copied().unwrap_or_default();
            let most = around.of(name);
            ensure!(
                (count.link_out..=most.link_out).contains(&both.sent)
                    && (count.link_in..=most.link_in).contains(&both.received),
                "`{name}` sent {} frames and received {}, its link carried {both:?}",
                count.link_out,
                count.link_in
            );
        }
        Ok(())
    }
}

impl Count {
    fn of(status: &ElementStatus) -> Count {
        let count = |name: &str| {
            status.counters.iter().find(|counter| counter.name == name).map_or(0, |c| c.value)
        };
        Count {
            link_out: count("link_out_packets"),
            link_in: count("link_in_packets"),
            inner_in: count("inner_in_packets"),
            inner_out: count("inner_out_packets"),
            drops: status.drops.iter().map(|drop| (drop.reason.clone(), drop.packets)).collect(),
        }
    }

    fn since(&self, then: &Count) -> Count {
        let earlier = |reason: &str| then.drops.get(reason).copied().unwrap_or_default();
        let drops =
            self.drops.iter().map(|(reason, packets)| (reason.clone(), packets - earlier(reason)));
        Count {
            link_out: self.link_out - then.link_out,
            link_in: self.link_in - then.link_in,
            inner_in: self.inner_in - then.inner_in,
            inner_out: self.inner_out - then.inner_out,
            drops: drops.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::watch::Both;

    fn counts(name: &str, link_out: u64, link_in: u64, dropped: u64) -> Counts {
        let drops = [("replayed".to_owned(), dropped)].into();
        let count = Count { link_out, link_in, drops, ..Count::default() };
        Counts([(name.to_owned(), count)].into())
    }

    #[test]
    fn what_was_lost_before_does_not_count() {
        let (before, after) = (counts("sf1", 10, 7, 4), counts("sf1", 30, 26, 5));
        let lost = [("on_links".to_owned(), 1), ("replayed".to_owned(), 1)];
        assert_eq!(after.since(&before).lost(), lost.into());
    }

    #[test]
    fn a_frame_that_the_link_did_not_carry_is_noticed() {
        let mut seen = Seen::default();
        seen.protected.insert("sf1".to_owned(), Both { sent: 10, received: 7 });
        let agree = |least: Counts, most: Counts| least.agree(&most, &seen).is_ok();
        assert!(agree(counts("sf1", 10, 7, 0), counts("sf1", 10, 7, 0)));
        assert!(agree(counts("sf1", 9, 7, 0), counts("sf1", 10, 8, 0)));
        assert!(!agree(counts("sf1", 11, 7, 0), counts("sf1", 12, 7, 0)));
        assert!(!agree(counts("sf1", 9, 6, 0), counts("sf1", 9, 6, 0)));
        assert!(!agree(counts("sf2", 10, 7, 0), counts("sf2", 10, 7, 0)));
    }
}
