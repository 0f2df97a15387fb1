//! The manager in a process: what agents, operators and auditors ask of it. Calls may take milliseconds and touch a disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ringmail_model::{Name, TrustDomain};
use ringmail_trust_core::manager::audit::Act;
use ringmail_trust_core::manager::head::{Receipt, Rollback, SignedHead};
use ringmail_trust_core::manager::lease::{SignedStandingLease, StandingLease};
use ringmail_trust_core::manager::{
    Counts, Effect, FunctionView, Hash, HostView, Judged, Manager, Now, Policy, Serial, Standing,
    Subject, Verdict, Word, merkle,
};
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, CertificateSigningRequestDer,
};
use tokio::sync::{broadcast, watch};

use super::appraiser::{
    Appraiser, Enrolment, Found, FunctionAsked, HostAsked, Outcome, Pending, bound,
};
use super::error::ManagerError;
use super::issuer::{Asked, Issuer};
use super::settle::{Crl, Inner};
use super::sha256;
use super::store::{Beside, Store};
use crate::authority::Authority;
use crate::ca::{EmbeddedCa, Token};
use crate::limits;
use ringmail_trust_core::limits::NONCE_LASTS;

/// Where the time comes from; tests bring their own.
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

/// How a manager is opened.
pub struct Settings {
    /// Its directory.
    pub dir: std::path::PathBuf,
    /// The domain's authority: its root signs the manager's intermediate, its path-signing key the log.
    pub ca: Arc<EmbeddedCa>,
    /// Who judges evidence.
    pub appraiser: Arc<dyn Appraiser>,
    /// The time.
    pub clock: Clock,
}

/// Enrolments that wait, each until then.
type Enrolling = BTreeMap<Hash, (Instant, Box<dyn Pending>)>;

/// A manager.
pub struct Service {
    inner: Mutex<Inner>,
    ca: Arc<EmbeddedCa>,
    appraiser: Arc<dyn Appraiser>,
    clock: Clock,
    /// Enrolments that wait for their answers, by the hash of the token.
    enrolling: Mutex<Enrolling>,
    effects: broadcast::Sender<Arc<Effect>>,
    size: watch::Sender<u64>,
    _lock: File,
}

/// A certificate that was issued.
#[derive(Clone, Debug)]
pub struct Certified {
    /// The one name in it.
    pub spiffe_id: String,
    /// Its serial number.
    pub serial: Serial,
    /// It, and the intermediate that signed it.
    pub chain: Vec<CertificateDer<'static>>,
    /// Seconds since 1970 at which it was made; it holds from some minutes earlier on, for clocks that are late.
    pub issued_unix_s: u64,
    /// Seconds since 1970 after which it does not hold.
    pub not_after_unix_s: u64,
    /// That it stands in the log. There is always one where a certificate was handed out.
    pub receipt: Option<Receipt>,
}

/// What became of evidence.
#[derive(Clone, Debug)]
pub struct Attested {
    /// How the host or function stands now; `None` where the evidence is asked for again and changed nothing.
    pub judged: Option<Judged>,
    /// What was found.
    pub found: Found,
    /// The certificate that was asked for with it, where it was good.
    pub certified: Option<Certified>,
}

impl Certified {
    /// When to ask for the next one: at half of its life, and up to a tenth of it earlier, by its serial number, so that not
    /// all ask at once.
    pub fn renew_at_unix_s(&self) -> u64 {
        let now_unix_s = self.issued_unix_s;
        let lasts_s = self.not_after_unix_s.saturating_sub(now_unix_s);
        let earlier = lasts_s * u64::from(self.serial.0[15]) / 2560;
        now_unix_s + lasts_s / 2 - earlier
    }
}

impl Settings {
    /// The system's clocks.
    pub fn system_clock() -> Clock {
        Arc::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let unix_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
            Now { instant: Instant::now(), unix_ms }
        })
    }
}

