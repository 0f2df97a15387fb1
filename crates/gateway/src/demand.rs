//! What the rule that decides demands besides, met here: how often the client came, and what a decision point says.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use ringmail_model::domain::ApplicationProtocol;
use ringmail_model::rules::{Demands, Denied};

use crate::counters::Counters;
use crate::decision::{Answer, Chain, Question, Requested};
use crate::identity::Client;
use crate::policy::Policy;
use crate::rate::{Rates, TooFast};
use crate::refusal::Refusal;

/// What time it is, for rules.
pub(crate) fn now_unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Who wants what, by which rule.
pub(crate) struct Wanted<'a> {
    pub(crate) client: &'a Client,
    /// The name that the rules know the client by.
    pub(crate) identity: &'a str,
    pub(crate) source: IpAddr,
    pub(crate) server_name: Option<&'a str>,
    pub(crate) protocol: ApplicationProtocol,
    pub(crate) chain: Chain<'a>,
    /// Method, host and path in their normal form, header fields; none of what passes unread.
    pub(crate) request: Option<(&'a str, &'a str, &'a str, &'a HeaderMap)>,
}

/// A no, with what a decision point said of it.
#[derive(Debug)]
pub(crate) struct Unmet {
    pub(crate) refusal: Refusal,
    pub(crate) detail: Option<Arc<str>>,
}

impl From<Refusal> for Unmet {
    fn from(refusal: Refusal) -> Unmet {
        Unmet { refusal, detail: None }
    }
}

/// Meets the demands of a rule, the rate first: it is cheap, and keeps floods from the decision point.
pub(crate) async fn meet(
    demands: Demands<'_>,
    wanted: Wanted<'_>,
    policy: &Policy,
    rates: &Rates,
    counters: &Counters,
) -> Result<(), Unmet> {
    if let Some(rate) = demands.rate {
        let taken = rates.take(wanted.chain.rule, wanted.identity, rate);
        taken.map_err(|too_fast| too_fast.refusal(counters))?;
    }
    let Some(name) = demands.ask else { return Ok(()) };
    // One that is not there cannot say yes; a policy is made with all that its rules ask.
    let Some(point) = policy.decision_points.get(name) else {
        return Err(Refusal::Undecided.into());
    };
    let Wanted { client, identity, source, server_name, protocol, chain, request } = wanted;
    let request = request.map(|(method, host, path, fields)| {
        Requested::new(method, host, path, fields, point.headers())
    });
    let question = Question::new(client, identity, source, server_name, protocol, chain, request);
    match point.ask(&question, counters).await {
        Answer::Yes => Ok(()),
        Answer::No(detail) => Err(Unmet { refusal: Refusal::Decision, detail }),
        Answer::Unknown => Err(Refusal::Undecided.into()),
    }
}

impl TooFast {
    fn refusal(self, counters: &Counters) -> Refusal {
        let wait_ms = match self {
            TooFast::Empty { wait_ms } => wait_ms,
            TooFast::Full => {
                counters.rates_full.one();
                crate::limits::RATE_SWEEP_MS
            }
        };
        Refusal::TooFast { retry_after_s: wait_ms.div_ceil(1_000).max(1) }
    }
}

impl From<Denied> for Unmet {
    fn from(denied: Denied) -> Unmet {
        Refusal::from(denied).into()
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Refusal {
        match denied {
            Denied::NoRule => Refusal::NoRule,
            Denied::Certificate => Refusal::Certificate,
            Denied::Time => Refusal::Time,
            Denied::Host => Refusal::Malformed("the host has several readings"),
            Denied::Path(denied) => Refusal::Malformed(denied.why()),
        }
    }
}
