//! Classic BPF (Documentation/networking/filter.rst of the kernel) for packet sockets: what is not for a link never
//! leaves the kernel.

use ringmail_packet::ethernet::{self, EtherType};

/// One instruction, as `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) code: u16,
    pub(crate) if_true: u8,
    pub(crate) if_false: u8,
    pub(crate) operand: u32,
}

pub(crate) const LOAD_WORD: u16 = 0x20;
pub(crate) const LOAD_HALF: u16 = 0x28;
pub(crate) const LOAD_BYTE: u16 = 0x30;
pub(crate) const JUMP_IF_EQUAL: u16 = 0x15;
pub(crate) const JUMP_IF_SET: u16 = 0x45;
pub(crate) const RETURN: u16 = 0x06;
const RETURN_ACCUMULATOR: u16 = 0x16;
const AND: u16 = 0x54;

/// Returns the whole frame.
pub(crate) const TAKE: u32 = u32::MAX;

/// What lies beside a frame (`SKF_AD_OFF`): its EtherType, to whom it goes, and the tag that the kernel took off it.
const BESIDE: u32 = -0x1000_i32 as u32;
const PROTOCOL_AT: u32 = BESIDE;
const KIND_AT: u32 = BESIDE + 4;
const VLAN_TAG_AT: u32 = BESIDE + 44;
const VLAN_TAG_PRESENT_AT: u32 = BESIDE + 48;
/// To this station, in no VLAN (`PACKET_HOST`).
const TO_US: u32 = 0;
const VLAN_ID_BITS: u32 = 0x0fff;

/// Labels that are looked through for the SPI.
const LABELS: u32 = 16;

pub(crate) const fn instruction(code: u16, if_true: u8, if_false: u8, operand: u32) -> Instruction {
    Instruction { code, if_true, if_false, operand }
}

/// A program that takes frames to this address without an 802.1Q tag, or with one for VLAN 0, which is none.
///
/// It is for a socket of one EtherType: by the time that such a socket sees a frame, the kernel has cleared its tag, and
/// marked it as another station's.
pub(super) fn untagged(to: ethernet::Address) -> Vec<Instruction> {
    let mut program = addressed(to);
    program.extend([
        instruction(LOAD_BYTE, 0, 0, KIND_AT),
        instruction(JUMP_IF_EQUAL, 1, 0, TO_US),
        instruction(RETURN, 0, 0, 0),
        instruction(RETURN, 0, 0, TAKE),
    ]);
    program
}

/// A program that takes frames to this address, of this VLAN and EtherType. It is for a socket of all EtherTypes.
pub(super) fn tagged(to: ethernet::Address, vlan: u16, ethertype: EtherType) -> Vec<Instruction> {
    let mut program = addressed(to);
    program.extend([
        instruction(LOAD_HALF, 0, 0, PROTOCOL_AT),
        instruction(JUMP_IF_EQUAL, 1, 0, ethertype.0.into()),
        instruction(RETURN, 0, 0, 0),
        instruction(LOAD_BYTE, 0, 0, VLAN_TAG_PRESENT_AT),
        instruction(JUMP_IF_EQUAL, 1, 0, 1),
        instruction(RETURN, 0, 0, 0),
        instruction(LOAD_HALF, 0, 0, VLAN_TAG_AT),
        instruction(AND, 0, 0, VLAN_ID_BITS),
        instruction(JUMP_IF_EQUAL, 1, 0, vlan.into()),
        instruction(RETURN, 0, 0, 0),
        instruction(RETURN, 0, 0, TAKE),
    ]);
    program
}

/// Goes on for frames to this address only.
fn addressed(to: ethernet::Address) -> Vec<Instruction> {
    let [a, b, c, d, e, f] = to.0;
    vec![
        instruction(LOAD_WORD, 0, 0, 0),
        instruction(JUMP_IF_EQUAL, 1, 0, u32::from_be_bytes([a, b, c, d])),
        instruction(RETURN, 0, 0, 0),
        instruction(LOAD_HALF, 0, 0, 4),
        instruction(JUMP_IF_EQUAL, 1, 0, u32::from_be_bytes([0, 0, e, f])),
        instruction(RETURN, 0, 0, 0),
    ]
}

/// A program for a fanout of MPLS frames: the SPI of the ESP packet below the stack (0 if there is none), so that all
/// packets of one security association go to one worker. Offsets count from behind the Ethernet header.
pub(super) fn by_association() -> Vec<Instruction> {
    let mut program = Vec::new();
    for label in 0..LABELS {
        program.extend([
            instruction(LOAD_BYTE, 0, 0, 4 * label + 2),
            instruction(JUMP_IF_SET, 0, 2, 1),
            instruction(LOAD_WORD, 0, 0, 4 * (label + 1) + 20),
            instruction(RETURN_ACCUMULATOR, 0, 0, 0),
        ]);
    }
    program.push(instruction(RETURN, 0, 0, 0));
    program
}
