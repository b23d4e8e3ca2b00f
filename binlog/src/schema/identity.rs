//! Which server it is: another one behind the same address must never be taken for it.

use std::fmt;
use std::str::FromStr;

use router::Side;

use super::error::SchemaError;
use crate::version::Flavour;
use crate::wire::SqlConn;

/// A server's identity, as far as its log belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerIdentity {
    /// MySQL: `server_uuid`, made with the data folder.
    MySql {
        /// In lower case.
        uuid: String,
    },
    /// MariaDB has nothing but its `server_id`.
    MariaDb {
        /// As configured.
        server_id: u32,
    },
}

/// A text that is no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no identity of a server")]
pub struct ParseIdentityError;

impl ServerIdentity {
    /// Asks a server who it is.
    ///
    /// # Errors
    /// The query failed.
    pub async fn read(client: &SqlConn, side: Side) -> Result<Self, SchemaError> {
        let variable = match client.version().flavour {
            Flavour::MySql => "server_uuid",
            Flavour::MariaDb => "server_id",
        };
        let query = format!("SELECT @@GLOBAL.{variable}");
        let row = client.query_first(&query).await;
        let row = row.map_err(SchemaError::sql(side, "asking who it is"))?;
        let text = row.as_ref().and_then(|row| row.text(0)).unwrap_or_default();
        let prefix = match client.version().flavour {
            Flavour::MySql => "mysql",
            Flavour::MariaDb => "mariadb",
        };
        let parsed = format!("{prefix}:{text}").parse();
        parsed.map_err(|ParseIdentityError| SchemaError::Unreadable {
            side,
            what: format!("its {variable}"),
        })
    }
}

impl fmt::Display for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MySql { uuid } => write!(f, "mysql:{uuid}"),
            Self::MariaDb { server_id } => write!(f, "mariadb:{server_id}"),
        }
    }
}

impl FromStr for ServerIdentity {
    type Err = ParseIdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("mysql", uuid)) if !uuid.is_empty() => Ok(Self::MySql {
                uuid: uuid.to_ascii_lowercase(),
            }),
            Some(("mariadb", id)) => id
                .parse()
                .map(|server_id| Self::MariaDb { server_id })
                .map_err(|_bad| ParseIdentityError),
            Some(_) | None => Err(ParseIdentityError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_come_back_from_their_text() {
        for text in ["mysql:3e11fa47-71ca-11e1-9e33-c80aa9429562", "mariadb:17"] {
            let identity: ServerIdentity = text.parse().unwrap();
            assert_eq!(identity.to_string(), text);
        }
        assert!("mariadb:x".parse::<ServerIdentity>().is_err());
        assert!("mysql:".parse::<ServerIdentity>().is_err());
    }
}
