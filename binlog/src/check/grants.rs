//! What SHOW GRANTS says that our account may do.

/// Where a privilege holds.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Level {
    Global,
    /// A database; its name is a pattern of LIKE.
    Database(String),
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Grant {
    privileges: Vec<String>,
    level: Level,
}

/// All lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Grants(Vec<Grant>);

impl Grants {
    /// Reads the lines; those on tables, routines, proxies and roles are left out.
    pub(super) fn parse(lines: &[&str]) -> Self {
        Self(lines.iter().filter_map(|line| parse_line(line)).collect())
    }

    /// Whether one of these names of a privilege is granted on all databases.
    pub(super) fn has(&self, names: &[&str]) -> bool {
        self.0
            .iter()
            .any(|grant| grant.level == Level::Global && grant.holds(names))
    }

    /// Whether it is granted on this database, or on all.
    pub(super) fn has_on(&self, names: &[&str], database: &str) -> bool {
        self.has(names)
            || self.0.iter().any(|grant| match &grant.level {
                Level::Global => false,
                Level::Database(pattern) => like(pattern, database) && grant.holds(names),
            })
    }
}

impl Grant {
    fn holds(&self, names: &[&str]) -> bool {
        self.privileges
            .iter()
            .any(|one| one == "ALL PRIVILEGES" || names.contains(&one.as_str()))
    }
}

fn parse_line(line: &str) -> Option<Grant> {
    let rest = line.strip_prefix("GRANT ")?;
    let (privileges, rest) = rest.split_once(" ON ")?;
    let (level, options) = rest.split_once(" TO ")?;
    let level = match level {
        "*.*" => Level::Global,
        _ => {
            let name = level.strip_suffix(".*")?;
            let name = name.strip_prefix('`')?.strip_suffix('`')?;
            Level::Database(name.replace("``", "`"))
        }
    };
    let mut privileges: Vec<String> = privileges
        .split(',')
        .map(|one| one.trim().to_ascii_uppercase())
        .collect();
    if options.ends_with("WITH GRANT OPTION") {
        privileges.push("GRANT OPTION".to_owned());
    }
    Some(Grant { privileges, level })
}

/// Whether a name matches a pattern of `%`, `_` and backslashes that escape them.
fn like(pattern: &str, name: &str) -> bool {
    let mut pattern = pattern.chars();
    match pattern.next() {
        None => name.is_empty(),
        Some('%') => {
            let rest = pattern.as_str();
            let mut ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
            ends.any(|at| name.get(at..).is_some_and(|tail| like(rest, tail)))
        }
        Some('_') => {
            let mut name = name.chars();
            name.next().is_some() && like(pattern.as_str(), name.as_str())
        }
        Some(first) => {
            let wanted = match first {
                '\\' => pattern.next().unwrap_or('\\'),
                other => other,
            };
            let mut name = name.chars();
            name.next() == Some(wanted) && like(pattern.as_str(), name.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_all_servers_are_read() {
        let grants = Grants::parse(&[
            "GRANT SELECT, RELOAD ON *.* TO `m`@`%`",
            "GRANT BACKUP_ADMIN,XA_RECOVER_ADMIN ON *.* TO `m`@`%` WITH GRANT OPTION",
            "GRANT ALL PRIVILEGES ON `my\\_shop`.* TO 'm'@'%'",
            "GRANT SELECT ON `a`.`b` TO `m`@`%`",
            "GRANT `role`@`%` TO `m`@`%`",
            "GRANT PROXY ON ''@'' TO 'root'@'localhost' WITH GRANT OPTION",
        ]);
        assert!(grants.has(&["SELECT"]) && grants.has(&["GRANT OPTION"]));
        assert!(!grants.has(&["INSERT"]));
        assert!(grants.has_on(&["INSERT"], "my_shop"));
        assert!(!grants.has_on(&["INSERT"], "myXshop"));
    }

    #[test]
    fn patterns_match_as_the_server_does() {
        assert!(like("%", "anything") && like("a%c", "abbc") && like("a_c", "abc"));
        assert!(!like("a\\_c", "abc") && like("a\\_c", "a_c") && !like("a", "ab"));
    }
}
