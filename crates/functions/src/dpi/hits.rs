//! The rules that one packet matched, each once.

/// A set of rule indexes that remembers the order of discovery; nothing is allocated after it was made.
#[derive(Debug)]
pub(super) struct Hits {
    rules: Vec<u32>,
    seen: Vec<bool>,
}

impl Hits {
    /// An empty set for rules 0 to `rules - 1`.
    pub(super) fn new(rules: usize) -> Hits {
        Hits { rules: Vec::with_capacity(rules), seen: vec![false; rules] }
    }

    /// Adds a rule, if it is not there.
    pub(super) fn add(&mut self, rule: u32) {
        if let Some(seen) = self.seen.get_mut(rule as usize)
            && !*seen
        {
            *seen = true;
            self.rules.push(rule);
        }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        for rule in self.rules.drain(..) {
            self.seen[rule as usize] = false;
        }
    }

    /// Whether nothing matched.
    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.rules.iter().copied()
    }
}
