//! From what neighbours agree on to what workers use: associations are installed, renewed and taken out.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ringmail_dataplane::nsh::MetadataKey;
use ringmail_dataplane::replay::WindowPackets;
use ringmail_dataplane::sa::{
    InboundOptions, InboundSa, Lease, OutboundOptions, OutboundSa, SaError, SaKey,
};
use ringmail_dataplane::sap::{AgreedKey, Cause, Event, Place, SegmentView, Use};
use ringmail_model::pathset::Segment;
use ringmail_model::{ElementId, PathId, SaSpi};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::command::Command;
use super::header::{HeaderKey, HeaderSecret, Way};
use super::versions::Versions;
use super::worker::Handle;
use crate::control::{KeyExport, Secret};

/// The associations of one element, as its workers have them.
pub(crate) struct Keys {
    workers: Vec<Handle>,
    window: WindowPackets,
    /// Packets after which an association is worn.
    worn_packets: u64,
    inbound: HashMap<SaSpi, Inbound>,
    /// By neighbour, too: each receiver chooses SPIs for itself.
    outbound: HashMap<(ElementId, SaSpi), Outbound>,
}

struct Inbound {
    place: Place,
    lease: Lease,
    /// Of ESP, to be shown to who may see it.
    key: Option<SaKey>,
    /// Of codes of RFC 9145, likewise.
    code: Option<Zeroizing<Vec<u8>>>,
}

struct Outbound {
    place: Place,
    lease: Lease,
    /// The last sequence number, once a successor has taken its place.
    replaced_at: Option<u64>,
    /// Of ESP: set once a new epoch is to begin.
    worn: Option<Arc<AtomicBool>>,
}

/// What the agreement wants to hear of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing.
    Nothing,
    /// Every worker opens packets with this SPI.
    Installed(SaSpi),
    /// Some worker does not.
    InstallFailed(SaSpi),
    /// Nothing is sealed under this SPI any more; the last sequence number.
    Stopped(SaSpi, u64),
}

impl Keys {
    pub(crate) fn new(workers: Vec<Handle>, window: WindowPackets, worn_packets: u64) -> Keys {
        let (inbound, outbound) = Default::default();
        Keys { workers, window, worn_packets, inbound, outbound }
    }

    /// Associations that are installed from now on are worn after so many packets. Whether that is another number.
    pub(crate) fn set_worn_packets(&mut self, packets: u64) -> bool {
        std::mem::replace(&mut self.worn_packets, packets) != packets
    }

    /// Neighbours that something is sent to by an association that is worn, each association once.
    pub(crate) fn worn(&self) -> BTreeSet<ElementId> {
        let worn = |held: &Outbound| {
            held.worn.as_ref().is_some_and(|worn| worn.swap(false, Ordering::Relaxed))
        };
        let all = self.outbound.iter();
        all.filter(|(_, held)| worn(held)).map(|((neighbour, _), _)| *neighbour).collect()
    }

    /// Associations that are installed from now on have this window. Whether it is another than before.
    pub(crate) fn set_window(&mut self, window: WindowPackets) -> bool {
        std::mem::replace(&mut self.window, window) != window
    }

