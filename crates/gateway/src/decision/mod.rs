//! External policy decision points: asked over HTTP in the shape of OPA's data API, within a time, by default no.
//!
//! ```text
//!  demand ── Question ── cache? ── Wire: idle or new connection ── POST ── {"result": …} ── Answer
//! ```

mod answer;
mod cache;
mod question;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;
use ringmail_model::domain::{DecisionPoint as Described, OnFailure, PointAddress};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::{Instant, timeout};

pub(crate) use self::answer::Answer;
use self::cache::Cache;
pub(crate) use self::question::{Chain, Question, Requested};
use self::wire::{Unanswered, Wire};
use crate::counters::Counters;
use crate::limits::ms;

/// The decision points of a version of the domain, by name.
pub type DecisionPoints = BTreeMap<String, Arc<DecisionPoint>>;

/// Whom a decision point's certificate leads to, and what the gateway shows.
#[derive(Debug)]
pub struct DecisionTrust {
    /// Trust anchors.
    pub anchors: RootCertStore,
    /// The gateway's certificate for it.
    pub own: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

/// One decision point.
#[derive(Debug)]
pub struct DecisionPoint {
    name: String,
    wire: Wire,
    timeout: Duration,
    on_failure: OnFailure,
    cache: Option<Cache>,
    headers: Vec<HeaderName>,
}

/// Why a decision point cannot be asked. `check` says most of it with line and column.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecisionPointError {
    /// The URL has a name for a host, and no address.
    #[error("where it listens is not said")]
    Nowhere,
    /// https without trust anchors.
    #[error("its trust anchors are missing")]
    Untrusted,
    /// The host is no name that a certificate can have.
    #[error("its host is no server name")]
    Name(#[from] rustls::pki_types::InvalidDnsNameError),
    /// What rustls says, such as of a certificate that its key does not fit.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// A header field that is none.
    #[error("a name of a header field is none")]
    Header(#[from] http::header::InvalidHeaderName),
}

impl DecisionPoint {
    /// One as the domain file describes it, with what its files hold.
    ///
    /// # Errors
    /// [`DecisionPointError`].
    pub fn new(
        described: &Described,
        trust: Option<DecisionTrust>,
    ) -> Result<DecisionPoint, DecisionPointError> {
        let address: PointAddress = described.reached_at().ok_or(DecisionPointError::Nowhere)?;
        let headers = described.headers.iter().map(|name| HeaderName::try_from(name.as_str()));
        Ok(DecisionPoint {
            name: described.name.to_string(),
            wire: Wire::new(&described.url, address, trust)?,
            timeout: ms(described.timeout_ms.into()),
            on_failure: described.on_failure,
            cache: described.cache.as_ref().map(Cache::new),
            headers: headers.collect::<Result<_, _>>()?,
        })
    }

    /// Header fields that it gets to see.
    pub(crate) fn headers(&self) -> &[HeaderName] {
        &self.headers
    }

    /// What it says, or what counts where it says nothing.
    pub(crate) async fn ask(&self, question: &Question<'_>, counters: &Counters) -> Answer {
        let Some(body) = question.encode() else { return self.failed(counters) };
        let key = self.cache.as_ref().map(|cache| (cache, cache::key(&body)));
        if let Some(kept) = key.as_ref().and_then(|(cache, key)| cache.get(key, Instant::now())) {
            counters.decisions_from_cache.one();
            return kept;
        }
        counters.decisions_asked.one();
        let said = timeout(self.timeout, self.wire.post(Bytes::from(body))).await;
        let answer = said.unwrap_or(Err(Unanswered::Late)).and_then(|said| Answer::read(&said));
        match answer {
            Ok(answer) => {
                if let Some((cache, key)) = key {
                    cache.put(key, answer.clone(), Instant::now());
                }
                answer
            }
            Err(why) => {
                let why = &why as &dyn std::error::Error;
                tracing::warn!(decision_point = self.name, error = why, "no decision");
                self.failed(counters)
            }
        }
    }

    fn failed(&self, counters: &Counters) -> Answer {
        counters.decisions_failed.one();
        match self.on_failure {
            OnFailure::Deny => Answer::Unknown,
            OnFailure::Allow => {
                counters.decisions_failed_open.one();
                Answer::Yes
            }
        }
    }
}
