//! Whether enough of what a simulation is for has happened.

/// How much of what the runs are for has happened.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) lost: u64,
    pub(super) repeated: u64,
    pub(super) cut: u64,
    pub(super) restarts: u64,
    pub(super) withdrawals: u64,
    pub(super) keys: u64,
    pub(super) keys_beside_esp: u64,
    pub(super) replaced: u64,
    pub(super) lease_stops: u64,
    pub(super) orphans: u64,
    pub(super) finished: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Tally) {
        for (sum, more) in self.fields_mut().into_iter().zip(other.fields()) {
            *sum += more;
        }
    }

    pub(super) fn is_plentiful(&self) -> bool {
        self.fields().iter().all(|count| *count > 10)
    }

    pub(super) fn fields(&self) -> [u64; 11] {
        [
            self.lost,
            self.repeated,
            self.cut,
            self.restarts,
            self.withdrawals,
            self.keys,
            self.keys_beside_esp,
            self.replaced,
            self.lease_stops,
            self.orphans,
            self.finished,
        ]
    }

    pub(super) fn fields_mut(&mut self) -> [&mut u64; 11] {
        [
            &mut self.lost,
            &mut self.repeated,
            &mut self.cut,
            &mut self.restarts,
            &mut self.withdrawals,
            &mut self.keys,
            &mut self.keys_beside_esp,
            &mut self.replaced,
            &mut self.lease_stops,
            &mut self.orphans,
            &mut self.finished,
        ]
    }
}
