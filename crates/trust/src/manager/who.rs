//! Who asks: by the certificate of the connection, looked at anew with every request.

use ringmail_model::Name;
use ringmail_trust_core::manager::{Kind, Serial, Subject};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::error::ManagerError;
use super::service::Service;

/// Whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The SPIFFE id; empty for somebody without a certificate.
    pub spiffe_id: String,
    /// What it may be.
    pub role: Role,
}

/// What somebody may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Somebody without a certificate.
    Stranger,
    /// A client, element or other party of the domain that policy gives no role.
    Member,
    /// The agent of a host.
    Agent(Name),
    /// A host or function under its own identity.
    Holder(Subject),
    /// Someone who may look at everything.
    Auditor,
    /// Someone who may change things.
    Operator,
}

impl Who {
    /// Somebody without a certificate.
    pub const STRANGER: Who = Who { spiffe_id: String::new(), role: Role::Stranger };
}

impl Service {
    /// Who shows this certificate, which TLS found to be signed by the domain's root and in time.
    ///
    /// # Errors
    /// [`ManagerError::Forbidden`] when it was revoked, or is no certificate of this domain.
    pub fn who(&self, certificate: &[u8]) -> Result<Who, ManagerError> {
        let forbidden = |reason: &str| ManagerError::Forbidden(reason.to_owned());
        let (id, serial) = named(certificate)
            .ok_or_else(|| forbidden("the certificate has no SPIFFE id, or more than one"))?;
        let domain = self.trust_domain().clone();
        let inside = id.strip_prefix("spiffe://").and_then(|id| id.strip_prefix(domain.as_str()));
        let path = inside.filter(|path| path.starts_with('/'));
        let path = path.ok_or_else(|| forbidden("the certificate is another domain's"))?;
        let mut inner = self.lock()?;
        if inner.core.is_revoked(&serial) || inner.revoked_by_root.contains(&serial) {
            return Err(forbidden("the certificate was revoked"));
        }
        let role = match Subject::of_spiffe_id(&domain, &id) {
            // Only what this manager issued itself, and knows of.
            Some(subject) if inner.core.is_live(&subject, &serial) => match subject.kind {
                Kind::Agent => Role::Agent(subject.name),
                Kind::Host | Kind::Function => Role::Holder(subject),
            },
            Some(Subject { kind: Kind::Agent, .. }) => {
                return Err(forbidden("the certificate is not known"));
            }
            _ => {
                let policy = inner.core.policy();
                let client = path.strip_prefix("/client/").unwrap_or_default();
                if policy.operators.contains(client) {
                    Role::Operator
                } else if policy.auditors.contains(client) {
                    Role::Auditor
                } else {
                    Role::Member
                }
            }
        };
        Ok(Who { spiffe_id: id, role })
    }
}

/// The one URI of a certificate, and its serial number.
fn named(certificate: &[u8]) -> Option<(String, Serial)> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    });
    let id = uris.next().filter(|_| uris.next().is_none())?;
    let raw = certificate.raw_serial();
    let raw = raw.strip_prefix(&[0]).unwrap_or(raw);
    let mut serial = [0; 16];
    let start = serial.len().checked_sub(raw.len())?;
    serial.get_mut(start..)?.copy_from_slice(raw);
    Some((id, Serial(serial)))
}
