//! Evidence of hosts.
