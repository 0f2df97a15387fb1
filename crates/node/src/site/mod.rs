//! The built-in web site of the paper's testbed (section VII.A): 9 files, 1.2 MB, and a file of any size to download.
//!
//! It stands where a real service would: a plain HTTP/1.1 server that knows nothing of chains. No file holds the string
//! that the example's inspection forbids.

mod content;
mod server;

pub use content::{FORBIDDEN, PAGE, PAGE_BYTES, page};
pub use server::{DOWNLOAD_PREFIX, UPLOAD_PATH, serve};
