//! Hints to the kernel and to the processor about memory. They change when things happen and never what happens, so both
//! are safe to call with anything; their unsafe code lives here, that the crates which use them need none.

/// Bytes of a line of the processor's caches.
pub const CACHE_LINE_BYTES: usize = 64;

/// Bytes below which large pages gain nothing: less than one of them.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Asks the kernel to put large pages behind memory that was not touched yet (madvise(2), `MADV_HUGEPAGE`).
///
/// A table that is far larger than the caches costs a walk through page tables at nearly every look, and inside a
/// virtual machine one through those of the host, too; with pages of 2 MiB the processor knows them all by heart. Where
/// the kernel refuses, nothing is different.
pub fn prefer_huge_pages<T>(memory: &[T]) {
    #[cfg(target_os = "linux")]
    if let Some((start, len)) = whole_pages(memory.as_ptr().addr(), size_of_val(memory)) {
        let start = memory.as_ptr().cast::<u8>().wrapping_add(start - memory.as_ptr().addr());
        // SAFETY: The range lies within `memory`. This advice changes no content and no right to it.
        let advised = unsafe {
            rustix::mm::madvise(start.cast_mut().cast(), len, rustix::mm::Advice::LinuxHugepage)
        };
        // A kernel without large pages says so; then the memory is as it was.
        let _ = advised;
    }
}

/// The whole pages in a range of memory, if it is worth it: where they begin, and their bytes.
#[cfg(target_os = "linux")]
fn whole_pages(start: usize, len: usize) -> Option<(usize, usize)> {
    let page = rustix::param::page_size();
    let first = start.checked_next_multiple_of(page)?;
    let end = start.checked_add(len)? / page * page;
    let len = end.checked_sub(first)?;
    (len >= HUGE_PAGE_BYTES).then_some((first, len))
}

/// Asks the processor to fetch `memory` into its caches while it does something else.
#[inline]
pub fn prefetch<T>(memory: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // From the line that it begins in to the one that it ends in.
        let start = memory.as_ptr().cast::<i8>();
        let before = start.addr() % CACHE_LINE_BYTES;
        for at in (0..before + size_of_val(memory)).step_by(CACHE_LINE_BYTES) {
            let line = start.wrapping_sub(before).wrapping_add(at);
            // SAFETY: Every x86_64 has the instruction, and nothing that it does can be seen, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = memory;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel says about the mapping that holds `address`.
    #[cfg(target_os = "linux")]
    fn flags(address: usize) -> String {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in maps.lines() {
            if let Some((start, rest)) = line.split_once('-')
                && let Ok(start) = usize::from_str_radix(start, 16)
                && let Some(Ok(end)) =
                    rest.split(' ').next().map(|end| usize::from_str_radix(end, 16))
            {
                inside = (start..end).contains(&address);
            }
            if inside && line.starts_with("VmFlags:") {
                return line.to_owned();
            }
        }
        panic!("no mapping holds {address:#x}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn large_memory_is_advised_and_keeps_its_content() {
        let mut memory = vec![0u64; HUGE_PAGE_BYTES];
        memory[HUGE_PAGE_BYTES / 2] = 7;
        prefer_huge_pages(&memory);
        if std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
            let flags = flags(memory[HUGE_PAGE_BYTES / 2..].as_ptr().addr());
            assert!(flags.split(' ').any(|flag| flag == "hg"), "{flags}");
        }
        assert_eq!(memory.iter().sum::<u64>(), 7);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn only_whole_pages_are_advised() {
        let page = rustix::param::page_size();
        assert_eq!(whole_pages(page, HUGE_PAGE_BYTES), Some((page, HUGE_PAGE_BYTES)));
        assert_eq!(whole_pages(page + 1, HUGE_PAGE_BYTES), None);
        assert_eq!(
            whole_pages(page + 1, HUGE_PAGE_BYTES + 2 * page),
            Some((2 * page, HUGE_PAGE_BYTES + page))
        );
        assert_eq!(whole_pages(usize::MAX - 1, 1), None);
        assert_eq!(whole_pages(page, 0), None);
    }

    #[test]
    fn fetching_changes_nothing() {
        let bytes = [5u8; 200];
        prefetch(&bytes);
        prefetch(&bytes[..0]);
        assert_eq!(bytes, [5; 200]);
    }
}
