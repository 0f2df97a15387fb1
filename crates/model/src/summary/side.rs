//! All that one element said of one origin on one path, in whichever statements, lives and workers, ready to be compared.

use std::collections::{BTreeMap, BTreeSet};

use super::statement::{Node, Statement, Trail};
use super::tree::{self, NOTHING, Root};

/// Groups of sequences, from the first to the one behind the last.
pub(super) type Stretch = (u64, u64);

/// What an element said.
#[derive(Debug, Default)]
pub(super) struct Side<'a> {
    /// Of what is over: by place, coarse before fine.
    nodes: Vec<&'a Node>,
    /// Of which groups all is said.
    covered: Vec<Stretch>,
    /// What was not over yet when it was said last, in each life and of each worker.
    pub(super) open: Vec<&'a Node>,
    /// What was open at some time.
    pub(super) snapshots: Vec<(u64, &'a [Node])>,
    /// Packets that are in no root.
    pub(super) late: u64,
    /// The first group that was not over when it was said last.
    reached: u64,
    /// In which segment packets leave it.
    pub(super) segment: usize,
    /// When it spoke last, of this origin or not.
    pub(super) spoke_ms: u64,
    /// It had no room for all origins.
    untold: bool,
    /// It began anew after the origin had begun: it cannot know of all.
    pub(super) anew: bool,
}

/// The statements of one element, by life and number.
pub(super) type Lives<'a> = BTreeMap<[u8; 8], BTreeMap<u64, &'a Statement>>;

impl<'a> Side<'a> {
    /// What an element said of an origin that began at `began_ms`.
    pub(super) fn of(
        lives: &Lives<'a>,
        digest: &[u8; 32],
        origin: &[u8; 8],
        began_ms: Option<u64>,
    ) -> Side<'a> {
        let mut side = Side::default();
        for statements in lives.values() {
            let mut workers: BTreeMap<u16, Vec<(&Statement, &Trail)>> = BTreeMap::new();
            for statement in statements.values() {
                side.spoke_ms = side.spoke_ms.max(statement.at_ms);
                side.untold |= statement.untold.iter().any(|path| path.0 == *digest);
                side.anew |= began_ms.is_some_and(|began| statement.since_ms > began);
                for trail in &statement.trails {
                    if trail.digest.0 == *digest && trail.origin.0 == *origin {
                        workers.entry(trail.worker).or_default().push((statement, trail));
                    }
                }
            }
            let covered = workers.into_values().map(|said| side.add(&said, began_ms));
            let covered = covered.reduce(|one, other| intersection(&one, &other));
            side.covered.extend(covered.unwrap_or_default());
        }
        side.nodes.sort_by_key(|node| (node.groups().0, std::cmp::Reverse(node.level)));
        side
    }

    /// Adds what one worker said in one life; of which groups that is all.
    fn add(&mut self, said: &[(&'a Statement, &'a Trail)], began_ms: Option<u64>) -> Vec<Stretch> {
        let mut covered: Vec<Stretch> = Vec::new();
        for (statement, trail) in said {
            self.segment = trail.segment.into();
            self.reached = self.reached.max(trail.to);
            self.nodes.extend(&trail.nodes);
            self.snapshots.push((statement.at_ms, &trail.open));
            // Who began after the origin did has not seen all of the group in which it began.
            let anew = began_ms.is_some_and(|began| statement.since_ms > began);
            let first = trail.nodes.iter().chain(&trail.open).map(|node| node.groups().0).min();
            let from = match (anew && trail.from == 0, first) {
                (true, Some(first)) => first.saturating_add(1),
                (true, None) => trail.to,
                (false, _) => trail.from,
            };
            match covered.last_mut() {
                Some((_, to)) if *to == from => *to = trail.to,
                _ if from < trail.to => covered.push((from, trail.to)),
                _ => {}
            }
        }
        if let Some((_, last)) = said.last() {
            self.late = self.late.saturating_add(last.late);
            self.open.extend(&last.open);
        }
        covered
    }

    /// Nothing was said of the origin by somebody who spoke: nothing was passed before this group.
    pub(super) fn knows_nothing_before(&mut self, group: u64) {
        if self.snapshots.is_empty() && !self.anew && !self.untold {
            self.covered.push((0, group));
        }
    }

    pub(super) fn covers(&self, (from, to): Stretch) -> bool {
        let mut at = from;
        loop {
            let next = self.covered.iter().filter(|(first, behind)| *first <= at && at < *behind);
            match next.map(|(_, behind)| *behind).max() {
                Some(behind) if behind >= to => return true,
                Some(behind) => at = behind,
                None => return false,
            }
        }
    }

    /// Packets of what is over.
    pub(super) fn packets(&self) -> u64 {
        self.nodes.iter().fold(0, |sum: u64, node| sum.saturating_add(node.packets))
    }

    /// Packets below a node of this level, and its root by one segment, if that is known.
    pub(super) fn below(&self, level: u8, index: u64, segment: usize) -> (u64, Option<Root>) {
        let (first, behind) = (index << level, (index << level).saturating_add(1 << level));
        let from = self.nodes.partition_point(|node| node.groups().0 < first);
        let until = self.nodes.partition_point(|node| node.groups().0 < behind);
        let nodes = &self.nodes[from..until];
        let packets = nodes.iter().fold(0, |sum: u64, node| sum.saturating_add(node.packets));
        let apart = nodes.windows(2).all(|two| two[0].groups().1 <= two[1].groups().0);
        let root = (apart && nodes.iter().all(|node| node.level <= level))
            .then(|| climbed(nodes, level, segment))
            .flatten();
        (packets, root)
    }

    /// The sequences of one group, where that is known.
    pub(super) fn present(&self, group: u64) -> Option<u64> {
        if self.untold && self.snapshots.is_empty() {
            return None;
        }
        if group < self.reached && !self.covers((group, group.saturating_add(1))) {
            return None;
        }
        let over = self.nodes.iter().filter(|node| {
            let (first, behind) = node.groups();
            first <= group && group < behind
        });
        let open = self.snapshots.iter().flat_map(|(_, open)| *open);
        let mut bits = 0;
        for node in over.copied().chain(open.filter(|node| node.index == group)) {
            bits |= node.present?;
        }
        Some(bits)
    }

    /// The only one that speaks of this group, which was over or not.
    pub(super) fn group(&self, group: u64) -> Option<&'a Node> {
        let over = self.nodes.iter().filter(|node| node.level == 0 && node.index == group);
        let mut said = over.chain(self.open.iter().filter(|node| node.index == group));
        let one = said.next()?;
        said.next().is_none().then_some(one)
    }
}

