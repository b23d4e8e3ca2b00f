//! Cuts a statement into words: as much of the grammar as it takes to find the objects it names.

use std::ops::Range;

/// A piece of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// A word without quotes, as it stands there.
    Plain(String),
    /// A quoted name.
    Quoted(String),
    /// A text literal; its content does not matter.
    Text,
    /// Any other sign.
    Sign(char),
}

impl Word {
    /// Whether it is this keyword.
    pub(super) fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Plain(word) if word.eq_ignore_ascii_case(keyword))
    }

    /// The name that it is, quoted or not.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Plain(name) | Self::Quoted(name) => Some(name),
            Self::Text | Self::Sign(_) => None,
        }
    }
}

/// Whether `"` quotes names (`ANSI_QUOTES`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DoubleQuotes {
    Names,
    Text,
}

/// Cuts `sql` into words. Comments are left out, but for those that servers execute.
pub(super) fn words(sql: &str, double_quotes: DoubleQuotes) -> Vec<Word> {
    let located = located_words(sql, double_quotes).into_iter();
    located.map(|(word, _)| word).collect()
}

/// The words, each with its place in the text, in bytes.
pub(super) fn located_words(sql: &str, double_quotes: DoubleQuotes) -> Vec<(Word, Range<usize>)> {
    let letters: Vec<char> = sql.chars().collect();
    let mut offsets: Vec<usize> = sql.char_indices().map(|(offset, _)| offset).collect();
    offsets.push(sql.len());
    let offset = |at: usize| offsets.get(at).copied().unwrap_or(sql.len());
    let mut cutter = Cutter {
        letters: &letters,
        at: 0,
        double_quotes,
    };
    let mut words = Vec::new();
    while let Some((word, start)) = cutter.next() {
        words.push((word, offset(start)..offset(cutter.at)));
    }
    words
}

struct Cutter<'a> {
    letters: &'a [char],
    at: usize,
    double_quotes: DoubleQuotes,
}

impl Cutter<'_> {
    /// The next word and where it starts.
    fn next(&mut self) -> Option<(Word, usize)> {
        loop {
            let letter = self.peek(0)?;
            let start = self.at;
            match letter {
                letter if letter.is_whitespace() => self.at += 1,
                '#' => self.skip_line(),
                '-' if self.peek(1) == Some('-') => self.skip_line(),
                '/' if self.peek(1) == Some('*') => self.comment(),
                // The end of a comment that is executed.
                '*' if self.peek(1) == Some('/') => self.at += 2,
                '`' => return Some((Word::Quoted(self.quoted('`')), start)),
                '"' if self.double_quotes == DoubleQuotes::Names => {
                    return Some((Word::Quoted(self.quoted('"')), start));
                }
                '"' | '\'' => {
                    self.quoted(letter);
                    return Some((Word::Text, start));
                }
                letter if is_name(letter) => return Some((Word::Plain(self.plain()), start)),
                sign => {
                    self.at += 1;
                    return Some((Word::Sign(sign), start));
                }
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.letters.get(self.at + ahead).copied()
    }

    fn skip_line(&mut self) {
        while self.peek(0).is_some_and(|letter| letter != '\n') {
            self.at += 1;
        }
    }

    /// Skips a comment; of one that is executed, only its beginning.
    fn comment(&mut self) {
        self.at += 2;
        let executed = match (self.peek(0), self.peek(1)) {
            (Some('!'), _) => 1,
            (Some('M'), Some('!')) => 2,
            _ => 0,
        };
        if executed > 0 {
            self.at += executed;
            while self.peek(0).is_some_and(|letter| letter.is_ascii_digit()) {
                self.at += 1;
            }
            return;
        }
        while self.peek(0).is_some() && (self.peek(0), self.peek(1)) != (Some('*'), Some('/')) {
            self.at += 1;
        }
        self.at += 2;
    }

    /// The content of quotes. A doubled quote is one; in text a backslash escapes.
    fn quoted(&mut self, quote: char) -> String {
        let mut content = String::new();
        self.at += 1;
        while let Some(letter) = self.peek(0) {
            self.at += 1;
            if letter == '\\' && quote != '`' {
                self.at += 1;
            } else if letter != quote {
                content.push(letter);
            } else if self.peek(0) == Some(quote) {
                content.push(quote);
                self.at += 1;
            } else {
                break;
            }
        }
        content
    }

    fn plain(&mut self) -> String {
        let mut word = String::new();
        while let Some(letter) = self.peek(0).filter(|letter| is_name(*letter)) {
            word.push(letter);
            self.at += 1;
        }
        word
    }
}

fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '$') || !letter.is_ascii()
}
