//! Every limit and time of the Segment Agreement Protocol, in one place (`docs/sap.md`, "Times and bounds").

use std::time::Duration;

/// Bytes of the longest message, its length field included: an OFFER.
pub const MESSAGE_BYTES_MAX: usize = 2 + 160;

/// Bytes of a signed lease: element, path digest, end, serial, Ed25519 signature.
pub const SIGNED_LEASE_BYTES: usize = 2 + 32 + 8 + 8 + 64;

/// Sessions with one neighbour at a time; one more pushes out the oldest that is not in use.
pub const SESSIONS: usize = 4;

/// Agreements that one session may make a direction. Afterwards only a new epoch makes more.
pub const AGREEMENTS_PER_SESSION: usize = 4096;

/// Associations that were stopped and whose DELETED did not come yet; beyond it the oldest is forgotten.
pub const CLOSING_SAS: usize = 4096;

/// Inbound associations of one segment and worker at a time: the one in use, its successor, and those that drain. Keeps
/// one neighbour from taking the places of others.
pub const INBOUNDS_PER_PLACE: usize = 8;

/// Messages that wait to be sent to one neighbour; one that does not read them loses its session.
pub const TRANSMITS: usize = 16_384;

/// How far a neighbour's epoch may be ahead of ours.
pub const EPOCH_LEAD_MAX: u32 = 1 << 24;

/// The longest time that a lease may still have to run; a longer one is refused.
pub const LEASE_MAX: Duration = Duration::from_secs(3600);

/// From the beginning of a session to the neighbour's HELLO; then the session ends.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// First wait before an unanswered HELLO, OFFER or LAST is sent again; doubles each time.
pub const RESEND_MIN: Duration = Duration::from_millis(500);

/// Longest wait before an unanswered message is sent again.
pub const RESEND_MAX: Duration = Duration::from_secs(4);

/// Wait before a refused OFFER is made again; doubles with each refusal.
pub const REFUSED_RETRY_MIN: Duration = Duration::from_millis(250);

/// Longest wait before a refused OFFER is made again.
pub const REFUSED_RETRY_MAX: Duration = Duration::from_secs(10);

/// How often HELLO and the leases are repeated in an established session.
pub const KEEPALIVE: Duration = Duration::from_secs(10);

/// A session in which nothing was heard for so long is ended.
pub const SILENCE_MAX: Duration = Duration::from_secs(35);

/// From LAST to the removal of the inbound association: packets on their way still count.
pub const LAST_GRACE: Duration = Duration::from_secs(2);

/// How long inbound associations of a path that was withdrawn stay.
pub const WITHDRAWN_GRACE: Duration = Duration::from_secs(5);

/// How long an inbound association whose session has ended stays beside its successor when no LAST names it.
pub const ORPHAN_GRACE: Duration = Duration::from_secs(30);

/// How long the data plane may take to install an inbound association before it is given up.
pub const INSTALL_TIMEOUT: Duration = Duration::from_secs(10);

/// First wait after a failed dial; doubles with each failure, half of it random.
pub const DIAL_RETRY_MIN: Duration = Duration::from_millis(100);

/// Longest wait between dials.
pub const DIAL_RETRY_MAX: Duration = Duration::from_secs(5);

/// How long the element of the higher id lets the other one dial first.
pub const DIAL_YIELD: Duration = Duration::from_secs(1);

/// A session that lived for so long makes the next dial forget earlier failures.
pub const DIAL_FORGIVEN_AFTER: Duration = Duration::from_secs(10);

/// The age of a session at which a new epoch begins, unless the caller says otherwise.
pub const EPOCH_LIFETIME: Duration = Duration::from_secs(600);

/// How much later the element of the higher id begins the new epoch when the other one did not.
pub const EPOCH_YIELD: Duration = Duration::from_secs(30);

/// The same for an epoch that is asked for: usually both ends are asked at once, and one handshake does.
pub const DEMAND_YIELD: Duration = Duration::from_millis(250);

/// Wait before a lease of this element that did not come is asked for again.
pub const RENEW_RETRY: Duration = Duration::from_secs(2);

/// Shortest wait before a lease that came is asked to be renewed.
pub const RENEW_MIN: Duration = Duration::from_millis(500);
