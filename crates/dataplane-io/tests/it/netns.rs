//! Network namespaces for tests: one thread, one namespace.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Runs `body` in a new network namespace with its loopback up. `test` is the full name of the calling test, for running
/// it again in a user namespace when we are not root.
pub(crate) fn isolated(test: &str, body: impl FnOnce() + Send + 'static) {
    if is_root() {
        if let Err(panic) = spawn(body).join() {
            std::panic::resume_unwind(panic);
        }
        return;
    }
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .status()
        .expect("unshare(1) is needed to run network tests without root");
    assert!(status.success(), "{test} failed inside unshare -Urn: {status}");
}

/// A thread in a new network namespace with its loopback up.
pub(crate) fn spawn<T: Send + 'static>(
    body: impl FnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    thread::spawn(|| {
        // SAFETY: only this thread changes its namespace.
        let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(result, 0, "unshare: {}", std::io::Error::last_os_error());
        ip("link set lo up");
        body()
    })
}

/// Gives an interface of this thread's namespace an address, and waits until the kernel takes packets for it: of IPv6
/// addresses it takes them a little later than it says.
pub(crate) fn add_address(address: &str, prefix: u8, interface: &str) {
    let flags = if address.contains(':') { "nodad" } else { "" };
    ip(&format!("address add {address}/{prefix} dev {interface} {flags}"));
    let deadline = Instant::now() + Duration::from_secs(5);
    while !ip(&format!("route get {address}")).starts_with("local ") {
        assert!(Instant::now() < deadline, "{address} is not local after five seconds");
        thread::yield_now();
    }
}

/// Waits until an interface of this thread's namespace carries frames: what is sent before is lost without a word.
pub(crate) fn await_up(interface: &str) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !ip(&format!("link show {interface}")).contains("state UP") {
        assert!(Instant::now() < deadline, "{interface} is not up after five seconds");
        thread::yield_now();
    }
}

/// Runs ip(8) in the namespace of this thread.
pub(crate) fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("ip(8)");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
