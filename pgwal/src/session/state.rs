//! What a session has that its startup message does not bring back: asked of the server itself.
//!
//! [`question`](super::question) asks; here is what its answer means.

use std::fmt;

use bytes::Bytes;

use super::columns::Statement;
use super::limits::STATEMENT_BYTES_MAX;
use super::sequences::Current;
use super::sql_prepare::replayable;
use super::statements::{Kept, Statements};

/// Why a session cannot go over to the other server as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmovable {
    /// Temporary tables, functions or types.
    TemporaryTable,
    /// Session-level advisory locks that the other server does not give.
    AdvisoryLock,
    /// It listens for notifications, and cannot on the other server.
    Listen,
    /// A cursor outside of a transaction.
    HeldCursor,
    /// A statement that was too long to keep, or one prepared by SQL whose text is not exactly one
    /// `PREPARE`.
    PreparedStatement,
    /// A replication connection.
    Replication,
    /// What `currval()` says of this sequence.
    Sequence(String),
    /// It is in another database than the one that moves.
    OtherDatabase,
    /// The other server does not take this setting.
    Setting(String),
    /// Its server did not answer our question; the SQLSTATE.
    Unreadable(String),
    /// The other server does not let it in; why.
    NotLetIn(String),
}

impl Unmovable {
    /// The names of all kinds, for who decides by kind what happens to such a session.
    pub const KINDS: &[&str] = &[
        "temporary-table",
        "advisory-lock",
        "listen",
        "held-cursor",
        "prepared-statement",
        "replication",
        "sequence",
        "other-database",
        "setting",
        "unreadable",
        "not-let-in",
    ];

    /// The name of its kind, one of [`Unmovable::KINDS`].
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TemporaryTable => "temporary-table",
            Self::AdvisoryLock => "advisory-lock",
            Self::Listen => "listen",
            Self::HeldCursor => "held-cursor",
            Self::PreparedStatement => "prepared-statement",
            Self::Replication => "replication",
            Self::Sequence(_) => "sequence",
            Self::OtherDatabase => "other-database",
            Self::Setting(_) => "setting",
            Self::Unreadable(_) => "unreadable",
            Self::NotLetIn(_) => "not-let-in",
        }
    }
}

impl fmt::Display for Unmovable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TemporaryTable => f.write_str("temporary table"),
            Self::AdvisoryLock => f.write_str("advisory lock"),
            Self::Listen => f.write_str("LISTEN"),
            Self::HeldCursor => f.write_str("WITH HOLD cursor"),
            Self::PreparedStatement => f.write_str("prepared statement"),
            Self::Replication => f.write_str("replication"),
            Self::Sequence(name) => write!(f, "currval() of {name}"),
            Self::OtherDatabase => f.write_str("another database"),
            Self::Setting(name) => write!(f, "setting {name}"),
            Self::Unreadable(sqlstate) => write!(f, "state not readable ({sqlstate})"),
            Self::NotLetIn(reason) => write!(f, "the other server refuses it: {reason}"),
        }
    }
}

/// What a twin must be given to be like the session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Replay {
    /// Settings in an order that works: the encoding first, the session's user and the role last.
    pub(super) settings: Vec<(Bytes, Bytes)>,
    /// Named statements of the protocol.
    pub(super) statements: Vec<Statement>,
    /// Statements that `PREPARE` made.
    pub(super) sql_prepares: Vec<Statement>,
    /// What `currval()` says, that of `lastval()` last.
    pub(super) sequences: Vec<Current>,
}

impl Replay {
    /// All prepared statements.
    pub(super) fn prepared(&self) -> impl Iterator<Item = &Statement> {
        self.statements.iter().chain(&self.sql_prepares)
    }

    /// As [`Replay::prepared`].
    pub(super) fn prepared_mut(&mut self) -> impl Iterator<Item = &mut Statement> {
        self.statements.iter_mut().chain(&mut self.sql_prepares)
    }

    /// Whether another one is the same but for what `currval()` and `lastval()` say.
    pub(super) fn differs_in_sequences_alone(&self, other: &Self) -> bool {
        self != &Self::default()
            && self.settings == other.settings
            && self.statements == other.statements
            && self.sql_prepares == other.sql_prepares
    }

