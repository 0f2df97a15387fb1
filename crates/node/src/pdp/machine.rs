//! One element on a machine of its own: it enrols, follows control, keeps what it was told, and runs without control too.

mod certificates;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use ringmail_dataplane::sap::SignedLease;
use ringmail_model::domain::{Domain, Keying, Profile};
use ringmail_model::pathset::{Expected, PathSet, PublicKey, Role};
use ringmail_model::pdp::{Documents, Follower, FollowerConfig, FollowerEvent, Usage};
use ringmail_model::{Name, PathDigest, PathVersion};
use ringmail_trust::Token;
use tokio::time::sleep_until;

use self::certificates::Wanted;
use super::feed::Feed;
use super::limits::{CLOCK_DIFFERS, LEASES_SAVED_WITHIN, RENEW_RETRY, START_WITHIN};
use super::link::{Heard, Link};
use super::session::Said;
use super::store::{Enrolled, ListenerCertificate, StateDir, blobs};
use super::{enrol, tls};
use crate::control::{FromElement, Secret, ToElement};
use crate::limits::SHUTDOWN_GRACE;
use crate::notify::Notifier;
use crate::random;

/// Which element runs here, and where its things are.
#[derive(Debug)]
pub struct MachineSettings {
    /// Its name in the domain.
    pub name: Name,
    /// What it has to be.
    pub role: Role,
    /// The state directory.
    pub state: PathBuf,
    /// Where the domain file's relative paths begin on this machine.
    pub files: PathBuf,
    /// Control's address, `HOST:PORT`.
    pub control: String,
    /// What it enrols with, unless it has.
    pub token: Option<Token>,
}

/// Runs the element until `stop` is ready.
///
/// # Errors
/// Whatever keeps it from serving. That control is away does not, once a version was activated here.
pub async fn run(settings: MachineSettings, stop: impl Future<Output = ()>) -> Result<()> {
    let mut stop = std::pin::pin!(stop);
    let dir = StateDir::open(&settings.state)?;
    let enrolled = tokio::select! {
        enrolled = enrolled(&settings, &dir) => enrolled?,
        () = &mut stop => return Ok(()),
    };
    let mut machine = Machine::new(settings, dir, enrolled)?;
    machine.start_from_disk().await?;
    machine.notifier.ready();
    let outcome = tokio::select! {
        outcome = machine.serve() => outcome,
        () = &mut stop => Ok(()),
    };
    machine.notifier.stopping();
    machine.save_leases();
    machine.link.hang_up();
    if let Some(feed) = machine.feed.take() {
        feed.stop(SHUTDOWN_GRACE).await;
    }
    outcome
}

/// Who the element is, by its state directory or its token.
async fn enrolled(settings: &MachineSettings, dir: &StateDir) -> Result<Enrolled> {
    let name = &settings.name;
    match (dir.enrolled()?, &settings.token) {
        (Some(enrolled), token) => {
            let (found, place) = (&enrolled.element, settings.state.display());
            ensure!(found == name, "{place} is the state directory of `{found}`, not of `{name}`");
            if token.is_some() && enrolled.certificates.not_after_unix_s > unix_s() {
                tracing::info!("the element has enrolled before; the token is not used");
            }
            let over = enrolled.certificates.not_after_unix_s <= unix_s();
            match token.as_ref().filter(|_| over) {
                Some(token) => with_token(settings, dir, token).await,
                None => Ok(enrolled),
            }
        }
        (None, Some(token)) => with_token(settings, dir, token).await,
        (None, None) => bail!("`{name}` has not enrolled, and there is no token to enrol with"),
    }
}

async fn with_token(settings: &MachineSettings, dir: &StateDir, token: &Token) -> Result<Enrolled> {
    let (name, named) = (&settings.name, &token.element);
    ensure!(name == named, "the token is that of `{named}`, not of `{name}`");
    let enrolled = enrol::enrol(&settings.control, token).await?;
    dir.save_enrolled(&enrolled)?;
    tracing::info!(element = %name, "enrolled");
    Ok(enrolled)
}

