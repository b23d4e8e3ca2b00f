//! The proof that the fence is closed: a write that the server must refuse.
//!
//! Behind `super_read_only` our own write is the proof: if ours is refused, everybody's is. Behind
//! `read_only` ours would pass, so a procedure is made before the fence whose definer is an account
//! of the application: the server judges its writes by the definer's privileges, and refuses them
//! as read-only before it looks at them. It is dropped with our database.

use super::settings::{Kind, Settings};
use super::{FenceError, sessions};
use crate::movement::code;
use crate::movement::error::Failed;
use crate::wire::{SqlConn, SqlError, quote};

/// How a fence was proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// A write of our own was refused, so nobody writes.
    OwnWrite,
    /// A write as this account of the application was refused.
    AsAccount(String),
    /// The setting was read back; no procedure could be made for an account of the application.
    Setting,
}

/// What will be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ProofPlan {
    OwnWrite,
    Procedure { account: String },
    Setting,
}

/// A write without effect.
const OWN_WRITE: &str = "DELETE FROM pointsman.marker WHERE id = -1";

const STEP: &str = "preparing the proof of the fence";

impl ProofPlan {
    /// Makes what the proof needs; what the account may not make is left out.
    pub(super) async fn make(client: &SqlConn, kind: Kind) -> Result<Self, FenceError> {
        match kind {
            Kind::SuperReadOnly(_) => return Ok(Self::OwnWrite),
            Kind::ReadOnly => {}
        }
        let Some(account) = ordinary_account(client).await? else {
            return Ok(Self::Setting);
        };
        match make_procedure(client, &account).await {
            Ok(()) => Ok(Self::Procedure { account }),
            Err(SqlError::Server(error)) => {
                tracing::info!(%error, "the fence is proven by its setting alone");
                Ok(Self::Setting)
            }
            Err(error @ SqlError::Wire { .. }) => Err(Failed::sql(STEP)(error).into()),
        }
    }

    /// Tries to write behind the fence.
    pub(super) async fn prove(&self, client: &SqlConn, kind: Kind) -> Result<Proof, FenceError> {
        match self {
            Self::OwnWrite => {
                refused(client, OWN_WRITE, "pointsman itself").await?;
                Ok(Proof::OwnWrite)
            }
            Self::Procedure { account } => {
                refused(client, "CALL pointsman.proof()", account).await?;
                Ok(Proof::AsAccount(account.clone()))
            }
            Self::Setting => {
                if Settings::read(client, kind).await?.is_shut() {
                    return Ok(Proof::Setting);
                }
                Err(FenceError::StillOpen {
                    who: "anybody".to_owned(),
                    answer: format!("{} is off", kind.variable()),
                })
            }
        }
    }
}

async fn refused(client: &SqlConn, sql: &str, who: &str) -> Result<(), FenceError> {
    let answer = match client.execute(sql).await {
        Ok(_done) => "it was done".to_owned(),
        Err(error) if error.code() == Some(code::OPTION_PREVENTS_STATEMENT) => return Ok(()),
        Err(SqlError::Server(error)) => error.to_string(),
        Err(error @ SqlError::Wire { .. }) => {
            return Err(Failed::sql("proving the fence")(error).into());
        }
    };
    Err(FenceError::StillOpen {
        who: who.to_owned(),
        answer,
    })
}

/// An account that `read_only` stops, at best one that is connected now.
async fn ordinary_account(client: &SqlConn) -> Result<Option<String>, FenceError> {
    let sql = "SELECT User, Host FROM mysql.user
               WHERE User NOT IN ('', 'mysql', 'mariadb.sys', 'PUBLIC') AND Super_priv = 'N'
                 AND Host <> ''
               ORDER BY User IN (SELECT USER FROM information_schema.PROCESSLIST) DESC, User, Host";
    let rows = match client.query(sql).await {
        Ok(rows) => rows,
        Err(SqlError::Server(_not_allowed)) => return Ok(None),
        Err(error @ SqlError::Wire { .. }) => return Err(Failed::sql(STEP)(error).into()),
    };
    let bypassing = sessions::bypassing_users(client).await?;
    for row in rows {
        let (Some(user), Some(host)) = (row.text(0), row.text(1)) else {
            continue;
        };
        if !bypassing.iter().any(|one| one == user) {
            return Ok(Some(quote::account(user, host)));
        }
    }
    Ok(None)
}

/// Makes the procedure on this server alone: the stream must not carry the grant to the target.
async fn make_procedure(client: &SqlConn, account: &str) -> Result<(), SqlError> {
    client.execute("SET SESSION sql_log_bin = 0").await?;
    let make = async {
        client
            .execute("DROP PROCEDURE IF EXISTS pointsman.proof")
            .await?;
        let sql = format!(
            "CREATE DEFINER = {account} PROCEDURE pointsman.proof() SQL SECURITY DEFINER {OWN_WRITE}"
        );
        client.execute(&sql).await?;
        let sql = format!("GRANT EXECUTE ON PROCEDURE pointsman.proof TO {account}");
        client.execute(&sql).await
    };
    let made = make.await;
    client.execute("SET SESSION sql_log_bin = 1").await?;
    made.map(|_done| ())
}
