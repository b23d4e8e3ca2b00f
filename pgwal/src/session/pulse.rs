//! The pulse of a session: whether its server is idle, told from message tags alone.
//!
//! The relay reports every message tag it forwards, in both directions. A session is *idle* when
//! every message that the server answers with `ReadyForQuery` was answered, nothing of the extended
//! protocol waits for its Sync, no COPY runs, and the last `ReadyForQuery` said "not in a
//! transaction". Only then may the session change its server.
//!
//! What makes this more than counting:
//!
//! * After an error in the extended protocol the server discards everything up to the next Sync,
//!   a Query included.
//! * While the server reads COPY data it ignores Sync and Flush. Clients do send a Sync behind the
//!   Execute that turns out to be a COPY.
//! * When COPY fails in the server while a client's Sync is on its way, nobody but the server knows
//!   whether that Sync was ignored. Such a Sync is kept as a *maybe*: the session counts as busy
//!   until an answer settles it.
//! * COPY messages that arrive outside of COPY are ignored by the server.
//!
//! It guarantees that a busy server is never taken for idle. It does not guarantee the reverse for
//! clients that break the protocol: when unsure, a session counts as busy.
//! See <https://www.postgresql.org/docs/current/protocol-flow.html>.

use std::collections::VecDeque;

/// Forwarded messages that wait for their answer. A pipelining client is not read beyond this.
pub(super) const TOKENS_MAX: usize = 65_536;

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

/// Something that was forwarded to the server and is not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// Messages of the extended protocol, of which so many are not completed.
    Extended(u32),
    /// A Query or FunctionCall: brings a `ReadyForQuery`.
    Query,
    /// A Sync: brings a `ReadyForQuery`.
    Sync,
    /// A CopyDone or CopyFail that ends a COPY, should one begin before it.
    CopyEnd,
    /// A Sync that the server may have ignored.
    MaybeSync,
    /// Something of which we do not know what the server made of it.
    Unknown,
}

/// What a discarded message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skip {
    /// Nothing is discarded.
    No,
    /// The server discards everything until a Sync that did not come yet.
    UntilSync,
    /// As `UntilSync`, unless a maybe ended it.
    Perhaps,
}

/// COPY from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CopyIn {
    /// None.
    No,
    /// The server reads data; so many Syncs that it ignores, if it still read data then.
    Reading { syncs: u32 },
    /// The client ended the data; the server did not say yet what came of it.
    Ended { syncs: u32 },
}

/// The state of one server connection as the relay sees it.
#[derive(Debug)]
pub(super) struct Pulse {
    tokens: VecDeque<Token>,
    status: Status,
    skip: Skip,
    copy: CopyIn,
    oddities: u32,
}

impl Pulse {
    /// A connection whose log-in is just done.
    pub(super) fn new() -> Self {
        Self {
            tokens: VecDeque::new(),
            status: Status::Idle,
            skip: Skip::No,
            copy: CopyIn::No,
            oddities: 0,
        }
    }