/// A version that is built, or waits for certificates to be.
struct Staging {
    version: PathVersion,
    documents: Documents,
    domain: Domain,
    /// Nothing is missing for it any more.
    built: bool,
}

/// What the runtime was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Whether it serves, after a start with this version.
    Start(PathVersion),
}

struct Machine {
    settings: MachineSettings,
    dir: StateDir,
    enrolled: Enrolled,
    follower: Follower,
    link: Link,
    feed: Option<Feed>,
    asked: BTreeMap<u64, Asked>,
    /// When the runtime has to have answered that it serves.
    serves_by: Option<Instant>,
    staging: Option<Staging>,
    leases: BTreeMap<PathDigest, SignedLease>,
    /// Paths whose kept lease this life of the runtime has got.
    given: BTreeSet<PathDigest>,
    leases_unsaved: Option<Instant>,
    listeners: BTreeMap<String, ListenerCertificate>,
    wanted: BTreeMap<u32, Wanted>,
    next_number: u32,
    renew_at: Instant,
    notifier: Notifier,
    alive_at: Option<Instant>,
}

impl Machine {
    fn new(settings: MachineSettings, dir: StateDir, enrolled: Enrolled) -> Result<Machine> {
        let config = FollowerConfig {
            domain: enrolled.bundle.trust_domain.clone(),
            element: settings.name.to_string(),
            path_key: PublicKey(enrolled.bundle.path_key),
            profiles: vec![Profile::Mpls],
            life: random::bytes()?,
            jitter_seed: u64::from_ne_bytes(random::bytes()?),
        };
        let now = Instant::now();
        let notifier = Notifier::from_env();
        let alive_at = notifier.alive_every().map(|every| now + every);
        let mut machine = Machine {
            follower: Follower::new(now, config, dir.held()?),
            link: Link::new(settings.control.clone()),
            feed: None,
            asked: BTreeMap::new(),
            serves_by: None,
            staging: None,
            leases: dir.leases()?,
            given: BTreeSet::new(),
            leases_unsaved: None,
            listeners: dir.listeners()?,
            wanted: BTreeMap::new(),
            next_number: 0,
            renew_at: now,
            notifier,
            alive_at,
            settings,
            dir,
            enrolled,
        };
        machine.renew_at = machine.renewal();
        Ok(machine)
    }

