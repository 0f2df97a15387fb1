//! A flow that the parent gives a path: what a bench sends into a chain without the proxy.

use anyhow::{Context, Result, ensure};
use ringmail_model::pathset::{Direction, PathSet};
use ringmail_packet::flow::FlowKey;
use tokio::sync::oneshot;

use super::command::Command;
use super::worker::Handle;
use crate::control::PinnedFlow;

/// Gives the flow its path at every worker: which one gets its packets is the system's choice.
///
/// # Errors
/// There is no such path, or a worker's table is full.
pub(super) async fn pin(set: &PathSet, workers: &[Handle], pinned: &PinnedFlow) -> Result<()> {
    let PinnedFlow { path, source, destination, protocol } = pinned;
    let found = set.paths.iter().find(|known| known.name == *path);
    let found = found.with_context(|| format!("no path is named `{path}`"))?;
    ensure!(found.direction == Direction::Forward, "`{path}` is no forward path");
    let flow = FlowKey {
        src: source.ip(),
        dst: destination.ip(),
        src_port: source.port(),
        dst_port: destination.port(),
        protocol: *protocol,
    };
    for worker in workers {
        let (answer, done) = oneshot::channel();
        worker.give(Command::Pin(flow, found.id, None, answer));
        done.await.context("no worker takes flows here")??;
    }
    Ok(())
}