impl Service {
    /// Opens a manager's directory, or makes one.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn open(settings: Settings) -> Result<Service, ManagerError> {
        let Settings { dir, ca, appraiser, clock } = settings;
        let now = clock();
        let files = crate::ca::Store::create(&dir)?;
        files.check_private("")?;
        let lock = hold(&dir)?;
        let domain = ca.trust_domain().clone();
        let store = Store::open(&dir, &domain)?;
        let issuer = Issuer::open(&files, &ca, now.unix_s())?;
        let policy = match store.fact("policy")? {
            Some(text) => parse(&text)?,
            None => Policy::default(),
        };
        let mut core = Manager::new(domain.clone(), policy);
        let mut keys = BTreeMap::new();
        for (record, key) in store.hosts()? {
            keys.insert(record.name.clone(), key);
            core.restore_host(now, record);
        }
        store.functions()?.into_iter().for_each(|record| core.restore_function(record));
        for held in store.certificates()?.iter().filter(|c| c.not_after_unix_s >= now.unix_s()) {
            let end = held.not_after_unix_s;
            core.restore_certificate(&held.subject, held.serial, end, held.revoked_unix_s);
        }
        let number = store.fact("crl")?.and_then(|number| number.parse().ok());
        let number: u64 = number.ok_or_else(|| store.damaged("the list's number is missing"))?;
        let empty = store.tip.size == 0;
        let crl = Crl { der: Vec::new().into(), number, made_unix_s: now.unix_s() };
        let mut inner = Inner {
            core,
            store,
            issuer,
            dir: files,
            keys,
            dirty: BTreeSet::new(),
            beside: Beside { facts: vec![("crl", (number + 1).to_string())], ..Beside::default() },
            crl,
            head: None,
            broken: false,
            rolled_back: None,
            revoked_by_root: BTreeSet::new(),
        };
        if empty {
            let opened = Effect::Log(Act::Opened { trust_domain: domain });
            inner.store.commit(&[opened], &Beside::default(), now.unix_ms)?;
        }
        inner.settle(now)?;
        inner.publish(number + 1, now.unix_s())?;
        let size = watch::Sender::new(inner.store.tip.size);
        let effects = broadcast::Sender::new(limits::MANAGER_EFFECTS);
        let inner = Mutex::new(inner);
        let enrolling = Mutex::default();
        let service =
            Service { inner, ca, appraiser, clock, enrolling, effects, size, _lock: lock };
        service.look_at_authority()?;
        Ok(service)
    }

    /// The domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        self.ca.trust_domain()
    }

    /// What is done from now on, for who acts upon it: sessions to be closed, paths to be left.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Effect>> {
        self.effects.subscribe()
    }

    /// The number of entries in the log, as it grows.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.size.subscribe()
    }

    /// A token for a host to enrol with once.
    ///
    /// # Errors
    /// [`ManagerError::BadRequest`].
    pub fn token(&self, host: &Name, lasts: Duration) -> Result<Token, ManagerError> {
        if lasts.is_zero() || lasts > limits::TOKEN_LASTS_MAX {
            let most = limits::TOKEN_LASTS_MAX.as_secs() / 60;
            let reason = format!("a token lasts from one minute to {most} minutes");
            return Err(ManagerError::BadRequest(reason));
        }
        let root = sha256(&self.ca.issuing_root()?);
        let token = Token::generate(self.trust_domain().clone(), host.clone(), root)?;
        let (inner, now) = (self.lock()?, (self.clock)());
        let until = now.unix_s() + lasts.as_secs();
        inner.store.add_token(&hashed(token.danger_secret()), host, until)?;
        Ok(token)
    }

    /// Begins to take a host in by its token: what its agent has to answer to show that what it enrols with is its own.
    ///
    /// # Errors
    /// [`ManagerError`]; the token can be used again.
    pub fn begin_enrolment(
        &self,
        host: &Name,
        secret: &[u8; 32],
        enrolment: &[u8],
    ) -> Result<serde_json::Value, ManagerError> {
        let token = hashed(secret);
        let now = (self.clock)();
        // Before work that anybody could cause.
        if !self.lock()?.store.has_token(&token, host, now.unix_s())? {
            return Err(ManagerError::BadToken(host.to_string()));
        }
        let begun = self.appraiser.enrol(host, enrolment, now.unix_s());
        let Enrolment { challenge, pending } = begun.map_err(ManagerError::Evidence)?;
        let mut enrolling = self.enrolling.lock().unwrap_or_else(PoisonError::into_inner);
        enrolling.retain(|_, (until, _)| *until > now.instant);
        // One a token, and of tokens there are so many.
        enrolling.insert(token, (now.instant + NONCE_LASTS, pending));
        Ok(challenge)
    }

    /// Takes a host in that answered: its evidence will be bound to what it enrolled with, and its agent gets a
    /// certificate.
    ///
    /// # Errors
    /// [`ManagerError`]; the token is spent only when the host was taken in, and the answer has to be to a new challenge.
    pub fn enrol(
        &self,
        host: &Name,
        secret: &[u8; 32],
        answer: &[u8],
        request: &CertificateSigningRequestDer<'_>,
    ) -> Result<Certified, ManagerError> {
        let asked = Asked::read(host, request)?;
        let token = hashed(secret);
        let no_token = || ManagerError::BadToken(host.to_string());
        let begun = {
            let mut enrolling = self.enrolling.lock().unwrap_or_else(PoisonError::into_inner);
            enrolling.remove(&token).filter(|(until, _)| *until > (self.clock)().instant)
        };
        let (_, pending) = begun.ok_or_else(|| {
            ManagerError::BadRequest("the enrolment was not begun, or too long ago".to_owned())
        })?;
        let anchor = pending.finish(answer).map_err(ManagerError::Evidence)?;
        let mut certified = self.act(|inner, now| {
            inner.trustworthy()?;
            if !inner.store.has_token(&token, host, now.unix_s())? {
                return Err(no_token());
            }
            let known = inner.keys.get(host).is_some_and(|known| known.anchor == anchor);
            inner.core.handle_enrolment(now, host, sha256(&anchor))?;
            if !known {
                let key = super::store::HostKey { anchor: anchor.clone(), state: Vec::new() };
                inner.keys.insert(host.clone(), key);
                inner.beside.key = Some((host.clone(), anchor));
            }
            inner.beside.spent = Some(token);
            let grant = inner.core.may_issue_agent(now, host)?;
            inner.certify(grant, &asked, now)
        })?;
        self.add_receipt(&mut certified)?;
        Ok(certified)
    }

    /// Another certificate for the agent of a host, which showed the one that it has.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn renew_agent(
        &self,
        host: &Name,
        request: &CertificateSigningRequestDer<'_>,
    ) -> Result<Certified, ManagerError> {
        let asked = Asked::read(host, request)?;
        let mut certified = self.act(|inner, now| {
            inner.trustworthy()?;
            let grant = inner.core.may_issue_agent(now, host)?;
            inner.certify(grant, &asked, now)
        })?;
        self.add_receipt(&mut certified)?;
        Ok(certified)
    }

    /// A nonce for evidence from a host, and what else its agent has to know.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn nonce(&self, host: &Name) -> Result<([u8; 32], serde_json::Value), ManagerError> {
        let mut random = [0; 32];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| crate::error::AuthorityError::Signature)?;
        let (nonce, state) = self.act(|inner, now| {
            inner.trustworthy()?;
            let nonce = inner.core.handle_nonce(now, host, random)?;
            Ok((nonce, inner.keys.get(host).map(|key| key.state.clone()).unwrap_or_default()))
        })?;
        Ok((nonce, self.appraiser.challenge(host, &state)))
    }

    /// Evidence of a host; with a request, and if the evidence is good, a certificate for the host.
    ///
    /// # Errors
    /// [`ManagerError`]. Evidence that is refused is no error.
    pub fn host_evidence(
        &self,
        host: &Name,
        nonce: &[u8; 32],
        evidence: &[u8],
        request: Option<&CertificateSigningRequestDer<'_>>,
    ) -> Result<Attested, ManagerError> {
        let asked = request.map(|request| Asked::read(host, request)).transpose()?;
        let (taken, key, policy) = self.act(|inner, now| {
            inner.trustworthy()?;
            let taken = inner.core.handle_evidence(now, host, nonce)?;
            let key = inner.keys.get(host).cloned().unwrap_or_default();
            Ok((taken, key, inner.core.policy_number()))
        })?;
        let public_key = asked.as_ref().map(|asked| asked.public_key.as_slice());
        let appraised = self.appraiser.appraise_host(&HostAsked {
            host,
            anchor: &key.anchor,
            nonce: public_key.map_or(*nonce, |key| bound(nonce, key)),
            asked_unix_ms: taken.made_unix_ms,
            received_unix_ms: (self.clock)().unix_ms,
            state: &key.state,
            evidence,
        });
        let found = appraised.found;
        let refused = match &found.outcome {
            Outcome::Good => None,
            Outcome::Refused(why) => Some(why.clone()),
            Outcome::AskAgain(_) => {
                return Ok(Attested { judged: None, found, certified: None });
            }
        };
        let verdict =
            Verdict { evidence: sha256(evidence), key: public_key.map(sha256), refused, policy };
        let (judged, mut certified) = self.act(|inner, now| {
            let judged = inner.core.handle_host_verdict(now, host, taken, &verdict)?;
            if let Some(key) = inner.keys.get_mut(host)
                && key.state != appraised.state
            {
                key.state = appraised.state;
                inner.dirty.insert(host.clone());
            }
            let subject = Subject::host(host.clone());
            let asked = asked.as_ref().filter(|_| judged.takes_part);
            Ok((judged, inner.issue(now, &subject, asked)?))
        })?;
        certified.iter_mut().try_for_each(|certified| self.add_receipt(certified))?;
        Ok(Attested { judged: Some(judged), found, certified })
    }

    /// Evidence of a function on a host and the request for its certificate.
    ///
    /// # Errors
    /// [`ManagerError`]. Evidence that is refused is no error.
    pub fn function_evidence(
        &self,
        function: &Name,
        host: &Name,
        nonce: &[u8; 32],
        evidence: &[u8],
        request: &CertificateSigningRequestDer<'_>,
    ) -> Result<Attested, ManagerError> {
        let asked = Asked::read(function, request)?;
        let subject = Subject::function(function.clone());
        let spiffe_id = subject.spiffe_id(self.trust_domain());
        let (taken, key, policy) = self.act(|inner, now| {
            inner.trustworthy()?;
            let taken = inner.core.handle_evidence(now, host, nonce)?;
            let key = inner.keys.get(host).cloned().unwrap_or_default();
            Ok((taken, key, inner.core.policy_number()))
        })?;
        let found = self.appraiser.appraise_function(&FunctionAsked {
            function,
            spiffe_id: &spiffe_id,
            public_key: &asked.public_key,
            host,
            host_anchor: &key.anchor,
            host_state: &key.state,
            nonce: *nonce,
            received_unix_ms: (self.clock)().unix_ms,
            evidence,
        });
        let refused = match &found.outcome {
            Outcome::Good => None,
            Outcome::Refused(why) => Some(why.clone()),
            Outcome::AskAgain(_) => {
                return Ok(Attested { judged: None, found, certified: None });
            }
        };
        let key = Some(sha256(&asked.public_key));
        let verdict = Verdict { evidence: sha256(evidence), key, refused, policy };
        let (judged, mut certified) = self.act(|inner, now| {
            let judged =
                inner.core.handle_function_verdict(now, function, host, taken, &verdict)?;
            let asked = Some(&asked).filter(|_| judged.takes_part);
            Ok((judged, inner.issue(now, &subject, asked)?))
        })?;
        certified.iter_mut().try_for_each(|certified| self.add_receipt(certified))?;
        Ok(Attested { judged: Some(judged), found, certified })
    }

    /// The word that a host or function is in good standing, in answer to whoever made the nonce.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn lease(
        &self,
        subject: &Subject,
        nonce: [u8; 32],
    ) -> Result<SignedStandingLease, ManagerError> {
        let (inner, now) = (self.lock()?, (self.clock)());
        inner.trustworthy()?;
        let leased = inner.core.may_lease(now, subject)?;
        let tip = inner.store.tip;
        drop(inner);
        let lease = StandingLease {
            spiffe_id: leased.spiffe_id,
            nonce,
            lasts_ms: leased.lasts_ms,
            term: tip.term,
            size: tip.size,
        };
        let signature = self.ca.sign_with_path_key(&lease.signed_bytes())?;
        Ok(lease.signed(signature))
    }

    /// An operator's word about a host or function.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn say(
        &self,
        by: &str,
        subject: &Subject,
        word: Word,
        why: &str,
    ) -> Result<Standing, ManagerError> {
        self.act(|inner, now| Ok(inner.core.handle_word(now, by, subject, word, why)?))
    }

    /// Other rules: YAML. Nothing changes where they make no sense, or are those that hold.
    ///
    /// # Errors
    /// [`ManagerError::PolicyText`], [`ManagerError::Policy`].
    pub fn set_policy(&self, by: &str, text: &str) -> Result<(), ManagerError> {
        let policy = parse(text)?;
        self.act(|inner, _| {
            if inner.store.fact("policy")?.as_deref() != Some(text) {
                inner.beside.facts.push(("policy", text.to_owned()));
                inner.core.handle_policy(policy, sha256(text.as_bytes()), by);
            }
            Ok(())
        })
    }

    /// The rules: as they were written, and as they are understood.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn policy(&self) -> Result<(Option<String>, Policy), ManagerError> {
        let inner = self.lock()?;
        Ok((inner.store.fact("policy")?, inner.core.policy().clone()))
    }

    /// How many stand how.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn counts(&self) -> Result<Counts, ManagerError> {
        Ok(self.lock()?.core.counts())
    }

    /// Why nothing is issued any more, if a peer has seen more than the database has.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn rolled_back(&self) -> Result<Option<Rollback>, ManagerError> {
        Ok(self.lock()?.rolled_back.clone())
    }

    /// All hosts, by name.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn hosts(&self) -> Result<Vec<HostView>, ManagerError> {
        Ok(self.lock()?.core.hosts().collect())
    }

    /// All functions, by name.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn functions(&self) -> Result<Vec<FunctionView>, ManagerError> {
        Ok(self.lock()?.core.functions().collect())
    }

    /// The log's head as it is now.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn head(&self) -> Result<SignedHead, ManagerError> {
        let now = (self.clock)();
        self.lock()?.signed_head(&self.ca, now)
    }

    /// The log's head as it is now, and the proof that it continues the one that a peer kept. Where it does not, nothing is
    /// issued from then on.
    ///
    /// # Errors
    /// [`ManagerError::RolledBack`]; [`ManagerError::BadRequest`] where this domain never signed what the peer has.
    pub fn continues(&self, kept: &SignedHead) -> Result<(SignedHead, Vec<Hash>), ManagerError> {
        let key = self.path_key()?;
        if !kept.is_signed_by(&key) || kept.head.trust_domain != *self.trust_domain() {
            return Err(ManagerError::BadRequest("the head is not one of this domain".to_owned()));
        }
        let now = (self.clock)();
        let mut inner = self.lock()?;
        let head = inner.signed_head(&self.ca, now)?;
        let proof = merkle::consistency(&inner.store, kept.head.size, head.head.size);
        let judged = kept.head.continued_by(&head.head, proof.as_deref().unwrap_or_default());
        if let Err(rollback) = judged {
            tracing::error!(%rollback, "nothing is issued any more");
            inner.rolled_back = Some(rollback.clone());
            return Err(ManagerError::RolledBack(rollback));
        }
        Ok((head, proof.unwrap_or_default()))
    }

    /// Encoded entries of the log from `first` on, at most [`limits::MANAGER_ENTRIES_AT_ONCE`].
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn entries(&self, first: u64, count: u64) -> Result<Vec<Vec<u8>>, ManagerError> {
        let count = count.min(limits::MANAGER_ENTRIES_AT_ONCE);
        self.lock()?.store.entries(first, count)
    }

    /// What shows that a certificate stands in the log; `None` where it does not, or ran out long ago.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn receipt(&self, serial: &Serial) -> Result<Option<Receipt>, ManagerError> {
        let now = (self.clock)();
        self.lock()?.receipt(&self.ca, serial, now)
    }

    /// Whom to believe: roots, the revocation lists of the roots and of the manager, the path-signing key.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn bundle(&self) -> Result<crate::TrustBundle, ManagerError> {
        let mut bundle = self.ca.trust_bundle()?;
        bundle.crls.push(self.crl()?.0);
        Ok(bundle)
    }

    /// The manager's revocation list and its number.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn crl(&self) -> Result<(CertificateRevocationListDer<'static>, u64), ManagerError> {
        let inner = self.lock()?;
        Ok((inner.crl.der.clone(), inner.crl.number))
    }

    /// The key that signs heads and leases.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn path_key(&self) -> Result<[u8; 32], ManagerError> {
        Ok(self.ca.path_key())
    }

    /// What time does: silence is noticed, what appraisals left behind is kept, lists are made anew. To be called about
    /// twice a second.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn tick(&self) -> Result<(), ManagerError> {
        self.act(|inner, now| {
            inner.core.handle_timeout(now);
            Ok(())
        })
    }

    /// What is done less often, about every ten seconds.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn tidy(&self) -> Result<(), ManagerError> {
        self.look_at_authority()?;
        self.act(|inner, now| inner.tidy(now))
    }

    pub(super) fn authority(&self) -> &EmbeddedCa {
        &self.ca
    }

    pub(super) fn lock(&self) -> Result<MutexGuard<'_, Inner>, ManagerError> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.broken { Err(ManagerError::Broken) } else { Ok(inner) }
    }

    /// Whom the domain's own authority revoked.
    fn look_at_authority(&self) -> Result<(), ManagerError> {
        let revoked =
            self.ca.list()?.into_iter().filter(|(_, record)| record.revoked_unix_s.is_some());
        let serials = revoked.map(|(serial, _)| Serial(serial.bytes())).collect();
        self.lock()?.revoked_by_root = serials;
        Ok(())
    }

    /// One call: what it changed is on the disk when this returns, and told to who follows.
    fn act<T>(
        &self,
        call: impl FnOnce(&mut Inner, Now) -> Result<T, ManagerError>,
    ) -> Result<T, ManagerError> {
        let mut inner = self.lock()?;
        let now = (self.clock)();
        let result = call(&mut inner, now);
        let effects = inner.settle(now)?;
        let size = inner.store.tip.size;
        drop(inner);
        for effect in effects {
            // Nobody may listen.
            drop(self.effects.send(Arc::new(effect)));
        }
        self.size.send_if_modified(|known| std::mem::replace(known, size) != size);
        result
    }

    fn add_receipt(&self, certified: &mut Certified) -> Result<(), ManagerError> {
        certified.receipt = self.receipt(&certified.serial)?;
        if certified.receipt.is_none() {
            return Err(self.lock()?.store.damaged("a certificate is not in the log"));
        }
        Ok(())
    }
}

