//! Starts an element: a process by fork and exec, or a thread.
//!
//! PR_SET_PDEATHSIG (PR_SET_PDEATHSIG(2const)) fires when the *thread* that forked ends. So all processes are forked by
//! one thread, which lives as long as the supervisor.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{
    Pid, PidfdFlags, Signal, getpid, getppid, pidfd_open, set_parent_process_death_signal,
};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use super::element::{Program, ThreadBody};
use super::exit::How;
use crate::control::{ControlChannel, FromElement};
use crate::topology::Netns;

/// The thread that forks.
#[derive(Debug)]
pub(super) struct Spawner {
    jobs: mpsc::Sender<Job>,
}

type Job = Box<dyn FnOnce() + Send>;

/// A process that was started.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) child: Child,
    pub(super) pid: u32,
    pub(super) pidfd: OwnedFd,
}

impl Spawner {
    pub(super) fn start() -> io::Result<Spawner> {
        let (jobs, queue) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("spawner".into())
            .spawn(move || queue.iter().for_each(|job| job()))?;
        Ok(Spawner { jobs })
    }

    /// Starts a process inside the namespace. It inherits the descriptor, under the same number.
    pub(super) async fn spawn(
        &self,
        program: &Program,
        netns: &Arc<Netns>,
        control: OwnedFd,
    ) -> io::Result<Started> {
        let command = command(program, netns, control);
        let runtime = tokio::runtime::Handle::current();
        let (answer, started) = oneshot::channel();
        let job = move || {
            let _context = runtime.enter();
            // Whoever asked may be gone; then the child goes with what is dropped here.
            drop(answer.send(run(command)));
        };
        let gone = || io::Error::other("the spawning thread is gone");
        self.jobs.send(Box::new(job)).map_err(|_| gone())?;
        started.await.map_err(|_| gone())?
    }
}

fn command(program: &Program, netns: &Arc<Netns>, control: OwnedFd) -> Command {
    let mut command = Command::new(&program.path);
    command
        .args(&program.args)
        .arg(control.as_raw_fd().to_string())
        .envs(program.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let (netns, parent) = (Arc::clone(netns), getpid());
    // SAFETY: between fork and exec only system calls are made; nothing allocates, locks or may panic.
    unsafe { command.pre_exec(move || become_element(&netns, parent, &control)) };
    command
}

/// The child, before exec.
fn become_element(netns: &Netns, parent: Pid, control: &OwnedFd) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid() != Some(parent) {
        // The parent ended before the signal was set.
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    netns.enter()?;
    Ok(fcntl_setfd(control.as_fd(), FdFlags::empty())?)
}

fn run(mut command: Command) -> io::Result<Started> {
    let child = command.spawn()?;
    let pid = child.id().ok_or(io::ErrorKind::NotFound)?;
    let number =
        i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    // Nobody waited for the child yet, so the number is still its own.
    let pidfd = pidfd_open(number, PidfdFlags::empty())?;
    Ok(Started { child, pid, pidfd })
}

/// Starts a thread inside the namespace. What it sends at the end is how it ended, and why if it failed.
pub(super) fn spawn_thread(
    name: &str,
    netns: Arc<Netns>,
    control: StdUnixStream,
    body: ThreadBody,
) -> io::Result<oneshot::Receiver<(How, Vec<String>)>> {
    let (ended, end) = oneshot::channel();
    let work = move || -> Result<(), Vec<String>> {
        let system = |error: io::Error| causes(&error);
        netns.enter().map_err(system)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(system)?.block_on(async {
            let control = ControlChannel::from_std(control).map_err(system)?;
            body(control).await.map_err(|error| causes(&*error))
        })
    };
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let end = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
            Ok(Ok(())) => (How::Done, Vec::new()),
            Ok(Err(causes)) => (How::Code(1), causes),
            Err(_) => (How::Panic, Vec::new()),
        };
        drop(ended.send(end));
    })?;
    Ok(end)
}

fn causes(error: &(dyn std::error::Error + 'static)) -> Vec<String> {
    match FromElement::failed(error) {
        FromElement::Failed { causes } => causes,
        _ => Vec::new(),
    }
}
