//! Rings that are shared with the kernel, one side writing and one reading (Documentation/networking/af_xdp.rst of the
//! kernel), and the memory that they lie in. What is written before an index is seen once the index is.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// Memory that goes with the value.
#[derive(Debug)]
pub(super) struct Mapping {
    pub(super) start: NonNull<u8>,
    pub(super) len_bytes: usize,
}

/// Where a ring's parts lie in its mapping.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) producer: usize,
    pub(super) consumer: usize,
    pub(super) entries: usize,
    /// Where the mapping begins in the socket's file.
    pub(super) at: u64,
}

/// A ring that this side writes.
pub(super) struct Producer<T> {
    ring: Ring<T>,
    /// The next index to write; those before it are published, or will be.
    next: u32,
}

/// A ring that this side reads.
pub(super) struct Consumer<T> {
    ring: Ring<T>,
    /// The next index to read.
    next: u32,
    /// What the kernel had written when it was looked at last.
    seen: u32,
}

struct Ring<T> {
    _mapping: Mapping,
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    entries: NonNull<T>,
    len: u32,
}

// SAFETY: the pointers lead into a mapping that the ring owns, and the kernel does not care which thread writes.
unsafe impl<T: Send> Send for Ring<T> {}
// SAFETY: a mapping is nobody else's, and stays where it is.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Pages of zeros that are there at once.
    pub(super) fn anonymous(len_bytes: usize) -> io::Result<Mapping> {
        let flags = MapFlags::PRIVATE | MapFlags::POPULATE;
        // SAFETY: the kernel chooses where, so that nothing else is touched.
        let start = unsafe {
            mmap_anonymous(ptr::null_mut(), len_bytes, ProtFlags::READ | ProtFlags::WRITE, flags)?
        };
        Mapping::of(start.cast(), len_bytes)
    }

    fn shared(socket: BorrowedFd<'_>, at: u64, len_bytes: usize) -> io::Result<Mapping> {
        let (protection, flags) =
            (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::POPULATE);
        // SAFETY: the kernel chooses where, so that nothing else is touched.
        let start = unsafe { mmap(ptr::null_mut(), len_bytes, protection, flags, socket, at)? };
        Mapping::of(start.cast(), len_bytes)
    }

    fn of(start: *mut u8, len_bytes: usize) -> io::Result<Mapping> {
        let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapping { start, len_bytes })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this value alone knows the mapping, and is going.
        let _unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.len_bytes) };
    }
}

impl<T> Ring<T> {
    /// The ring of `len` entries, a power of two, that the kernel keeps for this socket.
    fn map(socket: BorrowedFd<'_>, layout: Layout, len: u32) -> io::Result<Ring<T>> {
        let Layout { producer, consumer, entries, at } = layout;
        let end = |start: usize, bytes: usize| start.saturating_add(bytes);
        let len_bytes = end(entries, len as usize * size_of::<T>());
        let mapping = Mapping::shared(socket, at, len_bytes)?;
        let aligned = producer.is_multiple_of(align_of::<AtomicU32>())
            && consumer.is_multiple_of(align_of::<AtomicU32>())
            && entries.is_multiple_of(align_of::<T>());
        if !aligned || end(producer.max(consumer), size_of::<AtomicU32>()) > len_bytes {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let base = mapping.start;
        // SAFETY: all three lie within the mapping, which starts at a page: looked at above.
        let (producer, consumer, entries) =
            unsafe { (base.byte_add(producer), base.byte_add(consumer), base.byte_add(entries)) };
        Ok(Ring {
            _mapping: mapping,
            producer: producer.cast(),
            consumer: consumer.cast(),
            entries: entries.cast(),
            len,
        })
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: aligned, in the mapping that `self` owns, and the kernel changes it by atomic stores only.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as for the producer's index.
        unsafe { self.consumer.as_ref() }
    }

    fn entry(&self, index: u32) -> NonNull<T> {
        // SAFETY: below `len`, as many as the mapping holds.
        unsafe { self.entries.add((index & (self.len - 1)) as usize) }
    }
}

impl<T: Copy> Producer<T> {
    /// Maps the ring.
    pub(super) fn map(socket: BorrowedFd<'_>, layout: Layout, len: u32) -> io::Result<Self> {
        let ring: Ring<T> = Ring::map(socket, layout, len)?;
        let next = ring.producer().load(Ordering::Relaxed);
        Ok(Producer { ring, next })
    }

    /// Writes an entry that the kernel sees with the next [`Producer::publish`]; false if there is no room.
    pub(super) fn push(&mut self, value: T) -> bool {
        if self.unread() >= self.ring.len {
            return false;
        }
        // SAFETY: the kernel has read what was there, and does not look before the index says so.
        unsafe { self.ring.entry(self.next).write(value) };
        self.next = self.next.wrapping_add(1);
        true
    }

    /// Shows the kernel what was written.
    pub(super) fn publish(&self) {
        self.ring.producer().store(self.next, Ordering::Release);
    }

    /// Entries that the kernel has not read yet.
    pub(super) fn unread(&self) -> u32 {
        self.next.wrapping_sub(self.ring.consumer().load(Ordering::Acquire))
    }
}

impl<T: Copy> Consumer<T> {
    /// Maps the ring.
    pub(super) fn map(socket: BorrowedFd<'_>, layout: Layout, len: u32) -> io::Result<Self> {
        let ring: Ring<T> = Ring::map(socket, layout, len)?;
        let next = ring.consumer().load(Ordering::Relaxed);
        Ok(Consumer { ring, next, seen: next })
    }

    /// The next entry, which stays.
    pub(super) fn peek(&mut self) -> Option<T> {
        if self.seen == self.next {
            self.seen = self.ring.producer().load(Ordering::Acquire);
        }
        // SAFETY: the kernel wrote it before it moved its index, and does not touch it before ours is past it.
        (self.seen != self.next).then(|| unsafe { self.ring.entry(self.next).read() })
    }

    /// Goes on to the one after; the kernel has the room again with the next [`Consumer::release`].
    pub(super) fn advance(&mut self) {
        self.next = self.next.wrapping_add(1);
    }

    /// Gives the kernel the room of what was read.
    pub(super) fn release(&self) {
        self.ring.consumer().store(self.next, Ordering::Release);
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Producer({} entries, at {})", self.ring.len, self.next)
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Consumer({} entries, at {})", self.ring.len, self.next)
    }
}
