//! What the words of a statement tell that the server does not list, or not every server does.
//!
//! Words are looked for anywhere, in strings and comments too: a hint that is wrong makes a session
//! unmovable at worst. What a stored routine does is not seen here; the server's own counters tell
//! ([`state`](super::state)).

/// Bytes that a longer text is looked at again with the next piece: longer than any word here.
const OVERLAP_BYTES: usize = 64;

/// What may be set by which a statement's text is read; `character` begins some.
const CONTEXTS: [&[u8]; 5] = [
    b"sql_mode",
    b"names",
    b"charset",
    b"character",
    b"collation_connection",
];

/// What was found, since the session began or was reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Words(u16);

impl Words {
    /// A user-level lock may be held.
    pub(super) const GET_LOCK: Self = Self(1);
    /// A temporary table may exist.
    pub(super) const TEMPORARY: Self = Self(2);
    /// Tables may be locked, or all of them (`FLUSH TABLES WITH READ LOCK`).
    pub(super) const LOCK: Self = Self(4);
    /// A `HANDLER` may be open.
    pub(super) const HANDLER: Self = Self(8);
    /// `FOUND_ROWS()` may be asked for next.
    pub(super) const FOUND_ROWS: Self = Self(16);
    /// A user variable is used.
    pub(super) const VARIABLE: Self = Self(32);
    /// `LOAD .. LOCAL`.
    pub(super) const LOAD_LOCAL: Self = Self(64);
    /// Something is set for the next transaction only.
    pub(super) const SET_TRANSACTION: Self = Self(128);
    const LOAD: Self = Self(256);
    /// The default database, `sql_mode` or the character sets and collations of texts may change:
    /// statements that are prepared later mean something else.
    pub(super) const CONTEXT: Self = Self(512);
    const SET: Self = Self(1024);

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(super) fn remove(&mut self, other: Self) {
        self.0 &= !other.0;
    }
}

/// Looks for words in a text that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Reader {
    overlap: Vec<u8>,
    found: Words,
}

impl Reader {
    /// A new text begins.
    pub(super) fn begin(&mut self, piece: &[u8]) -> Words {
        self.overlap.clear();
        self.found = find(piece);
        self.keep_end(piece);
        self.found
    }

    /// The text goes on: what was found in it so far.
    pub(super) fn more(&mut self, piece: &[u8]) -> Words {
        self.overlap.extend_from_slice(piece);
        let text = std::mem::take(&mut self.overlap);
        let mut found = self.found;
        found.add(find(&text));
        if found.has(Words::SET) && (0..text.len()).any(|at| sets_context(&text, at)) {
            found.add(Words::CONTEXT);
        }
        if found.has(Words::LOAD) && contains(&text, b"local") {
            found.add(Words::LOAD_LOCAL);
        }
        self.found = found;
        self.keep_end(&text);
        self.found
    }

    fn keep_end(&mut self, text: &[u8]) {
        let from = text.len().saturating_sub(OVERLAP_BYTES);
        self.overlap
            .extend_from_slice(text.get(from..).unwrap_or_default());
    }
}

/// The words in a text.
pub(super) fn find(text: &[u8]) -> Words {
    let mut found = Words::default();
    for (at, byte) in text.iter().enumerate() {
        let rest = || text.get(at..).unwrap_or_default();
        match byte | 0x20 {
            b'g' if starts(rest(), b"get_lock") => found.add(Words::GET_LOCK),
            b'h' if starts(rest(), b"handler") => found.add(Words::HANDLER),
            b'l' if starts(rest(), b"load") => found.add(Words::LOAD),
            b'l' if found.has(Words::LOAD) && starts(rest(), b"local") => {
                found.add(Words::LOAD_LOCAL);
            }
            b'l' if starts(rest(), b"lock") => lock(text, at, &mut found),
            b's' if starts(rest(), b"set") && begins_statement(text, at) => found.add(Words::SET),
            b'c' | b'n' | b's' if found.has(Words::SET) && sets_context(text, at) => {
                found.add(Words::CONTEXT);
            }
            b's' if starts(rest(), b"sql_calc_found_rows") => found.add(Words::FOUND_ROWS),
            b't' if starts(rest(), b"temporary") => found.add(Words::TEMPORARY),
            b't' if starts(rest(), b"transaction") && word_before(text, at) == b"set" => {
                found.add(Words::SET_TRANSACTION);
            }
            b'u' if starts(rest(), b"use") && begins_statement(text, at) => {
                found.add(Words::CONTEXT);
            }
            // `@` and a grave accent are the same but for the bit that tells the case of letters.
            _other if *byte == b'@' => variable(text, at, &mut found),
            _other => {}
        }
    }
    found
}

