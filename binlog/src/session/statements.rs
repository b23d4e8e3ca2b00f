//! The statements that a client prepared by the protocol: what it takes to prepare them again on
//! another server under the ids that the client knows.
//!
//! A server keeps the types of a statement's parameters from one execution to the next, and many
//! clients send them only once. So they are kept here too, and put into the first execution on a
//! server that does not know them yet.

use std::collections::{HashMap, VecDeque};

use bytes::{BufMut, Bytes, BytesMut};

use super::kill;
use super::limits::{STATEMENT_BYTES_MAX, STATEMENTS_MAX};
use super::pulse::Prepared;
use super::text::{self, Words};

/// MariaDB's clients: the statement that was prepared last.
pub(super) const LAST_PREPARED: u32 = u32::MAX;

/// Bytes of an execution in front of its NULL bitmap: command, id, flags, iterations.
const EXECUTE_HEAD_BYTES: usize = 1 + 4 + 1 + 4;

/// A prepared statement.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    /// Its text, unless it was too long to keep.
    pub(super) text: Option<Bytes>,
    pub(super) params: u16,
    /// The id on the present server.
    server_id: u32,
    /// The types of the parameters as they were sent last.
    types: Option<Bytes>,
    binding: Binding,
    kills: Kills,
    context: Context,
    changes: Changes,
}

/// The default database, the `sql_mode`, the character sets and the collation by which a text is read, as the number of times that one of
/// them may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Context(u64);

/// Whether executing a statement may change the context of later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Changes {
    Context,
    Nothing,
}

/// Whether a statement is a `KILL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kills {
    Yes,
    No,
}

/// Whether the present server knows the types of a statement's parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Binding {
    Known,
    Missing,
}

/// What is to be sent in place of the beginning of an execution.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rebound {
    /// Payload bytes that are replaced.
    pub(super) replaced: usize,
    /// What replaces them.
    pub(super) with: BytesMut,
}

/// All statements of a session.
#[derive(Debug, Default)]
pub(super) struct Statements {
    known: HashMap<u32, Statement>,
    /// Texts that were sent and are not prepared yet, in order.
    preparing: VecDeque<Sent>,
    /// A text that is not here as a whole yet.
    partial: Option<BytesMut>,
    bytes: usize,
    last: u32,
    ids: Ids,
    context: Context,
}

/// A text on its way to the server, unless it is too long to keep, and the context it is read in.
#[derive(Debug)]
struct Sent {
    text: Option<Bytes>,
    context: Context,
}

/// Whether ids pass as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Ids {
    /// The session is on the server that it began on.
    #[default]
    Same,
    /// It went over; new statements get ids from here on.
    Mapped { next: u32 },
}

impl Statements {
    /// A text goes to the server, all of it when `missing` is zero.
    pub(super) fn preparing(&mut self, text: &[u8], missing: u32) {
        let length = text
            .len()
            .saturating_add(usize::try_from(missing).unwrap_or(usize::MAX));
        let fits = self.bytes.saturating_add(length) <= STATEMENT_BYTES_MAX;
        let kept = fits && missing == 0;
        self.preparing.push_back(Sent {
            text: kept.then(|| Bytes::copy_from_slice(text)),
            context: self.context,
        });
        if fits {
            self.bytes += length;
        }
        if fits && missing > 0 {
            self.partial = Some(BytesMut::from(text));
        }
    }

    /// What is prepared from here on may be read in another way than what was prepared before.
    pub(super) fn context_changes(&mut self) {
        self.context.0 += 1;
    }

    /// Whether nothing changed the context since the session began, or was reset.
    pub(super) fn is_in_first_context(&self) -> bool {
        self.context == Context::default()
    }

    /// A statement is executed.
    #[inline]
    pub(super) fn executes(&mut self, id: u32) {
        let found = self.find(id);
        if found.is_some_and(|statement| statement.changes == Changes::Context) {
            self.context_changes();
        }
    }

    /// More of the text that was sent last.
    pub(super) fn more(&mut self, piece: &[u8], missing: u64) {
        let Some(mut text) = self.partial.take() else {
            return;
        };
        text.extend_from_slice(piece);
        if missing > 0 {
            self.partial = Some(text);
        } else if let Some(sent) = self.preparing.back_mut() {
            sent.text = Some(text.freeze());
        }
    }