    /// Does what an event says about associations. Events about sessions and leases are not for here.
    pub(crate) async fn carry_out(&mut self, neighbour: ElementId, event: Event) -> Answer {
        match event {
            Event::InstallInbound { place, spi, key, expires } => {
                let installed = match key {
                    AgreedKey::Esp(key) => self.install_inbound(place, spi, key, expires).await,
                    key => {
                        let code = match &key {
                            AgreedKey::Link(key) => key.danger_long(),
                            _ => None,
                        };
                        let code = code.map(|code| Zeroizing::new(code.to_vec()));
                        self.install_header(Way::In, place, spi, key, expires).await.map(|lease| {
                            self.inbound.insert(spi, Inbound { place, lease, key: None, code });
                        })
                    }
                };
                match installed {
                    Ok(()) => Answer::Installed(spi),
                    Err(error) => {
                        tracing::error!(%spi, error, "an association was not installed");
                        Answer::InstallFailed(spi)
                    }
                }
            }
            Event::RenewInbound { spi, expires } => {
                if let Some(held) = self.inbound.get(&spi) {
                    held.lease.renew(expires);
                }
                Answer::Nothing
            }
            Event::RemoveInbound { spi, cause, last_sequence } => {
                tracing::debug!(%spi, %cause, last_sequence, "inbound association removed");
                match self.inbound.remove(&spi) {
                    Some(Inbound { place, key: None, .. }) => {
                        self.remove_header(Way::In, place, spi).await;
                    }
                    _ => {
                        let remove = || Command::RemoveInbound(spi);
                        self.workers.iter().for_each(|worker| worker.give(remove()));
                    }
                }
                Answer::Nothing
            }
            Event::InstallOutbound { place, spi, key, expires } => {
                let installed = match key {
                    AgreedKey::Esp(key) => self
                        .install_outbound(neighbour, place, spi, &key, expires)
                        .await
                        .map_err(|error| error.to_string()),
                    key => {
                        self.install_header(Way::Out, place, spi, key, expires).await.map(|lease| {
                            self.replace(neighbour, place, spi, lease);
                        })
                    }
                };
                if let Err(error) = installed {
                    tracing::error!(%spi, error, "an association was not installed");
                }
                Answer::Nothing
            }
            Event::RenewOutbound { spi, expires, .. } => {
                if let Some(held) = self.outbound.get(&(neighbour, spi)) {
                    held.lease.renew(expires);
                }
                Answer::Nothing
            }
            Event::StopSending { place, spi, cause } => {
                tracing::debug!(%spi, %cause, path = %place.path, "outbound association ends");
                if let (Cause::LeaseExpired, Some(held)) =
                    (cause, self.outbound.get(&(neighbour, spi)))
                {
                    held.lease.expire();
                }
                Answer::Stopped(spi, self.stop_sending(neighbour, place, spi).await)
            }
            _ => Answer::Nothing,
        }
    }

    async fn install_inbound(
        &mut self,
        place: Place,
        spi: SaSpi,
        key: SaKey,
        expires: Instant,
    ) -> Result<(), String> {
        let lease = lease_until(expires);
        let options = InboundOptions { window: self.window, ..InboundOptions::default() };
        let sa = InboundSa::new(spi, &key, place.path, place.segment, lease.clone(), options);
        let sa = Arc::new(sa.map_err(|error| error.to_string())?);
        for worker in &self.workers {
            let (answer, installed) = oneshot::channel();
            worker.give(Command::InstallInbound(Arc::clone(&sa), answer));
            let installed = installed.await.map_err(|_| "the worker has stopped".to_owned())?;
            installed.map_err(|error| error.to_string())?;
        }
        self.inbound.insert(spi, Inbound { place, lease, key: Some(key), code: None });
        Ok(())
    }

    async fn install_outbound(
        &mut self,
        neighbour: ElementId,
        place: Place,
        spi: SaSpi,
        key: &SaKey,
        expires: Instant,
    ) -> Result<(), SaError> {
        let lease = lease_until(expires);
        let options =
            OutboundOptions { worn_packets: self.worn_packets, ..OutboundOptions::default() };
        let sa = OutboundSa::new(spi, key, lease.clone(), options)?;
        let worn = Some(Arc::clone(sa.worn()));
        if let Some(worker) = self.workers.get(usize::from(place.worker.0)) {
            let (answer, replaced) = oneshot::channel();
            worker.give(Command::InstallOutbound(place.path, Box::new(sa), answer));
            if let Ok(Some((old, last))) = replaced.await
                && let Some(held) = self.outbound.get_mut(&(neighbour, old))
            {
                held.replaced_at = Some(last);
            }
        }
        let held = Outbound { place, lease, replaced_at: None, worn };
        self.outbound.insert((neighbour, spi), held);
        Ok(())
    }

    /// Gives a key of headers to those workers who use it.
    async fn install_header(
        &mut self,
        way: Way,
        place: Place,
        id: SaSpi,
        key: AgreedKey,
        expires: Instant,
    ) -> Result<Lease, String> {
        let key = match key {
            AgreedKey::Link(key) | AgreedKey::Proof(key) => HeaderSecret::Code(Arc::new(key)),
            AgreedKey::Metadata(key) => {
                let key = MetadataKey::new(&key).map_err(|error| error.to_string())?;
                HeaderSecret::Metadata(Arc::new(key))
            }
            AgreedKey::Esp(_) => return Err("it is no key of headers".to_owned()),
        };
        let lease = lease_until(expires);
        let change = HeaderKey { place, way, id, key: Some((key, lease.clone())) };
        match self.give_header(change).await {
            true => Ok(lease),
            false => Err(format!("no worker has path {}", place.path)),
        }
    }

