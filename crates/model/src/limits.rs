//! Every limit of a domain in one place: what the file may hold, and the defaults of what it leaves out.

/// Bytes of a domain file.
pub const DOMAIN_FILE_BYTES: usize = 1 << 20;
/// Bytes of a name in the file: a DNS label less room for a prefix, since names become parts of SPIFFE ids.
pub const NAME_BYTES: usize = 32;
/// Functions of a path. Six is the paper's most; each takes 4 bytes of every frame.
pub const HOPS_A_PATH: usize = 16;
/// Elements of a domain: gateway, functions and egresses.
pub const ELEMENTS: usize = 1024;
/// Paths of a domain, both directions counted.
pub const PATHS: usize = 4096;
/// Rules of a domain.
pub const RULES: usize = 4096;
/// Entries of one list in the file (names in a condition, patterns of a function, …).
pub const LIST_ENTRIES: usize = 4096;
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
/// Paths that a DSCP can name, for attached functions: 6 bits, of which 0 means none.
pub const DSCP_PATHS: usize = 63;
/// Workers of one element.
pub const WORKERS: u16 = 64;

/// The smallest link MTU: IPv6's least MTU for the inner packet (RFC 8200 section 5) is checked apart, by path.
pub const LINK_MTU_MIN_BYTES: u16 = 576;
/// The largest link MTU without `jumbo: true`.
pub const LINK_MTU_PLAIN_BYTES: u16 = 1500;
/// The largest link MTU with `jumbo: true`.
pub const LINK_MTU_JUMBO_BYTES: u16 = 9216;
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
