//! What a soak does and when, drawn from its seed: rounds of traffic with reloads, and in every third a kill.
//!
//! A round depends on the seed and its number alone, so that a run that is repeated does the same however fast it goes.

use ringmail_model::SplitMix64;

/// The domain files that reloads go through, see [`super::domain`].
pub(crate) const VARIANTS: u64 = 6;

/// Who may be killed; each comes from a process of its own.
pub(crate) const MORTAL: [&str; 5] = ["sf1", "egress", "sf2", "gateway", "sf3"];

/// Milliseconds of traffic in a round.
pub(crate) const ROUND_MS: u64 = 14_000;

/// Nothing happens so near to the end of a round, so that what happens still meets traffic.
const CALM_END_MS: u64 = 3_000;

/// One in so many rounds has a kill.
const KILL_EVERY: u64 = 3;

/// Something that happens in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The domain is brought to this variant of its file.
    Reload(u64),
    /// SIGKILL to this element.
    Kill(&'static str),
}

/// Traffic, and what happens meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    /// Milliseconds since the round began, in order.
    pub(crate) events: Vec<(u64, Event)>,
}

impl Round {
    /// The round of this number, from 0.
    pub(crate) fn of(seed: u64, number: u64) -> Round {
        let mut random = SplitMix64(seed ^ number.wrapping_mul(0xd134_2543_de82_ef95));
        let kills = number % KILL_EVERY == 1;
        let (reloads, last) = if kills { (1, 1) } else { (2 + random.below(2), 0) };
        let step = (ROUND_MS - CALM_END_MS) / (reloads + last);
        let mut events = Vec::new();
        for nth in 0..reloads {
            let at = nth * step + random.below(step / 2);
            events.push((at, Event::Reload(random.below(VARIANTS))));
        }
        if kills {
            // Each in turn, so that none dies twice within a minute of itself.
            let turn = (number / KILL_EVERY + seed) % MORTAL.len() as u64;
            let at = step + random.below(step / 2);
            events.push((at, Event::Kill(MORTAL[turn as usize])));
        }
        Round { events }
    }

    /// Whether somebody is killed.
    pub(crate) fn kills(&self) -> bool {
        self.events.iter().any(|(_, event)| matches!(event, Event::Kill(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(seed: u64) -> Vec<Round> {
        (0..90).map(|number| Round::of(seed, number)).collect()
    }

    #[test]
    fn the_same_seed_does_the_same_and_another_another() {
        assert_eq!(rounds(7), rounds(7));
        // Not only whose turn it is to be killed.
        assert_ne!(Round::of(7, 0), Round::of(8, 0));
    }

    #[test]
    fn events_are_in_order_and_leave_the_end_calm() {
        for round in rounds(1).iter().chain(&rounds(2)) {
            assert!(round.events.is_sorted_by_key(|(at, _)| *at), "{round:?}");
            assert!(round.events.iter().all(|(at, _)| *at < ROUND_MS - CALM_END_MS), "{round:?}");
            assert!((1..=3).contains(&round.events.len()));
        }
    }

    #[test]
    fn everybody_is_killed_and_every_variant_loaded_and_most_rounds_kill_nobody() {
        let rounds = rounds(3);
        assert_eq!(rounds.iter().filter(|round| round.kills()).count(), 30);
        let events: Vec<Event> = rounds.iter().flat_map(|r| &r.events).map(|(_, e)| *e).collect();
        for name in MORTAL {
            let killed = events.iter().filter(|event| **event == Event::Kill(name)).count();
            assert_eq!(killed, 6, "{name}");
        }
        for variant in 0..VARIANTS {
            assert!(events.contains(&Event::Reload(variant)), "variant {variant}");
        }
    }
}
