//! Every queue, wait and table of the node, each with its bound.

use std::time::Duration;

/// Longest interface name: the kernel's IFNAMSIZ less its terminating zero.
pub const INTERFACE_NAME_BYTES: usize = 15;

/// Longest name of a domain or namespace: both together, with the prefix, stay a file name of 255 bytes.
pub const NAME_BYTES: usize = 63;

/// Most namespaces in one topology.
pub const NAMESPACES: usize = 256;

/// How long new interfaces may take until they carry frames; it takes a few milliseconds.
pub const LINKS_READY_WITHIN: Duration = Duration::from_secs(5);

/// How often the state of new interfaces is looked at.
pub const LINK_POLL_EVERY: Duration = Duration::from_millis(2);

/// Attempts to take a runtime directory that another start or end is changing at the same moment.
pub const CLAIM_ATTEMPTS: u32 = 16;

/// How long a process left over from a crash may take to end after SIGKILL.
pub const LEFTOVER_ENDS_WITHIN: Duration = Duration::from_secs(5);

/// Longest record of a runtime directory.
pub const RECORD_BYTES: u64 = 1 << 20;

/// Roots of one statement of an element: as text they take no more than half a message.
pub const STATEMENT_ROOTS: usize = 24_000;

/// Statements of one element in one summary; at most so many that the file can still be read.
pub const STATEMENTS_AT_ONCE: usize = 16;

/// How long a change of how often summaries are written may go unnoticed.
pub const SUMMARY_LOOKED_AT_EVERY: Duration = Duration::from_secs(5);

/// Longest message on a control channel or the admin socket, newline included.
pub const MESSAGE_BYTES: usize = 4 << 20;

/// Events from elements that wait to be handled; an element that says more waits.
pub const EVENT_QUEUE: usize = 256;

/// Messages to one element that wait to be written; past it, sending fails.
pub const CONTROL_QUEUE: usize = 64;

/// Verdicts on proofs of transit that an element tells of one path at once, and as many that failed.
pub const PROOFS_TOLD: usize = 1024;

/// Requests to one element whose answers are outstanding.
pub const PENDING_REQUESTS: usize = 64;

/// How long an element may take to answer a request.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// How long the agreements of an element may take to say what they counted.
pub const AGREEMENT_ANSWERS_WITHIN: Duration = Duration::from_millis(200);

/// How often it is looked whether an association has sealed so many packets that a new epoch is to begin.
pub const WORN_LOOKED_AT_EVERY: Duration = Duration::from_millis(500);

/// How long a new epoch may take that an operator asked for, until it is in use everywhere.
pub const REKEYED_WITHIN: Duration = Duration::from_secs(10);

/// How long an element may take to say so.
pub const REKEY_ANSWERED_WITHIN: Duration = Duration::from_secs(12);

/// How long all elements together may take until they are ready.
pub const READY_WITHIN: Duration = Duration::from_secs(15);

/// How long an element that was told to shut down may drain before SIGTERM.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// How long an element may live after SIGTERM before SIGKILL.
pub const TERMINATE_GRACE: Duration = Duration::from_secs(1);

/// How long the program of an attached function may live after SIGTERM before SIGKILL; less than its parent waits.
pub const PROGRAM_GRACE: Duration = Duration::from_secs(1);

/// How long the kernel may take to end a process after SIGKILL.
pub const KILL_GRACE: Duration = Duration::from_secs(5);

/// Lines of an element's standard error that are kept to explain its end.
pub const STDERR_TAIL_LINES: usize = 20;

/// Longest line of an element's standard error that is passed on whole.
pub const STDERR_LINE_BYTES: usize = 8 << 10;

/// Connections to the admin socket at a time; more wait.
pub const ADMIN_CONNECTIONS: usize = 16;

/// How long a client of the admin socket may take for its request, and to read the answer.
pub const ADMIN_IDLE: Duration = Duration::from_secs(10);

/// How often an element says in its log what it dropped, where it dropped something.
pub const DROPS_SAID_EVERY: Duration = Duration::from_secs(10);

/// Packets that one worker keeps notes of for a trace; later ones overwrite the oldest.
pub const TRACE_RECORDS: usize = 16_384;

/// Packets of which an element tells in one answer.
pub const TRACE_PASSAGES: usize = 4_096;

/// How long a trace may wait for packets of a flow.
pub const TRACE_WAIT: Duration = Duration::from_secs(10);

/// How long an operator waits for a trace: elements on other machines may be slow to say what they saw.
pub const TRACE_WITHIN: Duration = Duration::from_secs(60);

/// How long a connection may take that is opened for a trace.
pub const PROBE_WITHIN: Duration = Duration::from_secs(3);

/// How long the service may take to end the connection of a probe that ended it.
pub const PROBE_ENDS_WITHIN: Duration = Duration::from_millis(500);

/// How often packets that are under way are asked for once more, and how long each time is.
pub const TRACE_LOOKS: u32 = 5;
/// See [`TRACE_LOOKS`].
pub const TRACE_LOOK_EVERY: Duration = Duration::from_millis(40);

/// How long an element may take to answer who looks into it, a probe included.
pub const OBSERVED_WITHIN: Duration = Duration::from_secs(5);

