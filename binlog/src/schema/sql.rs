//! The words of an SQL text as the servers write it: enough to cut and change it without ever
//! looking into a literal, a name or a comment.
//!
//! The text comes from `SHOW CREATE`, under our own `sql_mode`: names are in backticks, strings in
//! single quotes with backslashes. Joined again, the tokens are the text.

/// A piece of SQL text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: TokenKind,
    /// Its text, with quotes.
    pub text: &'a str,
}

/// What a piece of SQL text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// White space.
    Space,
    /// A comment that no server executes.
    Comment,
    /// The beginning of one that is executed, for instance `/*!80016`.
    VersionOpen,
    /// The end of one that is executed.
    VersionClose,
    /// A keyword, an unquoted name or a number.
    Word,
    /// A name in backticks.
    Name,
    /// A literal in quotes.
    Text,
    /// Any other letter.
    Symbol,
}

impl Token<'_> {
    /// Whether it is this keyword.
    #[must_use]
    pub fn is_word(&self, word: &str) -> bool {
        self.kind == TokenKind::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// Whether it is this symbol.
    #[must_use]
    pub fn is_symbol(&self, symbol: &str) -> bool {
        self.kind == TokenKind::Symbol && self.text == symbol
    }

    /// Whether it means something to the server.
    #[must_use]
    pub fn is_meaning(&self) -> bool {
        match self.kind {
            TokenKind::Space
            | TokenKind::Comment
            | TokenKind::VersionOpen
            | TokenKind::VersionClose => false,
            TokenKind::Word | TokenKind::Name | TokenKind::Text | TokenKind::Symbol => true,
        }
    }

    /// The name itself, if it is one in backticks.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        if self.kind != TokenKind::Name {
            return None;
        }
        let inner = self.text.strip_prefix('`')?;
        let inner = inner.strip_suffix('`').unwrap_or(inner);
        Some(inner.replace("``", "`"))
    }
}

/// Cuts SQL text into tokens.
#[must_use]
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    let mut open_versions = 0_u32;
    while let Some(first) = rest.chars().next() {
        let (kind, length) = next(rest, first, open_versions);
        match kind {
            TokenKind::VersionOpen => open_versions += 1,
            TokenKind::VersionClose => open_versions -= 1,
            TokenKind::Space
            | TokenKind::Comment
            | TokenKind::Word
            | TokenKind::Name
            | TokenKind::Text
            | TokenKind::Symbol => {}
        }
        let (text, left) = rest.split_at(length);
        found.push(Token { kind, text });
        rest = left;
    }
    found
}

/// The text of tokens.
#[must_use]
pub fn joined(tokens: &[Token<'_>]) -> String {
    tokens.iter().map(|token| token.text).collect()
}

/// The kind and the length of the first token of a text that begins with this letter.
fn next(rest: &str, first: char, open_versions: u32) -> (TokenKind, usize) {
    if first.is_whitespace() {
        return (TokenKind::Space, run(rest, char::is_whitespace));
    }
    if rest.starts_with("/*!") || rest.starts_with("/*M!") {
        let head = if rest.starts_with("/*M!") { 4 } else { 3 };
        let digits = rest.bytes().skip(head).take_while(u8::is_ascii_digit);
        return (TokenKind::VersionOpen, head + digits.count());
    }
    if open_versions > 0 && rest.starts_with("*/") {
        return (TokenKind::VersionClose, 2);
    }
    if rest.starts_with("/*") {
        let end = rest.find("*/").map_or(rest.len(), |at| at + 2);
        return (TokenKind::Comment, end);
    }
    if first == '#' || is_dash_comment(rest) {
        return (TokenKind::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    match first {
        '`' => (TokenKind::Name, quoted(rest, b'`', Escapes::Doubling)),
        '\'' => (TokenKind::Text, quoted(rest, b'\'', Escapes::Backslash)),
        '"' => (TokenKind::Text, quoted(rest, b'"', Escapes::Backslash)),
        other if is_word_letter(other) => (TokenKind::Word, run(rest, is_word_letter)),
        other => (TokenKind::Symbol, other.len_utf8()),
    }
}

/// Two dashes are a comment only before white space or the end.
fn is_dash_comment(rest: &str) -> bool {
    let after = rest.strip_prefix("--").map(|after| after.chars().next());
    after.is_some_and(|next| next.is_none_or(char::is_whitespace))
}

fn is_word_letter(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '$')
}

fn run(rest: &str, belongs: impl Fn(char) -> bool) -> usize {
    rest.find(|letter| !belongs(letter)).unwrap_or(rest.len())
}

/// How a quote gets into a quoted text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    Doubling,
    Backslash,
}

/// The length of a quoted text, its quotes included; all the rest if it does not end.
fn quoted(rest: &str, quote: u8, escapes: Escapes) -> usize {
    let mut bytes = rest.bytes().enumerate().skip(1).peekable();
    while let Some((at, byte)) = bytes.next() {
        if byte == b'\\' && escapes == Escapes::Backslash {
            bytes.next();
        } else if byte == quote {
            match bytes.peek() {
                Some((_, next)) if *next == quote => {
                    bytes.next();
                }
                Some(_) | None => return at + 1,
            }
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> Vec<&str> {
        let all = tokens(text);
        all.iter()
            .filter(|token| token.is_meaning())
            .map(|token| token.text)
            .collect()
    }

    #[test]
    fn quotes_and_comments_hide_what_they_hold() {
        assert_eq!(
            words("a /* ( */ 'x\\') (' `b``,(` -- ) \n, \"it''s\"\"\" # z\n)"),
            ["a", "'x\\') ('", "`b``,(`", ",", "\"it''s\"\"\"", ")"]
        );
        assert_eq!(words("'it''s', '\\\\'"), ["'it''s'", ",", "'\\\\'"]);
        assert_eq!(words("1--2"), ["1", "-", "-", "2"]);
    }

    #[test]
    fn executed_comments_are_looked_into() {
        let all = tokens("x /*!80016 NOT ENFORCED */ * /*M!100100 y*/");
        let kinds: Vec<TokenKind> = all
            .iter()
            .filter(|token| token.kind != TokenKind::Space)
            .map(|token| token.kind)
            .collect();
        assert_eq!(
            kinds,
            [
                TokenKind::Word,
                TokenKind::VersionOpen,
                TokenKind::Word,
                TokenKind::Word,
                TokenKind::VersionClose,
                TokenKind::Symbol,
                TokenKind::VersionOpen,
                TokenKind::Word,
                TokenKind::VersionClose,
            ]
        );
        assert_eq!(tokens("`a``b`")[0].name().unwrap(), "a`b");
    }

    proptest! {
        #[test]
        fn tokens_joined_are_the_text(text in "[a-z`'\"\\\\/*!# \n(),0-9é-]{0,60}") {
            prop_assert_eq!(joined(&tokens(&text)), text);
        }

        #[test]
        fn a_quoted_name_or_literal_is_one_token(value in "\\PC{0,30}") {
            let name = crate::name::quote_identifier(&value);
            prop_assert_eq!(tokens(&name).len(), 1);
            prop_assert_eq!(tokens(&name)[0].name().unwrap(), value.clone());
            let literal = crate::name::quote_literal(&value);
            prop_assert_eq!(tokens(&literal).len(), 1);
        }
    }
}
