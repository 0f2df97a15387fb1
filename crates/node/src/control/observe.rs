//! The messages by which a parent looks into an element: traces and taps.

use std::net::SocketAddr;
use std::path::PathBuf;

use ringmail_model::summary::Signed;
use ringmail_packet::flow::FlowKey;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::ProofCount;

/// A question about packets. Each is answered with an [`Observed`] of its kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Observe {
    /// Note what passes from now on; a session before ends.
    TraceStart {
        /// The paths' names.
        paths: Vec<String>,
        /// Plain packets of these flows only; all, where there is none.
        flows: Vec<TraceFlow>,
    },
    /// For the gateway: connect to the service of a path through the chain, and close.
    Probe {
        /// The forward path's name.
        path: String,
    },
    /// What was noted of packets that arrived with one of these marks, or are of one of these flows.
    TraceFind {
        /// Plain.
        flows: Vec<TraceFlow>,
        /// Sealed.
        marks: Vec<Mark>,
    },
    /// Note nothing any more.
    TraceStop,
    /// What was said last of the way that packets came, of paths that end here. Answered with [`Observed::Proofs`].
    Proofs {
        /// The path's name; all, where there is none.
        path: Option<String>,
        /// How many verdicts of a path, and how many of those that failed.
        last: u32,
    },
    /// Sign what was passed since this was asked last. Answered with [`Observed::Statement`].
    Statement,
    /// Write what passes in plain, as pcapng, to a Unix socket that somebody listens on.
    Tap {
        /// The path's name.
        path: String,
        /// The socket.
        socket: PathBuf,
    },
}

/// The answer to an [`Observe`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Observed {
    /// It is done.
    Done,
    /// To [`Observe::Probe`].
    Probed {
        /// The connection, from the gateway's side.
        flow: TraceFlow,
        /// Nanoseconds until the connection stood.
        connected_ns: u64,
        /// Why it does not; then the time is until that was known.
        error: Option<String>,
    },
    /// To [`Observe::TraceFind`].
    Passages {
        /// In the order of their arrival at each worker.
        passages: Vec<Passage>,
        /// Packets that were noted and had to make room for later ones.
        overwritten: u64,
    },
    /// To [`Observe::Proofs`].
    Proofs(Vec<PathProofs>),
    /// To [`Observe::Statement`].
    Statement {
        /// Nothing where no trails are kept.
        signed: Option<Box<Signed>>,
        /// Whether there is more, to be asked for at once.
        more: bool,
    },
}

/// What the end of a path said of the way that its packets came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PathProofs {
    /// The path's name.
    pub path: String,
    /// The element where it ends.
    pub end: String,
    /// Packets by verdict, since the element started.
    pub counts: Vec<ProofCount>,
    /// The last verdicts and the last that failed, in order of time.
    pub last: Vec<ProofRecord>,
}

/// What was said of one packet. Origin and sequence are the packet's own words: true only where it is proved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProofRecord {
    /// When, in RFC 3339 with microseconds, UTC.
    pub time: String,
    /// The element that began the packet; its number, where the domain has none of that number.
    pub origin: String,
    /// The worker of that element.
    pub worker: u16,
    /// The origin's count: one for each packet, over all paths on which the worker begins packets.
    pub sequence: u64,
    /// `proved`, or why not.
    pub verdict: String,
    /// Of what is proved, the position from which on: 0 is where the path begins.
    pub from: u32,
    /// The name of the element at that position.
    pub from_element: String,
}

/// A sealed packet: what ESP shows of it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The receiver's index of the association.
    pub spi: u32,
    /// The lower half of the sequence number.
    pub sequence: u32,
}

/// A flow in the direction of its packets.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct TraceFlow {
    /// Where it comes from; the port is 0 where the protocol has none.
    #[schemars(with = "String")]
    pub source: SocketAddr,
    /// Where it goes.
    #[schemars(with = "String")]
    pub destination: SocketAddr,
    /// The IP protocol's number.
    pub protocol: u8,
}

/// One packet at one element.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Passage {
    /// Its flow, where the element sees it plain from outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<TraceFlow>,
    /// How it came over the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrived: Option<Mark>,
    /// How it went on over the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<Mark>,
    /// When its batch was received, by the machine's monotonic clock.
    pub in_ns: u64,
    /// When its batch was sent.
    pub out_ns: u64,
    /// Bytes as it came.
    pub bytes_in: u32,
    /// Bytes as it went; 0 where it went nowhere.
    pub bytes_out: u32,
    /// `sent`, `delivered` or `dropped`.
    pub verdict: String,
    /// Why it was dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl From<FlowKey> for TraceFlow {
    fn from(key: FlowKey) -> TraceFlow {
        TraceFlow {
            source: SocketAddr::new(key.src, key.src_port),
            destination: SocketAddr::new(key.dst, key.dst_port),
            protocol: key.protocol,
        }
    }
}

impl From<TraceFlow> for FlowKey {
    fn from(flow: TraceFlow) -> FlowKey {
        FlowKey {
            src: flow.source.ip(),
            dst: flow.destination.ip(),
            src_port: flow.source.port(),
            dst_port: flow.destination.port(),
            protocol: flow.protocol,
        }
    }
}

impl TraceFlow {
    /// The flow of the answers.
    pub fn reversed(self) -> TraceFlow {
        TraceFlow { source: self.destination, destination: self.source, ..self }
    }
}
