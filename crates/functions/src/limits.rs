//! Every limit of the built-in functions, in one place.

/// Rules of one `dpi` function.
pub const DPI_RULES: usize = 10_000;

/// Bytes of one literal pattern. What a stream keeps for matches that cross packets grows with it.
pub const DPI_PATTERN_BYTES: usize = 1024;

/// Bytes of one regex as written.
pub const DPI_REGEX_BYTES: usize = 4096;

/// Bytes that the compiled regexes of one function may take together, and again while they are compiled.
pub const DPI_REGEX_AUTOMATON_BYTES: usize = 32 << 20;

/// TCP connections that `dpi` remembers, unless the domain says otherwise.
pub const DPI_CONNECTIONS: usize = 65_536;

/// Most TCP connections that a domain may ask for.
pub const DPI_CONNECTIONS_MAX: usize = 4 << 20;

/// Bytes of stream content that `dpi` may hold for all connections together, unless the domain says otherwise. The
/// memory is taken from the system only as it is first used.
pub const DPI_STREAM_BYTES: usize = 128 << 20;

/// Most bytes of stream content that a domain may ask for.
pub const DPI_STREAM_BYTES_MAX: usize = 16 << 30;

/// Parts that the connections of several workers of `dpi` lie in, for each worker. Each part has a share of the room, which
/// is to hold a whole window of many streams.
pub const DPI_PARTS_A_WORKER: usize = 2;

/// Bytes of one block of stream content. At least [`DPI_PATTERN_BYTES`], so that a tail lies in two blocks at most.
pub const STREAM_BLOCK_BYTES: usize = 2048;

/// Bytes of one direction that are kept behind the point up to which it was inspected, while no acknowledgement says
/// that the receiver has them: as much as Linux has in flight by default, so that every retransmission can be compared.
pub const STREAM_WINDOW_BYTES: u32 = 4 << 20;

/// The least of it when room is scarce. In between, a direction keeps at most an eighth of what is free (Choudhury,
/// Hahne, "Dynamic queue length thresholds for shared-memory packet switches", 1998).
pub const STREAM_WINDOW_SCARCE_BYTES: u32 = 64 << 10;

/// The part of the free room that one direction may keep, as a shift: an eighth.
pub const STREAM_WINDOW_SHARE_SHIFT: u32 = 3;

/// Bytes on either side of a segment ahead of a gap that are searched with it, in a stream first seen in the middle.
pub const STREAM_APART_BYTES: u32 = 16 << 10;

/// Bytes ahead of a gap that a segment may reach out of order.
pub const STREAM_AHEAD_BYTES: u32 = 4 << 20;

/// Ranges of one direction received out of order with gaps between them.
pub const STREAM_RANGES: usize = 32;

/// Directions that may hold ranges out of order at one time.
pub const STREAMS_OUT_OF_ORDER: usize = 4096;

/// Seconds that an idle TCP connection is remembered: RFC 5382 section 5 asks for at least 2 hours 4 minutes.
pub const TCP_IDLE_S: u32 = 7_440;

/// Seconds that a TCP connection without content is remembered: RFC 5382 section 5 asks for at least 4 minutes.
pub const TCP_OPENING_S: u32 = 240;

/// Seconds that a TCP connection is remembered after the last packet once a FIN or RST was seen: less than the 60 s
/// after which Linux gives a port out again, more than a lost FIN takes to be resent.
pub const TCP_CLOSING_S: u32 = 30;

/// Seconds that a stopped connection stays stopped after its last packet: as long as its ends may still try.
pub const TCP_STOPPED_S: u32 = 600;

/// Rules of one `firewall`.
pub const FIREWALL_RULES: usize = 4096;

/// Connections that `firewall` remembers, unless the domain says otherwise.
pub const FIREWALL_CONNECTIONS: usize = 65_536;

/// Most connections that a domain may ask for.
pub const FIREWALL_CONNECTIONS_MAX: usize = 4 << 20;

/// Parts of the table that the firewalls of an element's workers share, for each worker: with so many two workers seldom
/// want the same part at once.
pub const FIREWALL_PARTS_A_WORKER: usize = 16;

/// Connections that one part holds at least, so that all parts are about as full: of 1024 places chance leaves a tenth
/// free at most when the first part is full.
pub const FIREWALL_PART_CONNECTIONS_MIN: usize = 1024;

/// Seconds that `firewall` waits for the first answer where there is no TCP: RFC 4787 section 4.3 asks for at least 2
/// minutes, RFC 5508 section 3.2 for one.
pub const UNANSWERED_S: u32 = 120;

/// Seconds that an answered connection without TCP is remembered: RFC 4787 section 4.3 recommends 5 minutes.
pub const ANSWERED_S: u32 = 300;

/// Rejected packets that `firewall` answers in a second: as many as Linux sends ICMP errors.
pub const REJECTS_A_SECOND: u32 = 1000;

/// Bytes of one piece of records on its way from `logger` to whoever writes them. It holds the longest packet.
pub const LOG_CHUNK_BYTES: usize = 256 << 10;

/// Pieces of records on their way; packets that come while all are are not recorded, and counted.
pub const LOG_CHUNKS: usize = 32;

/// The least bytes that are kept of a packet: IP and TCP headers.
pub const LOG_SNAP_LEN_MIN: usize = 64;

/// The most: an IPv4 packet.
pub const LOG_SNAP_LEN_MAX: usize = 65_535;

/// Entries of the connection table that are looked at for their age in each call of `handle_timeout`.
pub const SWEEP_ENTRIES: usize = 256;

/// Entries looked at for their age when a new connection finds the table full.
pub const SWEEP_ENTRIES_WHEN_FULL: usize = 16;

/// Alerts that wait to be drained; later ones are counted as lost.
pub const ALERTS: usize = 1024;
