//! Keylime's runtime policies as they are (Keylime 7, `keylime/ima/ima.py`): which files, keys and buffers a host may have
//! measured; several of them united for one host, each within its scope.

mod excludes;
mod file;
pub mod keys;
mod set;

pub use file::{KeylimePolicy, PolicyError, RuntimePolicy};
pub use keys::{KeyRing, SigningKey};
pub(crate) use set::Learned;
pub use set::{PolicySet, ScopedPolicy};