    /// The server prepared the first of those that wait: the id that the client is to see.
    pub(super) fn prepared(&mut self, prepared: Prepared) -> Option<u32> {
        let sent = self.preparing.pop_front();
        let (text, context) = sent.map_or((None, self.context), |sent| (sent.text, sent.context));
        let id = match &mut self.ids {
            Ids::Same => prepared.statement,
            Ids::Mapped { next } => {
                let id = *next;
                *next = next.checked_add(1).filter(|next| *next != LAST_PREPARED)?;
                id
            }
        };
        self.last = id;
        if self.known.len() >= STATEMENTS_MAX {
            return None;
        }
        let is_kill = text.as_deref().is_some_and(kill::is_kill);
        let words = text.as_deref().map(text::find).unwrap_or_default();
        let changes = words.has(Words::CONTEXT);
        let statement = Statement {
            context,
            changes: if changes {
                Changes::Context
            } else {
                Changes::Nothing
            },
            kills: if is_kill { Kills::Yes } else { Kills::No },
            text,
            params: prepared.params,
            server_id: prepared.statement,
            types: None,
            binding: Binding::Known,
        };
        if let Some(old) = self.known.insert(id, statement) {
            self.forget_bytes(&old);
        }
        Some(id)
    }

    /// The server did not prepare the first of those that wait.
    pub(super) fn not_prepared(&mut self) {
        if let Some(Sent {
            text: Some(text), ..
        }) = self.preparing.pop_front()
        {
            self.bytes = self.bytes.saturating_sub(text.len());
        }
    }

    pub(super) fn close(&mut self, id: u32) {
        if let Some(statement) = self.known.remove(&id) {
            self.forget_bytes(&statement);
        }
    }

