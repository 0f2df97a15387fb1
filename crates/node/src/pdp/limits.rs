//! Every queue and wait of path distribution's drivers; those of the protocol are in `ringmail_model::limits`.

use std::time::Duration;

/// The port that control listens at unless somebody says otherwise.
pub const CONTROL_PORT: u16 = 6638;

/// From the beginning of a dial to the end of the TLS handshake.
pub const DIAL_WITHIN: Duration = Duration::from_secs(5);

/// From an accepted connection to the end of the TLS handshake.
pub const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);

/// From the first word that the other end's machine does not acknowledge to the end of the connection.
pub const UNANSWERED_FOR: Duration = Duration::from_secs(5);

/// How long nothing comes until the other end's machine is asked whether it lives, and how often then.
pub const ASK_ALIVE_EVERY: Duration = Duration::from_secs(1);

/// Handshakes and enrolments of accepted connections at a time; more wait in the kernel.
pub const HANDSHAKES: usize = 32;

/// Sessions at a time; two for each element of the largest domain.
pub const SESSIONS: usize = 2048;

/// From the request of an element that enrols to the answer.
pub const ENROL_WITHIN: Duration = Duration::from_secs(30);

/// Wait of an element that enrols until it looks for control again.
pub const ENROL_RETRY: Duration = Duration::from_secs(1);

/// How long control that starts with another file waits for its elements before it offers the file to those that are there.
pub const GATHER_FOR: Duration = Duration::from_secs(20);

/// What sessions say that control has not handled; behind it they are not read.
pub const INPUTS: usize = 256;

/// Messages that wait to be written in a session; one that lets more gather is over.
pub const WRITES: usize = 256;

/// Bytes read from a connection at a time.
pub const READ_BYTES: usize = 64 << 10;

/// How long a session that has ended may take to send its last words.
pub const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);

/// Wait after the listener could not accept.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// How often control looks whether certificates were revoked.
pub const BUNDLE_EVERY: Duration = Duration::from_secs(2);

/// How often a certificate is asked for that runs out.
pub const RENEW_RETRY: Duration = Duration::from_secs(60);

/// How often certificates of listeners are asked for that run out.
pub const LISTENER_RETRY: Duration = Duration::from_secs(600);

/// Certificates that an element may ask for in an hour.
pub const CERTIFICATES_AN_HOUR: usize = 64;

/// Clocks that differ by more are told of; leases of a minute suffer next.
pub const CLOCK_DIFFERS: Duration = Duration::from_secs(10);

/// How long leases may wait until they are on disk.
pub const LEASES_SAVED_WITHIN: Duration = Duration::from_secs(1);

/// Leases that an element keeps.
pub const LEASES: usize = 8192;

/// How long the element's runtime may take to serve.
pub const START_WITHIN: Duration = Duration::from_secs(15);

/// How long the element's runtime may take to end.
pub const STOP_WITHIN: Duration = Duration::from_secs(5);

/// How much longer than they drain paths that were taken out get leases, for elements that change late.
pub const PAST_FOR: Duration = Duration::from_secs(120);

/// Paths that were taken out and are remembered while they drain; the oldest go first.
pub const PAST_PATHS: usize = 16_384;

/// Domain files that counted and are known again when control is started with one of them.
pub const FILES_REMEMBERED: usize = 64;

/// How long an element notes packets for a trace that control does not end: longer than any takes.
pub const TRACE_LASTS: Duration = Duration::from_secs(120);

/// How far beyond control's clock a version may be that an element claims to have seen.
pub const AHEAD_MOST: Duration = Duration::from_secs(86_400);
