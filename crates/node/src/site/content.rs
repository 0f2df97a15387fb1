//! What the built-in site holds: the same bytes on every run.

use bytes::Bytes;

/// The string that the testbed's inspection forbids (paper section VI.A).
pub const FORBIDDEN: &str = "test";

/// The files of the page with their types and sizes in bytes: a start page and what it refers to.
pub const PAGE: [(&str, &str, usize); 9] = [
    ("/", "text/html; charset=utf-8", 48_000),
    ("/style/base.css", "text/css", 64_000),
    ("/style/print.css", "text/css", 8_000),
    ("/script/menu.js", "text/javascript", 90_000),
    ("/script/search.js", "text/javascript", 130_000),
    ("/image/front.jpg", "image/jpeg", 420_000),
    ("/image/campus.jpg", "image/jpeg", 310_000),
    ("/image/logo.svg", "image/svg+xml", 20_000),
    ("/font/text.woff2", "font/woff2", 110_000),
];

/// Bytes of all files of the page.
pub const PAGE_BYTES: usize = 1_200_000;

/// Bytes of the block that files are cut from.
pub(super) const BLOCK_BYTES: usize = 512 * 1024;

/// The file of the page at this path, with its type.
pub fn page(path: &str) -> Option<(&'static str, usize)> {
    PAGE.iter().find(|(name, ..)| *name == path).map(|(_, kind, len)| (*kind, *len))
}

/// A block of letters without `t`, from a fixed seed.
pub(super) fn block() -> Bytes {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrsuvwxyz0123456";
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut letter = || {
        // xorshift64 (Marsaglia 2003): any fixed sequence would do.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        LETTERS[(state >> 40) as usize % LETTERS.len()]
    };
    (0..BLOCK_BYTES).map(|_| letter()).collect::<Vec<u8>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_nine_files_of_1_2_megabytes_that_pass_the_inspection() {
        assert_eq!(PAGE.iter().map(|(_, _, len)| len).sum::<usize>(), PAGE_BYTES);
        let block = block();
        assert!(PAGE.iter().all(|(_, _, len)| *len <= block.len()));
        let forbidden = FORBIDDEN.as_bytes();
        assert!(!block.windows(forbidden.len()).any(|part| part == forbidden));
    }
}
