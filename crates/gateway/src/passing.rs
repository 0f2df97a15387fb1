//! A connection of a listener of kind `tls`: judged once, by who asks, for which name, and what the first bytes say;
//! then its bytes pass unread, on one path, both ways.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;

use ringmail_model::domain::ApplicationProtocol;
use ringmail_model::rules::{ConnectionFacts, Decision, Denied};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::access::{Entry, Outcome, Record};
use crate::chain::{Chain, ChainRequest};
use crate::connection::Worker;
use crate::counters::{Counter, Counters};
use crate::decision;
use crate::demand::{self, Unmet, Wanted};
use crate::identity::Client;
use crate::leg::Leg;
use crate::limits::{RELAY_BUFFER_BYTES, ms};
use crate::recognize::{ENOUGH_BYTES, recognize};
use crate::refusal::Refusal;
use crate::relay::{Ended, Moved, relay};
use crate::service_io::ServiceIo;
use crate::sites::Names;
use crate::tls_io::ClientIo;

/// Who asks, and for what.
pub(crate) struct Asking<'a> {
    pub(crate) client: &'a Client,
    pub(crate) sni: Option<&'a str>,
    pub(crate) names: &'a Names,
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    /// The line that tells of it.
    pub(crate) record: Option<Record>,
}

impl<C: Chain> Worker<C> {
    /// Serves an authenticated connection until it ends.
    pub(crate) async fn pass(&self, io: ClientIo, asking: Asking<'_>) {
        let counters = &self.exchange.counters;
        let limits = &self.exchange.limits;
        let mut io = io;
        let mut first = Vec::new();
        let protocol = self.listen(&mut io, &mut first).await;
        let Ok(protocol) = protocol else { return counters.connections_broken.one() };
        let policy = self.policy.load_full();
        let client = asking.client.known_to(&policy.rules);
        let named = asking.sni.map(str::to_owned).or_else(|| asking.names.first());
        let passed = Passed { counters, record: asking.record };
        passed.note(|entry, us| {
            entry.client = client.into();
            entry.protocol = protocol.to_string();
            entry.times_us.decided = Some(us);
        });
        let server_name = named.as_deref().unwrap_or_default();
        let decision = policy.rules.evaluate_connection(&ConnectionFacts {
            client,
            certificate: asking.client.certificate.facts(),
            now_unix_s: demand::now_unix_s(),
            protocol,
            server_name,
            source: asking.source.ip(),
        });
        let (rule, path, service, demands) = match decision {
            Decision::Allow { rule, path, service, demands } => (rule, path, service, demands),
            Decision::Deny { reason } => return passed.refused(reason.into(), io).await,
            Decision::NeedBodyPrefix { .. } => {
                return passed.refused(Denied::NoRule.into(), io).await;
            }
        };
        let wanted = Wanted {
            client: asking.client,
            identity: client,
            source: asking.source.ip(),
            server_name: named.as_deref(),
            protocol,
            chain: decision::Chain {
                rule,
                path: policy.rules.path_name(path).unwrap_or_default(),
                service,
            },
            request: None,
        };
        let met = demand::meet(demands, wanted, &policy, &self.exchange.rates, counters).await;
        passed.note(|entry, us| {
            entry.rule = Some(rule.to_owned());
            entry.times_us.decided = Some(us);
        });
        if let Err(unmet) = met {
            return passed.refused(unmet, io).await;
        }
        let mut begun_us = 0;
        passed.note(|entry, us| {
            entry.decision = Outcome::Allowed;
            entry.path = policy.rules.path_name(path).map(str::to_owned);
            entry.service = Some(service.to_owned());
            begun_us = us;
        });
        let options = policy.services.get(service);
        let leg = Leg { options, source: asking.source, destination: asking.destination };
        let request = ChainRequest { path, version: policy.version, service, rule, client };
        let opened = match self.exchange.connect(request, leg).await {
            Ok((stream, open)) => ServiceIo::new(stream, open).0,
            Err(refusal) => {
                tracing::debug!(client, %protocol, ?refusal, "no way to the service");
                counters.passed_unreachable.one();
                passed.note(|entry, _| entry.reason = Some(refusal.text()));
                return refuse(io).await;
            }
        };
        tracing::debug!(client, %protocol, rule, service, "passing");
        counters.passed.one();
        passed.note(|entry, us| entry.times_us.connect = Some(us - begun_us));
        io.pass();
        let idle = ms(limits.tunnel_idle_ms);
        let ended = relay(&mut io, opened, first, idle, &passed).await;
        if io.is_truncated() {
            counters.passed_truncated.one();
        }
        match &ended {
            Ended::Done => {}
            Ended::Idle => counters.passed_idle_closed.one(),
            Ended::Client(error) | Ended::Service(error) => {
                tracing::debug!(error = error as &dyn std::error::Error, "a connection broke");
                counters.connections_broken.one();
            }
        }
    }