/// Whether a statement may begin at `at`: nothing but spaces and comments is in front of it, or the end of
/// the statement before.
fn begins_statement(text: &[u8], at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default().trim_ascii_end();
    // Of a comment for servers of some versions only the beginning is in front.
    let digits = before.iter().rev().take_while(|byte| byte.is_ascii_digit());
    let before = before
        .get(..before.len() - digits.count())
        .unwrap_or_default();
    match before.last() {
        None | Some(b';' | b'/' | b'!' | b'(') => true,
        Some(_) => trim(before).is_empty(),
    }
}

/// Whether the word at `at` is one of [`CONTEXTS`].
fn sets_context(text: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| text.get(before));
    let is_whole = !before.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let rest = text.get(at..).unwrap_or_default();
    is_whole && CONTEXTS.iter().any(|one| starts(rest, one))
}

fn lock(text: &[u8], at: usize, found: &mut Words) {
    let after = trim(text.get(at + 4..).unwrap_or_default());
    let before = word_before(text, at);
    let unlocks = at >= 2 && text.get(at - 2..at).is_some_and(|two| starts(two, b"un"));
    if (starts(after, b"table") || before == b"read") && !unlocks {
        found.add(Words::LOCK);
    }
}

fn variable(text: &[u8], at: usize, found: &mut Words) {
    let before = at.checked_sub(1).and_then(|before| text.get(before));
    let is_account = before
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'\'' | b'`' | b'@'));
    if !is_account && text.get(at + 1) != Some(&b'@') {
        found.add(Words::VARIABLE);
    }
}

/// The word in front of `at`, in small letters; at most 8 bytes of it.
fn word_before(text: &[u8], at: usize) -> Vec<u8> {
    let before = text.get(..at).unwrap_or_default();
    let before = before.trim_ascii_end();
    if before.len() == at {
        return Vec::new();
    }
    let start = before
        .iter()
        .rposition(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')
        .map_or(0, |position| position + 1);
    let word = before.get(start..).unwrap_or_default();
    word.iter().take(8).map(u8::to_ascii_lowercase).collect()
}

fn starts(text: &[u8], word: &[u8]) -> bool {
    text.get(..word.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(word))
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    position(text, word).is_some()
}

/// Without whitespace and comments in front.
pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    loop {
        text = text.trim_ascii_start();
        if let Some(rest) = text.strip_prefix(b"/*") {
            let Some(end) = rest.windows(2).position(|two| two == b"*/") else {
                return text;
            };
            text = rest.get(end + 2..).unwrap_or_default();
        } else if text.starts_with(b"-- ") || text.starts_with(b"#") {
            let Some(end) = text.iter().position(|byte| *byte == b'\n') else {
                return &[];
            };
            text = text.get(end + 1..).unwrap_or_default();
        } else {
            return text;
        }
    }
}

/// Whether the text gives back locked tables.
pub(super) fn unlocks_tables(text: &[u8]) -> bool {
    let text = trim(text);
    starts(text, b"unlock")
}

/// Names of the user variables in a text, in small letters. `None` when one of them is quoted.
pub(super) fn variables(text: &[u8]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for (at, _) in text.iter().enumerate().filter(|(_, byte)| **byte == b'@') {
        let mut found = Words::default();
        variable(text, at, &mut found);
        if !found.has(Words::VARIABLE) {
            continue;
        }
        let rest = text.get(at + 1..).unwrap_or_default();
        let is_name =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.');
        let end = rest.iter().position(|byte| !is_name(byte));
        let name = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        if name.is_empty() {
            return None;
        }
        names.push(String::from_utf8_lossy(name).to_ascii_lowercase());
    }
    Some(names)
}

/// Names of the user-level locks that a text takes, as they are written. `None` when one of them is
/// no plain literal.
pub(super) fn lock_names(text: &[u8]) -> Option<Vec<String>> {
    const WORD: &[u8] = b"get_lock";
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(at) = position(rest, WORD) {
        let behind = rest.get(at + WORD.len()..)?.trim_ascii_start();
        let argument = behind.strip_prefix(b"(")?.trim_ascii_start();
        let literal = argument.strip_prefix(b"'")?;
        let end = literal.iter().position(|byte| *byte == b'\'')?;
        let (name, after) = literal.split_at(end);
        // What follows is the comma, and not a second quote or another piece of the name.
        rest = after.get(1..)?.trim_ascii_start().strip_prefix(b",")?;
        if name.is_empty() || !name.is_ascii() || name.contains(&b'\\') {
            return None;
        }
        names.push(String::from_utf8_lossy(name).into_owned());
    }
    Some(names)
}

