//! Whether another element is alive: numbered probes at a fixed pace, and the time within which one has to be answered.
//!
//! The idea is that of BFD in asynchronous mode with the echo function (RFC 5880 sections 6.8.4 and 6.8.8): the detection time
//! is so many intervals. Who answers late is as good as dead, so an answer counts only if it came within that time. What is
//! down is up again after as many answers in a row as may be missed.
//!
//! ```text
//!               an answer                 nothing for the detection time
//!   UNKNOWN ────────────────► UP ────────────────────────────► DOWN
//!      │                       ▲ ◄── answers in a row ───────────┤
//!      └── nothing for the detection time ───────────────────────►
//! ```

pub mod wire;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How often is asked, and what may be missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// From one probe to the next.
    pub every: Duration,
    /// Probes in a row that may be unanswered when the element is taken for dead; at least one.
    pub missed: u32,
}

impl Pace {
    /// How long nothing may be heard.
    pub fn detection(self) -> Duration {
        self.every * self.missed.max(1)
    }
}

/// What is known of the element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It was not asked for long enough.
    Unknown,
    /// It answers in time.
    Up,
    /// It does not.
    Down,
}

impl State {
    /// The name in status and logs.
    pub const fn name(self) -> &'static str {
        match self {
            State::Unknown => "unknown",
            State::Up => "up",
            State::Down => "down",
        }
    }
}

/// One element that is asked whether it is alive, without I/O.
#[derive(Debug)]
pub struct Liveness {
    pace: Pace,
    state: State,
    /// When to ask next.
    next: Instant,
    number: u32,
    /// What was asked and may still be answered in time.
    asked: VecDeque<(u32, Instant)>,
    /// When the last answer came that came in time.
    heard: Instant,
    /// Answers in a row.
    answers: u32,
}

impl Liveness {
    /// One that was never asked.
    pub fn new(now: Instant, pace: Pace) -> Liveness {
        Liveness {
            pace,
            state: State::Unknown,
            next: now,
            number: 0,
            asked: VecDeque::new(),
            heard: now,
            answers: 0,
        }
    }

    /// What is known.
    pub fn state(&self) -> State {
        self.state
    }

