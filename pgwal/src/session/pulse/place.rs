//! One place where the server may be: how many messages it has read, and what it is doing.
//!
//! The rules are those of `PostgresMain` and `CopyGetData` in the server.

use std::collections::VecDeque;

use super::Answer;

/// A forwarded message, as far as it matters. Data of a COPY and Flush do not: whatever the server
/// does, it reads them without a word or fails, and it may fail at any moment of a COPY anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// Query or `FunctionCall`.
    Query,
    Parse,
    Bind,
    Describe,
    Execute,
    Close,
    Sync,
    CopyDone,
    CopyFail,
    /// A message that the server does not know: it hangs up.
    Unknown,
}

impl Sent {
    pub(super) fn of(tag: u8) -> Option<Self> {
        match tag {
            b'Q' | b'F' => Some(Self::Query),
            b'P' => Some(Self::Parse),
            b'B' => Some(Self::Bind),
            b'D' => Some(Self::Describe),
            b'E' => Some(Self::Execute),
            b'C' => Some(Self::Close),
            b'S' => Some(Self::Sync),
            b'c' => Some(Self::CopyDone),
            b'f' => Some(Self::CopyFail),
            b'd' | b'H' | b'X' => None,
            _unknown => Some(Self::Unknown),
        }
    }

    /// What the server does after this answer to the message, which it neither discarded nor read
    /// in a COPY.
    fn answered(self, answer: Answer) -> Option<Doing> {
        let completed = match self {
            Self::Query => return Doing::after_querying(answer),
            Self::Sync => {
                return match answer {
                    Answer::Ready => Some(Doing::Waiting),
                    // What waited for the commit, a deferred constraint for one.
                    Answer::Error => Some(Doing::Failed),
                    _not_here => None,
                };
            }
            Self::CopyDone | Self::CopyFail | Self::Unknown => return None,
            Self::Execute if answer == Answer::CopyIn => return Some(Doing::Copying(By::Execute)),
            Self::Execute => answer == Answer::Completed,
            Self::Parse => answer == Answer::Parsed,
            Self::Bind => answer == Answer::Bound,
            Self::Close => answer == Answer::Closed,
            Self::Describe => matches!(answer, Answer::Rows | Answer::NoRows),
        };
        match answer {
            _ if completed => Some(Doing::InExtended),
            Answer::Error => Some(Doing::Discarding),
            _not_here => None,
        }
    }
}

/// Who began a COPY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Query,
    Execute,
}

/// What the server is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// It waits for the next message; nothing of the extended protocol is open.
    Waiting,
    /// It waits for the next message of the extended protocol, of which no Sync came.
    InExtended,
    /// It discards everything up to the next Sync.
    Discarding,
    /// It runs a Query, or a statement of it.
    Querying,
    /// It reads data: Syncs are ignored.
    Copying(By),
    /// Something failed, of which a `ReadyForQuery` is the end.
    Failed,
}

impl Doing {
    /// What the server does after this answer of a Query.
    fn after_querying(answer: Answer) -> Option<Self> {
        match answer {
            Answer::Ready => Some(Self::Waiting),
            Answer::Error => Some(Self::Failed),
            Answer::CopyIn => Some(Self::Copying(By::Query)),
            Answer::Rows | Answer::Completed | Answer::Returned => Some(Self::Querying),
            Answer::Parsed | Answer::Bound | Answer::Closed | Answer::NoRows => None,
        }
    }
}

/// Where the server may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// So many of the forwarded messages were read.
    read: usize,
    doing: Doing,
}

impl Place {
    /// After the log-in.
    pub(super) fn start() -> Self {
        Self {
            read: 0,
            doing: Doing::Waiting,
        }
    }

    /// So many messages of the list were read.
    pub(super) fn read(&self) -> usize {
        self.read
    }

    /// The list lost so many messages at its front.
    pub(super) fn forget(&mut self, count: usize) {
        self.read = self.read.saturating_sub(count);
    }

