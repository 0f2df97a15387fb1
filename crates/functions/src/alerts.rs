//! Alerts on their way out: as many as fit until somebody drains them.

use std::collections::VecDeque;

use ringmail_dataplane::function::Alert;

/// A bounded queue; what does not fit is counted, since the oldest alerts tell how it began.
#[derive(Debug)]
pub(crate) struct Alerts {
    waiting: VecDeque<Alert>,
    alerts_max: usize,
    lost: u64,
}

impl Alerts {
    /// A queue for this many alerts, which it takes the memory for.
    pub(crate) fn new(alerts_max: usize) -> Alerts {
        Alerts { waiting: VecDeque::with_capacity(alerts_max), alerts_max, lost: 0 }
    }

    pub(crate) fn raise(&mut self, alert: Alert) {
        if self.waiting.len() < self.alerts_max {
            self.waiting.push_back(alert);
        } else {
            self.lost += 1;
        }
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Alert> {
        self.waiting.drain(..)
    }

    /// Rules have other numbers from now on.
    pub(crate) fn renumber(&mut self, renumbered: impl Fn(u32) -> u32) {
        self.waiting.iter_mut().for_each(|alert| alert.rule = renumbered(alert.rule));
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }
}