/// How often a tap hands over what it copied.
pub const TAP_FLUSHED_EVERY: Duration = Duration::from_millis(100);

/// How long an element may take to connect to where a tap's copies go.
pub const TAP_CONNECTED_WITHIN: Duration = Duration::from_secs(2);

/// Series that one answer to a scrape holds: a thousand elements with what every element counts. More are left out, and
/// the answer says how many.
pub const METRIC_SERIES: usize = 200_000;

/// How long a connection for metrics lasts at most; scrapers open another.
pub const METRICS_CONNECTION_LASTS: Duration = Duration::from_secs(600);

/// How long a client of the admin socket waits for an answer.
pub const ADMIN_ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Alerts of a function that are written down one by one in each tick of a worker; more are only numbered.
pub const ALERTS_A_TICK: usize = 64;

/// How long the writer of a logger's files waits for records before it looks whether a file is too old.
pub const LOG_WAIT: Duration = Duration::from_millis(500);

/// How long the end of an element waits for the files of its logger.
pub const LOG_FINISH_WITHIN: Duration = Duration::from_secs(1);

/// Names that are tried for a logger's file: files of one second.
pub const LOG_NAMES_TRIED: u32 = 10_000;

/// How long an element may take until a staged version has keys.
pub const STAGE_WITHIN: Duration = Duration::from_secs(10);

/// The same of a version that counts already, and does not wait for who is away.
pub const COUNTS_STAGED_WITHIN: Duration = Duration::from_secs(3);

/// How often it is looked whether listeners are to show other certificates: because a file changed, or one runs out.
pub const LISTENERS_LOOKED_AT_EVERY: Duration = Duration::from_secs(5);

/// How much longer than the gateway other elements keep the paths of a version that is not active any more.
pub const RETIRE_AFTER_GATEWAY: Duration = Duration::from_secs(2);

/// How much longer than they drain paths get leases, for elements whose clocks or messages are late.
pub const LEASES_AFTER_DRAIN: Duration = Duration::from_secs(10);

/// How long a domain may take for a change: new elements, new keys, and the answer.
pub const RELOAD_WITHIN: Duration = Duration::from_secs(60);

/// How often an element that ends by itself is started again, one end soon after the other.
pub const RESTARTS: u32 = 10;

/// An element that ran for so long is forgiven its earlier ends.
pub const RESTARTS_FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// The wait before the second start after an end; doubles each time.
pub const RESTART_WAIT_MIN: Duration = Duration::from_millis(100);

/// The longest wait before an element is started again.
pub const RESTART_WAIT_MAX: Duration = Duration::from_secs(10);

/// How much longer than it may drain a gateway may take to end.
pub const DRAIN_ENDS_WITHIN: Duration = Duration::from_secs(2);

/// A hop that is to end by itself goes on until nothing came for so long.
pub const QUIET_FOR: Duration = Duration::from_secs(1);

/// How often it looks.
pub const QUIET_POLL_EVERY: Duration = Duration::from_millis(100);

/// How long connections that were ended with their path have for their last packets.
pub const CUT_TRAVELS: Duration = Duration::from_secs(1);

/// How often a connection into a chain that hears nothing asks whether its other end is there: with an egress that begins
/// anew, it goes on after that time at most.
pub const KEEPALIVE_EVERY: Duration = Duration::from_secs(1);

/// How often it asks in vain before it is over: two minutes without a chain.
pub const KEEPALIVES: u32 = 120;

/// Bytes that a socket of a WireGuard listener may hold in each direction, where the system gives so much.
pub const WIREGUARD_SOCKET_BYTES: usize = 4 << 20;

/// Flows under way at one worker of which a record will tell; packets of more are counted by themselves.
pub const FLOWS_METERED: usize = 65_536;

/// Flows that a worker looks at each tick, for those whose record is due.
pub const FLOW_SWEEP_A_TICK: usize = 16_384;

/// Records and other news that wait for the exporter of flow records; more are lost and counted.
pub const FLOW_EVENTS: usize = 16_384;

/// Records that wait for the collector; the oldest give way.
pub const FLOW_RECORDS: usize = 16_384;

/// So many records are sent at once.
pub const FLOW_RECORDS_PROMPT: usize = 8;

/// How long a record waits for others.
pub const FLOW_WAITS: Duration = Duration::from_millis(500);

/// Flows whose client the exporter remembers.
pub const FLOW_IDENTITIES: usize = 65_536;

/// Paths whose names the exporter remembers, those of past versions included.
pub const FLOW_PATHS: usize = 16_384;

/// Bytes of a client's name in a flow record.
pub const FLOW_NAME_BYTES: usize = 254;

/// How often templates are sent again over UDP.
pub const FLOW_TEMPLATES_EVERY: Duration = Duration::from_secs(60);

/// How long a connection to a collector, or a message over it, may take.
pub const FLOW_CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// The wait before a collector is dialled again.
pub const FLOW_RECONNECT_AFTER: Duration = Duration::from_secs(2);

/// How long the last flow records of an element that ends may take.
pub const FLOWS_END_WITHIN: Duration = Duration::from_secs(2);