    async fn remove_header(&mut self, way: Way, place: Place, id: SaSpi) {
        // Where the path is gone, its keys are, too.
        let _there = self.give_header(HeaderKey { place, way, id, key: None }).await;
    }

    /// Whether every worker did it whose key it is. What is written with a counter is one worker's.
    async fn give_header(&mut self, change: HeaderKey) -> bool {
        let Place { usage, worker, .. } = change.place;
        let of_one = usage == Use::Metadata && change.way == Way::Out;
        let theirs = match of_one {
            true => self.workers.get(usize::from(worker.0)).map_or(&[][..], std::slice::from_ref),
            false => &self.workers[..],
        };
        for worker in theirs {
            let (answer, done) = oneshot::channel();
            worker.give(Command::HeaderKey(change.clone(), answer));
            if !done.await.unwrap_or(false) {
                return false;
            }
        }
        true
    }

    /// Takes note of an association of headers in place of the one before it.
    fn replace(&mut self, neighbour: ElementId, place: Place, spi: SaSpi, lease: Lease) {
        for held in self.outbound.values_mut().filter(|held| held.place == place) {
            held.replaced_at.get_or_insert(0);
        }
        let held = Outbound { place, lease, replaced_at: None, worn: None };
        self.outbound.insert((neighbour, spi), held);
    }

    async fn stop_sending(&mut self, neighbour: ElementId, place: Place, spi: SaSpi) -> u64 {
        match self.outbound.remove(&(neighbour, spi)) {
            Some(Outbound { replaced_at: Some(last), .. }) => last,
            _ if place.usage != Use::Esp => {
                self.remove_header(Way::Out, place, spi).await;
                0
            }
            _ => {
                let Some(worker) = self.workers.get(usize::from(place.worker.0)) else { return 0 };
                let (answer, last) = oneshot::channel();
                worker.give(Command::RemoveOutbound(place.path, spi, answer));
                last.await.unwrap_or(0)
            }
        }
    }

    /// Whether this element has what it sends with in this relation: of ESP every worker, of codes all together.
    pub(crate) fn can_send(&self, view: &SegmentView) -> bool {
        let keyed = |worker: usize| {
            self.outbound.values().any(|held| {
                let Place { path, usage, segment, worker: of } = held.place;
                (path, usage, segment) == (view.path, view.usage, view.index)
                    && usize::from(of.0) == worker
                    && held.replaced_at.is_none()
                    && held.lease.is_live(Instant::now())
            })
        };
        match view.usage {
            Use::Esp | Use::Metadata => (0..self.workers.len()).all(keyed),
            Use::Link | Use::Proof => keyed(0),
        }
    }

    /// When the first association in use on this path fails closed, sealing or opening; `None` without one.
    pub(crate) fn lease_end(&self, path: PathId) -> Option<Instant> {
        let sealing = self.outbound.values().filter(|held| held.replaced_at.is_none());
        let sealing = sealing.map(|held| (held.place, &held.lease));
        // An association that was followed by another lives until its packets are through; the newest is in use.
        let opening = self.inbound.values().map(|held| (held.place, held.lease.end()));
        let opening = opening.filter(|(place, _)| place.path == path).map(|(_, end)| end);
        let sealing = sealing.filter(|(place, _)| place.path == path).map(|(_, lease)| lease.end());
        sealing.flatten().chain(opening.flatten().max()).min()
    }

    /// The keys of every inbound association.
    pub(crate) fn danger_export(&self, versions: &Versions) -> Vec<KeyExport> {
        let mut exports: Vec<_> = self
            .inbound
            .iter()
            .filter_map(|(spi, held)| {
                let (path, set) = versions.path(held.place.path)?;
                let index = usize::from(held.place.segment.0);
                let address = |id| Some(IpAddr::V4(*set.element(id)?.link.ip()));
                let export = |ends: (ElementId, ElementId), suite: String, key: &[u8]| {
                    Some(KeyExport {
                        path: path.name.clone(),
                        source: address(ends.0)?,
                        destination: address(ends.1)?,
                        sa_spi: spi.0,
                        suite,
                        key_and_salt: Secret::new(key.to_vec()),
                    })
                };
                if let Some(code) = &held.code {
                    let ends = (path.element_at(index)?, path.element_at(index + 1)?);
                    return export(ends, CODE_9145.to_owned(), code);
                }
                let key = held.key.as_ref()?;
                let Segment { sender, receiver, .. } = *path.segments.get(index)?;
                export((sender, receiver), key.suite().to_string(), &key.danger_material())
            })
            .collect();
        exports.sort_by(|a, b| (&a.path, a.sa_spi).cmp(&(&b.path, b.sa_spi)));
        exports
    }
}