    /// What is to be carried to where `known` was carried already, the sequence of `lastval()` last;
    /// `None` when something must be taken back there.
    pub(super) fn sequences_beyond(&self, known: &Self) -> Option<Vec<Current>> {
        let is_there = |(name, _): &Current| self.sequences.iter().any(|(other, _)| other == name);
        if !known.sequences.iter().all(is_there) {
            return None;
        }
        let (last, others) = self.sequences.split_last()?;
        let is_new = |current: &&Current| !known.sequences.contains(current);
        let mut beyond: Vec<Current> = others.iter().filter(is_new).cloned().collect();
        if !beyond.is_empty() || known.sequences.last() != Some(last) {
            beyond.push(last.clone());
        }
        Some(beyond)
    }
}

/// What was read of a session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Reading {
    pub(super) replay: Replay,
    /// The channels that it listens on.
    pub(super) channels: Vec<Bytes>,
    pub(super) unmovable: Vec<Unmovable>,
}

/// Kinds of rows; the same numbers stand in the question.
const SETTING: &[u8] = b"1";
const SESSION_USER: &[u8] = b"2";
const PREPARED: &[u8] = b"3";
const PREPARED_BY_SQL: &[u8] = b"4";
const LISTEN: &[u8] = b"5";
const TEMPORARY: &[u8] = b"7";
const CURSOR: &[u8] = b"8";
const ROLE: &[u8] = b"9";

/// Makes sense of the rows of the answer. `user` is the role the session logged in as.
pub(super) fn read(
    rows: &[Vec<Option<Bytes>>],
    user: &str,
    statements: &mut Statements,
) -> Reading {
    let mut reading = Reading::default();
    let mut authorization = None;
    let mut role = None;
    let mut existing = Vec::new();
    for row in rows {
        let [Some(kind), Some(name), value] = row.as_slice() else {
            continue;
        };
        let value = value.clone();
        match (kind.as_ref(), value) {
            (SETTING, Some(value)) => reading.replay.settings.push((name.clone(), value)),
            (SETTING, None) => {}
            (ROLE, Some(value)) if value.as_ref() != b"none" => role = Some((name.clone(), value)),
            (SESSION_USER, Some(value)) if value.as_ref() != cut_name(user) => {
                authorization = Some((Bytes::from_static(b"session_authorization"), value));
            }
            (PREPARED, Some(text)) => match statements.named(name, &text) {
                Some(statement) => {
                    existing.push(name.clone());
                    reading.replay.statements.push(statement);
                }
                None => reading.add(Unmovable::PreparedStatement),
            },
            (PREPARED_BY_SQL, text) => reading.add_sql_prepare(name, text.as_deref()),
            (LISTEN, _) => reading.channels.push(name.clone()),
            (TEMPORARY, _) => reading.add(Unmovable::TemporaryTable),
            (CURSOR, _) => reading.add(Unmovable::HeldCursor),
            (_, _) => {}
        }
    }
    statements.retain(|name| existing.iter().any(|known| known == name));
    reading
        .replay
        .settings
        .sort_by_key(|(name, _)| name.as_ref() != b"client_encoding");
    // Whoever is set as the session's user may not be allowed to set the rest; a role that it took
    // on is gone when the session's user changes.
    reading.replay.settings.extend(authorization);
    reading.replay.settings.extend(role);
    reading
}

/// A role name as the server cuts it.
fn cut_name(name: &str) -> &[u8] {
    name.as_bytes().get(..63).unwrap_or(name.as_bytes())
}

impl Reading {
    fn add(&mut self, reason: Unmovable) {
        if !self.unmovable.contains(&reason) {
            self.unmovable.push(reason);
        }
    }

    fn add_sql_prepare(&mut self, name: &Bytes, text: Option<&[u8]>) {
        let prepares = &self.replay.sql_prepares;
        let kept: usize = prepares.iter().map(|one| one.parse.len()).sum();
        match text.and_then(replayable) {
            Some(parse) if kept + parse.len() <= STATEMENT_BYTES_MAX => {
                self.replay.sql_prepares.push(Statement {
                    name: name.clone(),
                    parse,
                    columns: None,
                });
            }
            Some(_) | None => self.add(Unmovable::PreparedStatement),
        }
    }

    /// Takes the unnamed statement into account, when the client may still use it.
    pub(super) fn with_unnamed(mut self, kept: Kept, is_replaced: bool) -> Self {
        match kept {
            Kept::TooLong if !is_replaced => self.add(Unmovable::PreparedStatement),
            Kept::TooLong | Kept::None | Kept::Whole => {}
        }
        self
    }
}

