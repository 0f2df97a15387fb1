//! Every queue and wait of the key agreement's driver.

use std::time::Duration;

/// From the beginning of a dial to the end of the TLS handshake.
pub const DIAL_WITHIN: Duration = Duration::from_secs(5);

/// From an accepted connection to the end of the TLS handshake.
pub const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);

/// Handshakes of accepted connections at a time; more wait in the kernel.
pub const HANDSHAKES: usize = 32;

/// Accepted sessions that wait for the task of their neighbour; one more is hung up.
pub const ACCEPTED_QUEUE: usize = 4;

/// Commands that wait for the task of a neighbour.
pub const COMMAND_QUEUE: usize = 256;

/// Notices that wait for the element, all neighbours together; behind them neighbours are not read.
pub const NOTICE_QUEUE: usize = 1024;

/// Bytes that wait to be written in a session; a neighbour that lets more gather loses it.
pub const WRITE_BUFFER_BYTES: usize = 4 << 20;

/// Bytes read from a session at a time.
pub const READ_BYTES: usize = 16 << 10;

/// How long a session that has ended may take to send its last words.
pub const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);

/// Sessions of a neighbour that have ended and still send; the oldest goes.
pub const ENDING_SESSIONS: usize = 8;

/// Wait after the listener could not accept (no file descriptors, say).
pub const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// How long the way to a neighbour that is none any more is kept, so that its associations can run out: longer than any
/// grace time of the protocol.
pub const GONE_NEIGHBOUR_KEPT: Duration = Duration::from_secs(60);
