//! Classic BPF (Documentation/networking/filter.rst of the kernel) that lets through what is not protected.

use ringmail_packet::ip::protocol;

use crate::packet::{Instruction, instruction};
use crate::packet::{JUMP_IF_EQUAL, JUMP_IF_SET, LOAD_BYTE, LOAD_HALF, RETURN, TAKE};

const ETHERTYPE_AT: u32 = 12;
const IP_AT: u32 = 14;
const ETHERTYPE_IPV4: u32 = 0x0800;
const ETHERTYPE_MPLS: u32 = 0x8847;
const ETHERTYPE_NSH: u32 = 0x894f;
const PORTS_AT: u32 = IP_AT + 20;
const LABELS_AT: u32 = IP_AT + 20 + 8;

/// Labels that are looked through; a deeper stack counts as unprotected.
const LABELS: u32 = 18;

/// Instructions for one label.
const OF_A_LABEL: u32 = 9;

const LOAD_HALF_AT_INDEX: u16 = 0x48;
const LOAD_BYTE_AT_INDEX: u16 = 0x50;
const LOAD_INDEX: u16 = 0x01;
const TO_INDEX: u16 = 0x07;
const JUMP: u16 = 0x05;
const AND: u16 = 0x54;
const SHIFT_LEFT: u16 = 0x64;
const ADD_INDEX: u16 = 0x0c;

/// A program that takes IPv4 packets which are neither TCP on `control_port` nor MPLS in UDP on `udp_port` with ESP below,
/// and MPLS or NSH in Ethernet without ESP below. What is neither (ARP, IPv6 of the interfaces themselves) is left
/// out. Link headers have no IP options here.
pub(super) fn unprotected(udp_port: u16, control_port: u16) -> Vec<Instruction> {
    let (udp_port, control_port) = (u32::from(udp_port), u32::from(control_port));
    let in_ethernet = without_esp(IP_AT);
    let bare = [&behind_nsh()[..], &behind_labels()].concat();
    let mut program = vec![
        instruction(LOAD_HALF, 0, 0, ETHERTYPE_AT),
        instruction(JUMP_IF_EQUAL, 0, 1 + bare.len() as u8, ETHERTYPE_NSH),
        instruction(LOAD_INDEX, 0, 0, IP_AT),
    ];
    program.extend(bare);
    program.extend([
        // Far fewer instructions than a jump can pass.
        instruction(JUMP_IF_EQUAL, 0, in_ethernet.len() as u8, ETHERTYPE_MPLS),
    ]);
    program.extend(in_ethernet);
    program.extend([
        instruction(JUMP_IF_EQUAL, 1, 0, ETHERTYPE_IPV4),
        instruction(RETURN, 0, 0, 0),
        instruction(LOAD_BYTE, 0, 0, IP_AT + 9),
        instruction(JUMP_IF_EQUAL, 0, 6, protocol::TCP.into()),
        // TCP: either port may be the control port.
        instruction(LOAD_HALF, 0, 0, PORTS_AT),
        instruction(JUMP_IF_EQUAL, 2, 0, control_port),
        instruction(LOAD_HALF, 0, 0, PORTS_AT + 2),
        instruction(JUMP_IF_EQUAL, 0, 1, control_port),
        instruction(RETURN, 0, 0, 0),
        instruction(RETURN, 0, 0, TAKE),
        // No TCP: it must be UDP to the port of encapsulated packets.
        instruction(JUMP_IF_EQUAL, 1, 0, protocol::UDP.into()),
        instruction(RETURN, 0, 0, TAKE),
        instruction(LOAD_HALF, 0, 0, PORTS_AT + 2),
        instruction(JUMP_IF_EQUAL, 1, 0, udp_port),
        instruction(RETURN, 0, 0, TAKE),
    ]);
    program.extend(without_esp(LABELS_AT));
    program
}

/// Takes what has no ESP below the label stack that begins at this offset, and the NSH where the last label says that there
/// is one.
fn without_esp(labels_at: u32) -> Vec<Instruction> {
    let end = [&behind_nsh()[..], &behind_labels()].concat();
    let (nsh, ip) = (LABELS * OF_A_LABEL + 1, LABELS * OF_A_LABEL + 1 + behind_nsh().len() as u32);
    let mut program = Vec::new();
    for label in 0..LABELS {
        let entry = labels_at + 4 * label;
        // From the last two instructions of this label on.
        let from = (label + 1) * OF_A_LABEL;
        program.extend([
            instruction(LOAD_BYTE, 0, 0, entry + 2),
            instruction(JUMP_IF_SET, 0, 7, 1),
            instruction(LOAD_INDEX, 0, 0, entry + 4),
            instruction(AND, 0, 0, 0xf1),
            instruction(JUMP_IF_EQUAL, 0, 3, 0xf1),
            instruction(LOAD_HALF, 0, 0, entry),
            instruction(JUMP_IF_EQUAL, 0, 1, 0xffff),
            instruction(JUMP, 0, 0, nsh - (from - 1)),
            instruction(JUMP, 0, 0, ip - from),
        ]);
    }
    program.push(instruction(RETURN, 0, 0, TAKE));
    program.extend(end);
    program
}

/// Goes on from the NSH at the index to what is behind it.
fn behind_nsh() -> [Instruction; 5] {
    [
        instruction(LOAD_HALF_AT_INDEX, 0, 0, 0),
        instruction(AND, 0, 0, 0x3f),
        instruction(SHIFT_LEFT, 0, 0, 2),
        instruction(ADD_INDEX, 0, 0, 0),
        instruction(TO_INDEX, 0, 0, 0),
    ]
}