fn position(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len())
        .position(|window| window.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn has(text: &str, words: Words) {
        assert!(find(text.as_bytes()).has(words), "{text}");
        // However it is cut into pieces.
        for cut in 0..text.len() {
            let mut reader = Reader::default();
            reader.begin(&text.as_bytes()[..cut]);
            assert!(reader.more(&text.as_bytes()[cut..]).has(words), "{text}");
        }
    }

    #[test]
    fn what_changes_the_meaning_of_later_statements_is_noticed() {
        for sql in [
            "use shop",
            " USE`shop`",
            "/* x */ use shop",
            "-- x\nuse shop",
            "SELECT 1; USE shop",
            "/*!40000 USE shop */",
            "SET sql_mode = ''",
            "set session SQL_MODE=ansi",
            "SET NAMES utf8, @@SESSION.`sql_mode` = ''",
            "SET @a = 1, sql_mode = 'ANSI'",
            "SET NAMES latin1",
            "set character set utf8mb4",
            "SET @@character_set_client = utf8",
            "SET collation_connection = utf8mb4_bin",
        ] {
            has(sql, Words::CONTEXT);
        }
        for sql in [
            "SELECT * FROM t USE INDEX (i)",
            "SELECT @@sql_mode",
            "SELECT 'use it'",
            "UPDATE t SET names = 1, charset = 2, sql_mode = 3",
            "SET @hostnames = 1",
            "INSERT INTO t SET names = 1",
            "INSERT INTO users VALUES (1)",
            "SET autocommit = 1",
        ] {
            assert!(!find(sql.as_bytes()).has(Words::CONTEXT), "{sql}");
        }
    }

    #[test]
    fn names_of_locks_are_read_where_they_are_plain() {
        let names = |sql: &str| lock_names(sql.as_bytes());
        let some = |all: &[&str]| Some(all.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(names("SELECT GET_LOCK('a b', 10)"), some(&["a b"]));
        assert_eq!(
            names("select get_lock ( 'A' , 1), GET_LOCK('b',-1)"),
            some(&["A", "b"])
        );
        for other in [
            "DO GET_LOCK(?, 10)",
            "DO GET_LOCK(@a, 10)",
            "DO GET_LOCK('a''b', 10)",
            "DO GET_LOCK('a' 'b', 10)",
            "DO GET_LOCK('a\\'b', 10)",
            "DO GET_LOCK(\"a\", 10)",
            "DO GET_LOCK(CONCAT('a', 1), 10)",
            "DO GET_LOCK('\u{e4}', 10)",
            "DO GET_LOCK('a'",
            "-- get_lock",
        ] {
            assert_eq!(names(other), None, "{other}");
        }
    }

    #[test]
    fn words_are_found_wherever_they_stand() {
        has("select GET_LOCK('a', 1)", Words::GET_LOCK);
        has("create temporary table t (a int)", Words::TEMPORARY);
        has("LOCK TABLES t WRITE", Words::LOCK);
        has("select 1; lock table t read", Words::LOCK);
        has("flush tables with read lock", Words::LOCK);
        has("handler t open", Words::HANDLER);
        has("select sql_calc_found_rows 1", Words::FOUND_ROWS);
        has("select 1 into @a", Words::VARIABLE);
        has("load data local infile 'x' into table t", Words::LOAD_LOCAL);
        has("set  transaction read only", Words::SET_TRANSACTION);
    }

    #[test]
    fn words_that_mean_something_else_are_not_found() {
        for text in [
            "unlock tables",
            "select @@session.sql_mode, 'a'@'b', `a`@b",
            "set session transaction isolation level read committed",
            "start transaction",
            "select * from t for update",
            "select locally from loads",
        ] {
            let mut found = find(text.as_bytes());
            found.remove(Words::LOAD);
            found.remove(Words::SET);
            assert_eq!(found, Words::default(), "{text}");
        }
    }

    #[test]
    fn names_of_variables_are_read() {
        let names = variables(b"set @A = 1, @b.c := @@sql_mode, x = 'u'@'h'");
        assert_eq!(names.unwrap(), ["a", "b.c"]);
        assert_eq!(variables(b"select @`quoted name`"), None);
    }
}
