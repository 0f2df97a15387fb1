//! Every limit of a domain in one place: what the file may hold, and the defaults of what it leaves out.

use std::time::Duration;

/// Bytes of a domain file.
pub const DOMAIN_FILE_BYTES: usize = 1 << 20;
/// Bytes of a name in the file: a DNS label less room for a prefix, since names become parts of SPIFFE ids.
pub const NAME_BYTES: usize = 32;
/// Bytes of an element's name: `egress-` and a service's name are the longest.
pub const ELEMENT_NAME_BYTES: usize = NAME_BYTES + 8;
/// Functions of a path. Six is the paper's most; each takes 4 bytes of every frame.
pub const HOPS_A_PATH: usize = 16;
/// Elements of a domain: gateway, functions and egresses.
pub const ELEMENTS: usize = 1024;
/// Paths of a domain, both directions counted.
pub const PATHS: usize = 4096;
/// The highest number of a path: what elements index by it stays small.
pub const PATH_ID_MAX: u32 = 65_535;
/// Rules of a domain.
pub const RULES: usize = 4096;
/// Entries of one list in the file (names in a condition, patterns of a function, …).
pub const LIST_ENTRIES: usize = 4096;
/// Addresses inside of one WireGuard client.
pub const PEER_ADDRESSES: usize = 16;
/// Entries of one set of addresses or ports of a firewall.
pub const SET_ENTRIES: usize = 65_536;
/// Connections that a firewall can remember.
pub const FIREWALL_CONNECTIONS: u32 = 4 << 20;
/// Bytes of one file of a logger.
pub const LOG_FILE_BYTES_MAX: u64 = 16 << 30;
/// Files that one logger keeps.
pub const LOG_FILES_MAX: u32 = 10_000;
/// Bytes of one dpi pattern.
pub const PATTERN_BYTES: usize = 1024;
/// Bytes of one regular expression.
pub const REGEX_BYTES: usize = 4096;
/// Bytes of a request body that a rule may look at.
pub const BODY_PREFIX_BYTES: usize = 64 << 10;
/// Bytes of a URL path that a rule looks at; a longer one is denied.
pub const URL_PATH_BYTES: usize = 8 << 10;
/// Steps of one glob match: pattern bytes times path bytes never exceed this.
pub const GLOB_BYTES: usize = 256;
/// Seconds of the greatest age of a certificate that a rule may ask for: ten years.
pub const CERTIFICATE_AGE_S: u64 = 315_360_000;
/// Bytes of an issuer's name.
pub const ISSUER_BYTES: usize = 1024;
/// The most tokens of a rate, and of its burst.
pub const RATE_TOKENS: u32 = 1_000_000;
/// External policy decision points of a domain.
pub const DECISION_POINTS: usize = 64;
/// Milliseconds that a decision point may take at most.
pub const DECISION_TIMEOUT_MS: u32 = 60_000;
/// Milliseconds that an answer of a decision point may be kept.
pub const DECISION_KEEP_MS: u32 = 3_600_000;
/// Answers of a decision point that may be kept.
pub const DECISION_ENTRIES: u32 = 65_536;
/// Seconds of the longest time after which a flow has a record.
pub const FLOW_TIMEOUT_S: u32 = 86_400;
/// Bytes of the shortest message of flow records: one record with the longest names.
pub const FLOW_MESSAGE_MIN_BYTES: u16 = 1_200;
/// Bytes of the longest.
pub const FLOW_MESSAGE_MAX_BYTES: u16 = 65_000;
/// Bytes of one file of what elements sign of packets.
pub const SUMMARY_FILE_BYTES: usize = 64 << 20;
/// Seconds from one summary of proofs to the next at most.
pub const SUMMARY_EVERY_S: u32 = 86_400;
/// Summaries that are kept at most: two years of hours.
pub const SUMMARIES_KEPT: u32 = 17_568;
/// Milliseconds by which clocks of elements may differ, where an auditor asks who said something first.
pub const SUMMARY_CLOCKS_MS: u64 = 1_000;
/// What an auditor is told of one after another, of each kind; the rest is counted.
pub const SUMMARY_PROBLEMS: usize = 64;
/// Groups of sequences of one origin that may be open at one element.
pub const SUMMARY_OPEN_GROUPS: usize = 64;
/// As many of one element about one origin: others have their say, too.
pub const SUMMARY_CONTRADICTIONS: usize = 4;
/// Paths that a DSCP can name, for attached functions: 6 bits, of which 0 means none.
pub const DSCP_PATHS: usize = 63;
/// Replicas of one function.
pub const REPLICAS: u16 = 16;
/// Paths that one path over replicas becomes.
pub const VARIANTS: u64 = 48;
/// Workers of one element.
pub const WORKERS: u16 = 64;

