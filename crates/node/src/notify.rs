//! What systemd hears of a service (sd_notify): that it is ready, what it does, that it lives. Without systemd, nothing.

use std::env;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The way to the service manager, if one waits to hear.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// As the environment says: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`.
    pub fn from_env() -> Notifier {
        let socket = env::var("NOTIFY_SOCKET").ok().and_then(|path| connected(&path));
        let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| *usec > 0 && for_us);
        Notifier { socket, watchdog: watchdog.map(Duration::from_micros) }
    }

    /// The service serves.
    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// What it is about, for `systemctl status`.
    pub fn status(&self, status: &str) {
        self.say(&format!("STATUS={}", status.replace('\n', " ")));
    }

    /// It lives.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    /// It ends.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// How often [`Notifier::alive`] has to be said: twice in the time that the manager waits.
    pub fn alive_every(&self) -> Option<Duration> {
        self.watchdog.map(|waits| waits / 2)
    }

    fn say(&self, what: &str) {
        if let Some(socket) = &self.socket {
            // A manager that does not listen is no reason to stop serving.
            drop(socket.send(what.as_bytes()));
        }
    }
}

fn connected(path: &str) -> Option<UnixDatagram> {
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(path),
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.connect_addr(&address.ok()?).ok()?;
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_hears_what_is_said() {
        let name = format!("ringmail-notify-test-{}", std::process::id());
        let manager =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let notifier = Notifier { socket: connected(&format!("@{name}")), watchdog: None };
        notifier.ready();
        notifier.status("one\ntwo");
        let mut buffer = [0; 64];
        let count = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"READY=1");
        let count = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"STATUS=one two");
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        Notifier { socket: connected("/nowhere/at/all"), watchdog: None }.ready();
    }
}
