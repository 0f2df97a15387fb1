//! What rules ask of a client's certificate and of the time, made ready to be asked.

use super::pattern::PathPattern;
use super::{CertificateFacts, Condition, RequestFacts};
use crate::domain::{HoursTest, NamePattern, When};

/// These conditions of a rule.
#[derive(Clone, Debug, Default)]
pub(super) struct Strict {
    /// Trust domains, and patterns below them.
    spiffe_ids: Option<Vec<(String, PathPattern)>>,
    names: Option<Vec<NamePattern>>,
    issuers: Option<Vec<String>>,
    max_age_s: Option<u64>,
    times: Option<Vec<HoursTest>>,
}

/// What they are asked about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances<'a> {
    pub(super) certificate: CertificateFacts<'a>,
    pub(super) now_unix_s: u64,
}

impl<'a> Circumstances<'a> {
    pub(super) fn of(facts: &RequestFacts<'a>) -> Circumstances<'a> {
        Circumstances { certificate: facts.certificate, now_unix_s: facts.now_unix_s }
    }
}

impl Strict {
    pub(super) fn of(when: &When) -> Strict {
        let certificate = when.certificate.clone().unwrap_or_default();
        let spiffe_ids = certificate.spiffe_ids.as_ref();
        Strict {
            spiffe_ids: spiffe_ids.map(|all| all.iter().map(|id| id.compiled()).collect()),
            names: certificate.names,
            issuers: certificate.issuers,
            max_age_s: certificate.max_age_s,
            times: when.times.as_ref().map(|all| all.iter().map(HoursTest::of).collect()),
        }
    }

    /// Whether what holds now may not hold later.
    pub(super) fn looks_at_time(&self) -> bool {
        self.times.is_some() || self.max_age_s.is_some()
    }

    /// The conditions that do not hold, each looked at when it is reached.
    pub(super) fn failed<'f>(
        &'f self,
        circumstances: Circumstances<'f>,
    ) -> impl Iterator<Item = Condition<'static>> + use<'f> {
        let Circumstances { certificate, now_unix_s } = circumstances;
        let of = |known: bool, failed| if known { failed } else { Condition::CertificateUnknown };
        let named = !certificate.names.is_empty();
        let any = |test: &dyn Fn(&str) -> bool| certificate.names.iter().any(|name| test(name));
        (0..5).filter_map(move |nth| {
            let (holds, condition) = match nth {
                0 => {
                    let fits = |(domain, path): &(String, PathPattern)| {
                        any(&|name| spiffe_matches(domain, path, name))
                    };
                    (all_or_any(&self.spiffe_ids, fits), of(named, Condition::SpiffeId))
                }
                1 => {
                    let fits = |pattern: &NamePattern| any(&|name| pattern.matches(name));
                    (all_or_any(&self.names, fits), of(named, Condition::CertificateName))
                }
                2 => {
                    let fits = |name: &String| certificate.issuer == Some(name.as_str());
                    (
                        all_or_any(&self.issuers, fits),
                        of(certificate.issuer.is_some(), Condition::Issuer),
                    )
                }
                3 => {
                    let age = certificate.not_before_unix_s.map(|t| now_unix_s.saturating_sub(t));
                    let young =
                        self.max_age_s.is_none_or(|most| age.is_some_and(|age| age <= most));
                    (young, of(age.is_some(), Condition::CertificateAge))
                }
                _ => {
                    let now = |hours: &HoursTest| hours.hold(now_unix_s);
                    (all_or_any(&self.times, now), Condition::Time)
                }
            };
            (!holds).then_some(condition)
        })
    }
}

fn all_or_any<T>(list: &Option<Vec<T>>, test: impl FnMut(&T) -> bool) -> bool {
    super::compile::holds(list, test)
}

pub(crate) fn spiffe_matches(domain: &str, path: &PathPattern, name: &str) -> bool {
    let rest = name.strip_prefix("spiffe://").and_then(|rest| rest.strip_prefix(domain));
    rest.is_some_and(|rest| rest.starts_with('/') && path.matches(rest))
}