    /// Waits for the first bytes and tells the protocol by them. They are in `first`.
    async fn listen(
        &self,
        io: &mut ClientIo,
        first: &mut Vec<u8>,
    ) -> io::Result<ApplicationProtocol> {
        let limit = ms(self.exchange.limits.first_byte_ms);
        first.reserve(RELAY_BUFFER_BYTES);
        loop {
            let silent = first.is_empty();
            match timeout(limit, io.read_buf(first)).await {
                Err(_) if silent => return Ok(ApplicationProtocol::ServerFirst),
                Err(_) => return Ok(ApplicationProtocol::Unknown),
                Ok(Err(error)) => return Err(error),
                Ok(Ok(0)) if silent => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(Ok(0)) => return Ok(ApplicationProtocol::Unknown),
                Ok(Ok(_)) => {}
            }
            if let Some(protocol) = recognize(first) {
                return Ok(protocol);
            }
            if first.len() >= ENOUGH_BYTES {
                return Ok(ApplicationProtocol::Unknown);
            }
        }
    }
}

/// Hears of a connection's bytes.
struct Passed<'a> {
    counters: &'a Counters,
    record: Option<Record>,
}

impl Passed<'_> {
    fn note(&self, what: impl FnOnce(&mut Entry, u64)) {
        if let Some(record) = &self.record {
            record.note(what);
        }
    }
}

impl Passed<'_> {
    /// Ends a connection that may not go, counted and noted.
    async fn refused(&self, unmet: Unmet, io: ClientIo) {
        let Unmet { refusal, detail } = unmet;
        let (counter, reason) = self.why(refusal);
        tracing::debug!(reason, "refused");
        counter.one();
        self.note(|entry, _| {
            entry.reason = Some(reason);
            entry.detail = detail.as_deref().map(str::to_owned);
        });
        refuse(io).await;
    }

    fn why(&self, refusal: Refusal) -> (&Counter, &'static str) {
        let counters = self.counters;
        match refusal {
            Refusal::Certificate => (
                &counters.passed_refused_by_certificate,
                "no rule allows this connection with this certificate",
            ),
            Refusal::Time => {
                (&counters.passed_refused_by_time, "no rule allows this connection at this time")
            }
            Refusal::TooFast { .. } => (&counters.passed_refused_by_rate, "too many connections"),
            Refusal::Decision => {
                (&counters.passed_refused_by_decision, "the policy does not allow this connection")
            }
            Refusal::Undecided => (&counters.passed_refused_undecided, refusal.text()),
            _ => (&counters.passed_refused_by_rules, "no rule allows this connection"),
        }
    }
}

impl Moved for Passed<'_> {
    fn moved(&self, to_service: u64, to_client: u64) {
        self.counters.bytes_from_clients.add(to_service);
        self.counters.bytes_to_clients.add(to_client);
        if let Some(record) = &self.record {
            record.bytes_in.fetch_add(to_service, Relaxed);
            record.bytes_out.fetch_add(to_client, Relaxed);
        }
    }
}

/// Ends the connection in good order: the client sees a close, not an error of the network.
async fn refuse(mut io: ClientIo) {
    // Fails only where the client is gone.
    let _ = io.shutdown().await;
}
