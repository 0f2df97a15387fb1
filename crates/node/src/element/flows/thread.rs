//! The exporter's thread and socket. Only this thread ever waits for the collector.

use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ringmail_model::domain::{FlowExport, FlowTransport};

use super::Event;
use super::counters::FlowCounters;
use super::exporter::Exporter;
use crate::limits::{FLOW_CONNECT_WITHIN, FLOW_EVENTS, FLOW_RECONNECT_AFTER, FLOW_WAITS};

/// The way to the collector.
enum Wire {
    Udp(UdpSocket),
    Tcp { collector: SocketAddr, open: Option<TcpStream>, again: Instant },
}

/// Starts it; what comes back says when it has ended.
pub(super) fn start(
    exporter: Exporter,
    wanted: &FlowExport,
    events: Receiver<Event>,
    counters: Arc<FlowCounters>,
) -> io::Result<Receiver<()>> {
    let collector = wanted.collector;
    let wire = match wanted.transport {
        FlowTransport::Udp => {
            let any: SocketAddr = match collector {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            Wire::Udp(UdpSocket::bind(any)?)
        }
        FlowTransport::Tcp => Wire::Tcp { collector, open: None, again: Instant::now() },
    };
    let (done, ended) = sync_channel(1);
    let run = move || {
        run(exporter, wire, collector, &events, &counters);
        // Nobody may be waiting.
        let _ended = done.send(());
    };
    thread::Builder::new().name("flow-export".to_owned()).spawn(run)?;
    Ok(ended)
}

fn run(
    mut exporter: Exporter,
    mut wire: Wire,
    collector: SocketAddr,
    events: &Receiver<Event>,
    counters: &FlowCounters,
) {
    loop {
        let mut stop = false;
        match events.recv_timeout(FLOW_WAITS) {
            Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => stop = true,
            Ok(event) => exporter.handle_event(now_ms(), event),
            Err(RecvTimeoutError::Timeout) => {}
        }
        for event in events.try_iter().take(FLOW_EVENTS) {
            match event {
                Event::Stop => stop = true,
                event => exporter.handle_event(now_ms(), event),
            }
        }
        let now = now_ms();
        exporter.handle_timeout(now);
        if wire.is_ready(&mut exporter) {
            while (stop || exporter.is_due(now))
                && let Some(message) = exporter.poll_transmit(now)
            {
                match wire.send(collector, &message) {
                    Ok(()) => counters.flow_messages.one(),
                    Err(error) => {
                        tracing::debug!(%error, %collector, "flow records are not sent");
                        counters.flow_messages_failed.one();
                        break;
                    }
                }
            }
        }
        if stop {
            return;
        }
    }
}

impl Wire {
    /// Whether messages can go, for which a connection may have to be opened; then the collector is told all anew.
    fn is_ready(&mut self, exporter: &mut Exporter) -> bool {
        let Wire::Tcp { collector, open, again } = self else { return true };
        if open.is_some() {
            return true;
        }
        if Instant::now() < *again {
            return false;
        }
        let connect = || {
            let stream = TcpStream::connect_timeout(collector, FLOW_CONNECT_WITHIN)?;
            stream.set_write_timeout(Some(FLOW_CONNECT_WITHIN))?;
            stream.set_nodelay(true)?;
            Ok::<_, io::Error>(stream)
        };
        match connect() {
            Ok(stream) => {
                exporter.begin_session();
                *open = Some(stream);
                true
            }
            Err(error) => {
                tracing::debug!(%error, %collector, "the collector of flow records is away");
                *again = Instant::now() + FLOW_RECONNECT_AFTER;
                false
            }
        }
    }

    fn send(&mut self, to: SocketAddr, message: &[u8]) -> io::Result<()> {
        match self {
            // Not connected: an error that somebody else's datagram caused is not ours.
            Wire::Udp(socket) => socket.send_to(message, to).map(drop),
            Wire::Tcp { open, again, .. } => {
                let Some(stream) = open else { return Err(io::ErrorKind::NotConnected.into()) };
                let sent = stream.write_all(message);
                if sent.is_err() {
                    // Half of a message may have gone: nothing that follows would be understood.
                    *open = None;
                    *again = Instant::now() + FLOW_RECONNECT_AFTER;
                }
                sent
            }
        }
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;
    use std::net::TcpListener;
    use std::sync::mpsc::SyncSender;
    use std::time::Duration;

    use ringmail_dataplane::meter::{Count, EndReason, Proof, Record};
    use ringmail_model::domain::Observer;
    use ringmail_model::{ElementId, PathId};
    use ringmail_packet::flow::FlowKey;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn begin(
        collector: SocketAddr,
        transport: FlowTransport,
    ) -> (SyncSender<Event>, Receiver<()>, Arc<FlowCounters>) {
        let wanted = FlowExport {
            from: Observer::Gateway,
            collector,
            transport,
            idle_timeout_s: 15,
            active_timeout_s: 60,
            message_bytes: 1_400,
            enterprise: 32_473,
        };
        let counters = Arc::<FlowCounters>::default();
        let paths = BTreeMap::from([(PathId(3), "inspected".to_owned())]);
        let exporter = Exporter::new(&wanted, ElementId(7), paths, Arc::clone(&counters));
        let (events, heard) = sync_channel(16);
        let ended = start(exporter, &wanted, heard, Arc::clone(&counters)).expect("it starts");
        (events, ended, counters)
    }

    fn record() -> Event {
        let (src, dst) = ([10, 78, 0, 1].into(), [10, 79, 0, 10].into());
        Event::Record(Box::new(Record {
            flow: FlowKey { src, dst, src_port: 1, dst_port: 80, protocol: 6 },
            path: PathId(3),
            first_ms: 1,
            last_ms: 2,
            forward: Count::default(),
            back: Count::default(),
            proof: Proof::Unknown,
            end: EndReason::Idle,
        }))
    }

    fn tells(message: &[u8]) -> bool {
        message.windows(9).any(|window| window == b"inspected")
    }

    #[test]
    fn records_come_as_datagrams_and_the_last_ones_before_the_end() {
        let collector = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        collector.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let (events, ended, counters) =
            begin(collector.local_addr().expect("its address"), FlowTransport::Udp);
        let mut buffer = [0; 2_000];
        let mut next = || {
            let len = collector.recv(&mut buffer).expect("a message");
            tells(&buffer[..len])
        };
        assert!(!next(), "templates come at once");
        events.send(record()).expect("it runs");
        assert!(next());
        events.send(record()).expect("it runs");
        events.send(Event::Stop).expect("it runs");
        assert!(next(), "nothing waits any more");
        ended.recv_timeout(PATIENCE).expect("it ends");
        assert_eq!((counters.flow_records.get(), counters.flow_messages.get()), (2, 3));
    }

    /// A collector that goes away and comes again is told all anew; meanwhile nobody waits.
    #[test]
    fn a_connection_that_ends_is_made_anew() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let address = listener.local_addr().expect("its address");
        let (events, ended, counters) = begin(address, FlowTransport::Tcp);
        let hear = || {
            let (mut stream, _) = listener.accept().expect("a connection");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            let mut header = [0; 18];
            stream.read_exact(&mut header).expect("the first message");
            // Version, sequence number, and a set of templates.
            let told = (&header[..2], &header[8..12], &header[16..]);
            assert_eq!(told, (&[0, 10][..], &[0; 4][..], &[0, 2][..]));
            stream
        };
        let mut stream = hear();
        events.send(record()).expect("it runs");
        let (mut all, mut some) = (Vec::new(), [0; 512]);
        while !tells(&all) {
            let read = stream.read(&mut some).expect("the record");
            assert!(read > 0, "it closed");
            all.extend(&some[..read]);
        }
        drop(stream);
        // It learns of the end by a message that does not get there, and dials again.
        let until = Instant::now() + PATIENCE;
        while counters.flow_messages_failed.get() == 0 {
            assert!(Instant::now() < until, "it does not notice");
            let _full = events.try_send(record());
            thread::sleep(Duration::from_millis(10));
        }
        drop(hear());
        events.send(Event::Stop).expect("it runs");
        ended.recv_timeout(PATIENCE).expect("it ends");
    }
}
