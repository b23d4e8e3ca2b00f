//! The pulse of a session: whether its server is idle, told from message tags alone.
//!
//! The relay reports every message tag it forwards, in both directions. A session is *idle* when
//! the server has read every message, answered it, and waits outside of a transaction, with nothing
//! of the extended protocol open before its Sync. Only then may the session change its server.
//!
//! Messages and answers do not always tell how far the server has read. When a COPY fails, nobody
//! but the server knows whether it had read the client's next Sync (then it ignored it) or not
//! (then it answers it). So the pulse follows every place where the server may be, as the answers
//! allow it, and calls it idle only when all of them are. Almost always there is one.
//!
//! It guarantees that a busy server is never taken for idle. It does not guarantee the reverse: a
//! server whose answers fit none of the places, or too many of them, counts as busy for good.
//! See <https://www.postgresql.org/docs/current/protocol-flow.html>.

use std::collections::VecDeque;

use self::place::{Place, Sent};

mod place;

/// Forwarded messages that wait for their answer. A pipelining client is not read beyond this.
pub(super) const TOKENS_MAX: usize = 65_536;

/// Places that are followed at most. Each Sync that a client sends into a COPY that then fails
/// makes one more; a client that behaves sends one.
const PLACES_MAX: usize = 32;

/// The status in a `ReadyForQuery`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// Not in a transaction.
    Idle,
    /// In a transaction.
    InTransaction,
    /// In a transaction that failed.
    Failed,
}

/// What the server said, as far as it tells where the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// `ParseComplete`.
    Parsed,
    /// `BindComplete`.
    Bound,
    /// `CloseComplete`.
    Closed,
    /// `RowDescription`.
    Rows,
    /// `NoData`.
    NoRows,
    /// `CommandComplete`, `EmptyQueryResponse` or `PortalSuspended`.
    Completed,
    /// `CopyInResponse`.
    CopyIn,
    /// `FunctionCallResponse`.
    Returned,
    /// `ErrorResponse`.
    Error,
    /// `ReadyForQuery`.
    Ready,
}

/// The state of one server connection as the relay sees it.
#[derive(Debug)]
pub(super) struct Pulse {
    /// What was forwarded and may not have been read by the server.
    sent: VecDeque<Sent>,
    /// Where the server may be. None: it answered what cannot be, so nothing is known any more.
    places: Vec<Place>,
    /// Kept to allocate once.
    next_places: Vec<Place>,
    status: Status,
    oddities: u32,
}

impl Pulse {
    /// A connection whose log-in is just done.
    pub(super) fn new() -> Self {
        Self {
            sent: VecDeque::new(),
            places: vec![Place::start()],
            next_places: Vec::new(),
            status: Status::Idle,
            oddities: 0,
        }
    }

    /// Whether the server is idle, outside of any transaction.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.status == Status::Idle && self.is_answered()
    }

    /// Whether everything was answered; the session may be in a transaction.
    #[inline]
    pub(super) fn is_answered(&self) -> bool {
        let waits = |place: &Place| place.waits_for_client(&self.sent);
        !self.places.is_empty() && self.places.iter().all(waits)
    }

    /// Whether the next message begins something new, so that it could be kept back: everything
    /// before it will be answered without it.
    pub(super) fn is_at_boundary(&self) -> bool {
        let answers_all = |place: &Place| place.will_answer_all(&self.sent);
        !self.places.is_empty() && self.places.iter().all(answers_all)
    }

    /// Whether so much is unanswered that the client must not be read.
    pub(super) fn is_full(&self) -> bool {
        self.sent.len() >= TOKENS_MAX
    }

    /// The last reported status.
    pub(super) fn status(&self) -> Status {
        self.status
    }

    /// How often the server sent what was not expected.
    pub(super) fn oddities(&self) -> u32 {
        self.oddities
    }

    /// Notes a message that goes to the server.
    #[inline]
    pub(super) fn client(&mut self, tag: u8) {
        let Some(sent) = Sent::of(tag) else { return };
        // What is ignored is not kept: no answer would ever make room for it.
        let is_ignored = match self.places.as_slice() {
            [] => true,
            [place] => place.read() == self.sent.len() && place.ignores(sent),
            [..] => false,
        };
        if !is_ignored {
            self.sent.push_back(sent);
        }
    }

    /// Notes a message of the server; `ReadyForQuery` goes to [`Pulse::ready`] instead.
    #[inline]
    pub(super) fn server(&mut self, tag: u8) {
        match tag {
            b'1' => self.answered(Answer::Parsed),
            b'2' => self.answered(Answer::Bound),
            b'3' => self.answered(Answer::Closed),
            b'T' => self.answered(Answer::Rows),
            b'n' => self.answered(Answer::NoRows),
            b'C' | b'I' | b's' => self.answered(Answer::Completed),
            b'G' => self.answered(Answer::CopyIn),
            b'V' => self.answered(Answer::Returned),
            b'E' => self.answered(Answer::Error),
            // Rows, data of a COPY, notices and the like say nothing new.
            _other => {}
        }
    }

    /// Notes a `ReadyForQuery`.
    #[inline]
    pub(super) fn ready(&mut self, status: u8) {
        self.status = match status {
            b'I' => Status::Idle,
            b'T' => Status::InTransaction,
            _failed => Status::Failed,
        };
        self.answered(Answer::Ready);
    }

    /// Moves every place to where the answer leads; those that it cannot come from end.
    fn answered(&mut self, answer: Answer) {
        let mut next = std::mem::take(&mut self.next_places);
        next.clear();
        for place in &self.places {
            place.after(answer, &self.sent, &mut |place| {
                if !next.contains(&place) {
                    next.push(place);
                }
            });
            if next.len() > PLACES_MAX {
                next.clear();
                break;
            }
        }
        if next.is_empty() {
            self.oddities = self.oddities.saturating_add(1);
        }
        self.next_places = std::mem::replace(&mut self.places, next);
        self.forget_read();
    }

    /// Drops the messages that the server has read at each of the places.
    fn forget_read(&mut self) {
        // Where nothing is known nothing needs to be kept.
        let read = self.places.iter().map(Place::read).min();
        let read = read.unwrap_or(self.sent.len());
        self.sent.drain(..read);
        for place in &mut self.places {
            place.forget(read);
        }
    }
}

#[cfg(test)]
mod tests;