/// The largest nodes that either side speaks of: level and index.
pub(super) fn largest(one: &Side<'_>, other: &Side<'_>) -> Vec<(u8, u64)> {
    let both = one.nodes.iter().chain(&other.nodes).map(|node| {
        let (first, _) = node.groups();
        (first, std::cmp::Reverse(node.level), node.index)
    });
    let (mut largest, mut until) = (Vec::new(), 0);
    for (first, std::cmp::Reverse(level), index) in both.collect::<BTreeSet<_>>() {
        if first >= until {
            largest.push((level, index));
            until = first.saturating_add(1 << level);
        }
    }
    largest
}

/// The root over nodes that do not overlap, at a level that none is above.
fn climbed(nodes: &[&Node], top: u8, segment: usize) -> Option<Root> {
    let mut waiting: BTreeMap<u8, Vec<(u64, Root)>> = BTreeMap::new();
    for node in nodes {
        let root = node.roots.get(segment)?;
        waiting.entry(node.level).or_default().push((node.index, *root));
    }
    let mut level = waiting.keys().next().copied().unwrap_or(top);
    let mut row: Vec<(u64, Root)> = Vec::new();
    loop {
        row.extend(waiting.remove(&level).unwrap_or_default());
        row.sort_unstable_by_key(|(index, _)| *index);
        if level == top {
            return Some(row.first().map_or(NOTHING, |(_, root)| *root));
        }
        let mut above: Vec<(u64, Root)> = Vec::with_capacity(row.len().div_ceil(2));
        let mut rest = row.iter().peekable();
        while let Some((index, root)) = rest.next() {
            let beside = rest.next_if(|(next, _)| index & 1 == 0 && *next == index + 1);
            let joined = match (index & 1, beside) {
                (0, Some((_, right))) => tree::node(root, right),
                (0, None) => tree::node(root, &NOTHING),
                _ => tree::node(&NOTHING, root),
            };
            above.push((index >> 1, joined));
        }
        (row, level) = (above, level + 1);
    }
}

fn intersection(one: &[Stretch], other: &[Stretch]) -> Vec<Stretch> {
    let both = one.iter().flat_map(|(from, to)| {
        other.iter().map(move |(first, behind)| (*from.max(first), *to.min(behind)))
    });
    both.filter(|(from, to)| from < to).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(level: u8, index: u64) -> Node {
        let root = |nth: u8| [level * 16 + index as u8 + nth; 32];
        Node { level, index, packets: 1, present: None, roots: vec![root(0), root(100)] }
    }

    fn side(nodes: &[Node]) -> Side<'_> {
        let mut side = Side { nodes: nodes.iter().collect(), ..Side::default() };
        side.nodes.sort_by_key(|node| (node.groups().0, std::cmp::Reverse(node.level)));
        side
    }

    #[test]
    fn coarse_roots_come_of_fine_ones() {
        let nodes = [node(0, 5), node(1, 3), node(0, 0)];
        let side = side(&nodes);
        let of = |at: usize, segment: usize| nodes[at].roots[segment];
        for segment in 0..2 {
            let left = tree::node(&tree::node(&of(2, segment), &NOTHING), &NOTHING);
            let right = tree::node(&tree::node(&NOTHING, &of(0, segment)), &of(1, segment));
            assert_eq!(side.below(2, 0, segment), (1, Some(left)));
            assert_eq!(side.below(2, 1, segment), (2, Some(right)));
            assert_eq!(side.below(3, 0, segment), (3, Some(tree::node(&left, &right))));
        }
        assert_eq!(side.below(0, 1, 0), (0, Some(NOTHING)));
        assert_eq!(side.below(0, 5, 2).1, None, "there is no such segment");
        assert_eq!(side.below(0, 6, 0).1, None, "what is coarse does not say what is fine");
    }

    #[test]
    fn who_says_a_thing_twice_has_no_root() {
        let nodes = [node(1, 0), node(0, 1)];
        assert_eq!(side(&nodes).below(1, 0, 0), (2, None));
    }

    #[test]
    fn the_largest_of_both_are_compared() {
        let (one, other) =
            ([node(0, 0), node(0, 1), node(2, 1)], [node(1, 0), node(0, 4), node(0, 9)]);
        assert_eq!(largest(&side(&one), &side(&other)), [(1, 0), (2, 1), (0, 9)]);
    }

    #[test]
    fn stretches_meet() {
        let side = Side { covered: vec![(5, 9), (0, 5), (12, 20)], ..Side::default() };
        assert!(side.covers((0, 9)) && side.covers((13, 20)));
        assert!(!side.covers((8, 10)) && !side.covers((9, 13)) && !side.covers((19, 21)));
        assert_eq!(intersection(&[(0, 5), (8, 9)], &[(3, 20)]), [(3, 5), (8, 9)]);
    }
}
