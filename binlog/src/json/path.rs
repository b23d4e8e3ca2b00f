//! Paths as they stand in diffs: `$`, then members and array cells, without wildcards.
//!
//! <https://dev.mysql.com/doc/refman/9.4/en/json.html#json-path-syntax>

/// One step into a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Leg {
    /// The member of an object.
    Member(String),
    /// The cell of an array, counted from its beginning.
    Cell(usize),
    /// The cell of an array, counted from its last, which is 0.
    CellFromLast(usize),
}

/// A path cannot have more steps than a value has levels.
const LEGS_MAX: usize = 200;

/// Reads a path; `None` if it is none, or one with wildcards.
pub(super) fn parse(text: &[u8]) -> Option<Vec<Leg>> {
    let text = std::str::from_utf8(text).ok()?;
    let mut rest = text.trim().strip_prefix('$')?;
    let mut legs = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Some(legs);
        }
        if legs.len() >= LEGS_MAX {
            return None;
        }
        let (leg, behind) = if let Some(cell) = rest.strip_prefix('[') {
            let (inside, behind) = cell.split_once(']')?;
            (cell_of(inside.trim())?, behind)
        } else {
            member(rest.strip_prefix('.')?.trim_start())?
        };
        legs.push(leg);
        rest = behind;
    }
}

fn cell_of(inside: &str) -> Option<Leg> {
    let Some(from_last) = inside.strip_prefix("last") else {
        return digits(inside).map(Leg::Cell);
    };
    match from_last.trim_start() {
        "" => Some(Leg::CellFromLast(0)),
        minus => digits(minus.strip_prefix('-')?.trim_start()).map(Leg::CellFromLast),
    }
}

fn digits(text: &str) -> Option<usize> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(())?;
    text.parse::<u32>().ok()?.try_into().ok()
}

/// A member's name, bare if it is like the name of a variable, else in quotes.
fn member(text: &str) -> Option<(Leg, &str)> {
    if !text.starts_with('"') {
        let ends = |letter: char| letter.is_whitespace() || matches!(letter, '.' | '[' | '*');
        let end = text.find(ends).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let bare = !name.is_empty() && !name.contains(['"', '\\']);
        return bare.then(|| (Leg::Member(name.to_owned()), rest));
    }
    let mut letters = text.chars();
    let _quote = letters.next();
    let mut name = String::new();
    loop {
        match letters.next()? {
            '"' => return Some((Leg::Member(name), letters.as_str())),
            '\\' => name.push(match letters.next()? {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => code_point(&mut letters)?,
                same @ ('"' | '\\' | '/') => same,
                _unknown => return None,
            }),
            other => name.push(other),
        }
    }
}

/// Four hexadecimal digits, or twice so many with another `\u` between: a surrogate pair.
fn code_point(letters: &mut std::str::Chars<'_>) -> Option<char> {
    fn unit(letters: &mut std::str::Chars<'_>) -> Option<u32> {
        (0..4).try_fold(0, |unit, _nth| {
            Some(unit << 4 | letters.next()?.to_digit(16)?)
        })
    }
    let first = unit(letters)?;
    if !(0xD800..0xDC00).contains(&first) {
        return char::from_u32(first);
    }
    let (Some('\\'), Some('u')) = (letters.next(), letters.next()) else {
        return None;
    };
    let second = unit(letters)?.checked_sub(0xDC00)?;
    char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_cells_are_read_in_every_spelling() {
        let member = |name: &str| Leg::Member(name.to_owned());
        assert_eq!(parse(b"$"), Some(vec![]));
        assert_eq!(
            parse(
                "$.a.\"b c\"[3].ünï[last][last-2].\"\\\"\\\\\\u0007\\n.[\\ud83d\\ude82\""
                    .as_bytes()
            ),
            Some(vec![
                member("a"),
                member("b c"),
                Leg::Cell(3),
                member("ünï"),
                Leg::CellFromLast(0),
                Leg::CellFromLast(2),
                member("\"\\\u{7}\n.[🚂"),
            ])
        );
        assert_eq!(parse(b"$.\"\""), Some(vec![member("")]));
        assert_eq!(parse(b"$ . a [ 1 ]"), Some(vec![member("a"), Leg::Cell(1)]));
    }

    #[test]
    fn anything_else_is_no_path() {
        for text in [
            "",
            "a",
            "$a",
            "$.",
            "$[",
            "$[]",
            "$[x]",
            "$[-1]",
            "$[1",
            "$.*",
            "$**.a",
            "$[*]",
            "$[1 to 2]",
            "$[last+1]",
            "$.\"a",
            "$.\"a\\\"",
            "$.a\"",
            "$[99999999999]",
            "$[+1]",
            "$.\"\\x\"",
            "$.\"\\ud83d\"",
            "$.\"\\u12\"",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse(b"$.\xff"), None);
        assert_eq!(parse(format!("${}", "[0]".repeat(201)).as_bytes()), None);
    }
}
