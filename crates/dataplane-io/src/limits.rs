//! Every limit of the links, in one place.

use std::time::Duration;

/// UDP port of MPLS-in-UDP (RFC 7510 section 3).
pub const MPLS_UDP_PORT: u16 = 6635;

/// The largest UDP payload over IPv4: 65,535 less the IP and UDP headers.
pub const UDP_PAYLOAD_BYTES_MAX: usize = 65_507;

/// The most packets that one GSO datagram carries. The kernel took 64 before 6.9 and takes 128 since.
pub const GSO_SEGMENTS_MAX: usize = 64;

/// Bytes that a UDP receive may fill: a datagram of 64 KiB can come in one piece.
pub const GRO_BUFFER_BYTES: usize = 65_536;

/// Another datagram is read into the batch of the last one while it holds fewer packets than this.
pub const RECEIVE_MORE_BELOW_PACKETS: usize = 32;

/// The most system calls that one receive makes before it hands the batch over.
pub const RECEIVE_CALLS_MAX: usize = 64;

/// Asked of the kernel for each UDP socket's receive buffer. It holds about 5 ms at 30 Gb/s.
pub const RECEIVE_BUFFER_BYTES: usize = 32 << 20;

/// Asked of the kernel for each UDP socket's send buffer.
pub const SEND_BUFFER_BYTES: usize = 16 << 20;

/// How long one send waits, in all, for a full socket to take more before its packets are dropped.
pub const SEND_WAIT_MS: i32 = 2;

/// The kernel refused this many GSO datagrams in a row: the socket sends packet by packet from then on.
pub const GSO_REFUSALS_MAX: u32 = 16;

/// The longest packet that a TUN hands over: the largest IP packet.
pub const SUPER_PACKET_BYTES_MAX: usize = 65_535;

/// Super-packets that a TUN holds open at a time while it coalesces one batch.
pub const OPEN_FLOWS_MAX: usize = 16;

/// The most queues of a TUN (the kernel's `MAX_TAP_QUEUES`).
pub const TUN_QUEUES_MAX: usize = 256;

/// Super-packets that the kernel queues for the reader of a TUN (`txqueuelen`).
pub const TUN_QUEUE_PACKETS: u32 = 1_000;

/// Super-packets that one system call reads from a packet socket.
pub const PACKET_SUPERS: usize = 8;

/// Receives of a packet socket after which it asks what the kernel dropped.
pub const PACKET_DROPS_EVERY_CALLS: u32 = 256;

/// Frames that may wait for the reader of an AF_XDP socket; a power of two.
pub const XDP_RECEIVE_FRAMES: usize = 4_096;

/// Frames that an AF_XDP socket may have on their way out; a power of two.
pub const XDP_SEND_FRAMES: usize = 2_048;

/// The least bytes of memory for a frame of an AF_XDP socket; a power of two.
pub const XDP_CHUNK_BYTES_MIN: usize = 2_048;

/// The most bytes of memory for a frame of an AF_XDP socket: a page of memory.
pub const XDP_CHUNK_BYTES_MAX: usize = 4_096;

/// Bytes before each frame that the kernel keeps free for programs (`XDP_PACKET_HEADROOM`).
pub const XDP_HEADROOM_BYTES: usize = 256;

/// How long opening an AF_XDP link waits for who had the interface before: the kernel clears up after a process has ended.
pub const XDP_BUSY_FOR: Duration = Duration::from_secs(2);

/// How often it looks meanwhile.
pub const XDP_BUSY_POLL_EVERY: Duration = Duration::from_millis(10);

/// Batches that wait in each direction of a link in memory.
pub const MEMORY_QUEUE_BATCHES: usize = 32;

/// Packets that a fault injector holds back in each direction.
pub const FAULT_HELD_PACKETS_MAX: usize = 8_192;

/// Bytes of one piece of a capture on its way to the file. It holds a whole batch with all headers.
pub const CAPTURE_CHUNK_BYTES: usize = 1 << 20;

/// Pieces of a capture on their way to the file; packets that come while all are are not captured, and counted.
pub const CAPTURE_CHUNKS: usize = 32;

/// Bytes of the longest comment beside a packet of a capture.
pub const COMMENT_BYTES_MAX: usize = 1 << 10;

/// How often a live capture says how much it has, and how much it missed.
pub const CAPTURE_STATISTICS_EVERY: Duration = Duration::from_secs(1);

/// The largest capture file that is written where nothing else is said.
pub const CAPTURE_FILE_BYTES_MAX: u64 = 4 << 30;

/// The longest message from an SFC-aware function: a jumbo packet with labels and metadata.
pub const AWARE_MESSAGE_BYTES_MAX: usize = 9_216 + 1_024;

/// Asked of the kernel for the way to an SFC-aware function: what may wait there.
pub const AWARE_BUFFER_BYTES: usize = 4 << 20;

/// Ready links that one wait reports.
pub const POLL_EVENTS: usize = 64;