/// The smallest link MTU: IPv6's least MTU for the inner packet (RFC 8200 section 5) is checked apart, by path.
pub const LINK_MTU_MIN_BYTES: u16 = 576;
/// The largest link MTU without `jumbo: true`.
pub const LINK_MTU_PLAIN_BYTES: u16 = 1500;
/// The largest link MTU with `jumbo: true`.
pub const LINK_MTU_JUMBO_BYTES: u16 = 9216;
/// The largest link MTU with `driver: xdp`: a page of 4 KiB less 256 bytes of the kernel's and an Ethernet header.
pub const LINK_MTU_XDP_BYTES: u16 = 3826;
/// The highest VLAN of IEEE 802.1Q that stations may use.
pub const VLAN_MAX: u16 = 4094;
/// The least inner MTU: what every IPv4 host must take (RFC 791 section 3.2).
pub const INNER_MTU_MIN_BYTES: u16 = 576;
/// The least inner MTU where a service has an IPv6 address (RFC 8200 section 5).
pub const INNER_MTU_MIN_IPV6_BYTES: u16 = 1280;

/// Packets of the smallest anti-replay window (RFC 4303 section 3.4.3 asks for 32; reordering across cores needs more).
pub const REPLAY_WINDOW_MIN_PACKETS: u32 = 1024;
/// Packets of the largest anti-replay window.
pub const REPLAY_WINDOW_MAX_PACKETS: u32 = 1 << 16;

/// Bytes of the longest message of the Path Distribution Protocol from control to an element.
pub const PDP_MESSAGE_BYTES: usize = 4 << 20;
/// Bytes of the longest message from an element to control.
pub const PDP_REQUEST_BYTES: usize = 64 << 10;
/// Bytes of a path set, or of a revocation list, in a message.
pub const PDP_OFFER_BYTES: usize = 2 << 20;
/// Bytes of a certificate, request, signature or lease in a message.
pub const PDP_ITEM_BYTES: usize = 16 << 10;
/// Entries of a list in a message.
pub const PDP_LIST_ENTRIES: usize = 64;
/// Bytes of a text for people in a message.
pub const PDP_DETAIL_BYTES: usize = 512;
/// Messages that wait to be sent to one peer; more than any orderly exchange makes.
pub const PDP_TRANSMITS: usize = 1024;
/// From a connection to the first message of the other end.
pub const PDP_GREETING_WITHIN: Duration = Duration::from_secs(5);
/// How often an end says that it lives.
pub const PDP_HEARTBEAT_EVERY: Duration = Duration::from_secs(10);
/// After this long without a message a session is over.
pub const PDP_SILENT_AFTER: Duration = Duration::from_secs(35);
/// The wait after the first failed dial; it doubles with each.
pub const PDP_REDIAL_FIRST: Duration = Duration::from_millis(250);
/// The longest wait before a dial.
pub const PDP_REDIAL_MOST: Duration = Duration::from_secs(15);
/// How long a staged version waits to be activated or abandoned.
pub const PDP_STAGED_FOR: Duration = Duration::from_secs(600);
/// How long elements may take to stage a version.
pub const PDP_STAGE_WITHIN: Duration = Duration::from_secs(30);
/// How long the others may take to answer after the first element has refused a version, so that an operator hears all that
/// is against it.
pub const PDP_NACKS_WITHIN: Duration = Duration::from_secs(2);
/// How long elements may take to activate a version that counts, until somebody is told.
pub const PDP_ACTIVATE_WITHIN: Duration = Duration::from_secs(30);
/// After this long the version that counts is offered once more to an element that has refused it.
pub const PDP_REOFFER_AFTER: Duration = Duration::from_secs(60);
/// Questions about packets of which an element owes the answers at a time.
pub const PDP_LOOKS: usize = 8;
/// How long an element may take to answer one, a probe included.
pub const PDP_LOOK_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of a path's name in one: that of the domain file, and what a way back and a replica add.
pub const PDP_PATH_NAME_BYTES: usize = 128;
/// Sealed packets that one question is about.
pub const PDP_LOOK_MARKS: usize = 4_096;
/// Packets of which an element tells in one answer.
pub const PDP_LOOK_PASSAGES: usize = 4_096;
/// Packets in one message of an answer: less than [`PDP_REQUEST_BYTES`].
pub const PDP_SEEN_PASSAGES: usize = 256;
/// Bytes of the name of a reason for which a packet was dropped.
pub const PDP_REASON_BYTES: usize = 64;
/// Verdicts on the way of packets of one path in one answer; a path has a message of its own.
pub const PDP_SEEN_JUDGED: usize = 256;
/// Paths of which an element tells in one answer.
pub const PDP_LOOK_PATHS: usize = 1_024;
/// The least time between two versions that are signed anew because an element has seen a higher one.
pub const PDP_REISSUE_EVERY: Duration = Duration::from_secs(60);
/// The fewest packets after which keys may be replaced: each epoch costs a handshake with every neighbour.
pub const REKEY_PACKETS_MIN: u64 = 1 << 10;
/// The most: an eighth of what a key can be used for at all, so that a new one is there long before.
pub const REKEY_PACKETS_MAX: u64 = 1 << 33;
/// The least by which timestamps of RFC 9145 may differ from the receiver's clock: less is lost to every pause of a machine.
pub const TIMESTAMP_WINDOW_MS_MIN: u32 = 10;
/// The most: within it a packet can be held back, and replayed wherever nothing else tells.
pub const TIMESTAMP_WINDOW_MS_MAX: u32 = 60_000;
