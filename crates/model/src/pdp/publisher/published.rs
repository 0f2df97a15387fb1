//! A version as it is distributed.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::documents::Documents;
use super::super::message::{Message, Offer};
use crate::ids::PathVersion;
use crate::limits::PDP_MESSAGE_BYTES;

/// A version that is to be distributed.
#[derive(Clone, Debug)]
pub struct Published {
    pub(super) version: PathVersion,
    /// The encoded OFFER of each [`Offer`].
    offers: [Arc<[u8]>; 3],
    pub(super) members: BTreeSet<String>,
    /// Those that activate it when all others have.
    pub(super) last: BTreeSet<String>,
}

impl Published {
    /// A version with the elements that are in it; those in `last` activate it when all others have. `None` when the
    /// documents are longer than a message may be.
    pub fn new(
        version: PathVersion,
        documents: Documents,
        members: impl IntoIterator<Item = String>,
        last: impl IntoIterator<Item = String>,
    ) -> Option<Published> {
        let documents = Box::new(documents);
        let encoded =
            |offer| Message::Offer { version, offer, documents: documents.clone() }.encode();
        let offers = Offer::ALL.map(encoded);
        let fits = |offer: &Vec<u8>| {
            offer.len() <= PDP_MESSAGE_BYTES && Message::decode(&offer[4..]).is_ok()
        };
        if !offers.iter().all(fits) {
            return None;
        }
        let (members, last) = (members.into_iter().collect(), last.into_iter().collect());
        Some(Published { version, offers: offers.map(Arc::from), members, last })
    }

    /// The message that offers it.
    pub(super) fn offer(&self, offer: Offer) -> Arc<[u8]> {
        self.offers[offer as usize].clone()
    }

    /// Its version.
    pub fn version(&self) -> PathVersion {
        self.version
    }
}
