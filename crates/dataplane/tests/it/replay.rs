//! The replay window against a naive model, across 2^32, and on several cores.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::thread;

use proptest::prelude::*;
use ringmail_dataplane::replay::{Refused, ReplayWindow, WindowPackets, WindowSizeError};

const WINDOW: u64 = 1024;

fn window() -> ReplayWindow {
    ReplayWindow::new(WindowPackets::new(WINDOW as u32).unwrap())
}

/// RFC 4303 section 3.4.3 as one would write it down: everything accepted is remembered.
#[derive(Default)]
struct Naive {
    accepted: BTreeSet<u64>,
}

impl Naive {
    fn top(&self) -> u64 {
        self.accepted.last().copied().unwrap_or(0)
    }

    fn commit(&mut self, sequence: u64) -> Result<(), Refused> {
        if sequence == 0 {
            Err(Refused::OutOfRange)
        } else if self.top() >= WINDOW && sequence <= self.top() - WINDOW {
            Err(Refused::TooOld)
        } else if self.accepted.insert(sequence) {
            Ok(())
        } else {
            Err(Refused::Replayed)
        }
    }

    /// RFC 4303 appendix A2.1 in other words: the one number with these low bits among the 2^32 that begin at the
    /// window's lower edge.
    fn infer(&self, low: u32) -> Result<u64, Refused> {
        let edge = i128::from(self.top()) - i128::from(WINDOW) + 1;
        let found = (-1..=i128::from(self.top() >> 32) + 1)
            .map(|high| (high << 32) + i128::from(low))
            .find(|number| (edge..edge + (1 << 32)).contains(number))
            .unwrap();
        u64::try_from(found).map_err(|_| Refused::TooOld)
    }
}

