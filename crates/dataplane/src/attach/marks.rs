//! Paths as DSCPs (RFC 2474), for functions that hide the flow: 63 paths at most, 0 stands for none.

use ringmail_model::PathId;
use ringmail_packet::{ipv4, ipv6};

/// How many DSCPs there are; the first means "no path".
const CODE_POINTS: usize = 64;

/// Which path each DSCP stands for. One that was given out stays.
#[derive(Debug)]
pub(super) struct Marks {
    paths: [Option<PathId>; CODE_POINTS],
}

impl Default for Marks {
    fn default() -> Marks {
        Marks { paths: [None; CODE_POINTS] }
    }
}

impl Marks {
    /// The DSCP of a path; `None` when all are given out.
    pub(super) fn of(&mut self, path: PathId) -> Option<u8> {
        let free_or_mine = |known: &Option<PathId>| known.is_none_or(|known| known == path);
        let at = 1 + self.paths[1..].iter().position(free_or_mine)?;
        self.paths[at] = Some(path);
        Some(at as u8)
    }

    /// The path of a DSCP.
    pub(super) fn path(&self, dscp: u8) -> Option<PathId> {
        *self.paths.get(usize::from(dscp))?
    }
}

/// The DSCP of an IP packet that has a whole header.
pub(super) fn of(packet: &[u8]) -> u8 {
    match packet.first().map_or(0, |byte| byte >> 4) {
        4 => ipv4::Packet::new_unchecked(packet).dscp(),
        6 => ipv6::Packet::new_unchecked(packet).dscp(),
        _ => 0,
    }
}

/// Sets the DSCP of an IP packet that has a whole header, checksum included, and returns the one before.
pub(super) fn replace(packet: &mut [u8], dscp: u8) -> u8 {
    let before = of(packet);
    match packet.first().map_or(0, |byte| byte >> 4) {
        4 => ipv4::Packet::new_unchecked(packet).rewrite_dscp(dscp),
        6 => ipv6::Packet::new_unchecked(packet).set_dscp(dscp),
        _ => {}
    }
    before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_keeps_its_own_until_none_is_left() {
        let mut marks = Marks::default();
        for path in 1..=63 {
            assert_eq!(marks.of(PathId(path)), Some(path as u8));
        }
        assert_eq!(marks.of(PathId(64)), None);
        assert_eq!((marks.of(PathId(7)), marks.path(7)), (Some(7), Some(PathId(7))));
        assert_eq!(marks.path(0), None);
    }
}