impl Inner {
    /// Whether anything may be issued: a peer may have seen more than the database has.
    pub(super) fn trustworthy(&self) -> Result<(), ManagerError> {
        match &self.rolled_back {
            None => Ok(()),
            Some(rollback) => Err(ManagerError::RolledBack(rollback.clone())),
        }
    }

    fn issue(
        &mut self,
        now: Now,
        subject: &Subject,
        asked: Option<&Asked>,
    ) -> Result<Option<Certified>, ManagerError> {
        let Some(asked) = asked else { return Ok(None) };
        let grant = self.core.may_issue(now, subject, &sha256(&asked.public_key))?;
        self.certify(grant, asked, now).map(Some)
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("trust_domain", self.trust_domain()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// The policy of a text.
pub(super) fn parse(text: &str) -> Result<Policy, ManagerError> {
    if text.len() > limits::POLICY_BYTES {
        let reason = format!("it has more than {} bytes", limits::POLICY_BYTES);
        return Err(ManagerError::PolicyText(reason));
    }
    let policy: Policy = match text.trim() {
        "" => Policy::default(),
        _ => serde_saphyr::from_str(text)
            .map_err(|error| ManagerError::PolicyText(error.without_snippet().to_string()))?,
    };
    policy.check()?;
    Ok(policy)
}

/// Keeps others from serving from the same directory, as long as the file is open.
fn hold(dir: &Path) -> Result<File, ManagerError> {
    let path = dir.join("lock");
    let mut open = OpenOptions::new();
    let failed = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| crate::error::AuthorityError::File { doing, path, source }
    };
    let file = open
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ManagerError::Busy { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed("lock", &path)(source).into()),
    }
}

fn hashed(secret: &[u8; 32]) -> Hash {
    sha256(&[b"ringmail host token 1\0".as_slice(), secret].concat())
}
