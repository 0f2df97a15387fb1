//! Which processor a process runs on, and how much of it it took.

use std::fs;

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, Pid, sched_setaffinity};

/// Ticks a second in /proc/PID/stat: USER_HZ is 100 on all of Linux's interfaces to programs (proc(5)).
const TICKS_A_SECOND: f64 = 100.0;

/// Ties all threads of a process to one processor; those that they start later inherit it.
///
/// # Errors
/// When there is no such processor or process.
pub(super) fn pin(pid: u32, cpu: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(cpu);
    let tasks = format!("/proc/{pid}/task");
    for task in fs::read_dir(&tasks).with_context(|| tasks.clone())? {
        let thread = task?.file_name().to_string_lossy().parse::<i32>()?;
        let thread = Pid::from_raw(thread).context("a thread without a number")?;
        match sched_setaffinity(Some(thread), &only) {
            // It ended meanwhile.
            Err(rustix::io::Errno::SRCH) => {}
            pinned => pinned.with_context(|| {
                format!("process {pid} cannot be tied to processor {cpu}; the bench needs two")
            })?,
        }
    }
    Ok(())
}

/// Seconds of processor time that a process took so far, in itself and in the kernel.
///
/// # Errors
/// When it is not there.
pub(super) fn seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
    parse(&stat).with_context(|| format!("{path} says `{stat}`"))
}

/// proc_pid_stat(5), fields 14 and 15; the name before them may hold blanks and brackets.
fn parse(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some((ticks()? + ticks()?) as f64 / TICKS_A_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 10 0 0 0 250 75 9 9 20 0 3 0 100 1 1";
        assert_eq!(parse(stat), Some(3.25));
        assert!(seconds(std::process::id()).is_ok());
    }
}
