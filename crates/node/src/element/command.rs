//! What other threads may ask of a worker, carried out between batches.

use std::any::Any;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmail_dataplane::edge::Learned;
use ringmail_dataplane::flow::TableFull;
use ringmail_dataplane::paths::{PathConfig, PathOutOfRange, PathState};
use ringmail_dataplane::sa::{InboundSa, OutboundSa, TableError};
use ringmail_dataplane::{Function, Neighbour, Slot};
use ringmail_dataplane_io::Link;
use ringmail_model::metadata::Facts;
use ringmail_model::{PathId, SaSpi};
use ringmail_packet::flow::FlowKey;
use tokio::sync::oneshot;

use super::flows::Metering;
use super::header::HeaderKey;
use super::proofs::Findings;
use super::report::Report;
use super::statement::Walked;
use super::watch::Watch;
use super::worker::{Core, Handle};

/// One thing for a worker to do.
pub(crate) enum Command {
    /// Packets with this SPI may be opened from now on.
    InstallInbound(Arc<InboundSa>, oneshot::Sender<Result<(), TableError>>),
    /// They may not any more.
    RemoveInbound(SaSpi),
    /// Packets of this path are sealed with this association from now on; answers with the one before it and the last
    /// sequence number that it used.
    InstallOutbound(PathId, Box<OutboundSa>, oneshot::Sender<Option<(SaSpi, u64)>>),
    /// Nothing is sealed under this SPI any more; answers with the last sequence number used.
    RemoveOutbound(PathId, SaSpi, oneshot::Sender<u64>),
    /// A key of Network Service Headers comes or goes; answers whether there is such a path.
    HeaderKey(HeaderKey, oneshot::Sender<bool>),
    /// A flow takes this path, until it is unpinned. This is said of it, or what was said before.
    Pin(FlowKey, PathId, Option<Box<Facts>>, oneshot::Sender<Result<(), TableFull>>),
    /// This is said of a flow from now on.
    Say(FlowKey, Box<Facts>),
    /// A flow is forgotten after a while.
    Unpin(FlowKey, Duration),
    /// These workers of the same element hear from now on what this one learns.
    Siblings(Vec<Handle>),
    /// Another worker learned this.
    Learned(Box<[Learned]>),
    /// These paths come beside those that are there, or run otherwise; a hop may get another function first.
    PutPaths(Box<NewPaths>, oneshot::Sender<Result<(), PathOutOfRange>>),
    /// A function of a hop takes other settings and keeps what it remembers.
    Retune(Slot, Box<dyn Any + Send>),
    /// A hop shows this function from now on, and serves all paths by it if it does not tell them apart.
    UseFunction(Slot),
    /// These paths are over, and these functions with them.
    RemovePaths(Vec<PathId>, Vec<Slot>),
    /// Where the neighbours on the link receive; answers whether the link takes that.
    SetPeers(Vec<(Neighbour, SocketAddr)>, oneshot::Sender<bool>),
    /// For so many seconds an idle flow is remembered.
    FlowIdle(u32),
    /// Count flows with this for records, or not any more.
    Meter(Option<Box<Metering>>),
    /// Say that the worker works, and along which paths it cannot send.
    Alive(oneshot::Sender<Vec<PathId>>),
    /// Say what was counted.
    Report(oneshot::Sender<Report>),
    /// Say what was said last of the way that packets of these paths came, and how many of each.
    Proofs(HashSet<PathId>, usize, oneshot::Sender<Vec<Findings>>),
    /// Say what was passed of each path since this was asked last.
    Tell(oneshot::Sender<Vec<Walked>>),
    /// Let somebody look.
    Watch(Watch),
    /// Stop working.
    Stop,
}

/// What a worker gets for a version of the domain that is staged.
pub(crate) struct NewPaths {
    pub(crate) function: Option<(Slot, Box<dyn Function>)>,
    pub(crate) paths: Vec<NewPath>,
}

/// A path, and what an intrusive hop serves it with; `None` leaves that as it is.
#[derive(Clone)]
pub(crate) struct NewPath {
    pub(crate) config: PathConfig,
    pub(crate) function: Option<Slot>,
    /// The version of the path before it: both count together.
    pub(crate) like: Option<PathId>,
}

/// Whether the worker goes on.
pub(crate) enum Outcome {
    Done,
    /// From now on these hear what the station learns.
    Siblings(Vec<Handle>),
    Stop,
}

