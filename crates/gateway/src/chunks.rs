//! Slices that are to leave together, cut to whole records.

use std::io::IoSlice;

/// Copies what is left of `bufs` after `skip` bytes; gives its length, below a record's.
pub(crate) fn keep_rest(partial: &mut Vec<u8>, bufs: &[IoSlice<'_>], skip: usize) -> usize {
    let (mut skip, before) = (skip, partial.len());
    for buf in bufs {
        let from = skip.min(buf.len());
        skip -= from;
        partial.extend_from_slice(&buf[from..]);
    }
    partial.len() - before
}

/// The first `limit` bytes of a buffer and those after it, as slices.
pub(crate) struct Chunks<'a> {
    slices: [IoSlice<'a>; Chunks::SLICES],
    used: usize,
}

impl<'a> Chunks<'a> {
    /// hyper offers at most 64.
    const SLICES: usize = 65;

    pub(crate) fn new(first: &'a [u8], bufs: &'a [IoSlice<'a>], limit: usize) -> Chunks<'a> {
        let mut chunks = Chunks { slices: [IoSlice::new(&[]); Chunks::SLICES], used: 0 };
        let mut room = limit;
        let all = std::iter::once(first).chain(bufs.iter().map(|buf| &**buf));
        for (slot, buf) in chunks.slices.iter_mut().zip(all) {
            let taken = room.min(buf.len());
            *slot = IoSlice::new(&buf[..taken]);
            room -= taken;
            chunks.used += 1;
        }
        chunks
    }

    pub(crate) fn slices(&mut self) -> &[IoSlice<'a>] {
        &self.slices[..self.used]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(chunks: &mut Chunks<'_>) -> Vec<u8> {
        chunks.slices().iter().flat_map(|slice| slice.iter().copied()).collect()
    }

    #[test]
    fn what_is_sent_and_what_is_kept_is_everything_once() {
        let first = b"abc";
        let bufs = [IoSlice::new(b"defg"), IoSlice::new(b""), IoSlice::new(b"hij")];
        for limit in first.len()..=10 {
            let mut sent = bytes(&mut Chunks::new(first, &bufs, limit));
            assert_eq!(sent.len(), limit);
            let mut kept = Vec::new();
            assert_eq!(keep_rest(&mut kept, &bufs, limit - first.len()), 10 - limit);
            sent.extend(kept);
            assert_eq!(sent, b"abcdefghij");
        }
    }

    #[test]
    fn more_buffers_than_slices_are_cut_off() {
        let bufs = vec![IoSlice::new(b"x"); 100];
        let sent = bytes(&mut Chunks::new(b"abc", &bufs, 103));
        assert_eq!(sent.len(), 3 + Chunks::SLICES - 1);
    }
}
