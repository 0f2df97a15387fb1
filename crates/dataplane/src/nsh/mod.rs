//! The Network Service Header between elements (RFC 8300), as `docs/nsh.md` has it: where on its path a packet is, the way
//! that it came, and a code over both that is made anew on every link.

pub mod beginning;
pub mod cmac;
pub(crate) mod group;
pub mod journal;
pub mod link;
pub mod metadata;
pub mod path;
pub mod proof;
pub(crate) mod rfc9145;
pub mod trail;
pub mod verify;

pub use metadata::{MetadataKey, ToldConfig};
pub use path::{NshConfig, Origin, PathNsh};
pub use rfc9145::Clock;
pub use verify::Seen;
