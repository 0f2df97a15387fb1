//! The way from a change of the domain to who holds its network and starts its elements.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context, Result};
use tokio::sync::{mpsc, oneshot};

use crate::topology::Topology;
use crate::up::PlannedElement;

/// Asks for places of elements to come, and lets them go.
#[derive(Clone, Debug)]
pub struct Places(mpsc::Sender<Wish>);

/// What is wished.
#[derive(Debug)]
pub(crate) enum Wish {
    /// Everything of this network that is not there is made, and of these elements started.
    Come(Topology, Vec<PlannedElement>, oneshot::Sender<Result<Came>>),
    /// What came last goes at once.
    Undo,
    /// Every namespace but these goes at this time.
    Stay(BTreeSet<String>, Instant),
}

/// What was not there before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Came {
    /// Elements, by name.
    pub(crate) elements: BTreeSet<String>,
    /// Namespaces, by name.
    pub(crate) namespaces: BTreeSet<String>,
}

impl Places {
    /// The way, and its other end.
    pub(crate) fn new() -> (Places, mpsc::Receiver<Wish>) {
        let (wishes, wished) = mpsc::channel(1);
        (Places(wishes), wished)
    }

    pub(super) async fn come(
        &self,
        topology: Topology,
        elements: Vec<PlannedElement>,
    ) -> Result<Came> {
        let (done, came) = oneshot::channel();
        self.wish(Wish::Come(topology, elements, done)).await;
        came.await.context("the domain is going down")?
    }

    pub(super) async fn undo(&self) {
        self.wish(Wish::Undo).await;
    }

    pub(super) async fn stay(&self, namespaces: BTreeSet<String>, others_until: Instant) {
        self.wish(Wish::Stay(namespaces, others_until)).await;
    }

    async fn wish(&self, wish: Wish) {
        // A domain that is going down takes everything with it.
        drop(self.0.send(wish).await);
    }
}
