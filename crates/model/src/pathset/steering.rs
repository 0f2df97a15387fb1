//! What steers the packets of a path on the wire: its labels, and the layout of its Network Service Header
//! (`docs/nsh.md`).

use super::{LinkSet, Path, PathSet};
use crate::domain::{LinkKind, Profile};
use crate::ids::Label;
use crate::integrity::Integrity;
use crate::metadata::Kinds;
use crate::nsh::{Layout, Shape, TooLong};
use crate::overhead::Steering;

/// The label under which a Network Service Header stands, the same for every element (RFC 8596 section 2). No element has it.
pub const SFF_LABEL: Label = Label::MAX;

/// What decides how much steers the packets of a path: its functions, how many of them open ESP, and who is told what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) hops: usize,
    pub(crate) intrusive: usize,
    /// What those are told who are told anything of flows.
    pub(crate) told: Vec<Kinds>,
}

impl Extent {
    fn layout(&self, profile: Profile, integrity: Integrity) -> Result<Option<Layout>, TooLong> {
        let shape = Shape {
            hops: self.hops,
            segments: self.intrusive + 1,
            proof: true,
            mac: true,
            scope: integrity.scope(),
            metadata: self.told.iter().map(|kinds| kinds.len_bytes()).collect(),
        };
        profile.has_nsh().then(|| Layout::new(&shape)).transpose()
    }

    /// What stands between the link's headers and the outer IP header.
    pub(crate) fn steering(
        &self,
        profile: Profile,
        integrity: Integrity,
        link: LinkKind,
    ) -> Result<Steering, TooLong> {
        let labels = match (profile, link) {
            (Profile::Mpls, _) => self.hops + 1,
            (Profile::MplsNsh, _) => self.hops + 2,
            (Profile::Nsh, LinkKind::Udp) => 1,
            (Profile::Nsh, LinkKind::Ethernet) => 0,
        };
        let nsh_bytes = self.layout(profile, integrity)?.map_or(0, |layout| layout.len_bytes());
        Ok(Steering { labels, nsh_bytes })
    }
}

impl Path {
    pub(super) fn extent(&self) -> Extent {
        let intrusive = self.hops.iter().filter(|hop| hop.intrusive).count();
        let told = self.readers().into_iter().map(|reader| reader.kinds).collect();
        Extent { hops: self.hops.len(), intrusive, told }
    }
}

impl PathSet {
    /// How the Network Service Header of one of the paths is laid out; `None` with a profile that has none.
    pub fn layout(&self, path: &Path) -> Option<Layout> {
        // One that is too long has no path set.
        path.extent().layout(self.profile, self.integrity).ok().flatten()
    }

    /// The labels that stand on a packet of the path when it leaves the element at this position, the bottom last.
    pub fn labels_on_wire(&self, path: &Path, position: usize) -> Vec<Label> {
        let elements = path.labels_after(position);
        match (self.profile, self.link) {
            (Profile::Mpls, _) => elements.collect(),
            (Profile::MplsNsh, _) => elements.chain([SFF_LABEL]).collect(),
            (Profile::Nsh, LinkSet::Udp) => vec![SFF_LABEL],
            (Profile::Nsh, LinkSet::Ethernet { .. }) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_intrusive_functions_under_each_profile() {
        let six = Extent { hops: 6, intrusive: 6, told: vec![] };
        let steering =
            |profile, link| six.steering(profile, Integrity::Segment, link).expect("it fits");
        let (udp, ethernet) = (LinkKind::Udp, LinkKind::Ethernet);
        assert_eq!(steering(Profile::Mpls, udp), Steering::labels(7));
        let eight = Steering { labels: 8, nsh_bytes: 136 };
        assert_eq!(steering(Profile::MplsNsh, udp), eight);
        assert_eq!(steering(Profile::MplsNsh, ethernet), eight);
        assert_eq!(steering(Profile::Nsh, udp), Steering { labels: 1, ..eight });
        assert_eq!(steering(Profile::Nsh, ethernet), Steering { labels: 0, ..eight });
    }

    #[test]
    fn a_path_of_sixteen_intrusive_functions_has_no_header() {
        let sixteen = Extent { hops: 16, intrusive: 16, told: vec![] };
        let steering = |profile| sixteen.steering(profile, Integrity::Segment, LinkKind::Udp);
        assert_eq!(steering(Profile::Mpls), Ok(Steering::labels(17)));
        assert!(steering(Profile::MplsNsh).is_err());
    }
}