/// Takes what is at the index and no IPv4 header with ESP behind it.
fn behind_labels() -> [Instruction; 6] {
    [
        instruction(LOAD_BYTE_AT_INDEX, 0, 0, 0),
        instruction(JUMP_IF_EQUAL, 0, 3, 0x45),
        instruction(LOAD_BYTE_AT_INDEX, 0, 0, 9),
        instruction(JUMP_IF_EQUAL, 0, 1, protocol::ESP.into()),
        instruction(RETURN, 0, 0, 0),
        instruction(RETURN, 0, 0, TAKE),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel does with a program, for the instructions that are used here.
    fn takes(program: &[Instruction], packet: &[u8]) -> bool {
        let (mut at, mut accumulator, mut index) = (0, 0u32, 0);
        loop {
            let Instruction { code, if_true, if_false, operand } = program[at];
            at += 1;
            let place = match code {
                LOAD_HALF_AT_INDEX | LOAD_BYTE_AT_INDEX => (operand + index) as usize,
                _ => operand as usize,
            };
            match code {
                LOAD_INDEX => index = operand,
                TO_INDEX => index = accumulator,
                JUMP => at += operand as usize,
                AND => accumulator &= operand,
                SHIFT_LEFT => accumulator <<= operand,
                ADD_INDEX => accumulator += index,
                LOAD_BYTE | LOAD_BYTE_AT_INDEX => match packet.get(place) {
                    Some(byte) => accumulator = u32::from(*byte),
                    None => return false,
                },
                LOAD_HALF | LOAD_HALF_AT_INDEX => match packet.get(place..place + 2) {
                    Some(half) => accumulator = u32::from(u16::from_be_bytes([half[0], half[1]])),
                    None => return false,
                },
                JUMP_IF_EQUAL => {
                    at += usize::from(if accumulator == operand { if_true } else { if_false });
                }
                JUMP_IF_SET => {
                    at += usize::from(if accumulator & operand != 0 { if_true } else { if_false });
                }
                RETURN => return operand != 0,
                _ => unreachable!("no such instruction"),
            }
        }
    }

    fn frame(ip_protocol: u8, ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, ip_protocol, 0, 0]);
        frame.extend([10, 77, 0, 1, 10, 77, 0, 2]);
        ports.iter().for_each(|port| frame.extend(port.to_be_bytes()));
        frame.extend([0; 4]);
        frame.extend(payload);
        frame
    }

    fn encapsulated(labels: usize, inner_protocol: u8) -> Vec<u8> {
        let mut payload = Vec::new();
        for label in 0..labels {
            payload.extend([0, 0x3e, 0x80 | u8::from(label + 1 == labels), 64]);
        }
        payload.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, inner_protocol, 0, 0]);
        payload.extend([0; 28]);
        frame(17, [49_152, 6635], &payload)
    }

    /// An NSH of 5 words under the label of the SFF, or right behind the Ethernet header.
    #[test]
    fn what_is_behind_an_nsh_is_looked_at() {
        let program = unprotected(6635, 6636);
        let header = [0x0f, 0xc5, 2, 1, 0, 0, 1, 255, 0xff, 0xf6, 4, 8, 1, 2, 3, 4, 5, 6, 7, 8];
        for labels in 1..=18 {
            for (inner, taken) in [(50, false), (6, true)] {
                let mut frame = encapsulated(labels, inner);
                let ip = LABELS_AT as usize + 4 * labels;
                frame.splice(ip..ip, header);
                assert!(takes(&program, &frame), "no label says that it is there");
                frame[ip - 4..ip - 1].copy_from_slice(&[0xff, 0xff, 0xf1]);
                assert_eq!(takes(&program, &frame), taken, "{labels} labels in UDP, {inner}");
                frame.drain(IP_AT as usize..LABELS_AT as usize);
                frame[12..14].copy_from_slice(&[0x88, 0x47]);
                assert_eq!(takes(&program, &frame), taken, "{labels} labels in Ethernet, {inner}");
                frame.drain(IP_AT as usize..IP_AT as usize + 4 * labels);
                frame[12..14].copy_from_slice(&[0x89, 0x4f]);
                assert_eq!(takes(&program, &frame), taken, "in Ethernet, {inner}");
            }
        }
    }

    #[test]
    fn only_what_is_not_protected_is_taken() {
        let program = unprotected(6635, 6636);
        for labels in 1..=16 {
            let mut esp = encapsulated(labels, 50);
            let mut tcp = encapsulated(labels, 6);
            for frame in [&mut esp, &mut tcp] {
                // The stack right behind the Ethernet header.
                frame.drain(IP_AT as usize..LABELS_AT as usize);
                frame[12..14].copy_from_slice(&[0x88, 0x47]);
            }
            assert!(!takes(&program, &esp), "{labels} labels in Ethernet");
            assert!(takes(&program, &tcp), "{labels} labels in Ethernet without ESP");
        }
        for labels in 1..=16 {
            assert!(!takes(&program, &encapsulated(labels, 50)), "{labels} labels");
            assert!(takes(&program, &encapsulated(labels, 6)), "{labels} labels without ESP");
        }
        assert!(takes(&program, &encapsulated(19, 50)), "a stack that is too deep");
        assert!(!takes(&program, &frame(6, [40_000, 6636], b"")), "to the control port");
        assert!(!takes(&program, &frame(6, [6636, 40_000], b"")), "from the control port");
        assert!(takes(&program, &frame(6, [40_000, 80], b"GET / HTTP/1.1")), "plain HTTP");
        assert!(takes(&program, &frame(17, [6635, 53], b"")), "DNS");
        assert!(takes(&program, &frame(1, [0, 0], b"")), "ICMP");
    }

    #[test]
    fn what_is_no_ipv4_is_left_out() {
        let mut arp = frame(0, [0, 0], b"");
        arp[13] = 0x06;
        assert!(!takes(&unprotected(6635, 6636), &arp));
    }
}
