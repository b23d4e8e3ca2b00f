//! The settings that make a server read-only: what they are, and how they are shut and opened.

use super::saved::Saved;
use super::{FenceError, RAISING};
use crate::movement::code;
use crate::movement::error::Failed;
use crate::version::ServerVersion;
use crate::wire::SqlConn;

/// Whether a setting survives a restart of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::movement) enum Persistence {
    /// SET PERSIST.
    Persisted,
    /// SET GLOBAL.
    Lost,
}

/// Which setting a server is shut with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::movement) enum Kind {
    /// `super_read_only`: nobody writes.
    SuperReadOnly(Persistence),
    /// `read_only`: those with a bypassing privilege write.
    ReadOnly,
}

impl Kind {
    pub(in crate::movement) fn of(version: ServerVersion) -> Self {
        if version.is_mysql_at_least(8, 0, 11) {
            Self::SuperReadOnly(Persistence::Persisted)
        } else if version.is_mysql_at_least(5, 7, 8) {
            Self::SuperReadOnly(Persistence::Lost)
        } else {
            Self::ReadOnly
        }
    }

    /// The variable's name.
    pub(in crate::movement) fn variable(self) -> &'static str {
        match self {
            Self::SuperReadOnly(_) => "super_read_only",
            Self::ReadOnly => "read_only",
        }
    }
}

/// The settings as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) kind: Kind,
    read_only: bool,
    super_read_only: bool,
    event_scheduler: String,
    /// What SET PERSIST has of the kind's variable.
    persisted: Option<String>,
}

const STEP: &str = "reading the server's settings";

impl Settings {
    pub(super) async fn read(client: &SqlConn, kind: Kind) -> Result<Self, Failed> {
        let super_read_only = match kind {
            Kind::SuperReadOnly(_) => "@@GLOBAL.super_read_only",
            Kind::ReadOnly => "0",
        };
        // MariaDB 12 gives read_only as a word.
        let sql = format!(
            "SELECT @@GLOBAL.read_only NOT IN ('0', 'OFF'), {super_read_only},
                    @@GLOBAL.event_scheduler"
        );
        let row = client.query_first(&sql).await.map_err(Failed::sql(STEP))?;
        let row = row.ok_or(Failed::Empty { step: STEP })?;
        let persisted = match kind {
            Kind::SuperReadOnly(Persistence::Persisted) => {
                let sql = "SELECT VARIABLE_VALUE FROM performance_schema.persisted_variables
                           WHERE VARIABLE_NAME = 'super_read_only'";
                crate::movement::names(client, sql, STEP).await?.pop()
            }
            Kind::SuperReadOnly(Persistence::Lost) | Kind::ReadOnly => None,
        };
        Ok(Self {
            kind,
            read_only: row.parse::<u8>(0).map_err(Failed::answer(STEP))? == 1,
            super_read_only: row.parse::<u8>(1).map_err(Failed::answer(STEP))? == 1,
            event_scheduler: row.parse(2).map_err(Failed::answer(STEP))?,
            persisted,
        })
    }

    /// What must be put back.
    pub(super) fn to_saved(&self, locked: &[String]) -> Saved {
        Saved {
            read_only: self.read_only,
            super_read_only: self.super_read_only,
            event_scheduler: self.event_scheduler.clone(),
            persisted: self.persisted.clone(),
            locked: locked.to_vec(),
        }
    }

    /// Whether the setting of the kind is on.
    pub(super) fn is_shut(&self) -> bool {
        match self.kind {
            Kind::SuperReadOnly(_) => self.super_read_only,
            Kind::ReadOnly => self.read_only,
        }
    }

    /// Whether the event scheduler runs.
    pub(super) fn runs_events(&self) -> bool {
        self.event_scheduler == "ON"
    }

    /// Whether a restarted server would come up shut.
    pub(super) fn is_persisted(&self) -> bool {
        self.persisted
            .as_deref()
            .is_some_and(|value| matches!(value, "ON" | "1"))
    }

    /// Switches the event scheduler off and the server to read-only.
    pub(super) async fn shut(&self, client: &SqlConn) -> Result<(), FenceError> {
        if self.runs_events() {
            client
                .execute("SET GLOBAL event_scheduler = OFF")
                .await
                .map_err(Failed::sql(RAISING))?;
        }
        let sql = match self.kind {
            Kind::SuperReadOnly(Persistence::Persisted) => "SET PERSIST super_read_only = ON",
            Kind::SuperReadOnly(Persistence::Lost) => "SET GLOBAL super_read_only = ON",
            Kind::ReadOnly => "SET GLOBAL read_only = ON",
        };
        match client.execute(sql).await {
            Ok(_done) => Ok(()),
            Err(error) if error.code() == Some(code::LOCK_WAIT_TIMEOUT) => Err(FenceError::Busy {
                source: Failed::sql(RAISING)(error),
            }),
            Err(error) => Err(Failed::sql(RAISING)(error).into()),
        }
    }
}

/// Puts the settings back as they were.
pub(super) async fn open(client: &SqlConn, kind: Kind, saved: &Saved) -> Result<(), FenceError> {
    let step = "putting the server's settings back";
    let word = |on| if on { "ON" } else { "OFF" };
    let mut statements = Vec::new();
    match kind {
        Kind::SuperReadOnly(persistence) => {
            // In this order: super_read_only holds read_only on.
            let value = word(saved.super_read_only);
            statements.push(format!("SET GLOBAL super_read_only = {value}"));
            statements.push(format!("SET GLOBAL read_only = {}", word(saved.read_only)));
            statements.extend(match (persistence, saved.persisted.as_deref()) {
                (Persistence::Lost, _) => None,
                (Persistence::Persisted, Some("ON" | "1")) => {
                    Some("SET PERSIST super_read_only = ON".to_owned())
                }
                (Persistence::Persisted, Some(_off)) => {
                    Some("SET PERSIST super_read_only = OFF".to_owned())
                }
                (Persistence::Persisted, None) => {
                    Some("RESET PERSIST IF EXISTS super_read_only".to_owned())
                }
            });
        }
        Kind::ReadOnly => {
            statements.push(format!("SET GLOBAL read_only = {}", word(saved.read_only)));
        }
    }
    if saved.event_scheduler == "ON" {
        statements.push("SET GLOBAL event_scheduler = ON".to_owned());
    }
    for sql in statements {
        client.execute(&sql).await.map_err(Failed::sql(step))?;
    }
    Ok(())
}