/// What codes of RFC 9145 are called where suites of ESP have names (RFC 4868).
const CODE_9145: &str = "hmac-sha-256-128";

fn lease_until(expires: Instant) -> Lease {
    let now = Instant::now();
    Lease::new(now, expires.saturating_duration_since(now))
}

#[cfg(test)]
mod tests {
    use ringmail_dataplane::sa::{SegmentIndex, Suite};
    use ringmail_dataplane::sap::MacKey;
    use ringmail_dataplane_io::poll::Poller;
    use ringmail_model::WorkerId;

    use super::*;

    fn place(usage: Use) -> Place {
        Place { path: PathId(1), usage, segment: SegmentIndex(0), worker: WorkerId(0) }
    }

    /// The window of an association that a worker is given.
    async fn installed(keys: &mut Keys, given: &std::sync::mpsc::Receiver<Command>) -> u32 {
        let key = SaKey::new(Suite::Aes128Gcm, &[7; 20]).expect("a key");
        let (place, spi, expires) = (place(Use::Esp), SaSpi(0x1000), Instant::now());
        let key = AgreedKey::Esp(key);
        let event = Event::InstallInbound { place, spi, key, expires };
        let carried_out = keys.carry_out(ElementId(2), event);
        let worker = async {
            loop {
                match given.try_recv() {
                    Ok(Command::InstallInbound(sa, answer)) => {
                        answer.send(Ok(())).expect("it waits");
                        return sa.window_packets();
                    }
                    _ => tokio::task::yield_now().await,
                }
            }
        };
        tokio::join!(carried_out, worker).1
    }

    #[tokio::test]
    async fn another_window_is_that_of_what_is_installed_from_then_on() {
        let (commands, given) = std::sync::mpsc::channel();
        let waker = Poller::new().expect("a poller").waker();
        let window = |packets| WindowPackets::new(packets).expect("a window");
        let mut keys = Keys::new(vec![Handle { commands, waker }], window(4096), 1 << 32);
        assert_eq!(installed(&mut keys, &given).await, 4096);
        assert!(!keys.set_window(window(4096)), "it is the same");
        assert!(keys.set_window(window(1024)), "it is another");
        assert_eq!(installed(&mut keys, &given).await, 1024);
    }

    /// What comes of a key of headers where the one worker answers so.
    async fn header_key(usage: Use, there: bool) -> Answer {
        let (commands, given) = std::sync::mpsc::channel();
        let waker = Poller::new().expect("a poller").waker();
        let window = WindowPackets::new(4096).expect("a window");
        let mut keys = Keys::new(vec![Handle { commands, waker }], window, 1 << 32);
        let (place, spi, expires) = (place(usage), SaSpi(0x1000), Instant::now());
        let key = || MacKey::new([7; 16]);
        let key = match usage {
            Use::Link => AgreedKey::Link(key()),
            Use::Metadata => {
                AgreedKey::Metadata(SaKey::new(Suite::Aes128Gcm, &[7; 20]).expect("a key"))
            }
            _ => AgreedKey::Proof(key()),
        };
        let carried_out =
            keys.carry_out(ElementId(2), Event::InstallInbound { place, spi, key, expires });
        let worker = async {
            loop {
                match given.try_recv() {
                    Ok(Command::HeaderKey(change, answer)) => {
                        assert_eq!((change.place, change.way, change.id), (place, Way::In, spi));
                        break answer.send(there).expect("it waits");
                    }
                    _ => tokio::task::yield_now().await,
                }
            }
        };
        tokio::join!(carried_out, worker).0
    }

    #[tokio::test]
    async fn keys_of_headers_are_installed_where_the_path_is() {
        for usage in [Use::Link, Use::Proof, Use::Metadata] {
            assert_eq!(header_key(usage, true).await, Answer::Installed(SaSpi(0x1000)));
            assert_eq!(header_key(usage, false).await, Answer::InstallFailed(SaSpi(0x1000)));
        }
    }
}
