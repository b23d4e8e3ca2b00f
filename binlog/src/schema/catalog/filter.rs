//! Which tables are copied: patterns over `schema.table`.

use crate::name::QualifiedName;

/// Include and exclude patterns. Without any include pattern everything is included.
///
/// A pattern is `database.table` or, for a whole database, `database`; `*` stands for any run of
/// characters and `?` for one. The *structure* of a database is always moved as a whole, since
/// views and routines do not care for the border; the filter chooses whose rows are copied
/// and streamed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableFilter {
    include: Vec<String>,
    exclude: Vec<String>,
}

impl TableFilter {
    /// A filter from the two lists of patterns.
    #[must_use]
    pub fn new(include: Vec<String>, exclude: Vec<String>) -> Self {
        Self { include, exclude }
    }

    /// Whether the rows of this table are moved.
    #[must_use]
    pub fn chooses(&self, table: &QualifiedName) -> bool {
        let included = self.include.is_empty() || matches_any(&self.include, table);
        included && !matches_any(&self.exclude, table)
    }
}

fn matches_any(patterns: &[String], table: &QualifiedName) -> bool {
    let full = table.to_string();
    patterns.iter().any(|pattern| {
        let whole_schema = !pattern.contains('.') && glob(pattern, &table.schema);
        whole_schema || glob(pattern, &full)
    })
}

/// Whether the text matches a pattern of literals, `*` and `?`; linear in practice, no recursion.
fn glob(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut position) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while position < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at + 1, position));
                at += 1;
            }
            Some(expected) if *expected == '?' || text.get(position) == Some(expected) => {
                at += 1;
                position += 1;
            }
            Some(_) | None => {
                let Some((after_star, tried)) = star else {
                    return false;
                };
                star = Some((after_star, tried + 1));
                at = after_star;
                position = tried + 1;
            }
        }
    }
    pattern.iter().skip(at).all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str]) -> TableFilter {
        let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        TableFilter::new(owned(include), owned(exclude))
    }

    #[test]
    fn without_patterns_everything_is_chosen() {
        assert!(TableFilter::default().chooses(&QualifiedName::new("a", "b")));
    }

    #[test]
    fn exclusion_wins_over_inclusion() {
        let filter = filter(&["shop"], &["shop.log_*", "*.tmp?"]);
        assert!(filter.chooses(&QualifiedName::new("shop", "orders")));
        assert!(!filter.chooses(&QualifiedName::new("shop", "log_2020")));
        assert!(!filter.chooses(&QualifiedName::new("shop", "tmp1")));
        assert!(filter.chooses(&QualifiedName::new("shop", "tmp12")));
        assert!(!filter.chooses(&QualifiedName::new("public", "orders")));
    }

    #[test]
    fn names_with_dots_match_by_their_whole_text() {
        let filter = filter(&[], &["a.b.c"]);
        assert!(!filter.chooses(&QualifiedName::new("a", "b.c")));
    }
}