    /// Whether the server is idle, outside of any transaction.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.tokens.is_empty() && self.status == Status::Idle
    }

    /// Whether everything was answered; the session may be in a transaction.
    pub(super) fn is_answered(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Whether the next message begins something new, so that it could be kept back: everything
    /// before it will be answered without it.
    pub(super) fn is_at_boundary(&self) -> bool {
        matches!(self.tokens.back(), None | Some(Token::Query | Token::Sync))
            && self.skip == Skip::No
            && self.copy == CopyIn::No
    }

    /// Whether so much is unanswered that the client must not be read.
    pub(super) fn is_full(&self) -> bool {
        self.tokens.len() >= TOKENS_MAX
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
        match tag {
            b'Q' | b'F' => self.client_query(),
            b'P' | b'B' | b'D' | b'E' | b'C' => self.client_extended(),
            b'S' => self.client_sync(),
            b'c' | b'f' => self.client_copy_end(),
            b'd' | b'H' | b'X' => {}
            _unknown => self.tokens.push_back(Token::Unknown),
        }
    }

    fn client_query(&mut self) {
        match (self.copy, self.skip) {
            (CopyIn::Reading { .. }, _) | (_, Skip::Perhaps) => {
                self.tokens.push_back(Token::Unknown);
            }
            (CopyIn::No | CopyIn::Ended { .. }, Skip::UntilSync) => {}
            (CopyIn::No | CopyIn::Ended { .. }, Skip::No) => self.tokens.push_back(Token::Query),
        }
    }

    fn client_extended(&mut self) {
        match (self.copy, self.skip) {
            (CopyIn::Reading { .. }, _) | (_, Skip::Perhaps) => {
                self.tokens.push_back(Token::Unknown);
            }
            (CopyIn::No | CopyIn::Ended { .. }, Skip::UntilSync) => {}
            (CopyIn::No | CopyIn::Ended { .. }, Skip::No) => match self.tokens.back_mut() {
                Some(Token::Extended(open)) => *open = open.saturating_add(1),
                Some(
                    Token::Query | Token::Sync | Token::CopyEnd | Token::MaybeSync | Token::Unknown,
                )
                | None => self.tokens.push_back(Token::Extended(1)),
            },
        }
    }

    fn client_sync(&mut self) {
        if let CopyIn::Reading { syncs } = &mut self.copy {
            *syncs = syncs.saturating_add(1);
        } else {
            self.skip = Skip::No;
            self.tokens.push_back(Token::Sync);
        }
    }

    fn client_copy_end(&mut self) {
        match self.copy {
            CopyIn::Reading { syncs } => self.copy = CopyIn::Ended { syncs },
            CopyIn::No | CopyIn::Ended { .. } => {
                // It may end a COPY that a message before it begins.
                let may_matter = !self.tokens.is_empty() && self.skip == Skip::No;
                if may_matter && self.tokens.back() != Some(&Token::CopyEnd) {
                    self.tokens.push_back(Token::CopyEnd);
                }
            }
        }
    }

    /// Notes a message of the server; `ReadyForQuery` goes to [`Pulse::ready`] instead.
    #[inline]
    pub(super) fn server(&mut self, tag: u8) {
        match tag {
            b'1' | b'2' | b'3' | b'n' | b's' | b'T' | b'C' | b'I' => self.completed(tag),
            b'E' => self.failed(),
            b'G' => self.copy_begins(),
            _other => {}
        }
    }

    /// A message that completes one message of the extended protocol, when such a one is first.
    #[inline]
    fn completed(&mut self, tag: u8) {
        if tag == b'C' {
            self.copy = CopyIn::No;
        }
        if self.tokens.front() == Some(&Token::MaybeSync) {
            self.settle_maybes();
        }
        if let Some(Token::Extended(open)) = self.tokens.front_mut() {
            match open.checked_sub(1) {
                Some(less) => *open = less,
                None => self.oddities = self.oddities.saturating_add(1),
            }
            if *open == 0 {
                self.tidy();
            }
        }
    }

    /// An answer came that no Sync brings: maybes in front of its cause were ignored.
    fn settle_maybes(&mut self) {
        let maybes = self
            .tokens
            .iter()
            .take_while(|token| **token == Token::MaybeSync)
            .count();
        match self.tokens.get(maybes) {
            Some(Token::Extended(_) | Token::Query) => drop(self.tokens.drain(..maybes)),
            Some(Token::Sync | Token::CopyEnd | Token::MaybeSync | Token::Unknown) | None => {}
        }
    }

    /// Drops what is settled in front: completed messages that others follow, and ends of COPY
    /// that ended none.
    fn tidy(&mut self) {
        loop {
            match (self.tokens.front(), self.tokens.get(1)) {
                (Some(Token::Extended(0)), Some(Token::Extended(_))) => {
                    self.tokens.pop_front();
                }
                (Some(Token::Extended(0)), Some(Token::CopyEnd)) => {
                    self.tokens.remove(1);
                }
                (Some(Token::CopyEnd), _) => {
                    self.tokens.pop_front();
                }
                (_, _) => return,
            }
        }
    }

    fn copy_begins(&mut self) {
        match self.tokens.front() {
            Some(Token::MaybeSync) => self.settle_maybes(),
            Some(Token::Extended(_) | Token::Query | Token::Unknown) => {}
            Some(Token::Sync | Token::CopyEnd) | None => {
                self.oddities = self.oddities.saturating_add(1);
            }
        }
        // The server read none of what stands behind the message that began the COPY. It ignores
        // the Syncs up to the end of the data.
        let mut syncs = 0_u32;
        let mut at = 1;
        while let Some(token) = self.tokens.get(at).copied() {
            match token {
                Token::Sync | Token::MaybeSync => {
                    syncs = syncs.saturating_add(1);
                    self.tokens.remove(at);
                }
                Token::CopyEnd => {
                    self.tokens.remove(at);
                    self.copy = CopyIn::Ended { syncs };
                    return;
                }
                Token::Extended(_) | Token::Query | Token::Unknown => {
                    // Not legal while data is read: the server fails on it or hangs up.
                    if let Some(token) = self.tokens.get_mut(at) {
                        *token = Token::Unknown;
                    }
                    at += 1;
                }
            }
        }
        self.copy = CopyIn::Reading { syncs };
    }

    fn failed(&mut self) {
        let syncs = match self.copy {
            CopyIn::No => 0,
            CopyIn::Reading { syncs } | CopyIn::Ended { syncs } => syncs,
        };
        self.copy = CopyIn::No;
        for _sync in 0..syncs {
            self.tokens
                .insert(1.min(self.tokens.len()), Token::MaybeSync);
        }
        if self.tokens.front() == Some(&Token::MaybeSync) && syncs == 0 {
            self.settle_maybes();
        }
        self.tidy();
        if let Some(Token::Extended(open)) = self.tokens.front_mut()
            && *open > 0
        {
            *open = 0;
            self.discard_until_sync();
        }
    }

    /// The first extended message failed: what follows is discarded up to the first Sync.
    fn discard_until_sync(&mut self) {
        let mut skip = Skip::UntilSync;
        let mut at = 1;
        while let Some(token) = self.tokens.get(at).copied() {
            match (token, skip) {
                (Token::Sync, _) => return,
                (Token::MaybeSync | Token::Unknown, _) => {
                    skip = Skip::Perhaps;
                    at += 1;
                }
                (Token::Extended(_) | Token::Query, Skip::Perhaps) => {
                    if let Some(token) = self.tokens.get_mut(at) {
                        *token = Token::Unknown;
                    }
                    at += 1;
                }
                (Token::CopyEnd, _)
                | (Token::Extended(_) | Token::Query, Skip::UntilSync | Skip::No) => {
                    self.tokens.remove(at);
                }
            }
        }
        self.skip = skip;
    }

    /// Notes a `ReadyForQuery`.
    #[inline]
    pub(super) fn ready(&mut self, status: u8) {
        self.status = match status {
            b'I' => Status::Idle,
            b'T' => Status::InTransaction,
            _failed => Status::Failed,
        };
        if self.tokens.front() == Some(&Token::Query) {
            self.tokens.pop_front();
        } else {
            self.answer_sync();
        }
        if self.copy != CopyIn::No {
            self.copy = CopyIn::No;
        }
        if self.tokens.front() == Some(&Token::CopyEnd) {
            self.tidy();
        }
    }

    /// Takes out what a `ReadyForQuery` answers when it is not simply the first Query.
    fn answer_sync(&mut self) {
        let certain = |token: &Token| matches!(token, Token::Query | Token::Sync);
        if let Some(at) = self.tokens.iter().position(certain) {
            // A maybe before it stays: either it or the certain one was answered, so one of them
            // is still due, and we do not know whether it will come.
            self.tokens.remove(at);
            let mut index = 0;
            self.tokens.retain(|token| {
                index += 1;
                index > at || matches!(token, Token::MaybeSync | Token::Unknown)
            });
            return;
        }
        let maybe = |token: &Token| matches!(token, Token::MaybeSync | Token::Unknown);
        if let Some(at) = self.tokens.iter().position(maybe) {
            self.tokens.drain(..=at);
            self.skip = Skip::No;
        } else {
            self.oddities = self.oddities.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests;
