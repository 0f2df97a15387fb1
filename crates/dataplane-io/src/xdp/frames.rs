//! The memory of a socket's frames (UMEM): chunks of one size, each with the kernel or with this side.

use std::io;
use std::slice;

use super::ring::Mapping;

/// The memory.
#[derive(Debug)]
pub(super) struct Frames {
    mapping: Mapping,
    chunk_bytes: usize,
}

/// A chunk that the kernel has no descriptor of. It is given to the kernel by its address.
#[derive(Debug)]
pub(super) struct Chunk {
    start: usize,
}

impl Frames {
    /// Memory for this many chunks, and the chunks.
    pub(super) fn new(chunks: usize, chunk_bytes: usize) -> io::Result<(Frames, Vec<Chunk>)> {
        let mapping = Mapping::anonymous(chunks * chunk_bytes)?;
        let all = (0..chunks).map(|index| Chunk { start: index * chunk_bytes }).collect();
        Ok((Frames { mapping, chunk_bytes }, all))
    }

    /// Bytes of a chunk.
    pub(super) fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }

    /// Where the memory lies, and how long it is.
    pub(super) fn extent(&self) -> (u64, u64) {
        (self.mapping.start.as_ptr().expose_provenance() as u64, self.mapping.len_bytes as u64)
    }

    /// The chunk that holds an address which the kernel has just handed back, and where in it that is. To be called once for
    /// each that is handed back.
    pub(super) fn handed_back(&self, address: u64) -> Option<(Chunk, usize)> {
        let address = usize::try_from(address).ok().filter(|at| *at < self.mapping.len_bytes)?;
        let at = address % self.chunk_bytes;
        Some((Chunk { start: address - at }, at))
    }

    /// Bytes of a chunk, from `at` on; `None` if they reach beyond it.
    pub(super) fn bytes(&self, chunk: &Chunk, at: usize, len: usize) -> Option<&[u8]> {
        at.checked_add(len).filter(|end| *end <= self.chunk_bytes)?;
        // SAFETY: within the chunk, which lies in the mapping; the kernel does not write to it while it is on this side.
        Some(unsafe {
            slice::from_raw_parts(self.mapping.start.add(chunk.start + at).as_ptr(), len)
        })
    }

    /// All bytes of a chunk, to write.
    pub(super) fn bytes_mut(&mut self, chunk: &mut Chunk) -> &mut [u8] {
        // SAFETY: the chunk lies in the mapping, is borrowed alone, and the kernel neither reads nor writes it meanwhile.
        unsafe {
            let start = self.mapping.start.add(chunk.start).as_ptr();
            slice::from_raw_parts_mut(start, self.chunk_bytes)
        }
    }
}

impl Chunk {
    /// Hands the chunk over to the kernel, by this address.
    pub(super) fn into_address(self) -> u64 {
        self.start as u64
    }
}