/// Steps of all sizes that matter: within a block, about the window, about the ring, about 2^32.
fn step() -> impl Strategy<Value = i64> {
    let window = WINDOW as i64;
    prop_oneof![
        6 => -40..40_i64,
        3 => -window - 40..window + 40,
        2 => -3 * window..3 * window,
        1 => (-1..=1_i64, -70..70_i64).prop_map(|(lap, near)| (lap << 32) + near),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn it_answers_as_the_naive_model(
        start in prop_oneof![0..100_u64, (1_u64 << 32) - 100..(1 << 32) + 100, (1_u64 << 40)..1 << 41],
        steps in proptest::collection::vec((step(), any::<bool>()), 1..300),
    ) {
        let (window, mut naive) = (window(), Naive::default());
        let mut at = start;
        for (step, from_top) in steps {
            let base = if from_top { naive.top() } else { at };
            at = base.saturating_add_signed(step) % (1 << 42);
            prop_assert_eq!(window.infer(at as u32), naive.infer(at as u32));
            let hint = window.check(at);
            let expected = naive.commit(at);
            prop_assert_eq!(hint, expected);
            prop_assert_eq!(window.commit(at), expected);
            prop_assert_eq!(window.top(), naive.top());
        }
    }
}

#[test]
fn numbers_that_cross_2_to_the_32_are_told_apart_in_both_directions() {
    let (window, edge) = (window(), 1_u64 << 32);
    window.commit(edge - 2).unwrap();
    assert_eq!(window.infer(3), Ok(edge + 3), "forward over the edge");
    window.commit(edge + 3).unwrap();
    assert_eq!(window.infer(u32::MAX), Ok(edge - 1), "late from before the edge");
    assert_eq!(window.commit(edge - 1), Ok(()));
    assert_eq!(window.commit(edge - 2), Err(Refused::Replayed));
    assert_eq!(window.commit(edge), Ok(()), "the low bits are zero, the number is not");
    assert_eq!(window.infer(0), Ok(edge));
    // Appendix A2.1, case B: everything below the window's edge of the lower subspace is the next lap.
    assert_eq!(window.infer((edge + 3 - WINDOW) as u32), Ok(2 * edge - WINDOW + 3));
    assert_eq!(window.infer((edge + 4 - WINDOW) as u32), Ok(edge - WINDOW + 4));
}

#[test]
fn a_number_out_of_range_is_refused() {
    let window = window();
    let max = window.max_sequence();
    assert_eq!(window.commit(0), Err(Refused::OutOfRange));
    assert_eq!(window.infer(u32::MAX), Err(Refused::TooOld), "before the first");
    assert_eq!(window.commit(max + 1), Err(Refused::OutOfRange));
    assert_eq!(window.commit(u64::MAX), Err(Refused::OutOfRange));
    assert_eq!(window.commit(max), Ok(()));
    assert_eq!(window.commit(max), Err(Refused::Replayed));
    assert_eq!(window.commit(1), Err(Refused::TooOld));
}

#[test]
fn a_window_of_an_odd_size_is_refused() {
    for size in [0, 1, 64, 512, 1023, 1025, 3000, 1 << 21, u32::MAX] {
        assert_eq!(WindowPackets::new(size), Err(WindowSizeError(size)));
    }
    for size in [1024, 4096, 1 << 20] {
        assert_eq!(WindowPackets::new(size).map(WindowPackets::get), Ok(size));
    }
}

/// A small generator with a printed seed, so that a failure can be had again.
struct Shuffler(u64);

impl Shuffler {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn shuffle(&mut self, numbers: &mut [u64]) {
        for at in (1..numbers.len()).rev() {
            numbers.swap(at, (self.next() % (at as u64 + 1)) as usize);
        }
    }
}

/// Every number, moved less than half a window from its place, some of them twice.
fn shuffled(numbers: std::ops::RangeInclusive<u64>, seed: u64) -> Vec<u64> {
    let mut shuffler = Shuffler(seed);
    let mut stream: Vec<u64> = numbers.collect();
    for group in stream.chunks_mut(WINDOW as usize / 4) {
        shuffler.shuffle(group);
    }
    let twice = |number| std::iter::repeat_n(number, 1 + usize::from(number % 7 == 0));
    stream.into_iter().flat_map(twice).collect()
}

/// Each thread delivers every number in an order of its own. Whoever delivers a number first finds it within the window,
/// because whoever moved the top beyond had delivered it before; so each is accepted, and once.
#[test]
fn cores_that_race_accept_each_number_exactly_once() {
    const NUMBERS: u64 = 200_000;
    for (threads, first) in [(2, 1), (2, (1 << 32) - NUMBERS / 2), (4, 1)] {
        let window = window();
        let accepted: Vec<AtomicU8> = (0..NUMBERS).map(|_| AtomicU8::new(0)).collect();
        let barrier = Barrier::new(threads);
        thread::scope(|scope| {
            for thread in 0..threads as u64 {
                let (window, accepted, barrier) = (&window, &accepted, &barrier);
                scope.spawn(move || {
                    let stream = shuffled(first..=first + NUMBERS - 1, 0x5eed + thread);
                    barrier.wait();
                    for number in stream {
                        if window.commit(number).is_ok() {
                            accepted[(number - first) as usize].fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        for (at, times) in accepted.iter().enumerate() {
            let times = times.load(Ordering::Relaxed);
            assert_eq!(times, 1, "{} of {threads} threads", first + at as u64);
        }
        assert_eq!(window.top(), first + NUMBERS - 1);
    }
}

/// Numbers dealt out to the threads, a window at a time, so that every refusal is one too many.
#[test]
fn cores_that_share_a_flow_lose_nothing_within_the_window() {
    const THREADS: u64 = 3;
    const ROUNDS: u64 = 400;
    let (window, wrong) = (window(), AtomicUsize::new(0));
    let barrier = Barrier::new(THREADS as usize);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (window, wrong, barrier) = (&window, &wrong, &barrier);
            scope.spawn(move || {
                let mut shuffler = Shuffler(0xcafe + thread);
                for round in 0..ROUNDS {
                    let first = 1 + round * WINDOW;
                    let mut mine: Vec<u64> =
                        (first..first + WINDOW).filter(|n| n % THREADS == thread).collect();
                    shuffler.shuffle(&mut mine);
                    barrier.wait();
                    let lost = mine.iter().filter(|n| window.commit(**n).is_err()).count();
                    let again = mine.iter().filter(|n| window.commit(**n).is_ok()).count();
                    wrong.fetch_add(lost + again, Ordering::Relaxed);
                    barrier.wait();
                }
            });
        }
    });
    assert_eq!(wrong.into_inner(), 0);
}
