//! Keys of Network Service Headers on their way to workers: those of links, of proofs of transit and of metadata (`docs/nsh.md`, "Keys").

use std::sync::Arc;

use ringmail_dataplane::nsh::{MetadataKey, PathNsh};
use ringmail_dataplane::sa::{Lease, SegmentIndex};
use ringmail_dataplane::sap::{MacKey, Place, Use};
use ringmail_model::SaSpi;

use super::worker::Core;

/// Which way packets go under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// They come here, or are judged here.
    In,
    /// They go on from here.
    Out,
}

/// One key, to be used from now on or not any more.
#[derive(Clone, Debug)]
pub(crate) struct HeaderKey {
    pub(crate) place: Place,
    pub(crate) way: Way,
    pub(crate) id: SaSpi,
    /// `None` takes it out.
    pub(crate) key: Option<(HeaderSecret, Lease)>,
}

/// A key, for all workers that get it.
#[derive(Clone, Debug)]
pub(crate) enum HeaderSecret {
    /// Of links and of proofs.
    Code(Arc<MacKey>),
    /// Of metadata.
    Metadata(Arc<MetadataKey>),
}

impl HeaderKey {
    /// Does it. False where the worker does not know the path, or the path has no header.
    pub(super) fn carry_out(self, core: &mut Core) -> bool {
        let HeaderKey { place, way, id, key } = self;
        let state = core.paths().get_mut(place.path);
        let Some(header) = state.and_then(|state| state.nsh.as_deref_mut()) else { return false };
        match key {
            Some((key, lease)) => install(header, &place, way, id, key, lease),
            None => remove(header, &place, way, id),
        }
        true
    }
}

fn install(
    header: &mut PathNsh,
    place: &Place,
    way: Way,
    id: SaSpi,
    key: HeaderSecret,
    lease: Lease,
) {
    let SegmentIndex(position) = place.segment;
    match (place.usage, way, key) {
        (Use::Link, Way::In, HeaderSecret::Code(key)) => header.install_came(id, &key, lease),
        (Use::Link, Way::Out, HeaderSecret::Code(key)) => {
            let _before = header.install_goes(id, &key, lease);
        }
        (Use::Proof, Way::In, HeaderSecret::Code(key)) => {
            header.install_proved(position, id, &key, lease);
        }
        (Use::Proof, Way::Out, HeaderSecret::Code(key)) => {
            let _before = header.install_prover(id, &key, lease);
        }
        (Use::Metadata, Way::In, HeaderSecret::Metadata(key)) => {
            header.install_reading(id, key, lease);
        }
        (Use::Metadata, Way::Out, HeaderSecret::Metadata(key)) => {
            header.install_writing(position, id, key, lease);
        }
        // Those are no keys of headers, or of other headers.
        (Use::Esp | Use::Link | Use::Proof | Use::Metadata, ..) => {}
    }
}

fn remove(header: &mut PathNsh, place: &Place, way: Way, id: SaSpi) {
    let SegmentIndex(position) = place.segment;
    match (place.usage, way) {
        (Use::Link, Way::In) => header.remove_came(id),
        (Use::Link, Way::Out) => header.remove_goes(id),
        (Use::Proof, Way::In) => header.remove_proved(position, id),
        (Use::Proof, Way::Out) => header.remove_prover(id),
        (Use::Metadata, Way::In) => header.remove_reading(id),
        (Use::Metadata, Way::Out) => header.remove_writing(position, id),
        (Use::Esp, _) => {}
    }
}