    /// Whether it has answered everything and waits for the client.
    pub(super) fn waits_for_client(&self, sent: &VecDeque<Sent>) -> bool {
        let is_ignored = |sent: &Sent| self.ignores(*sent);
        self.doing == Doing::Waiting && sent.range(self.read..).all(is_ignored)
    }

    /// Whether everything that was sent will be answered without anything more from the client.
    pub(super) fn will_answer_all(&self, sent: &VecDeque<Sent>) -> bool {
        let mut unread = sent.range(self.read..);
        let last = unread.clone().next_back();
        match self.doing {
            Doing::Copying(_) => false,
            Doing::Discarding => {
                unread.any(|sent| *sent == Sent::Sync)
                    && matches!(last, Some(Sent::Sync | Sent::Query))
            }
            Doing::InExtended => matches!(last, Some(Sent::Sync | Sent::Query)),
            Doing::Waiting | Doing::Querying | Doing::Failed => {
                matches!(last, None | Some(Sent::Sync | Sent::Query))
            }
        }
    }

    /// Gives every place where the server may be after an answer that it gave at this one.
    pub(super) fn after(self, answer: Answer, sent: &VecDeque<Sent>, to: &mut impl FnMut(Self)) {
        let here = self.settled(sent);
        let mut go = |doing, read| to(Self { read, doing }.settled(sent));
        match here.doing {
            Doing::Querying => {
                if let Some(doing) = Doing::after_querying(answer) {
                    go(doing, here.read);
                }
            }
            Doing::Failed => {
                if answer == Answer::Ready {
                    go(Doing::Waiting, here.read);
                }
            }
            Doing::Copying(by) => here.after_copying(by, answer, sent, &mut go),
            Doing::Waiting | Doing::InExtended | Doing::Discarding => {
                // A timeout between two messages of the extended protocol.
                if here.doing == Doing::InExtended && answer == Answer::Error {
                    go(Doing::Discarding, here.read);
                }
                let message = sent.get(here.read);
                if let Some(doing) = message.and_then(|sent| sent.answered(answer)) {
                    go(doing, here.read + 1);
                }
            }
        }
    }

    /// An answer while data of a COPY is read.
    fn after_copying(
        self,
        by: By,
        answer: Answer,
        sent: &VecDeque<Sent>,
        go: &mut impl FnMut(Doing, usize),
    ) {
        let ignored = sent.range(self.read..).take_while(|s| **s == Sent::Sync);
        let end = self.read + ignored.count();
        match answer {
            Answer::Completed if sent.get(end) == Some(&Sent::CopyDone) => match by {
                By::Query => go(Doing::Querying, end + 1),
                By::Execute => go(Doing::InExtended, end + 1),
            },
            Answer::Error => {
                let doing = match by {
                    By::Query => Doing::Failed,
                    By::Execute => Doing::Discarding,
                };
                // It may have failed anywhere up to the first message that ends the COPY or breaks
                // it, at that one too.
                let last = if end < sent.len() { end + 1 } else { end };
                for read in self.read..=last {
                    go(doing, read);
                }
            }
            _not_here => {}
        }
    }

    /// Whether it reads such a message without a word, and does the same as before.
    pub(super) fn ignores(&self, message: Sent) -> bool {
        match self.doing {
            Doing::Discarding => message != Sent::Sync,
            Doing::Waiting | Doing::InExtended | Doing::Failed => {
                matches!(message, Sent::CopyDone | Sent::CopyFail)
            }
            Doing::Querying | Doing::Copying(_) => false,
        }
    }

    /// The same place behind everything that is ignored there, so that places that cannot be told
    /// apart are equal.
    fn settled(self, sent: &VecDeque<Sent>) -> Self {
        let unread = sent.range(self.read.min(sent.len())..);
        let ignored = unread.take_while(|message| self.ignores(**message));
        Self {
            read: self.read + ignored.count(),
            ..self
        }
    }
}
