//! The attacker on the path: in the place of the fabric's bridge stands a switch of the attacker's own, through which every
//! frame between elements goes, and which does with it what a case says.
//!
//! ```text
//!   gateway ── e1 ┐              ┌ e2 ── sf1
//!                 ├── attacker ──┤
//!   egress  ── e5 ┘              └ e3 ── sf2
//! ```

pub(crate) mod frame;
mod sys;

use std::io::Read;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, bail, ensure};
use ringmail_model::MacAddress;
use ringmail_model::pathset::Element;
use ringmail_node::topology::Netns;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::Socket;

pub(crate) use self::frame::Frame;
use crate::lab::{LOOK_EVERY, PATIENCE, run_in};

/// What becomes of a frame: it goes on, or these go in its place, or none.
pub(crate) enum Action {
    /// It goes on as it is.
    Pass,
    /// These go to the element that it was for.
    Instead(Vec<Vec<u8>>),
}

type Hook = Box<dyn FnMut(&Frame) -> Action + Send>;

/// The attacker's switch. Dropping it ends it.
pub(crate) struct Wire {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    ports: Vec<Port>,
    hook: Mutex<Option<Hook>>,
    recording: Mutex<Option<Vec<Frame>>>,
    stop: AtomicBool,
}

struct Port {
    element: String,
    socket: Socket,
    mac: [u8; 6],
}

/// The frame that a hook waits for.
pub(crate) struct Caught(Receiver<Frame>);

impl Caught {
    /// The frame, if it comes before `given_up` says that it will not.
    pub(crate) fn frame_unless(
        &self,
        mut given_up: impl FnMut() -> Result<bool>,
    ) -> Result<Option<Frame>> {
        loop {
            match self.0.recv_timeout(LOOK_EVERY) {
                Ok(frame) => return Ok(Some(frame)),
                Err(RecvTimeoutError::Timeout) if given_up()? => return Ok(self.0.try_recv().ok()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("another hook took the place of this one")
                }
            }
        }
    }

    /// The frame, once it has come.
    pub(crate) fn frame(&self) -> Result<Frame> {
        match self.0.recv_timeout(PATIENCE) {
            Ok(frame) => Ok(frame),
            Err(RecvTimeoutError::Timeout) => bail!("the frame that was waited for did not come"),
            Err(RecvTimeoutError::Disconnected) => bail!("another hook took the place of this one"),
        }
    }
}

impl Wire {
    /// Takes the place of the bridge for the elements behind these ports of it.
    pub(crate) fn seize(fabric: &Netns, elements: &[Element]) -> Result<Wire> {
        let open = |element: &Element| {
            let port = &format!("e{}", element.id);
            run_in(fabric, "ip", &["link", "set", port, "nomaster"])?;
            let socket = fabric.run(|| sys::open(port))?;
            let socket = socket.with_context(|| format!("no packet socket on {port}"))?;
            let mac =
                element.mac.unwrap_or_else(|| MacAddress::of_link(*element.link.ip())).bytes();
            Ok(Port { element: element.name.clone(), socket, mac })
        };
        let ports = elements.iter().map(open).collect::<Result<_>>()?;
        let (hook, recording, stop) = Default::default();
        let shared = Arc::new(Shared { ports, hook, recording, stop });
        let work = Arc::clone(&shared);
        let thread = thread::Builder::new().name("wire".into()).spawn(move || work.switch())?;
        Ok(Wire { shared, thread: Some(thread) })
    }

    /// Does this with every frame, until another hook takes its place or [`Wire::calm`].
    pub(crate) fn hook(&self, hook: impl FnMut(&Frame) -> Action + Send + 'static) {
        *lock(&self.shared.hook) = Some(Box::new(hook));
    }

    /// Catches the first frame of which `wanted` is true, sends what `instead` makes of it in its place, and lets everything
    /// else pass.
    pub(crate) fn catch(
        &self,
        wanted: impl Fn(&Frame) -> bool + Send + 'static,
        mut instead: impl FnMut(&Frame) -> Vec<Vec<u8>> + Send + 'static,
    ) -> Caught {
        let (say, hear) = channel();
        let mut say = Some(say);
        self.hook(move |frame| {
            if say.is_none() || !wanted(frame) {
                return Action::Pass;
            }
            let instead = instead(frame);
            if let Some(say) = say.take() {
                // A case that has ended does not listen any more.
                let _ended = say.send(frame.clone());
            }
            Action::Instead(instead)
        });
        Caught(hear)
    }

    /// Lets everything pass again.
    pub(crate) fn calm(&self) {
        *lock(&self.shared.hook) = None;
    }

