//! Whose flows are, at a gateway, for those who look at packets.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringmail_packet::flow::FlowKey;

/// The client of each flow that is open. Clones know the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Whose(Arc<Mutex<HashMap<FlowKey, Arc<str>>>>);

impl Whose {
    /// A flow of this client begins.
    pub(super) fn began(&self, flow: FlowKey, client: &str) {
        self.known().insert(flow, client.into());
    }

    /// It is over.
    pub(super) fn ended(&self, flow: &FlowKey) {
        self.known().remove(flow);
    }

    /// Whose a packet of this flow is, whichever way it goes.
    pub(super) fn of(&self, flow: &FlowKey) -> Option<Arc<str>> {
        let known = self.known();
        known.get(flow).or_else(|| known.get(&flow.reversed())).cloned()
    }

    fn known(&self) -> MutexGuard<'_, HashMap<FlowKey, Arc<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
