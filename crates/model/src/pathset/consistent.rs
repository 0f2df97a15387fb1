//! What holds of every path set, whoever signed it: places, roles, labels, segments, ways back.

use super::{DecodeError, Direction, Path, PathSet, Role, SFF_LABEL, compile};
use crate::domain::{Keying, STANDBY};
use crate::ids::{ElementId, PathId};
use crate::limits;
use crate::overhead::EspMode;

impl PathSet {
    /// What a signer of good will never breaks, so that no reader has to ask again.
    pub(super) fn check_consistent(&self) -> Result<(), DecodeError> {
        let wrong = DecodeError::Inconsistent;
        if self.elements.is_empty() || self.elements.len() > limits::ELEMENTS {
            return Err(wrong("the number of elements"));
        }
        if self.paths.len() > limits::PATHS {
            return Err(wrong("the number of paths"));
        }
        for (index, element) in self.elements.iter().enumerate() {
            let before = &self.elements[..index];
            let ascends = before.last().is_none_or(|last| last.id < element.id);
            let gateway = element.role == Role::Gateway;
            let first = index == 0;
            // A second one is the standby.
            let second = before.iter().filter(|e| e.role == Role::Gateway).count() == 1
                && element.name == STANDBY;
            let placed = if first { element.id == ElementId(0) } else { !gateway || second };
            if !ascends || (first && !gateway) || !placed {
                return Err(wrong("an element is not in its place"));
            }
            if before.iter().any(|e| {
                e.label == element.label
                    || e.link == element.link
                    || e.name == element.name
                    || (e.mac.is_some() && e.mac == element.mac)
            }) {
                return Err(wrong("two elements share a name, a label or an address"));
            }
            if self.profile.has_nsh() && element.label == SFF_LABEL {
                return Err(wrong("an element has the label of the SFF"));
            }
            if element.spiffe_id != self.domain.element_id(&element.name) {
                return Err(wrong("an element's identity is not that of its name"));
            }
        }
        if self.profile.has_nsh()
            && (self.keying == Keying::Psk || self.esp_mode == EspMode::Transport)
        {
            return Err(wrong("a profile with NSH needs keys that neighbours agree on"));
        }
        if !self.profile.has_nsh() && !self.integrity.is_default() {
            return Err(wrong("what covers an NSH is said of a profile that has none"));
        }
        self.paths.iter().enumerate().try_for_each(|(index, path)| self.check_path(index, path))
    }

    fn check_path(&self, index: usize, path: &Path) -> Result<(), DecodeError> {
        let wrong = DecodeError::Inconsistent;
        let role = |id: ElementId| self.element(id).map(|e| e.role);
        let (from, to) = match path.direction {
            Direction::Forward => (Role::Gateway, Role::Egress),
            Direction::Return => (Role::Egress, Role::Gateway),
        };
        let before = index.checked_sub(1).and_then(|before| self.paths.get(before));
        let ascends = before.map_or(path.id > PathId(0), |before| before.id < path.id);
        if !ascends || path.id.0 > limits::PATH_ID_MAX {
            return Err(wrong("a path is not in its place"));
        }
        if role(path.origin) != Some(from) || role(path.end.element) != Some(to) {
            return Err(wrong("a path begins or ends at the wrong element"));
        }
        if path.hops.len() > limits::HOPS_A_PATH
            || path.hops.iter().any(|hop| role(hop.element) != Some(Role::Hop))
        {
            return Err(wrong("a hop of a path is no hop"));
        }
        if path.visits().any(|hop| self.element(hop.element).map(|e| e.label) != Some(hop.label)) {
            return Err(wrong("a label of a path is not its element's"));
        }
        if !path.end.intrusive
            || path.segments != compile::segments(path.origin, &path.hops, path.end)
        {
            return Err(wrong("the segments of a path are not those of its hops"));
        }
        if path.end.originates
            || path
                .hops
                .iter()
                .any(|hop| hop.originates && !(hop.intrusive && self.profile.has_nsh()))
        {
            return Err(wrong("a hop begins packets that it cannot"));
        }
        // The end of a path tells nobody, and on the way back it is the gateway, which knows.
        let at_end = path.direction == Direction::Return && !path.end.reads.is_empty();
        let without_header =
            !self.profile.has_nsh() && path.visits().any(|hop| !hop.reads.or(hop.adds).is_empty());
        if at_end
            || without_header
            || path.visits().any(|hop| !hop.adds.is_empty() && !hop.originates)
        {
            return Err(wrong("metadata is granted to who cannot have it"));
        }
        if path.extent().steering(self.profile, self.integrity, self.link.kind()).is_err() {
            return Err(wrong("a path is too long for its profile"));
        }
        let forward = path.direction == Direction::Forward;
        if path.service.is_some() != forward || path.return_path.is_some() != forward {
            return Err(wrong(
                "only forward paths, and all of them, have a service and a return path",
            ));
        }
        if let Some(back) = path.return_path {
            let back = self.path(back);
            let fits = |b: &Path| {
                b.direction == Direction::Return
                    && b.origin == path.end.element
                    && b.end.element == path.origin
            };
            if !back.is_some_and(fits) {
                return Err(wrong("a return path does not lead back where its path comes from"));
            }
        }
        Ok(())
    }
}
