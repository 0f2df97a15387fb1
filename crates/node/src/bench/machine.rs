//! What a bench ran on.

use std::fs;

use schemars::JsonSchema;
use serde::Serialize;

/// The machine of a bench.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Processors that the bench may use.
    pub cpus: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Whether the processor encrypts AES blocks in vectors (VAES), which decides most figures.
    pub vaes: bool,
}

impl Machine {
    /// This one; what cannot be read is said to be unknown.
    pub fn this() -> Machine {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = info.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
        };
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Machine {
            cpu: field("model name").unwrap_or_else(|| "unknown".to_owned()),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: kernel.trim().to_owned(),
            vaes: field("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "vaes")),
        }
    }
}