    /// All are gone: the connection was reset.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn forget_bytes(&mut self, statement: &Statement) {
        let length = statement.text.as_ref().map_or(0, Bytes::len);
        self.bytes = self.bytes.saturating_sub(length);
    }

    /// The id on the present server for one that a client names; `None` when it is the same.
    pub(super) fn translated(&self, id: u32) -> Option<u32> {
        if self.ids == Ids::Same {
            return None;
        }
        let id = if id == LAST_PREPARED { self.last } else { id };
        let server_id = self.known.get(&id).map(|statement| statement.server_id);
        // An id that is unknown here must be unknown there.
        Some(server_id.unwrap_or(LAST_PREPARED - 1))
    }

    /// Whether a statement is a `KILL`.
    #[inline]
    pub(super) fn kills(&self, id: u32) -> bool {
        self.find(id)
            .is_some_and(|statement| statement.kills == Kills::Yes)
    }

    /// Notes the types of the parameters of an execution that the server does not get to see.
    pub(super) fn note_types(&mut self, payload: &[u8]) {
        let id = payload.get(1..).and_then(|rest| rest.first_chunk::<4>());
        let Some(id) = id.map(|id| u32::from_le_bytes(*id)) else {
            return;
        };
        let rebound = self.execute(id, payload);
        drop(rebound);
    }

    /// The text of a statement, the number of its parameters, and their types as they were sent
    /// last.
    pub(super) fn text_and_types(&self, id: u32) -> Option<(&[u8], u16, Option<&Bytes>)> {
        let statement = self.find(id)?;
        let text = statement.text.as_deref()?;
        Some((text, statement.params, statement.types.as_ref()))
    }

    fn find(&self, id: u32) -> Option<&Statement> {
        let id = if id == LAST_PREPARED { self.last } else { id };
        self.known.get(&id)
    }

    /// Payload bytes of an execution that must be there for [`Statements::execute`].
    pub(super) fn execute_prefix_bytes(&self, id: u32) -> usize {
        self.known.get(&id).map_or(0, |statement| {
            let params = usize::from(statement.params);
            if params == 0 {
                return 0;
            }
            EXECUTE_HEAD_BYTES + params.div_ceil(8) + 1 + 2 * params
        })
    }

    /// Notes an execution by the beginning of its payload. When the server lacks the types that
    /// the client did not repeat, what to send in place of that beginning.
    pub(super) fn execute(&mut self, id: u32, payload: &[u8]) -> Option<Rebound> {
        let statement = self.known.get_mut(&id)?;
        let params = usize::from(statement.params);
        if params == 0 {
            return None;
        }
        let flag_at = EXECUTE_HEAD_BYTES + params.div_ceil(8);
        let types_at = flag_at + 1;
        match payload.get(flag_at)? {
            0 if statement.binding == Binding::Missing => {
                let types = statement.types.clone()?;
                let mut with = BytesMut::from(payload.get(..flag_at)?);
                with.put_u8(1);
                with.put_slice(&types);
                statement.binding = Binding::Known;
                Some(Rebound {
                    replaced: types_at,
                    with,
                })
            }
            0 => None,
            _sent => {
                let types = payload.get(types_at..types_at + 2 * params)?;
                if statement.types.as_deref() != Some(types) {
                    statement.types = Some(Bytes::copy_from_slice(types));
                }
                statement.binding = Binding::Known;
                None
            }
        }
    }

    /// The statements for a twin, in the order of their ids; `None` when one was not kept, or was prepared in
    /// another context than the present one: the twin would read it in this.
    pub(super) fn to_prepare(&self) -> Option<Vec<(u32, Bytes, u16)>> {
        let of_now = |statement: &Statement| statement.context == self.context;
        let mut all: Vec<_> = self
            .known
            .iter()
            .map(|(id, statement)| {
                let text = statement.text.clone().filter(|_| of_now(statement))?;
                Some((*id, text, statement.params))
            })
            .collect::<Option<_>>()?;
        all.sort_unstable_by_key(|(id, _, _)| *id);
        Some(all)
    }

    /// The session went over to a server where its statements have these ids.
    pub(super) fn went_over(&mut self, ids: &HashMap<u32, u32>) {
        let highest = self.known.keys().copied().max().unwrap_or(0);
        let next = highest.max(self.last).saturating_add(1);
        self.ids = match self.ids {
            Ids::Same => Ids::Mapped { next },
            Ids::Mapped { next: before } => Ids::Mapped {
                next: before.max(next),
            },
        };
        for (id, statement) in &mut self.known {
            statement.server_id = ids.get(id).copied().unwrap_or(LAST_PREPARED - 1);
            statement.binding = Binding::Missing;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepare(statements: &mut Statements, text: &str, statement: u32, params: u16) -> u32 {
        statements.preparing(text.as_bytes(), 0);
        statements.prepared(Prepared { statement, params }).unwrap()
    }

    fn execution(id: u32, types: Option<[u8; 2]>) -> Vec<u8> {
        let mut payload = vec![0x17];
        payload.extend(id.to_le_bytes());
        payload.extend([0, 1, 0, 0, 0, 0]);
        match types {
            Some(types) => {
                payload.push(1);
                payload.extend(types);
            }
            None => payload.push(0),
        }
        payload.extend([9, 9]);
        payload
    }

    #[test]
    fn statements_keep_their_ids_on_another_server_and_new_ones_get_free_ids() {
        let mut statements = Statements::default();
        assert_eq!(prepare(&mut statements, "select ?", 7, 1), 7);
        assert_eq!(statements.translated(7), None);
        statements.went_over(&HashMap::from([(7, 1)]));
        assert_eq!(statements.translated(7), Some(1));
        // The server gives an id that the client knows for another statement.
        assert_eq!(prepare(&mut statements, "select 2", 7, 0), 8);
        assert_eq!(statements.translated(8), Some(7));
        assert_eq!(statements.translated(LAST_PREPARED), Some(7));
        assert_eq!(statements.translated(99), Some(LAST_PREPARED - 1));
        statements.close(7);
        assert_eq!(statements.to_prepare().unwrap().len(), 1);
    }

    #[test]
    fn types_that_the_client_sent_once_are_put_into_the_first_execution_elsewhere() {
        let mut statements = Statements::default();
        prepare(&mut statements, "select ?", 7, 1);
        assert_eq!(statements.execute(7, &execution(7, Some([3, 0]))), None);
        assert_eq!(statements.execute(7, &execution(7, None)), None);
        statements.went_over(&HashMap::from([(7, 1)]));
        let rebound = statements.execute(7, &execution(7, None)).unwrap();
        let mut sent = rebound.with.to_vec();
        sent.extend(&execution(7, None)[rebound.replaced..]);
        assert_eq!(sent, execution(7, Some([3, 0])));
        assert_eq!(statements.execute(7, &execution(7, None)), None);
    }

    #[test]
    fn a_text_that_comes_in_pieces_is_kept_and_one_that_is_too_long_is_not() {
        let mut statements = Statements::default();
        statements.preparing(b"sel", 3);
        statements.more(b"ec", 1);
        statements.more(b"t", 0);
        statements.prepared(Prepared {
            statement: 1,
            params: 0,
        });
        let all = statements.to_prepare().unwrap();
        assert_eq!(all, [(1, Bytes::from_static(b"select"), 0)]);
        prepare(&mut statements, &"x".repeat(STATEMENT_BYTES_MAX), 2, 0);
        assert_eq!(statements.to_prepare(), None);
        statements.close(2);
        assert!(statements.to_prepare().is_some());
        statements.preparing(b"bad", 0);
        statements.not_prepared();
        statements.close(1);
        assert_eq!(statements.bytes, 0);
    }
}
