//! Flavours and versions of servers, as their greeting and `VERSION()` spell them.
//!
//! Two families number themselves apart: what MySQL has from 8.0.20 on says nothing of MariaDB
//! 10.11, so every question names its family. Numbers are compared whole, never by their major
//! alone: MySQL went from 5.7 to 8.0 to 9.7 and on to years (26.10).

use std::fmt;
use std::str::FromStr;

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// MySQL and what keeps its numbering (Percona Server, the managed ones).
    MySql,
    /// MariaDB.
    MariaDb,
}

impl Flavour {
    /// The name for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MySql => "MySQL",
            Self::MariaDb => "MariaDB",
        }
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The version of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServerVersion {
    /// Whose numbering it is.
    pub flavour: Flavour,
    /// The first number.
    pub major: u16,
    /// The second number.
    pub minor: u16,
    /// The third number.
    pub patch: u16,
}

/// A version text that cannot be understood, or the name of a server that is neither flavour.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// It does not begin with three numbers.
    #[error(
        "the server calls its version \"{0}\"; pointsman knows numbers like 8.0.36, 26.10.0 and 10.11.18-MariaDB"
    )]
    Unreadable(String),
    /// It speaks the protocol but has another log.
    #[error("the server is {0}, which has no MySQL binary log that pointsman can read")]
    OtherServer(&'static str),
}

/// Servers that speak the protocol under a MySQL number and are something else inside.
const OTHER_SERVERS: [&str; 3] = ["TiDB", "OceanBase", "Vitess"];

/// Longest piece of a foreign version text that an error repeats.
const SHOWN_CHARS_MAX: usize = 60;

impl ServerVersion {
    /// Reads the version from a greeting or from `VERSION()`.
    ///
    /// MariaDB 10 puts `5.5.5-` in front of its greeting, so that old replicas accept it.
    ///
    /// # Errors
    /// The text does not begin with three numbers, or names another server.
    pub fn parse(text: &str) -> Result<Self, VersionError> {
        let lower = text.to_ascii_lowercase();
        for other in OTHER_SERVERS {
            if lower.contains(&other.to_ascii_lowercase()) {
                return Err(VersionError::OtherServer(other));
            }
        }
        let (flavour, numbers) = if lower.contains("mariadb") {
            (
                Flavour::MariaDb,
                text.strip_prefix("5.5.5-").unwrap_or(text),
            )
        } else {
            (Flavour::MySql, text)
        };
        let unreadable =
            || VersionError::Unreadable(text.chars().take(SHOWN_CHARS_MAX).collect::<String>());
        let end = numbers
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(numbers.len());
        let (numbers, _suffix) = numbers.split_at(end);
        let mut parts = numbers.split('.').map(str::parse::<u16>);
        let mut next = || match parts.next() {
            Some(Ok(number)) => Ok(number),
            Some(Err(_)) | None => Err(unreadable()),
        };
        Ok(Self {
            flavour,
            major: next()?,
            minor: next()?,
            patch: next()?,
        })
    }

    /// Whether it is MySQL, and this version or a later one.
    #[must_use]
    pub fn is_mysql_at_least(self, major: u16, minor: u16, patch: u16) -> bool {
        self.is_mysql() && self.numbers() >= (major, minor, patch)
    }

    /// Whether it is MariaDB, and this version or a later one.
    #[must_use]
    pub fn is_mariadb_at_least(self, major: u16, minor: u16, patch: u16) -> bool {
        self.is_mariadb() && self.numbers() >= (major, minor, patch)
    }

    /// Whether it is MySQL.
    #[must_use]
    pub fn is_mysql(self) -> bool {
        self.flavour == Flavour::MySql
    }

    /// Whether it is MariaDB.
    #[must_use]
    pub fn is_mariadb(self) -> bool {
        self.flavour == Flavour::MariaDb
    }

    /// The three numbers, in the order in which versions compare.
    #[must_use]
    pub fn numbers(self) -> (u16, u16, u16) {
        (self.major, self.minor, self.patch)
    }
}

impl FromStr for ServerVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}.{}.{}",
            self.flavour, self.major, self.minor, self.patch
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ServerVersion {
        text.parse().unwrap()
    }

    #[test]
    fn versions_of_both_families_are_told_apart() {
        for (text, shown) in [
            ("9.7.4", "MySQL 9.7.4"),
            ("5.6.24-log", "MySQL 5.6.24"),
            ("8.0.36-28.1", "MySQL 8.0.36"),
            ("26.10.0.1", "MySQL 26.10.0"),
            ("26.10.0", "MySQL 26.10.0"),
            ("5.7.44-48-log", "MySQL 5.7.44"),
            ("5.5.5-10.11.18-MariaDB", "MariaDB 10.11.18"),
            ("5.5.5-10.11.18-MariaDB-0+deb12u1-log", "MariaDB 10.11.18"),
            ("10.11.18-MariaDB-0+deb12u1-log", "MariaDB 10.11.18"),
            ("11.8.6-MariaDB-log", "MariaDB 11.8.6"),
            ("12.3.1-mariadb", "MariaDB 12.3.1"),
        ] {
            assert_eq!(parse(text).to_string(), shown, "{text}");
        }
    }

    #[test]
    fn a_question_names_its_family_and_compares_whole_numbers() {
        let mysql = parse("9.7.4");
        assert!(mysql.is_mysql_at_least(8, 0, 20));
        assert!(mysql.is_mysql_at_least(9, 7, 4));
        assert!(!mysql.is_mysql_at_least(9, 10, 0));
        assert!(!mysql.is_mariadb_at_least(5, 0, 0));
        let mariadb = parse("10.11.18-MariaDB");
        assert!(mariadb.is_mariadb_at_least(10, 5, 2));
        assert!(!mariadb.is_mysql_at_least(8, 0, 20));
        assert!(parse("26.10.0.1").is_mysql_at_least(9, 7, 0));
    }

    #[test]
    fn other_servers_and_unreadable_texts_are_refused_by_name() {
        for text in ["", "8", "8.0", "eight", "8.0.x", "99999.1.1", "-8.0.1"] {
            let error = ServerVersion::parse(text).unwrap_err();
            assert!(matches!(error, VersionError::Unreadable(_)), "{text}");
        }
        let error = ServerVersion::parse("8.0.11-TiDB-v7.5.0").unwrap_err();
        assert!(error.to_string().contains("TiDB"));
        let long = ServerVersion::parse(&"x".repeat(10_000)).unwrap_err();
        assert!(long.to_string().len() < 300);
    }
}