impl Command {
    /// Does it. Who no longer waits for an answer gets none.
    pub(super) fn carry_out(self, core: &mut Core, link: &mut dyn Link) -> Outcome {
        match self {
            Command::InstallInbound(sa, answer) => {
                let _gone = answer.send(core.inbound().install(sa));
            }
            Command::RemoveInbound(spi) => {
                core.inbound().remove(spi);
            }
            Command::InstallOutbound(path, sa, answer) => {
                let replaced = state(core, path).and_then(|state| state.outbound.replace(*sa));
                let _gone = answer.send(replaced.map(|old| (old.spi(), old.last_sequence())));
            }
            Command::RemoveOutbound(path, spi, answer) => {
                let last = state(core, path)
                    .and_then(|state| state.end_outbound(spi))
                    .map_or(0, |sa| sa.last_sequence());
                let _gone = answer.send(last);
            }
            Command::HeaderKey(change, answer) => {
                let _gone = answer.send(change.carry_out(core));
            }
            Command::Pin(flow, path, facts, answer) => {
                if let Core::Edge(edge, _) = core {
                    let told = facts.map_or(Ok(()), |facts| edge.tell(flow, &facts));
                    let _gone = answer.send(told.and_then(|()| edge.pin(flow, path)));
                }
            }
            Command::Say(flow, facts) => {
                if let Core::Edge(edge, _) = core
                    && let Err(full) = edge.tell(flow, &facts)
                {
                    tracing::debug!(%full, "nothing is said of a flow");
                }
            }
            Command::Unpin(flow, linger) => {
                if let Core::Edge(edge, _) = core {
                    edge.unpin(Instant::now(), &flow, linger);
                }
            }
            Command::Learned(learned) => {
                if let Core::Edge(edge, _) = core {
                    edge.hear(Instant::now(), &learned);
                }
            }
            Command::Siblings(siblings) => return Outcome::Siblings(siblings),
            // The station does these itself.
            Command::Report(_) | Command::Watch(_) | Command::Meter(_) => {}
            Command::PutPaths(new, answer) => {
                let _gone = answer.send(put(core, *new));
            }
            Command::Retune(slot, settings) => {
                if let Core::Hop(hop) = core
                    && !hop.retune_function(slot, settings)
                {
                    tracing::error!("the function does not take its new settings in place");
                }
            }
            Command::UseFunction(slot) => {
                if let Core::Hop(hop) = core {
                    hop.set_current_function(slot);
                }
            }
            Command::RemovePaths(paths, functions) => {
                paths.into_iter().for_each(|path| core.paths().remove(path));
                if let Core::Hop(hop) = core {
                    functions.into_iter().for_each(|slot| hop.remove_function(slot));
                }
            }
            Command::FlowIdle(seconds) => core.set_flow_idle_s(seconds),
            Command::Proofs(paths, last, answer) => {
                let _gone = answer.send(Findings::of(core, &paths, last));
            }
            Command::Tell(answer) => {
                let _gone = answer.send(Walked::of(core));
            }
            Command::Alive(answer) => {
                let closed = core.paths().iter().filter(|state| state.is_keyed() == Some(false));
                let _gone = answer.send(closed.map(|state| state.config.id).collect());
            }
            Command::SetPeers(peers, answer) => {
                let _gone = answer.send(link.set_peers(&peers));
            }
            Command::Stop => return Outcome::Stop,
        }
        Outcome::Done
    }
}

fn state(core: &mut Core, path: PathId) -> Option<&mut PathState> {
    core.paths().get_mut(path)
}

fn put(core: &mut Core, new: NewPaths) -> Result<(), PathOutOfRange> {
    if let (Some((slot, function)), Core::Hop(hop)) = (new.function, &mut *core) {
        hop.put_function(slot, function);
    }
    for NewPath { config, function, like } in new.paths {
        let id = config.id;
        let like = like.and_then(|like| core.paths().get(like));
        let counts = like.map(|like| {
            let (came, went) = (Arc::clone(&like.traffic_in), Arc::clone(&like.traffic_out));
            (came, went, Arc::clone(&like.proofs))
        });
        core.paths().put(config)?;
        let Some(state) = core.paths().get_mut(id) else { continue };
        if let Some(slot) = function {
            state.function = slot;
        }
        if let Some((traffic_in, traffic_out, proofs)) = counts {
            (state.traffic_in, state.traffic_out) = (traffic_in, traffic_out);
            state.proofs = proofs;
        }
    }
    Ok(())
}