    /// Time has passed: the number of the probe to send now, if it is time.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<u32> {
        let detection = self.pace.detection();
        while self
            .asked
            .front()
            .is_some_and(|(_, at)| now.saturating_duration_since(*at) >= detection)
        {
            self.asked.pop_front();
            self.answers = 0;
        }
        if now.saturating_duration_since(self.heard) >= detection {
            self.state = State::Down;
        }
        if now < self.next {
            return None;
        }
        // Who was late does not hurry afterwards.
        self.next = now + self.pace.every;
        self.number = self.number.wrapping_add(1);
        self.asked.push_back((self.number, now));
        Some(self.number)
    }

    /// The answer to a probe came.
    pub fn handle_answer(&mut self, now: Instant, number: u32) {
        let Some(place) = self.asked.iter().position(|(asked, _)| *asked == number) else { return };
        let in_time = |at: Instant| now.saturating_duration_since(at) < self.pace.detection();
        if !self.asked.get(place).is_some_and(|(_, at)| in_time(*at)) {
            return;
        }
        // Earlier ones are answered with it: what carries them keeps their order.
        self.asked.drain(..=place);
        self.heard = now;
        self.answers = self.answers.saturating_add(1);
        if self.state != State::Down || self.answers >= self.pace.missed {
            self.state = State::Up;
        }
    }

    /// The element's machine says that nobody is there.
    pub fn refused(&mut self) {
        (self.state, self.answers) = (State::Down, 0);
        self.asked.clear();
    }

    /// There is a new way to ask: the next probe is due.
    pub fn ask_now(&mut self, now: Instant) {
        self.next = now;
    }

    /// When to call [`Liveness::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Instant {
        match self.state {
            State::Down => self.next,
            State::Unknown | State::Up => self.next.min(self.heard + self.pace.detection()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { every: Duration::from_millis(250), missed: 3 };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Lets time pass; every probe is answered after `answered`, if it is.
    fn pass(live: &mut Liveness, now: &mut Instant, time: Duration, answered: Option<Duration>) {
        let end = *now + time;
        let mut under_way = VecDeque::new();
        while *now < end {
            if let (Some(number), Some(after)) = (live.handle_timeout(*now), answered) {
                under_way.push_back((*now + after, number));
            }
            while under_way.front().is_some_and(|(at, _)| *at <= *now) {
                let (_, number) = under_way.pop_front().expect("one is there");
                live.handle_answer(*now, number);
            }
            *now += ms(1);
        }
    }

    #[test]
    fn who_answers_in_time_is_up_and_who_falls_silent_is_down_within_the_detection_time() {
        let mut now = Instant::now();
        let mut live = Liveness::new(now, PACE);
        assert_eq!(live.state(), State::Unknown);
        pass(&mut live, &mut now, ms(1000), Some(ms(3)));
        assert_eq!(live.state(), State::Up);
        // The last answer came a quarter of a second ago.
        pass(&mut live, &mut now, ms(480), None);
        assert_eq!(live.state(), State::Up, "two may be lost");
        pass(&mut live, &mut now, ms(40), None);
        assert_eq!(live.state(), State::Down);
    }

    #[test]
    fn who_never_answers_is_down_and_one_answer_is_not_enough_afterwards() {
        let mut now = Instant::now();
        let mut live = Liveness::new(now, PACE);
        pass(&mut live, &mut now, ms(749), None);
        assert_eq!(live.state(), State::Unknown);
        pass(&mut live, &mut now, ms(2), None);
        assert_eq!(live.state(), State::Down);
        pass(&mut live, &mut now, ms(260), Some(ms(1)));
        assert_eq!(live.state(), State::Down);
        pass(&mut live, &mut now, ms(750), Some(ms(1)));
        assert_eq!(live.state(), State::Up);
    }

    #[test]
    fn who_is_not_there_is_down_at_once() {
        let mut now = Instant::now();
        let mut live = Liveness::new(now, PACE);
        pass(&mut live, &mut now, ms(1000), Some(ms(3)));
        live.refused();
        assert_eq!(live.state(), State::Down);
        live.ask_now(now);
        pass(&mut live, &mut now, ms(600), Some(ms(1)));
        assert_eq!(live.state(), State::Up, "three answers in half a second");
    }

    #[test]
    fn who_is_slow_is_down() {
        let mut now = Instant::now();
        let mut live = Liveness::new(now, PACE);
        pass(&mut live, &mut now, ms(2000), Some(ms(3)));
        pass(&mut live, &mut now, ms(5000), Some(ms(800)));
        assert_eq!(live.state(), State::Down, "answers that come late count for nothing");
        pass(&mut live, &mut now, ms(3000), Some(ms(500)));
        assert_eq!(live.state(), State::Up, "late, but not too late");
    }

    #[test]
    fn an_answer_to_what_was_never_asked_counts_for_nothing() {
        let now = Instant::now();
        let mut live = Liveness::new(now, PACE);
        live.handle_answer(now, 0);
        live.handle_answer(now, 7);
        assert_eq!(live.state(), State::Unknown);
        assert_eq!(live.handle_timeout(now), Some(1));
        live.handle_answer(now, 1);
        assert_eq!(live.state(), State::Up);
        live.handle_answer(now + ms(700), 1);
        assert_eq!(live.handle_timeout(now + ms(750)), Some(2));
        assert_eq!(live.state(), State::Down, "one answer counts once");
    }

    #[test]
    fn timers_are_never_due_after_they_were_handled() {
        let mut now = Instant::now();
        let mut live = Liveness::new(now, PACE);
        for step in 0..10_000_u32 {
            if let Some(number) = live.handle_timeout(now)
                && step % 7 < 4
            {
                live.handle_answer(now, number);
            }
            let next = live.poll_timeout();
            assert!(next > now, "step {step}: {live:?}");
            now = next;
        }
    }
}