    /// Begins with the version that ran last, if there is one and it holds.
    async fn start_from_disk(&mut self) -> Result<()> {
        let held = self.follower.held();
        let Some(documents) = self.dir.documents()? else {
            self.follower.lost_active();
            self.notifier.status("waits for its first version");
            return Ok(());
        };
        let expected = Expected {
            domain: &self.enrolled.bundle.trust_domain,
            highest_version: held.active,
            now_unix_s: unix_s(),
        };
        let key = PublicKey(self.enrolled.bundle.path_key);
        let set = match documents.verify(&key, &expected) {
            Ok(set) => set,
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::error!(
                    error,
                    "the version that ran last does not hold; waiting for another"
                );
                self.follower.lost_active();
                self.notifier.status("waits for a version that holds");
                return Ok(());
            }
        };
        let domain = ringmail_model::check::load(&documents.domain_file, "domain file")?.domain;
        tracing::info!(version = %set.version, "begins with the version that ran last");
        self.start(&documents, &domain, set.version).await
    }

    async fn serve(&mut self) -> Result<()> {
        self.follower.handle_timeout(Instant::now());
        loop {
            self.pump().await?;
            let timeout = self.next_timeout();
            tokio::select! {
                heard = self.link.next() => self.heard(heard),
                said = next_said(self.feed.as_mut()) => self.runtime_said(said).await?,
                () = until(timeout) => self.handle_timeouts().await?,
            }
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        let all = [
            self.follower.poll_timeout(),
            self.leases_unsaved,
            self.alive_at,
            self.serves_by,
            Some(self.renew_at),
        ];
        all.into_iter().flatten().min()
    }

    async fn handle_timeouts(&mut self) -> Result<()> {
        let now = Instant::now();
        self.follower.handle_timeout(now);
        if self.leases_unsaved.is_some_and(|at| now >= at) {
            self.save_leases();
        }
        if self.alive_at.is_some_and(|at| now >= at) {
            self.notifier.alive();
            self.alive_at = self.notifier.alive_every().map(|every| now + every);
        }
        if self.serves_by.is_some_and(|at| now >= at) {
            bail!("the element does not begin to serve");
        }
        if now >= self.renew_at {
            self.renew_at = now + RENEW_RETRY;
            self.ask_for_certificate(Usage::Element, Vec::new())?;
        }
        Ok(())
    }

    /// Moves what the core made.
    async fn pump(&mut self) -> Result<()> {
        loop {
            while let Some(message) = self.follower.poll_transmit() {
                self.link.send(message);
            }
            match self.follower.poll_event() {
                Some(event) => self.carry_out(event).await?,
                None => return Ok(()),
            }
        }
    }

    fn heard(&mut self, heard: Heard) {
        let now = Instant::now();
        match heard {
            Heard::Connected(_) => self.follower.connected(now),
            Heard::Failed(error) => {
                tracing::warn!(error, "control cannot be reached; what runs goes on");
                self.follower.disconnected(now);
            }
            Heard::Said(Said::Message(bytes)) => {
                self.follower.handle_message(now, unix_s(), &bytes);
            }
            Heard::Said(Said::Gone) => {
                tracing::warn!("the session with control is lost; what runs goes on");
                self.link.hang_up();
                self.follower.disconnected(now);
            }
        }
    }

    async fn carry_out(&mut self, event: FollowerEvent) -> Result<()> {
        match event {
            FollowerEvent::Dial => {
                match tls::element(&self.enrolled.identity(), &self.enrolled.bundle) {
                    Ok(config) => self.link.dial(config),
                    Err(error) => {
                        tracing::error!(%error, "the element's certificate cannot be used");
                        self.follower.disconnected(Instant::now());
                    }
                }
            }
            FollowerEvent::HangUp(reason) => {
                tracing::warn!(%reason, "the session with control ends; what runs goes on");
                self.link.hang_up();
            }
            FollowerEvent::Greeted { now_unix_ms, committed } => {
                tracing::info!(%committed, "control has answered");
                self.compare_clocks(now_unix_ms);
                self.ask_again();
            }
            FollowerEvent::Stage { documents, set, .. } => {
                self.stage(*documents, &set)?;
            }
            FollowerEvent::Activate(version) => self.activate(version).await?,
            FollowerEvent::Abandon(version) => {
                self.staging.take_if(|staging| staging.version == version);
            }
            FollowerEvent::Refused { version, reason } => {
                tracing::warn!(%version, %reason, "a version is refused");
            }
            FollowerEvent::Lease(signed) => self.lease(&signed).await?,
            FollowerEvent::Certificate { number, chain, not_after_unix_s, detail } => {
                self.certificate(number, chain, not_after_unix_s, detail).await?;
            }
            FollowerEvent::Bundle { roots, crls, path_key } => {
                let bundle = &mut self.enrolled.bundle;
                let before = bundle.clone();
                bundle.roots = roots.into_iter().map(Into::into).collect();
                bundle.crls = crls.into_iter().map(Into::into).collect();
                bundle.path_key = path_key;
                if *bundle != before {
                    self.follower.set_path_key(PublicKey(path_key));
                    self.dir.save_enrolled(&self.enrolled)?;
                    self.tell_identity().await?;
                }
            }
        }
        Ok(())
    }

    /// Remembers a version, and has it built beside what runs.
    fn stage(&mut self, documents: Documents, set: &PathSet) -> Result<()> {
        let version = set.version;
        // Seen is seen, before anything else is done with it.
        self.dir.save_held(self.follower.held())?;
        let refuse = |machine: &mut Machine, why: String| {
            machine.follower.not_staged(Instant::now(), version, why);
            Ok(())
        };
        let role = set.element_named(&self.settings.name).map(|element| element.role);
        if role != Some(self.settings.role) {
            let (name, ours) = (&self.settings.name, self.settings.role);
            let why = format!("`{name}` is {role:?} in it, and was started as {ours:?}");
            return refuse(self, why);
        }
        let domain = match ringmail_model::check::load(&documents.domain_file, "domain file") {
            Ok(loaded) => loaded.domain,
            Err(wrong) => return refuse(self, format!("the domain file: {wrong}")),
        };
        if domain.keying != Keying::Sap {
            return refuse(self, "`keying: psk` is for one machine".to_owned());
        }
        self.staging = Some(Staging { version, documents, domain, built: false });
        if self.settings.role == Role::Gateway {
            self.want_listener_certificates()?;
        }
        self.build_staged();
        Ok(())
    }

    /// Has the staged version built, unless certificates are missing for it.
    fn build_staged(&mut self) {
        let waits = self.wanted.values().any(|wanted| wanted.usage != Usage::Element);
        let Some(staging) = self.staging.as_mut().filter(|staging| !staging.built && !waits) else {
            return;
        };
        staging.built = true;
        let (version, domain) = (staging.version, staging.domain.clone());
        match self.listener_tls(&domain) {
            Ok(_) => self.follower.staged(Instant::now(), version),
            Err(error) => {
                self.follower.not_staged(Instant::now(), version, format!("{error:#}"));
                self.staging = None;
            }
        }
    }

    async fn activate(&mut self, version: PathVersion) -> Result<()> {
        let Some(staging) = self.staging.as_ref().filter(|staging| staging.version == version)
        else {
            self.follower.not_activated(Instant::now(), version, "it is not there".to_owned());
            return Ok(());
        };
        if self.feed.is_some() && self.says_the_same(&staging.documents)? {
            // Signed anew, and nothing else: what runs is what it says.
            return self.runs(version);
        }
        if self.feed.is_some() {
            // Devices, sockets and connections go with the process; the next one begins with the version.
            let mut held = self.follower.held();
            held.active = version;
            self.dir.save_active(&staging.documents, held)?;
            bail!("version {version} takes a new start");
        }
        let (documents, domain) = (staging.documents.clone(), staging.domain.clone());
        self.start(&documents, &domain, version).await
    }

    /// Whether documents differ from those of the version that runs in version and time alone.
    fn says_the_same(&self, documents: &Documents) -> Result<bool> {
        let Some(before) = self.dir.documents()? else { return Ok(false) };
        let is = PathSet::decode(&documents.paths.bytes)?;
        let was = PathSet::decode(&before.paths.bytes)?;
        let PathSet { version, not_before_unix_s, not_after_unix_s, .. } = is;
        let was = PathSet { version, not_before_unix_s, not_after_unix_s, ..was };
        Ok(was == is && before.domain_file == documents.domain_file)
    }

    /// Starts the runtime with a version. It serves when it answers.
    async fn start(
        &mut self,
        documents: &Documents,
        domain: &Domain,
        version: PathVersion,
    ) -> Result<()> {
        let listeners = self.listener_tls(domain)?;
        let mut feed = Feed::start(&self.settings.name)?;
        self.given.clear();
        self.asked.clear();
        feed.tell(&ToElement::Domain { text: documents.domain_file.clone() }).await?;
        let paths = ToElement::PathSet {
            document: documents.paths.bytes.clone().into(),
            signature: documents.paths.signature.clone().into(),
            signing_key: self.enrolled.bundle.path_key.to_vec().into(),
        };
        feed.tell(&paths).await?;
        for listener in listeners {
            feed.tell(&listener).await?;
        }
        let request = feed.question();
        self.asked.insert(request, Asked::Start(version));
        self.serves_by = Some(Instant::now() + START_WITHIN);
        self.feed = Some(feed);
        self.tell_identity().await?;
        if let Some(feed) = &mut self.feed {
            feed.tell(&ToElement::Status { request }).await?;
        }
        Ok(())
    }

    async fn tell_identity(&mut self) -> Result<()> {
        let Enrolled { key, certificates, bundle, .. } = &self.enrolled;
        let message = ToElement::KeptIdentity {
            key: Secret::new(key.danger_pkcs8().to_vec()),
            certificate_chain: blobs(&certificates.chain),
            trust_anchors: blobs(&bundle.roots),
            crls: blobs(&bundle.crls),
        };
        match &mut self.feed {
            Some(feed) => feed.tell(&message).await,
            None => Ok(()),
        }
    }

    async fn runtime_said(&mut self, said: Option<FromElement>) -> Result<()> {
        let now = Instant::now();
        let Some(said) = said else {
            return self.start_failed("it has ended by itself".to_owned()).await;
        };
        let asked = said.request().and_then(|request| self.asked.remove(&request));
        match (said, asked) {
            (FromElement::Status { .. }, Some(Asked::Start(version))) => {
                self.serves_by = None;
                self.runs(version)?;
            }
            (FromElement::LeaseRequest { digest }, _) => {
                let digest = digest.0.as_slice().try_into().map(PathDigest);
                let digest = digest.context("a path digest has 32 bytes")?;
                // Over a restart the last lease counts on, so that control may be away.
                let kept = self.leases.get(&digest).filter(|kept| {
                    kept.lease.not_after_unix_s > unix_s() && self.given.insert(digest)
                });
                if let (Some(kept), Some(feed)) = (kept, &mut self.feed) {
                    let signed = kept.to_bytes().to_vec().into();
                    feed.tell(&ToElement::Lease { signed }).await?;
                }
                self.follower.request_lease(now, digest);
            }
            (FromElement::Ready, _) => {
                tracing::info!("all paths have keys");
                self.notifier.status("all paths have keys");
            }
            (FromElement::Failed { causes }, _) => {
                return self.start_failed(causes.join(": ")).await;
            }
            (FromElement::Hello { .. }, _) => {}
            (other, _) => tracing::debug!(?other, "nothing to do with this"),
        }
        Ok(())
    }

    /// The runtime is gone. If that came of a new version, what ran before is started again.
    async fn start_failed(&mut self, why: String) -> Result<()> {
        self.feed = None;
        let starting = self.serves_by.take().is_some();
        let Some(staging) = self.staging.take().filter(|_| starting) else {
            bail!("the element: {why}")
        };
        tracing::error!(version = %staging.version, why, "the version does not run here");
        self.follower.not_activated(Instant::now(), staging.version, why);
        match self.follower.held().active {
            PathVersion(0) => Ok(()),
            _ => Box::pin(self.start_from_disk()).await,
        }
    }

    /// The runtime runs this version.
    fn runs(&mut self, version: PathVersion) -> Result<()> {
        let Some(staging) = self.staging.take_if(|staging| staging.version == version) else {
            return Ok(());
        };
        let mut held = self.follower.held();
        held.active = version;
        self.dir.save_active(&staging.documents, held)?;
        self.follower.activated(Instant::now(), version);
        tracing::info!(%version, "runs the version");
        self.notifier.status(&format!("runs version {version}"));
        Ok(())
    }

    async fn lease(&mut self, signed: &[u8]) -> Result<()> {
        let Some(lease) = SignedLease::from_bytes(signed) else {
            tracing::error!(bytes = signed.len(), "what came is no lease");
            return Ok(());
        };
        let now = unix_s();
        self.leases.retain(|_, kept| kept.lease.not_after_unix_s > now);
        self.leases.insert(lease.lease.digest, lease);
        self.given.insert(lease.lease.digest);
        self.leases_unsaved.get_or_insert(Instant::now() + LEASES_SAVED_WITHIN);
        match &mut self.feed {
            Some(feed) => feed.tell(&ToElement::Lease { signed: signed.to_vec().into() }).await,
            None => Ok(()),
        }
    }

    fn save_leases(&mut self) {
        if self.leases_unsaved.take().is_some()
            && let Err(error) = self.dir.save_leases(&self.leases)
        {
            tracing::error!(error = format!("{error:#}"), "leases are not kept");
        }
    }

    fn compare_clocks(&self, control_unix_ms: u64) {
        let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let differs = ours.abs_diff(Duration::from_millis(control_unix_ms));
        if differs > CLOCK_DIFFERS {
            let by_s = differs.as_secs();
            tracing::warn!(
                by_s,
                "this machine's clock is not control's: leases may seem to end early"
            );
        }
    }
}

async fn next_said(feed: Option<&mut Feed>) -> Option<FromElement> {
    match feed {
        Some(feed) => feed.next().await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
