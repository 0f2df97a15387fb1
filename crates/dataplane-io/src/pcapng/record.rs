//! Blocks of a file that somebody else writes: raw IP packets, their times in nanoseconds since the Unix epoch.

use super::block;

/// Begins a file with these interfaces, numbered from 0.
pub fn begin(out: &mut Vec<u8>, interfaces: &[&str], snap_len_bytes: u32) {
    block::section_header(out);
    for name in interfaces {
        block::interface(out, name, block::LINKTYPE_RAW, snap_len_bytes);
    }
}

/// One packet, of which `bytes` were kept, with what people read beside it; nothing where there is nothing to say.
pub fn packet(
    out: &mut Vec<u8>,
    interface: u32,
    time_ns: u64,
    bytes: &[u8],
    original_bytes: u32,
    comment: &str,
) {
    block::kept_packet(out, interface, time_ns, bytes, original_bytes, comment);
}
