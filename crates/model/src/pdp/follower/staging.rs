//! A version on its way: judged, built, staged, activated or abandoned.

use std::time::Instant;

use super::super::PROTOCOL_ABSENT;
use super::super::documents::{DocumentError, Documents};
use super::super::message::{Message, Offer};
use super::super::reason::Nack;
use super::{Follower, FollowerEvent, Stage, Staging};
use crate::ids::PathVersion;
use crate::pathset::{Expected, PathSet, VerifyError};

impl Follower {
    pub(super) fn offered(
        &mut self,
        now: Instant,
        now_unix_s: u64,
        version: PathVersion,
        offer: Offer,
        documents: Box<Documents>,
    ) {
        let set = match self.judge(now_unix_s, version, &documents) {
            Ok(set) => set,
            Err((reason, detail)) => {
                return self.refuse(now, version, reason, detail);
            }
        };
        if self.activating == Some(version) {
            return;
        }
        if version == self.held.active {
            return self.say(now, &Message::Activated { version });
        }
        match self.staging {
            Some(Staging { version: same, stage, .. }) if same == version => {
                // The answer to the first one was lost; where it is being built, it is still to come.
                if stage == Stage::Staged {
                    self.say(now, &Message::Ack { version });
                }
                return;
            }
            Some(Staging { version: other, .. }) => {
                self.events.push_back(FollowerEvent::Abandon(other));
            }
            None => {}
        }
        self.held.highest = version;
        self.held.fingerprint = documents.fingerprint();
        self.staging = Some(Staging { version, stage: Stage::Building, since: now });
        self.events.push_back(FollowerEvent::Stage { documents, set: Box::new(set), offer });
    }

    /// The path set of documents that count here.
    fn judge(
        &self,
        now_unix_s: u64,
        version: PathVersion,
        documents: &Documents,
    ) -> Result<PathSet, (Nack, String)> {
        let domain = &self.config.domain;
        let expected = Expected { domain, highest_version: self.held.highest, now_unix_s };
        let set = documents.verify(&self.config.path_key, &expected).map_err(|error| {
            let reason = match &error {
                DocumentError::DomainFile(_) | DocumentError::Paths(VerifyError::Signature) => {
                    Nack::Signature
                }
                DocumentError::Paths(VerifyError::Decode(_)) => Nack::Malformed,
                DocumentError::Paths(VerifyError::Domain(_)) => Nack::Domain,
                DocumentError::Paths(VerifyError::Older { .. }) => Nack::Older,
                DocumentError::Paths(VerifyError::NotYet(_)) => Nack::NotYet,
                DocumentError::Paths(VerifyError::Expired(_)) => Nack::Expired,
            };
            let detail = match &error {
                DocumentError::Paths(cause) => cause.to_string(),
                DocumentError::DomainFile(_) => error.to_string(),
            };
            (reason, detail)
        })?;
        let refuse = |reason: Nack| Err((reason, reason.to_string()));
        if set.version != version || version == PathVersion(0) {
            return refuse(Nack::Malformed);
        }
        if version == self.held.highest && documents.fingerprint() != self.held.fingerprint {
            return refuse(Nack::Conflict);
        }
        if !self.config.profiles.contains(&set.profile) {
            return refuse(Nack::Profile);
        }
        if set.element_named(&self.config.element).is_none() {
            return refuse(Nack::NotThere);
        }
        Ok(set)
    }

    pub(super) fn told_to_activate(&mut self, now: Instant, version: PathVersion) {
        let staged =
            |staging: &mut Staging| staging.version == version && staging.stage == Stage::Staged;
        if self.staging.take_if(staged).is_some() {
            self.activating = Some(version);
            self.events.push_back(FollowerEvent::Activate(version));
        } else if self.activating == Some(version) {
            // The answer is still to come.
        } else if version == self.held.active {
            self.say(now, &Message::Activated { version });
        } else {
            self.nack(now, version, Nack::NotStaged);
        }
    }

    pub(super) fn told_to_abandon(&mut self, version: PathVersion) {
        if self.staging.take_if(|staging| staging.version == version).is_some() {
            self.events.push_back(FollowerEvent::Abandon(version));
        }
    }

    /// What [`FollowerEvent::Stage`] asked for is built.
    pub fn staged(&mut self, now: Instant, version: PathVersion) {
        let building = self.staging.as_mut().filter(|staging| staging.version == version);
        if let Some(staging) = building
            && staging.stage == Stage::Building
        {
            staging.stage = Stage::Staged;
            self.say(now, &Message::Ack { version });
        }
    }

    /// It cannot be built here: [`Nack::Unbuildable`] or [`Nack::NoKeys`].
    pub fn not_staged(&mut self, now: Instant, version: PathVersion, reason: Nack, detail: String) {
        let building =
            |staging: &mut Staging| staging.version == version && staging.stage == Stage::Building;
        if self.staging.take_if(building).is_some() {
            self.refuse(now, version, reason, detail);
        }
    }

    /// What [`FollowerEvent::Activate`] asked for is what runs.
    pub fn activated(&mut self, now: Instant, version: PathVersion) {
        if self.activating.take_if(|activating| *activating == version).is_some() {
            self.held.active = version;
            self.say(now, &Message::Activated { version });
        }
    }

    /// It could not be run; what ran before does.
    pub fn not_activated(&mut self, now: Instant, version: PathVersion, detail: String) {
        if self.activating.take_if(|activating| *activating == version).is_some() {
            self.refuse(now, version, Nack::NotActivated, detail);
        }
    }

    fn refuse(&mut self, now: Instant, version: PathVersion, reason: Nack, detail: String) {
        let said = detail.clone();
        self.events.push_back(FollowerEvent::Refused { version, reason, detail: said });
        let (reason, detail) = match reason {
            // Control of the release before does not know this reason.
            Nack::NoKeys if self.protocol < PROTOCOL_ABSENT => {
                (Nack::Unbuildable, format!("{reason}: {detail}"))
            }
            _ => (reason, detail),
        };
        self.say(now, &Message::Nack { version, reason, detail });
    }
}
