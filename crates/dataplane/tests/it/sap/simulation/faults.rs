//! What goes wrong.

use super::parts::{Connection, Later};
use super::world::World;
use super::{ELEMENTS, segments};

impl World {
    pub(super) fn fault(&mut self) {
        if self.calm {
            return;
        }
        let wait = self.random.ms(100, 15_000);
        self.later(wait, Later::Fault);
        let element = ELEMENTS[self.random.below(3) as usize];
        let peer = ELEMENTS[self.random.below(3) as usize];
        match self.random.below(8) {
            0 => {
                self.tally.restarts += 1;
                let life = self.elements[&element].life + 1;
                for connection in 0..self.connections.len() {
                    if self.connections[connection].ends.iter().any(|end| end.0 == element) {
                        self.cut(connection);
                    }
                }
                self.begin_life(element, life);
            }
            1 | 2 => {
                let open = |c: &Connection| c.open;
                let connections: Vec<_> = (0..self.connections.len())
                    .filter(|number| open(&self.connections[*number]))
                    .collect();
                if let Some(pick) = connections.len().checked_sub(1) {
                    let pick = self.random.below(pick as u64 + 1) as usize;
                    self.tally.cut += 1;
                    self.cut(connections[pick]);
                }
            }
            3 => self.manager_away = !self.manager_away,
            4 => {
                let now = self.now().instant;
                self.with(element, peer, |sap| sap.begin_epoch(now));
            }
            5 => {
                let now = self.now().instant;
                // Both at once: a simultaneous open.
                self.with(element, peer, |sap| sap.begin_epoch(now));
                self.with(peer, element, |sap| sap.begin_epoch(now));
            }
            6 => {
                self.tally.withdrawals += 1;
                let kept = self.random.next();
                let all = segments().into_iter().enumerate();
                let some = all.filter(|(number, _)| kept >> number & 3 != 0).map(|(_, view)| view);
                self.set_segments(element, some.collect());
            }
            _ => self.set_segments(element, segments()),
        }
    }

    /// The ends learn of it at different times; one may have to find out by itself.
    pub(super) fn cut(&mut self, connection: usize) {
        self.connections[connection].open = false;
        for at in [0, 1] {
            let told = self.random.per_mille(800);
            let wait = self.random.ms(0, 3000);
            if told {
                self.later(wait, Later::HangUp { connection, at });
            }
        }
    }
}
