//! Every limit of certificates and of the embedded authority, in one place.

use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long the root certificate lasts.
pub const ROOT_LASTS: Duration = Duration::from_secs(3653 * 24 * 3600);

/// How long the certificate of an intermediate lasts.
pub const INTERMEDIATE_LASTS: Duration = Duration::from_secs(365 * 24 * 3600);

/// How long a server or client certificate lasts, unless somebody says otherwise.
pub const CERTIFICATE_LASTS: Duration = Duration::from_secs(90 * 24 * 3600);

/// The longest that a server or client certificate may last.
pub const CERTIFICATE_LASTS_MAX: Duration = Duration::from_secs(825 * 24 * 3600);

/// How long an element's certificate lasts: its key lives in memory only, and a new one is had within milliseconds.
pub const ELEMENT_LASTS: Duration = DAY;

/// The longest that a token may wait for its element.
pub const TOKEN_LASTS_MAX: Duration = DAY;

/// Tokens that wait for their elements.
pub const TOKENS: usize = 1024;

/// How long a revocation list is valid.
pub const CRL_LASTS: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long a revocation list of the manager is valid; it is made anew with every revocation, and at half of this.
pub const MANAGER_CRL_LASTS: Duration = DAY;

/// A revocation list that lasts shorter than this is made anew when asked for.
pub const CRL_RENEWED_BEFORE: Duration = Duration::from_secs(3 * 24 * 3600);

/// How far certificates and lists reach back, for clocks that are late.
pub const BACKDATED: Duration = Duration::from_secs(300);

/// How long the record of a certificate outlives it, so that a late question still has an answer.
pub const RECORDS_OUTLIVE: Duration = DAY;

/// Certificates that the authority remembers.
pub const CERTIFICATES: usize = 100_000;

/// Names of one certificate.
pub const NAMES: usize = 64;

/// Bytes of a certificate signing request.
pub const REQUEST_BYTES: usize = 16 << 10;

/// Characters of a password over a file, at least.
pub const PASSWORD_CHARACTERS_MIN: usize = 8;

/// Characters of a password over a file, at most: OpenSSL's prompt takes few more.
pub const PASSWORD_CHARACTERS_MAX: usize = 128;

/// Rounds of each key derivation of a PKCS #12 file. Each costs an attacker the same again; .NET refuses more than
/// 300,000 a derivation.
pub const P12_ROUNDS: u32 = 200_000;

/// How long after its making a new root is known to all elements: they have all renewed their certificates by then.
pub const ROOT_KNOWN_AFTER: Duration = ELEMENT_LASTS;

/// Rounds of the key derivation of a backup: a backup is read seldom, and is worth every guess.
pub const BACKUP_ROUNDS: u32 = 1_000_000;

/// Rounds that a backup may ask for.
pub const BACKUP_ROUNDS_MAX: u32 = 20_000_000;

/// Bytes of all files in a backup.
pub const BACKUP_BYTES: u64 = 256 << 20;

/// How far the numbers of revocation lists skip ahead when an authority is restored.
pub const RESTORED_LATER_CRL: u64 = 1 << 16;

/// How far the serial numbers of leases skip ahead when an authority is restored: a million starts of a domain.
pub const RESTORED_LATER_LEASE: u64 = 1 << 40;

/// Bytes of any file of the authority that is read.
pub const FILE_BYTES: u64 = 64 << 20;

/// How long one use of the authority waits for another to end.
pub const BUSY_FOR: Duration = Duration::from_secs(10);

/// How often it looks.
pub const BUSY_POLL: Duration = Duration::from_millis(5);

/// Serial numbers of leases that are set aside at once, so that not every lease is a write.
pub const LEASE_SERIALS_AT_ONCE: u64 = 1 << 20;

/// Effects that a slow follower of the manager may be behind by; it then looks at everything anew.
pub const MANAGER_EFFECTS: usize = 4096;

/// Entries of the log in one answer.
pub const MANAGER_ENTRIES_AT_ONCE: u64 = 1000;

/// Bytes of a trust policy.
pub const POLICY_BYTES: usize = 4 << 20;

/// Bytes of a request to the manager: a measurement list of a busy host has some megabytes.
pub const MANAGER_REQUEST_BYTES: usize = 24 << 20;

/// Bytes of an answer of the manager.
pub const MANAGER_ANSWER_BYTES: usize = 64 << 20;

/// Connections to the manager at a time.
pub const MANAGER_CONNECTIONS: usize = 20_000;

/// Calls that the manager works on at a time; others wait.
pub const MANAGER_CALLS: usize = 64;

/// How long a client of the manager may take over its handshake, and over the head of a request.
pub const MANAGER_PATIENCE: Duration = Duration::from_secs(10);

/// How long a client of the manager waits for an answer.
pub const MANAGER_ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// How long the manager's own certificate lasts.
pub const MANAGER_LASTS: Duration = DAY;

/// How often the manager looks at the time.
pub const MANAGER_TICK: Duration = Duration::from_millis(500);

/// How many ticks are between two tidyings.
pub const MANAGER_TIDY_TICKS: u32 = 20;
/// How long a TPM may take for one command: RSA keys take long on real hardware.
pub const TPM_ANSWERS_WITHIN: Duration = Duration::from_secs(120);

/// Bytes of a response of a TPM.
pub const TPM_RESPONSE_BYTES: usize = 4096;

/// How often a command is sent to a TPM that is busy.
pub const TPM_RETRIES: usize = 20;

/// How often registers are quoted and read until nothing came between.
pub const QUOTE_TRIES: usize = 20;
