//! A process that can be told from a later one with the same number (proc_pid_stat(5), pidfd_open(2)).

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process number, and when that process started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The process number.
    pub pid: u32,
    /// Start time in clock ticks after boot.
    pub started_ticks: u64,
}

impl ProcessId {
    /// The process that has this number now.
    ///
    /// # Errors
    /// None has.
    pub fn of(pid: u32) -> io::Result<ProcessId> {
        let (_, started_ticks) = look_at(pid)?;
        Ok(ProcessId { pid, started_ticks })
    }

    /// This process.
    ///
    /// # Errors
    /// /proc is not mounted.
    pub fn me() -> io::Result<ProcessId> {
        ProcessId::of(std::process::id())
    }

    /// Whether the very process still runs. One that ended and waits to be reaped does not.
    pub fn is_alive(self) -> bool {
        look_at(self.pid).is_ok_and(|(state, started_ticks)| {
            started_ticks == self.started_ticks && state != 'Z' && state != 'X'
        })
    }

    /// Kills the very process and waits until it is gone. One that is gone already is fine.
    ///
    /// # Errors
    /// It may not be killed, or does not end in time ([`io::ErrorKind::TimedOut`]).
    pub fn kill(self, within: Duration) -> io::Result<()> {
        let Some(handle) = self.handle() else { return Ok(()) };
        match pidfd_send_signal(&handle, Signal::KILL) {
            Ok(()) => {}
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        wait(&handle, within)
    }

    /// Waits until the very process is gone, which it may be already.
    ///
    /// # Errors
    /// It goes on ([`io::ErrorKind::TimedOut`]).
    pub fn wait_end(self, within: Duration) -> io::Result<()> {
        self.handle().map_or(Ok(()), |handle| wait(&handle, within))
    }

    /// A handle that stays with the process, unless it is another one by now.
    pub(super) fn handle(self) -> Option<OwnedFd> {
        let pid = Pid::from_raw(i32::try_from(self.pid).ok()?)?;
        let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Looked at after opening: from here on the number cannot come to mean another process.
        self.is_alive().then_some(handle)
    }
}

fn wait(handle: &OwnedFd, within: Duration) -> io::Result<()> {
    let until = Instant::now() + within;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
        match poll(&mut [PollFd::new(handle, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn look_at(pid: u32) -> io::Result<(char, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    Ok(state_and_start(&stat).ok_or(io::ErrorKind::InvalidData)?)
}

/// Fields 3 and 22. The name in field 2 may hold spaces and parentheses; what follows its last parenthesis does not.
fn state_and_start(stat: &str) -> Option<(char, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// The boot in which process numbers and inode numbers mean something.
pub(super) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a) b) (c) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 1 1";
        assert_eq!(state_and_start(stat), Some(('S', 777)));
    }

    #[test]
    fn another_process_of_the_same_number_is_not_killed() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let it = ProcessId::of(child.id()).unwrap();
        assert!(it.is_alive());
        let other = ProcessId { started_ticks: it.started_ticks + 1, ..it };
        assert!(!other.is_alive());
        other.kill(Duration::from_secs(1)).unwrap();
        assert!(child.try_wait().unwrap().is_none(), "it was killed");
        it.kill(Duration::from_secs(5)).unwrap();
        assert!(!child.wait().unwrap().success());
        assert!(!it.is_alive());
    }
}
