//! Every limit of the data plane, in one place.

/// Packets that the replay window reaches back, unless the domain says otherwise.
pub const REPLAY_WINDOW_PACKETS: u32 = 4096;

/// The smallest replay window: what RFC 4303 section 3.4.3 asks of high-speed links, and room for cores to overtake
/// each other by a few batches.
pub const MIN_REPLAY_WINDOW_PACKETS: u32 = 1024;

/// The largest replay window; it takes 512 KiB an association.
pub const MAX_REPLAY_WINDOW_PACKETS: u32 = 1 << 20;

/// Packets that are sealed under one key, unless a lower limit is given.
///
/// AES-GCM with at most 2^36 packets of 9000 bytes enciphers 2^45.2 blocks, and leaves an attacker an advantage of at
/// most (2^45.2)² / 2^129 ≈ 2^-38 of telling it from random (draft-irtf-cfrg-aead-limits section 5.1.1); ChaCha20-Poly1305
/// would bear more. Also below 2^43, which the smallest replay window can tell apart. At a million packets a second it
/// is reached after 19 hours; a lease ends long before.
pub const SA_PACKETS: u64 = 1 << 36;

/// Packets after which a key is replaced, unless the domain says otherwise: at a million packets a second that is after
/// more than an hour, so that time comes first.
pub const REKEY_PACKETS: u64 = 1 << 32;

/// Inbound associations of one element: the size of the table that an SPI indexes.
pub const INBOUND_SAS: usize = 4096;

/// Labels in a stack that this data plane writes or reads: hops of one path, its end, and the label of the SFF.
pub const MAX_LABELS: usize = 18;

/// Paths that one element can stand on; their numbers are below this.
pub const MAX_PATHS: usize = 65_536;

/// Flows that a gateway or an egress remembers, unless the domain says otherwise.
pub const FLOWS: usize = 65_536;

/// Entries of a flow table that are looked at for their age with each batch: a table of a million is gone through within
/// 4 million packets, and looking at it costs a packet a quarter of a line of memory.
pub const SWEEP_ENTRIES_PER_BATCH: usize = 16;

/// Seconds that an idle TCP flow is remembered: RFC 5382 section 5 asks for at least 2 hours 4 minutes.
pub const TCP_IDLE_S: u32 = 7_440;

/// Seconds that a TCP flow is remembered after a FIN or RST: RFC 5382 section 5 asks for 4 minutes.
pub const TCP_CLOSING_S: u32 = 240;

/// Seconds that an idle flow of another protocol is remembered: RFC 4787 section 4.3 asks for at least 2 minutes,
/// recommends 5.
pub const OTHER_IDLE_S: u32 = 300;

/// Seconds that a hop remembers the path of an established TCP connection: a day, for its packets do not refresh it.
pub const HOP_FLOW_S: u32 = 86_400;

/// Packets that a hop opens, shows its function and seals before it turns to the next: so many stay in the nearest cache
/// meanwhile, and what the function waits for comes from memory while others are sealed. In one profile each, an inspecting
/// hop took 1612 ns a packet with 64, 1558 with 8, 1594 with 2 and 1576 with 1: the order of the noise.
pub const HOP_GROUP_PACKETS: usize = 8;

/// Entries of a hop's memory of flows that are looked at for their age with each timeout.
pub const SWEEP_ENTRIES_PER_TIMEOUT: usize = 1024;

/// Bytes of room before a packet that may be encapsulated: the deepest stack, the longest NSH, outer IPv4 and the ESP
/// header.
pub const HEADROOM_BYTES: usize = MAX_LABELS * 4 + ringmail_model::nsh::MAX_BYTES + 20 + 16;

/// Bytes of room behind a packet that may be encapsulated: padding, trailer and ICV of ESP, kept a multiple of 8.
pub const TAILROOM_BYTES: usize = 24;

/// The UDP port of links unless the domain says otherwise (RFC 7510).
pub const LINK_PORT: u16 = 6635;

/// Packets that the window of an origin of proofs reaches back, for each end of a path.
pub const PROOF_WINDOW_PACKETS: u32 = 1024;

/// Origins of proofs that an end of paths remembers: for each path the workers of the element where it begins, and their
/// lives. Each takes half a kilobyte.
pub const PROOF_ORIGINS: usize = 16_384;

/// Origins of one path that a worker of its end finds without asking the others.
pub const PROOF_ORIGINS_MET: usize = 256;

/// Keys of one link that its end takes side by side: those of two epochs, and of a restart between them.
pub const LINK_KEYS: usize = 4;

/// Keys of one element of a path that its end takes side by side: those of two epochs, and of a restart between them.
pub const PROVER_KEYS: usize = 4;

/// Keys of metadata that a reader takes side by side: those of two epochs, and of a restart between them, of as many workers
/// as an element can have.
pub const METADATA_KEYS: usize = 4 * ringmail_model::limits::WORKERS as usize;

/// Findings of one path that each worker at its end keeps, whatever they say.
pub const PROOFS_KEPT: usize = 128;

/// As many that failed, besides: they stay however many are proved after them.
pub const PROOFS_KEPT_FAILED: usize = 128;

/// Groups of 64 sequences that an element keeps open for each origin of a path: packets that overtake one another by more
/// are counted as late. Twice the window of an origin at the end of the path, so that what is proved there was not late before.
pub const TRAIL_OPEN_GROUPS: usize = 2 * PROOF_WINDOW_PACKETS as usize / 64;

/// Roots of an origin on a path that an element keeps between two summaries; of more, neighbours become one.
pub const TRAIL_NODES: usize = 256;

/// Origins of a path that a worker keeps trails of. Each takes 32 kilobytes at a hop, and at the end of a path as many more
/// for each of its other segments.
pub const TRAIL_ORIGINS: usize = 64;

/// Seconds that a metered flow lasts after its end was seen, for what still belongs to it.
pub const METER_CLOSING_S: u32 = 2;
