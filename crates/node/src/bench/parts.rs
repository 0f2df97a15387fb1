//! Where the time of a packet goes (paper section VII.C): the processor time of every process during downloads.
//!
//! Work that the kernel does in a softirq counts for whoever runs then, mostly the process that sent the packet.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::Serialize;

use super::domain;
use crate::testbed::Testbed;

/// Nanoseconds of a tick in /proc/PID/stat: USER_HZ is 100 on all of Linux's interfaces to programs (proc(5)).
const TICK_NS: u64 = 10_000_000;

/// What one kind of thread of one process took for each inner packet, of both directions.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Part {
    /// The element, `site-NAME` for a built-in service, or the client, whose process is the bench itself.
    pub process: String,
    /// The name of the threads.
    pub thread: String,
    /// Nanoseconds of processor time in the program, a packet.
    pub user_ns: f64,
    /// Nanoseconds of processor time in the kernel, a packet.
    pub system_ns: f64,
}

/// Ticks of processor time by process and name of thread: in the program, in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Times(BTreeMap<(String, String), (u64, u64)>);

impl Times {
    /// Of all processes of a testbed, as of now.
    ///
    /// # Errors
    /// When /proc does not say.
    pub(super) fn now(testbed: &Testbed) -> Result<Times> {
        let mut times = Times::default();
        times.add(domain::CLIENT, "self")?;
        for (name, pid, _) in testbed.handle().elements() {
            if let Some(pid) = pid {
                times.add(&name, &pid.to_string())?;
            }
        }
        Ok(times)
    }

    /// The parts since `before`, for each of so many packets; those that took nothing are left out.
    pub(super) fn since(&self, before: &Times, packets: u64) -> Vec<Part> {
        let each = |ticks: u64| (ticks * TICK_NS) as f64 / packets.max(1) as f64;
        let parts = self.0.iter().map(|(key, now)| {
            let then = before.0.get(key).copied().unwrap_or_default();
            Part {
                process: key.0.clone(),
                thread: key.1.clone(),
                user_ns: each(now.0.saturating_sub(then.0)),
                system_ns: each(now.1.saturating_sub(then.1)),
            }
        });
        parts.filter(|part| part.user_ns + part.system_ns > 0.0).collect()
    }

    fn add(&mut self, process: &str, pid: &str) -> Result<()> {
        let tasks = format!("/proc/{pid}/task");
        for task in fs::read_dir(&tasks).with_context(|| tasks.clone())? {
            // A thread may end meanwhile.
            let Some((thread, user, system)) = read(&task?.path()) else { continue };
            let times = self.0.entry((process.to_owned(), thread)).or_default();
            *times = (times.0 + user, times.1 + system);
        }
        Ok(())
    }
}

fn read(task: &Path) -> Option<(String, u64, u64)> {
    let stat = fs::read_to_string(task.join("stat")).ok()?;
    parse(&stat)
}

/// Name and times of a thread; proc_pid_stat(5): fields 2, 14 and 15. The name may hold blanks and brackets.
fn parse(stat: &str) -> Option<(String, u64, u64)> {
    let (head, rest) = stat.rsplit_once(") ")?;
    let (_, name) = head.split_once('(')?;
    let mut fields = rest.split(' ').skip(11);
    Some((name.to_owned(), fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_with_brackets_in_its_name_is_read() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 10 0 0 0 250 75 0 0 20 0 3 0 100 1 1";
        assert_eq!(parse(stat), Some(("a (b) c".to_owned(), 250, 75)));
    }

    #[test]
    fn ticks_become_nanoseconds_a_packet() {
        let times = |user, system| {
            Times([(("sf1".to_owned(), "worker-0".to_owned()), (user, system))].into())
        };
        let parts = times(150, 40).since(&times(50, 20), 1_000_000);
        assert_eq!((parts[0].user_ns, parts[0].system_ns), (1000.0, 200.0));
        assert_eq!(times(50, 20).since(&times(50, 20), 1), Vec::new());
    }
}
