//! Certificates that elements ask for in their sessions.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ringmail_model::Name;
use ringmail_model::pdp::{Message, SessionId, Usage};
use ringmail_trust::{Authority, Certificates};
use rustls_pki_types::CertificateSigningRequestDer;

use super::super::limits::CERTIFICATES_AN_HOUR;
use super::super::press::Press;
use super::Input;
use super::hub::Hub;

/// How long the certificate of a listener holds.
const SERVER_LASTS: Duration = Duration::from_secs(90 * 86_400);

impl Hub {
    /// Signs a certificate beside, since it may wait for another process that uses the authority.
    pub(super) fn certificate(
        &mut self,
        now: Instant,
        session: SessionId,
        element: String,
        number: u32,
        usage: Usage,
        request: Vec<u8>,
    ) {
        let asked = self.asked.entry(element.clone()).or_default();
        while asked.front().is_some_and(|at| now.duration_since(*at) > Duration::from_secs(3600)) {
            asked.pop_front();
        }
        asked.push_back(now);
        let too_many = asked.len() > CERTIFICATES_AN_HOUR;
        let (press, inputs) = (self.press.clone(), self.inputs.clone());
        self.tasks.spawn(async move {
            let sign = move || {
                ensure!(!too_many, "more than {CERTIFICATES_AN_HOUR} certificates in an hour");
                certify(&press, &element, &usage, &request)
            };
            let signed = match tokio::task::spawn_blocking(sign).await {
                Ok(signed) => signed,
                Err(_) => return,
            };
            let message = match signed {
                Ok(Certificates { chain, not_after_unix_s }) => {
                    let chain = chain.iter().map(|der| der.to_vec()).collect();
                    Message::Certificate { number, not_after_unix_s, chain }
                }
                Err(error) => Message::Refused { number, detail: format!("{error:#}") },
            };
            drop(inputs.send(Input::Answer(session, message)).await);
        });
    }
}

fn certify(press: &Press, element: &str, usage: &Usage, request: &[u8]) -> Result<Certificates> {
    let request = CertificateSigningRequestDer::from(request);
    let (listener, index) = match usage {
        Usage::Element => {
            let name: Name = element.parse()?;
            return Ok(press.authority.sign_element(&name, &request)?);
        }
        Usage::Listener { listener, index } => (listener, usize::from(*index)),
    };
    let found = press.listener(element, listener);
    let found = found.with_context(|| format!("`{element}` has no listener `{listener}`"))?;
    let wanted = found.certificates.get(index).filter(|wanted| wanted.files.is_none());
    let wanted = wanted.context("the authority has no such certificate to give")?;
    let names: BTreeSet<String> = wanted.server_names.iter().map(ToString::to_string).collect();
    let names: Result<Vec<_>, String> = names.iter().map(|name| name.parse()).collect();
    let names = names.map_err(anyhow::Error::msg)?;
    let name: Name = format!("{listener}-{index}").parse()?;
    Ok(press.authority.sign_server(&name, &names, SERVER_LASTS, &request)?)
}
