//! No packet allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use ringmail_functions::{FirewallRule, OnMatch};
use ringmail_model::domain::FirewallAction;

use crate::firewall::Side::{Client, Service};
use crate::firewall::{Gate, error_about, rule, tcp, udp};
use crate::harness::{Inspector, SYN, Way, bytes, datagram, out, regex, segment};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; the counter is a plain cell of the thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(act: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    act();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn no_packet_allocates() {
    let mut inspector = Inspector::new(&[
        (bytes("forbidden"), OnMatch::Drop),
        (bytes("noted"), OnMatch::Alert),
        (regex("gr[ae]y"), OnMatch::Alert),
    ])
    .opened(0);
    let content = vec![b'.'; 1400];
    let packets: Vec<Vec<u8>> = (0..3000u32).map(|n| out(n * 1400, &content)).collect();
    let others = [
        datagram(b"noted and grey"),
        segment(Way::Back, 9, Some(1400), 0, b"noted"),
        out(3000 * 1400 + 700, b"ahead of a gap"),
        out(1400 * 2999, &[b'.'; 100]),
        out(3000 * 1400, &[b'.'; 700]),
    ];
    assert!(inspector.passes(&packets[0]));
    let count = allocations(|| {
        for packet in packets[1..].iter().chain(&others) {
            assert!(inspector.passes(packet));
        }
        inspector.wait(1);
    });
    assert_eq!(count, 0);
    assert_ne!(allocations(|| drop(std::hint::black_box(vec![1]))), 0, "the counter counts");
}

#[test]
fn no_packet_allocates_in_a_firewall() {
    let rules = vec![
        rule("web", 6, Some(80), FirewallAction::Allow),
        rule("no-web", 6, Some(81), FirewallAction::Reject),
        FirewallRule { log: true, ..rule("dns", 17, Some(53), FirewallAction::Allow) },
    ];
    let mut gate = Gate::new(rules);
    gate.judge(Client, &tcp(Client, (1, 80), SYN, (99, None), b""));
    let sent = udp(Client, (7, 53));
    let packets = [
        tcp(Client, (2, 80), SYN, (99, None), b""),
        tcp(Client, (2, 80), 0, (100, Some(5)), b"too early"),
        tcp(Client, (2, 81), SYN, (99, None), b""),
        tcp(Client, (3, 80), SYN, (99, None), b""),
        sent.clone(),
    ];
    let answers = [
        tcp(Service, (2, 80), SYN, (499, Some(100)), b""),
        udp(Service, (7, 53)),
        error_about(Service, &sent),
    ];
    let count = allocations(|| {
        for packet in &packets {
            gate.judge(Client, packet);
        }
        for packet in &answers {
            assert!(gate.passes(Service, packet));
        }
        gate.wait(1000);
    });
    assert_eq!(count, 0);
}
