//! What an operator may say of a host or function, and what that does.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Now;
use super::audit::{Act, cut};
use super::effect::Effect;
use super::machine::{Manager, Refusal};
use super::subject::{Kind, Standing, Subject};

/// A word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// Show that something is wrong; nothing else changes.
    Warn,
    /// Take it out of its paths, and issue nothing to it.
    Quarantine,
    /// Revoke all that it has.
    Revoke,
    /// Revoke all that it has, and its agent's certificate: it comes back with a new token only.
    Expel,
    /// It may come back.
    Recover,
}

impl Word {
    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Word::Warn => "warn",
            Word::Quarantine => "quarantine",
            Word::Revoke => "revoke",
            Word::Expel => "expel",
            Word::Recover => "recover",
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Manager {
    /// An operator says something of a host or function. What it says stands until an operator says `recover`.
    ///
    /// # Errors
    /// [`Refusal::Unknown`], [`Refusal::NothingToRecover`].
    pub fn handle_word(
        &mut self,
        now: Now,
        by: &str,
        subject: &Subject,
        word: Word,
        why: &str,
    ) -> Result<Standing, Refusal> {
        let unknown = || Refusal::Unknown(subject.clone());
        let trust = self.trust_mut(subject).ok_or_else(unknown)?;
        let standing = trust.standing;
        let at_rest = matches!(standing, Standing::Enrolling | Standing::Trusted);
        if word == Word::Recover && at_rest {
            let subject = subject.clone();
            return Err(Refusal::NothingToRecover { subject, standing });
        }
        trust.held = word != Word::Recover;
        trust.pardoned = false;
        self.effects.push_back(Effect::Log(Act::Said {
            by: by.to_owned(),
            subject: subject.clone(),
            word: word.name().to_owned(),
            why: cut(why).to_owned(),
        }));
        let cause = match why {
            "" => format!("an operator's word: {word}"),
            why => format!("an operator's word: {why}"),
        };
        match word {
            Word::Warn => self.worsen(now, subject, Standing::Warned, &cause),
            Word::Quarantine => self.worsen(now, subject, Standing::Quarantined, &cause),
            Word::Revoke | Word::Expel => self.worsen(now, subject, Standing::Revoked, &cause),
            Word::Recover => self.recover(now, subject),
        }
        if word == Word::Expel && subject.kind == Kind::Host {
            self.revoke_agent(now, &subject.name, &cause);
        }
        if subject.kind == Kind::Host {
            self.watch(&subject.name);
        }
        Ok(self.trust_mut(subject).ok_or_else(unknown)?.standing)
    }

    /// Back at once where there is fresh evidence, and else with the next that is good.
    fn recover(&mut self, now: Now, subject: &Subject) {
        let Some(trust) = self.trust_mut(subject) else { return };
        let (standing, attested) = (trust.standing, trust.attested.clone());
        let fresh = attested.is_some_and(|attested| self.is_fresh(now.instant, &attested));
        match standing {
            _ if fresh => self.improve(now, subject, Standing::Trusted, "an operator's word"),
            Standing::Revoked | Standing::Recovering => {
                if standing == Standing::Recovering {
                    self.log_standing(now, subject, Standing::Revoked, "its evidence is old");
                }
                if let Some(trust) = self.trust_mut(subject) {
                    trust.pardoned = true;
                }
                self.keep(subject);
            }
            _ => self.keep(subject),
        }
    }
}
