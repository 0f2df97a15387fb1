//! A connection and how far it is: TCP's handshake and end (RFC 9293 sections 3.5 and 3.6), a question and its answer of
//! all other protocols (RFC 4787 section 4.3, RFC 5382 section 5, RFC 5508 section 3.2).

use ringmail_packet::tcp::Flags;

use super::packet::Segment;
use super::refusal::Refusal;
use crate::limits;

/// A connection that a rule let through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connection {
    pub(super) let_in: LetIn,
    /// Whether the packets of who opened it come on paths to a service.
    from_client: bool,
    /// Which direction of the key is that of who opened it.
    opener: u8,
    state: State,
    sides: [Side; 2],
}

/// The rule that let a connection in.
#[derive(Clone, Copy, Debug)]
pub(super) struct LetIn {
    pub(super) tag: u64,
    /// Where it was when last looked for; behind the last rule for the default.
    pub(super) place: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A SYN was seen.
    Syn,
    /// And its answer.
    SynAck,
    Open,
    /// Reset, or both ends said FIN.
    Closed,
    /// No TCP, and nothing came back.
    Asked,
    /// No TCP, and something did.
    Answered,
}

/// What one direction of a TCP connection said.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    /// Behind the highest sequence number that it sent.
    next: u32,
    /// What it acknowledged last, and how far behind that it is ready to receive; `None` before any.
    ready: Option<(u32, u32)>,
    /// Of its SYN; the largest where that was not seen.
    scale: u8,
    finished: bool,
}

/// The largest window scale (RFC 7323 section 2.3).
const SCALE_MAX: u8 = 14;

impl Connection {
    /// One that is no TCP.
    pub(super) fn asked(let_in: LetIn, from_client: bool, direction: u8) -> Connection {
        Connection {
            let_in,
            from_client,
            opener: direction,
            state: State::Asked,
            sides: [Side::default(); 2],
        }
    }

    /// One that begins with this SYN.
    pub(super) fn begun(
        let_in: LetIn,
        from_client: bool,
        direction: u8,
        syn: &Segment,
    ) -> Connection {
        let mut connection = Connection::asked(let_in, from_client, direction);
        connection.state = State::Syn;
        connection.sides[usize::from(direction)].begin(syn);
        connection
    }

    /// One that was running before anybody looked; `direction` is that of who is taken to have opened it.
    pub(super) fn picked_up(let_in: LetIn, from_client: bool, direction: u8) -> Connection {
        let mut connection = Connection::asked(let_in, from_client, direction);
        connection.state = State::Open;
        connection.sides = [Side { scale: SCALE_MAX, ..Side::default() }; 2];
        connection
    }

    /// Whether packets of this direction of the key come on paths to a service.
    pub(super) fn comes_from_client(&self, direction: u8) -> bool {
        (direction == self.opener) == self.from_client
    }

    /// Whether it is over, so that its ports may begin another.
    pub(super) fn is_over(&self) -> bool {
        self.state == State::Closed
    }

    /// Seconds without a packet after which it is forgotten.
    pub(super) fn idle_s(&self) -> u32 {
        match self.state {
            State::Syn | State::SynAck => limits::TCP_OPENING_S,
            State::Open => limits::TCP_IDLE_S,
            State::Closed => limits::TCP_CLOSING_S,
            State::Asked => limits::UNANSWERED_S,
            State::Answered => limits::ANSWERED_S,
        }
    }

    /// A packet of no TCP.
    pub(super) fn datagram(&mut self, direction: u8) {
        if direction != self.opener {
            self.state = State::Answered;
        }
    }

    /// The answer to a question: only who was asked gives one.
    pub(super) fn answer(&mut self, direction: u8) -> Result<(), Refusal> {
        if direction == self.opener {
            return Err(Refusal::NoConnection);
        }
        self.state = State::Answered;
        Ok(())
    }

    /// A TCP segment.
    pub(super) fn segment(&mut self, direction: u8, segment: &Segment) -> Result<(), Refusal> {
        let from_opener = direction == self.opener;
        let flags = segment.flags;
        if flags.contains(Flags::RST) {
            return self.reset(direction, segment);
        }
        match (flags.contains(Flags::SYN), flags.contains(Flags::ACK)) {
            (true, false) if from_opener && self.state == State::Syn => {
                self.sides[usize::from(direction)].begin(segment);
            }
            // The other end answers it with a challenge (RFC 5961 section 4); nothing changes here.
            (true, false) if from_opener => return Ok(()),
            (true, true) if !from_opener => {
                if matches!(self.state, State::Syn | State::SynAck) {
                    if segment.ack != self.sides[usize::from(self.opener)].next {
                        return Err(Refusal::Handshake);
                    }
                    self.state = State::SynAck;
                    self.sides[usize::from(direction)].begin(segment);
                }
            }
            (true, _) => return Err(Refusal::Handshake),
            (false, false) => return Err(Refusal::Handshake),
            (false, true) => match self.state {
                // A challenge to a SYN, from an end that holds an older connection to be running.
                State::Syn if !from_opener && segment.len == 0 => return Ok(()),
                State::Syn => return Err(Refusal::Handshake),
                State::SynAck if from_opener => self.state = State::Open,
                _ => {}
            },
        }
        self.note(direction, segment);
        Ok(())
    }

    fn note(&mut self, direction: u8, segment: &Segment) {
        let side = &mut self.sides[usize::from(direction)];
        let end = segment.seq.wrapping_add(segment.len);
        if (end.wrapping_sub(side.next) as i32) > 0 || side.ready.is_none() {
            side.next = end;
        }
        if segment.flags.contains(Flags::ACK) {
            // The window of a SYN is not scaled (RFC 7323 section 2.2).
            let scale = if segment.flags.contains(Flags::SYN) { 0 } else { side.scale };
            let window = u32::from(segment.window) << scale;
            // A packet that was overtaken does not take back what was said.
            let old = |(ack, _): (u32, u32)| (segment.ack.wrapping_sub(ack) as i32) < 0;
            if !side.ready.is_some_and(old) {
                side.ready = Some((segment.ack, window));
            }
        }
        side.finished |= segment.flags.contains(Flags::FIN);
        if self.sides.iter().all(|side| side.finished) {
            self.state = State::Closed;
        }
    }

    /// A reset counts where its receiver would believe it: within its window (RFC 9293 section 3.5.3), or as the answer
    /// to a SYN. One that lies elsewhere might be anybody's.
    fn reset(&mut self, direction: u8, segment: &Segment) -> Result<(), Refusal> {
        let other = &self.sides[usize::from(1 - direction)];
        if self.state == State::Syn {
            if direction == self.opener {
                // It answers a challenge; the next SYN follows.
                return Ok(());
            }
            if !segment.flags.contains(Flags::ACK) || segment.ack != other.next {
                return Err(Refusal::ResetOutside);
            }
        } else if let Some((ack, window)) = other.ready
            && segment.seq.wrapping_sub(ack) > window
        {
            return Err(Refusal::ResetOutside);
        }
        self.state = State::Closed;
        Ok(())
    }
}

impl Side {
    fn begin(&mut self, syn: &Segment) {
        *self = Side {
            next: syn.seq.wrapping_add(syn.len),
            ready: None,
            scale: syn.scale.unwrap_or(0),
            finished: false,
        };
    }
}
