//! The program that an interface runs for each frame (RFC 9669; Documentation/networking/af_xdp.rst of the kernel): label
//! stacks to the interface's own address go to the link's socket, all else goes on to the kernel as if nothing were there.
//!
//! ```text
//!   r2 = ctx->data, r3 = ctx->data_end
//!   r0 = XDP_PASS
//!   if r2 + 14 > r3                      goto end      shorter than an Ethernet header
//!   if *(u16 *)(r2 + 12) != 0x8847       goto end      another EtherType
//!   if *(u32 *)(r2 + 0)  != own[0..4]    goto end      to another station
//!   if *(u16 *)(r2 + 4)  != own[4..6]    goto end
//!   r0 = bpf_redirect_map(sockets, ctx->rx_queue_index, XDP_PASS)
//! end:
//!   return r0
//! ```

use ringmail_packet::ethernet::{self, EtherType};

/// One instruction, as `struct bpf_insn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Instruction {
    code: u8,
    /// The target in the low half, the source in the high one (on machines whose bytes are little-endian).
    registers: u8,
    offset: i16,
    immediate: i32,
}

// Classes, sizes and operations (linux/bpf.h, linux/bpf_common.h).
const LOAD_WORD: u8 = 0x61;
const LOAD_HALF: u8 = 0x69;
const MOVE: u8 = 0xbf;
const MOVE_IMMEDIATE: u8 = 0xb7;
const ADD_IMMEDIATE: u8 = 0x07;
const JUMP_IF_GREATER: u8 = 0x2d;
/// Compares 32 bits.
const JUMP_UNLESS_EQUAL: u8 = 0x56;
const LOAD_64_IMMEDIATE: u8 = 0x18;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

/// The source register of a 64-bit immediate that is the descriptor of a map (`BPF_PSEUDO_MAP_FD`).
const MAP_DESCRIPTOR: u8 = 1;
/// `bpf_redirect_map`: the frame goes to the socket at a key of a map; the last argument is returned where there is none.
const REDIRECT_MAP: i32 = 51;
/// The frame goes on to the kernel (`XDP_PASS`).
const PASS: i32 = 2;

/// Fields of `struct xdp_md`, the program's argument.
const DATA_AT: i16 = 0;
const DATA_END_AT: i16 = 4;
const QUEUE_AT: i16 = 16;

/// How long the program is.
const LEN: usize = 19;

/// The program for frames to this address that carry this; `sockets` is the descriptor of a map from queues to sockets.
pub(super) fn program(
    own: ethernet::Address,
    carries: EtherType,
    sockets: i32,
) -> [Instruction; LEN] {
    let [a, b, c, d, e, f] = own.0;
    // As the frame's bytes come out of a load in the machine's own order.
    let ethertype = u16::from_ne_bytes(carries.0.to_be_bytes());
    let (head, tail) = (u32::from_ne_bytes([a, b, c, d]), u16::from_ne_bytes([e, f]));
    let end = |at: i16| LEN as i16 - 2 - at;
    [
        load(LOAD_WORD, 2, 1, DATA_AT),
        load(LOAD_WORD, 3, 1, DATA_END_AT),
        instruction(MOVE, 6, 1, 0, 0),
        instruction(MOVE_IMMEDIATE, 0, 0, 0, PASS),
        instruction(MOVE, 4, 2, 0, 0),
        instruction(ADD_IMMEDIATE, 4, 0, 0, ethernet::HEADER_LEN_BYTES as i32),
        instruction(JUMP_IF_GREATER, 4, 3, end(6), 0),
        load(LOAD_HALF, 5, 2, 12),
        instruction(JUMP_UNLESS_EQUAL, 5, 0, end(8), ethertype.into()),
        load(LOAD_WORD, 5, 2, 0),
        instruction(JUMP_UNLESS_EQUAL, 5, 0, end(10), head.cast_signed()),
        load(LOAD_HALF, 5, 2, 4),
        instruction(JUMP_UNLESS_EQUAL, 5, 0, end(12), tail.into()),
        load(LOAD_WORD, 2, 6, QUEUE_AT),
        // A 64-bit immediate takes two instructions.
        instruction(LOAD_64_IMMEDIATE, 1, MAP_DESCRIPTOR, 0, sockets),
        instruction(0, 0, 0, 0, 0),
        instruction(MOVE_IMMEDIATE, 3, 0, 0, PASS),
        instruction(CALL, 0, 0, 0, REDIRECT_MAP),
        instruction(EXIT, 0, 0, 0, 0),
    ]
}

const fn load(code: u8, target: u8, source: u8, offset: i16) -> Instruction {
    instruction(code, target, source, offset, 0)
}

const fn instruction(code: u8, target: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    let registers = match cfg!(target_endian = "little") {
        true => source << 4 | target,
        false => target << 4 | source,
    };
    Instruction { code, registers, offset, immediate }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_jump_ends_at_the_return() {
        let program = program(ethernet::Address([2, 0, 0, 0, 0, 1]), EtherType::MPLS, 7);
        let jumps = (0..).zip(&program).filter(|(_, i)| i.offset != 0 && i.code & 0x07 >= 5);
        let targets: Vec<_> = jumps.map(|(at, i)| at + 1 + i32::from(i.offset)).collect();
        assert_eq!(targets, [LEN as i32 - 1; 4]);
        assert_eq!(program[LEN - 1].code, EXIT);
    }
}
