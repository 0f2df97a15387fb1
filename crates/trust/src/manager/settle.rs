//! What is behind the manager's lock, and how a call ends: effects to the disk first, then to whoever follows them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ringmail_model::Name;
use ringmail_trust_core::manager::head::{Head, Receipt, Rollback, SignedHead};
use ringmail_trust_core::manager::{Effect, Grant, Manager, Now, Serial, merkle};
use rustls_pki_types::CertificateRevocationListDer;

use super::error::ManagerError;
use super::issuer::{Asked, Issuer};
use super::service::Certified;
use super::sha256;
use super::store::{Beside, HostKey, Store};
use crate::ca::EmbeddedCa;
use crate::limits::MANAGER_CRL_LASTS;
use crate::pem;

/// The file of the revocation list.
pub(super) const CRL: &str = "crl.pem";

/// What is behind the lock.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) core: Manager,
    pub(super) store: Store,
    pub(super) issuer: Issuer,
    pub(super) dir: crate::ca::Store,
    pub(super) keys: BTreeMap<Name, HostKey>,
    /// Hosts whose appraisal left something behind that is not on the disk yet.
    pub(super) dirty: BTreeSet<Name>,
    /// What is to be committed with the effects of the call.
    pub(super) beside: Beside,
    pub(super) crl: Crl,
    pub(super) head: Option<SignedHead>,
    pub(super) broken: bool,
    pub(super) rolled_back: Option<Rollback>,
    /// Serial numbers that the domain's own authority revoked.
    pub(super) revoked_by_root: BTreeSet<Serial>,
}

/// The manager's revocation list.
#[derive(Debug)]
pub(super) struct Crl {
    pub(super) der: CertificateRevocationListDer<'static>,
    pub(super) number: u64,
    pub(super) made_unix_s: u64,
}

impl Inner {
    /// Puts on the disk what the call changed. Until this has returned, nothing that follows from it is seen.
    pub(super) fn settle(&mut self, now: Now) -> Result<Vec<Effect>, ManagerError> {
        let effects: Vec<Effect> = std::iter::from_fn(|| self.core.poll_effect()).collect();
        let mut beside = std::mem::take(&mut self.beside);
        let revoked = effects.iter().any(|effect| matches!(effect, Effect::Revoked { .. }));
        let old = now.unix_s() >= self.crl.made_unix_s + MANAGER_CRL_LASTS.as_secs() / 2;
        let number = self.crl.number + 1;
        if revoked || old {
            beside.facts.push(("crl", number.to_string()));
        }
        if effects.is_empty() && beside.is_empty() {
            return Ok(effects);
        }
        if let Err(error) = self.store.commit(&effects, &beside, now.unix_ms) {
            self.broken = true;
            return Err(error);
        }
        self.head = None;
        if revoked || old {
            self.publish(number, now.unix_s())?;
        }
        Ok(effects)
    }

    /// Makes the revocation list anew, for who asks here and for programs that read the file.
    pub(super) fn publish(&mut self, number: u64, now_unix_s: u64) -> Result<(), ManagerError> {
        let der = self.issuer.list(self.core.revoked(), number, now_unix_s)?;
        self.crl = Crl { der, number, made_unix_s: now_unix_s };
        let text = pem::lists(std::slice::from_ref(&self.crl.der));
        if let Err(error) = self.dir.write(CRL, &text) {
            tracing::error!(%error, "the revocation list for other programs is not written");
        }
        Ok(())
    }

    /// Makes a certificate; it may be handed out once the call is settled.
    pub(super) fn certify(
        &mut self,
        grant: Grant,
        asked: &Asked,
        now: Now,
    ) -> Result<Certified, ManagerError> {
        let made = self.issuer.sign(&grant, asked, now.unix_s())?;
        let spiffe_id = grant.spiffe_id.clone();
        let not_after_unix_s = made.not_after_unix_s;
        self.core.handle_issued(grant, made.serial, sha256(&made.der), not_after_unix_s);
        Ok(Certified {
            spiffe_id,
            serial: made.serial,
            chain: vec![made.der, self.issuer.certificate.clone()],
            issued_unix_s: now.unix_s(),
            not_after_unix_s,
            receipt: None,
        })
    }

    /// What shows that a certificate stands in the log.
    pub(super) fn receipt(
        &mut self,
        ca: &EmbeddedCa,
        serial: &Serial,
        now: Now,
    ) -> Result<Option<Receipt>, ManagerError> {
        let Some(position) = self.store.position(serial)? else { return Ok(None) };
        let head = self.signed_head(ca, now)?;
        let entry = self.store.entries(position, 1)?.pop();
        let proof = merkle::inclusion(&self.store, position, head.head.size);
        let (Some(entry), Some(proof)) = (entry, proof) else {
            return Err(self.store.damaged("an entry or its proof is missing"));
        };
        Ok(Some(Receipt { head, entry, proof }))
    }

    /// The head of the log as it is now.
    pub(super) fn signed_head(
        &mut self,
        ca: &EmbeddedCa,
        now: Now,
    ) -> Result<SignedHead, ManagerError> {
        if let Some(head) = &self.head {
            return Ok(head.clone());
        }
        let tip = self.store.tip;
        let head = Head {
            trust_domain: self.core.trust_domain().clone(),
            term: tip.term,
            size: tip.size,
            last: tip.last,
            root: tip.root,
            at_unix_ms: now.unix_ms,
        };
        let signature = ca.sign_with_path_key(&head.signed_bytes())?;
        Ok(self.head.insert(head.signed(signature)).clone())
    }

    /// Keeps what appraisals left behind, and forgets what is over.
    pub(super) fn tidy(&mut self, now: Now) -> Result<(), ManagerError> {
        if !self.dirty.is_empty() {
            let dirty = std::mem::take(&mut self.dirty);
            let state = |host| Some((host, self.keys.get(host)?.state.as_slice()));
            self.store.keep_states(dirty.iter().filter_map(state))?;
        }
        const OUTLIVE: Duration = crate::limits::RECORDS_OUTLIVE;
        self.store.forget(now.unix_s().saturating_sub(OUTLIVE.as_secs()))
    }
}
