//! What control asks an element about packets that pass, for a trace, and the answers: counts, times and what the headers
//! of packets show, never what they carry (`docs/pdp.md`, "Looking").

use std::net::SocketAddr;

/// A question of control about packets that pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Note what passes from now on; what was noted before is forgotten.
    Start {
        /// The paths' names.
        paths: Vec<String>,
        /// Plain packets of these flows only; all, where there is none.
        flows: Vec<Flow>,
    },
    /// For the gateway: connect to the service of a path through the chain, and close.
    Probe {
        /// The forward path's name.
        path: String,
    },
    /// What was noted of packets that arrived with one of these marks, or are of one of these flows.
    Find {
        /// Plain.
        flows: Vec<Flow>,
        /// Sealed.
        marks: Vec<Mark>,
    },
    /// Note nothing any more.
    Stop,
    /// What was said last of the way that packets came, of paths that end there.
    Proofs {
        /// The path's name; empty for all.
        path: String,
        /// How many verdicts of a path, and how many of those that failed.
        last: u32,
    },
}

/// The answer to a [`Look`], or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Why there is none, for people.
    Refused(String),
    /// It is done.
    Done,
    /// To [`Look::Probe`].
    Probed {
        /// The connection, from the gateway's side.
        flow: Flow,
        /// Nanoseconds until the connection stood, or until it was known that it does not.
        connected_ns: u64,
        /// Why it does not, for people; empty where it does.
        error: String,
    },
    /// To [`Look::Find`].
    Passages {
        /// In the order of their arrival at each worker.
        passages: Vec<Passage>,
        /// Packets that were noted and had to make room for later ones.
        overwritten: u64,
        /// Whether more of the same answer follows.
        more: bool,
    },
    /// To [`Look::Proofs`].
    Proofs {
        /// By path.
        paths: Vec<Proved>,
        /// Whether more of the same answer follows.
        more: bool,
    },
}

/// What the end of a path said of the way that its packets came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proved {
    /// The path's name.
    pub path: String,
    /// Packets: the verdict, the position from which on, how many.
    pub counts: Vec<(String, u32, u64)>,
    /// In order of time.
    pub last: Vec<Judged>,
}

/// What was said of one packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// When, in RFC 3339.
    pub time: String,
    /// The element that began the packet.
    pub origin: String,
    /// The worker of that element.
    pub worker: u16,
    /// The origin's count.
    pub sequence: u64,
    /// What was said.
    pub verdict: String,
    /// Of what is proved, the position from which on.
    pub from: u32,
    /// The name of the element there.
    pub from_element: String,
}

/// A flow in the direction of its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Where it comes from; the port is 0 where the protocol has none.
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
    /// The IP protocol's number.
    pub protocol: u8,
}

/// A sealed packet: what ESP shows of it (RFC 4303 section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The receiver's index of the association.
    pub spi: u32,
    /// The lower half of the sequence number.
    pub sequence: u32,
}

/// One packet at one element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// Its flow, where the element sees it plain from outside.
    pub flow: Option<Flow>,
    /// How it came over the link.
    pub arrived: Option<Mark>,
    /// How it went on over the link.
    pub left: Option<Mark>,
    /// When its batch was received, by a clock of the machine.
    pub in_ns: u64,
    /// When its batch was sent.
    pub out_ns: u64,
    /// Bytes as it came.
    pub bytes_in: u32,
    /// Bytes as it went; 0 where it went nowhere.
    pub bytes_out: u32,
    /// What became of it.
    pub fate: Fate,
    /// Why it was dropped: the reason's name; empty where it was not.
    pub reason: String,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fate {
    /// It went on over a link.
    Sent = 1,
    /// It went on in plain.
    Delivered = 2,
    /// It went to an attached function.
    HandedOver = 3,
    /// It went nowhere.
    Dropped = 4,
    /// Nothing is decided yet.
    Pending = 5,
}

impl Fate {
    /// Each, with its name.
    pub const ALL: [(Fate, &'static str); 5] = [
        (Fate::Sent, "sent"),
        (Fate::Delivered, "delivered"),
        (Fate::HandedOver, "handed_over"),
        (Fate::Dropped, "dropped"),
        (Fate::Pending, "pending"),
    ];

    /// What people call it.
    pub fn name(self) -> &'static str {
        Fate::ALL[self as usize - 1].1
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Fate> {
        Fate::ALL.into_iter().find(|(_, known)| *known == name).map(|(fate, _)| fate)
    }

    /// The one of this code.
    pub fn from_code(code: u8) -> Option<Fate> {
        Fate::ALL.into_iter().find(|(fate, _)| *fate as u8 == code).map(|(fate, _)| fate)
    }
}

/// Why control has no answer to a [`Look`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unseen {
    /// The element has no session.
    #[error("it is away")]
    Away,
    /// It does not know the question.
    #[error("it is of an older build that cannot be asked")]
    Older,
    /// It has not answered as many questions as it may be asked.
    #[error("it has not answered the questions before")]
    Busy,
    /// Its session ended meanwhile.
    #[error("it has gone")]
    Gone,
    /// It takes too long.
    #[error("it does not answer")]
    Late,
    /// Its answer is longer than any may be.
    #[error("its answer is too long")]
    TooLong,
    /// It says why not.
    #[error("{0}")]
    Refused(String),
}