    /// Sends a frame to an element, as if it came from the fabric.
    pub(crate) fn inject(&self, to: &str, frame: &[u8]) -> Result<()> {
        let port = self.shared.ports.iter().find(|port| port.element == to);
        port.with_context(|| format!("no element {to}"))?.send(frame)
    }

    /// Keeps every frame from now on.
    pub(crate) fn record(&self) {
        *lock(&self.shared.recording) = Some(Vec::new());
    }

    /// What was kept.
    pub(crate) fn recorded(&self) -> Result<Vec<Frame>> {
        let frames = lock(&self.shared.recording).take();
        frames.context("nothing was recorded")
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Shared {
    fn switch(&self) {
        let mut buffer = vec![0; 1 << 17];
        while !self.stop.load(Relaxed) {
            let all = self
                .ports
                .iter()
                .map(|port| PollFd::from_borrowed_fd(port.socket.as_fd(), PollFlags::IN));
            let mut ready: Vec<PollFd<'_>> = all.collect();
            let wait = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
            if poll(&mut ready, Some(&wait)).is_err() {
                continue;
            }
            let ready: Vec<bool> = ready.iter().map(|one| !one.revents().is_empty()).collect();
            for (nth, port) in self.ports.iter().enumerate().filter(|(nth, _)| ready[*nth]) {
                while let Ok(len) = (&port.socket).read(&mut buffer) {
                    if let Some(bytes) = frame::whole(&buffer[..len], sys::VIRTIO_BYTES) {
                        self.forward(nth, bytes);
                    }
                }
            }
        }
    }

    fn forward(&self, from: usize, bytes: Vec<u8>) {
        let Some(to) = bytes.first_chunk::<6>() else { return };
        let to = self.ports.iter().position(|port| port.mac == *to);
        let name = |nth: usize| self.ports[nth].element.clone();
        let frame = Frame { from: name(from), to: to.map(name), bytes };
        let action = match &mut *lock(&self.hook) {
            Some(hook) => hook(&frame),
            None => Action::Pass,
        };
        let all = match action {
            Action::Pass => vec![frame.bytes.clone()],
            Action::Instead(frames) => frames,
        };
        if let Some(recording) = &mut *lock(&self.recording) {
            recording.push(frame);
        }
        for bytes in all {
            let others = (0..self.ports.len()).filter(|nth| *nth != from);
            let targets: Vec<usize> = to.map_or_else(|| others.collect(), |to| vec![to]);
            for target in targets {
                // What the kernel does not take is lost, as on a wire.
                let _lost = self.ports[target].send(&bytes);
            }
        }
    }
}

/// A packet socket on an interface, to look and to send.
pub(crate) struct Tap(Socket);

impl Tap {
    pub(crate) fn open(netns: &Netns, interface: &str) -> Result<Tap> {
        let socket = netns.run(|| sys::open(interface))?;
        Ok(Tap(socket.with_context(|| format!("no packet socket on {interface}"))?))
    }

    /// Sends a whole frame.
    pub(crate) fn send(&self, frame: &[u8]) -> Result<()> {
        let whole = [&[0; sys::VIRTIO_BYTES], frame].concat();
        self.0.send(&whole).context("the frame cannot be sent")?;
        Ok(())
    }

    /// Every frame that has come.
    pub(crate) fn seen(&self) -> Vec<Vec<u8>> {
        let (mut all, mut buffer) = (Vec::new(), vec![0; 1 << 17]);
        while let Ok(len) = (&self.0).read(&mut buffer) {
            all.extend(frame::whole(&buffer[..len], sys::VIRTIO_BYTES));
        }
        all
    }
}

/// The Ethernet address of an interface.
pub(crate) fn mac_in(netns: &Netns, interface: &str) -> Result<[u8; 6]> {
    let said = run_in(netns, "ip", &["-o", "link", "show", interface])?;
    let mut words = said.split_whitespace();
    words.find(|word| *word == "link/ether").context("no Ethernet address")?;
    let address = words.next().context("no Ethernet address")?;
    let bytes = address.split(':').map(|byte| u8::from_str_radix(byte, 16));
    let bytes: Vec<u8> = bytes.collect::<Result<_, _>>()?;
    bytes.try_into().ok().context("no Ethernet address")
}

impl Port {
    fn send(&self, frame: &[u8]) -> Result<()> {
        let whole = [&[0; sys::VIRTIO_BYTES], frame].concat();
        let sent =
            self.socket.send(&whole).with_context(|| format!("frame to {}", self.element))?;
        ensure!(sent == whole.len(), "{sent} of {} bytes went to {}", whole.len(), self.element);
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
