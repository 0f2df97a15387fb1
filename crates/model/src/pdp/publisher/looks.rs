//! Questions about packets that pass, and who has not answered yet (`docs/pdp.md`, "Looking").

use std::time::Instant;

use super::super::look::{Look, Passage, Proved, Seen, Unseen};
use super::super::message::Message;
use super::super::{PROTOCOL_LOOK, PROTOCOL_PROOFS};
use super::{Publisher, PublisherEvent};
use crate::limits::{PDP_LOOK_PASSAGES, PDP_LOOK_PATHS, PDP_LOOK_WITHIN, PDP_LOOKS};

/// A question that is not answered yet.
#[derive(Debug)]
pub(super) struct Looking {
    element: String,
    deadline: Instant,
    /// What came of the answer so far.
    passages: Vec<Passage>,
    paths: Vec<Proved>,
}

impl Publisher {
    /// Asks an element; [`PublisherEvent::Seen`] with the number that comes back is the answer, or says why there is none.
    ///
    /// # Errors
    /// Why it cannot be asked.
    pub fn look(&mut self, now: Instant, element: &str, look: Look) -> Result<u32, Unseen> {
        let Some(peer) = self.peers.get(element).filter(|peer| peer.greeted) else {
            return Err(Unseen::Away);
        };
        let since = match look {
            Look::Proofs { .. } => PROTOCOL_PROOFS,
            _ => PROTOCOL_LOOK,
        };
        if peer.protocol < since {
            return Err(Unseen::Older);
        }
        if self.looks.values().filter(|looking| looking.element == element).count() >= PDP_LOOKS {
            return Err(Unseen::Busy);
        }
        self.last_look = self.last_look.wrapping_add(1);
        let number = self.last_look;
        let (element, deadline) = (element.to_owned(), now + PDP_LOOK_WITHIN);
        self.send(now, &element, &Message::Look { number, look });
        let (passages, paths) = (Vec::new(), Vec::new());
        self.looks.insert(number, Looking { element, deadline, passages, paths });
        Ok(number)
    }

    /// An answer of an element, or a part of one. What nobody asked of it, or not any more, does not count.
    pub(super) fn seen(&mut self, element: &str, number: u32, seen: Seen) {
        let Some(looking) = self.looks.get_mut(&number).filter(|of| of.element == element) else {
            return;
        };
        let seen = match seen {
            Seen::Passages { passages, overwritten, more } => {
                looking.passages.extend(passages);
                if looking.passages.len() > PDP_LOOK_PASSAGES {
                    Err(Unseen::TooLong)
                } else if more {
                    return;
                } else {
                    let passages = std::mem::take(&mut looking.passages);
                    Ok(Seen::Passages { passages, overwritten, more })
                }
            }
            Seen::Proofs { paths, more } => {
                looking.paths.extend(paths);
                if looking.paths.len() > PDP_LOOK_PATHS {
                    Err(Unseen::TooLong)
                } else if more {
                    return;
                } else {
                    Ok(Seen::Proofs { paths: std::mem::take(&mut looking.paths), more })
                }
            }
            Seen::Refused(why) => Err(Unseen::Refused(why)),
            other => Ok(other),
        };
        self.looks.remove(&number);
        self.events.push_back(PublisherEvent::Seen { number, seen });
    }

    /// Nobody answers any more what was asked of an element whose session is over.
    pub(super) fn unseen(&mut self, element: &str) {
        self.give_up(&Unseen::Gone, |looking| looking.element == element);
    }

    /// Nobody is waited for too long.
    pub(super) fn look_again(&mut self, now: Instant) {
        self.give_up(&Unseen::Late, |looking| now >= looking.deadline);
    }

    pub(super) fn looks_due(&self) -> Option<Instant> {
        self.looks.values().map(|looking| looking.deadline).min()
    }

    fn give_up(&mut self, why: &Unseen, over: impl Fn(&Looking) -> bool) {
        for (number, _) in self.looks.extract_if(.., |_, looking| over(looking)) {
            self.events.push_back(PublisherEvent::Seen { number, seen: Err(why.clone()) });
        }
    }
}
