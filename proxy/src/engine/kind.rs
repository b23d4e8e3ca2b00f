//! Which engine a server's URL means.

use std::error::Error;

/// An engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// PostgreSQL.
    Postgres,
    /// MySQL or MariaDB: which of them, the server says.
    MySql,
}

/// Every scheme, with its engine.
const SCHEMES: &[(&str, Kind)] = &[
    ("postgres", Kind::Postgres),
    ("postgresql", Kind::Postgres),
    ("mysql", Kind::MySql),
    ("mariadb", Kind::MySql),
];

impl Kind {
    /// The engine that this URL's scheme means.
    ///
    /// # Errors
    /// The sentence that names the schemes.
    pub(crate) fn of(url: &str) -> Result<Self, String> {
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
        let found = SCHEMES.iter().find(|(known, _)| *known == scheme);
        found.map(|(_, kind)| *kind).ok_or_else(|| {
            let known: Vec<_> = SCHEMES
                .iter()
                .map(|(name, _)| format!("{name}://"))
                .collect();
            format!("the scheme {scheme:?} is none of {}", known.join(", "))
        })
    }

    /// The engine's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::MySql => "MySQL or MariaDB",
        }
    }

    /// The names of all kinds of state that cannot be moved.
    pub(crate) fn unmovable_kinds(self) -> &'static [&'static str] {
        match self {
            Self::Postgres => pgwal::session::Unmovable::KINDS,
            Self::MySql => binlog::session::Unmovable::KINDS,
        }
    }

    /// Whether the rest of the URL is understood too.
    ///
    /// # Errors
    /// What is not.
    pub(crate) fn check(self, url: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
        match self {
            Self::Postgres => url.parse::<pgwal::wire::Endpoint>().map(drop)?,
            Self::MySql => url.parse::<binlog::wire::Endpoint>().map(drop)?,
        }
        Ok(())
    }
}