/// Whether a name is that of a setting outside of the catalog: identifiers with dots between.
pub(super) fn is_custom_setting(name: &str) -> bool {
    name.contains('.') && is_setting(name)
}

/// Whether a name is that of a setting: one identifier, or several with dots between.
pub(super) fn is_setting(name: &str) -> bool {
    let is_word = |word: &str| {
        let mut letters = word.chars();
        letters
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && letters.all(|rest| rest.is_ascii_alphanumeric() || rest == '_' || rest == '$')
    };
    name.split('.').all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kind: &str, name: &str, value: Option<&str>) -> Vec<Option<Bytes>> {
        let bytes = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));
        vec![bytes(kind), bytes(name), value.and_then(bytes)]
    }

    #[test]
    fn only_names_that_are_safe_in_an_array_literal_are_asked_for() {
        assert!(is_custom_setting("app.tenant"));
        assert!(is_custom_setting("a.b.c_1$"));
        for name in [
            "work_mem", "a.", ".b", "a.b,c", "a.\"b", "a b.c", "a.{}", "a.1",
        ] {
            assert!(!is_custom_setting(name), "{name}");
        }
    }

    #[test]
    fn the_encoding_comes_first_and_the_role_last() {
        let rows = [
            row("1", "work_mem", Some("64")),
            row("9", "role", Some("other")),
            row("1", "client_encoding", Some("LATIN1")),
            row("1", "app.unset", None),
            row("2", "", Some("another")),
        ];
        let reading = read(&rows, "me", &mut Statements::default());
        let names: Vec<_> = reading
            .replay
            .settings
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        let expected = [
            "client_encoding",
            "work_mem",
            "session_authorization",
            "role",
        ];
        assert_eq!(names, expected);
        assert_eq!(reading.unmovable, []);
    }

    #[test]
    fn what_cannot_be_carried_is_named_once() {
        let rows = [
            row("2", "", Some("me")),
            row("3", "unknown", Some("select 1")),
            row(
                "4",
                "two",
                Some("PREPARE one AS select 1; PREPARE two AS select 2"),
            ),
            row("5", "news", Some("")),
            row("7", "", Some("")),
        ];
        let reading = read(&rows, "me", &mut Statements::default());
        assert_eq!(
            reading.unmovable,
            [Unmovable::PreparedStatement, Unmovable::TemporaryTable,]
        );
        assert_eq!(reading.channels, ["news"]);
    }

    #[test]
    fn only_sequences_that_moved_are_carried_again() {
        let replay = |text: &'static str| Replay {
            sequences: text
                .split_terminator(' ')
                .map(|one| {
                    let (name, value) = one.split_at(1);
                    (
                        Bytes::from_static(name.as_bytes()),
                        Bytes::from_static(value.as_bytes()),
                    )
                })
                .collect(),
            ..Replay::default()
        };
        let beyond = |from, to| replay(to).sequences_beyond(&replay(from));
        assert_eq!(beyond("a1 b2", "a1 b3"), Some(replay("b3").sequences));
        assert_eq!(beyond("a1 b2", "b2 a1"), Some(replay("a1").sequences));
        assert_eq!(beyond("a1 b2", "a2 b2"), Some(replay("a2 b2").sequences));
        assert_eq!(beyond("a1 b2", "c7 a1 b2"), Some(replay("c7 b2").sequences));
        assert_eq!(beyond("a1", "a1"), Some(vec![]));
        assert_eq!(beyond("a1 b2", "b2"), None);
        assert_eq!(beyond("a1", ""), None);
    }

    #[test]
    fn statements_prepared_by_sql_are_carried_up_to_a_limit() {
        let long = format!(
            "PREPARE p AS SELECT '{}'",
            "x".repeat(STATEMENT_BYTES_MAX / 2)
        );
        let rows = [row("4", "a", Some(&long)), row("4", "b", Some(&long))];
        let one = read(&rows[..1], "me", &mut Statements::default());
        assert_eq!((one.replay.sql_prepares.len(), one.unmovable.len()), (1, 0));
        let both = read(&rows, "me", &mut Statements::default());
        assert_eq!(both.replay.sql_prepares.len(), 1);
        assert_eq!(both.unmovable, [Unmovable::PreparedStatement]);
    }
}
