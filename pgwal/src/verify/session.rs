//! Sessions that read under one of the two snapshots.

use router::Side;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::VerifyOptions;
use super::align::Aligned;
use super::error::VerifyError;
use crate::copy::throttle::Throttle;
use crate::name::quote_literal;
use crate::schema::catalog::{Catalog, TableFilter};
use crate::wire::{Endpoint, SqlConn};

/// A row that a policy hides is an error, not a row less; sums stay in memory; a client that is gone
/// ends its statement (from 14 on); nobody waits for us behind a lock that we wait for.
const READING: &str = "
    SELECT pg_catalog.set_config(s.name, ours.value, false) FROM (VALUES
    ('row_security', 'off'), ('work_mem', '64MB'), ('jit', 'off'),
    ('max_parallel_workers_per_gather', '0'), ('client_connection_check_interval', '1s'),
    ('lock_timeout', '10s')
    ) AS ours (name, value) JOIN pg_catalog.pg_settings AS s ON s.name = ours.name";

/// How often one piece is read again after its connection was lost.
const RETRIES: u32 = 3;

/// A connection that is ready to read.
pub(super) async fn open(
    endpoint: &Endpoint,
    side: Side,
    application_name: &str,
) -> Result<SqlConn, VerifyError> {
    let conn = endpoint.connect_sql(application_name).await;
    let conn = conn.map_err(|source| VerifyError::Connect { side, source })?;
    conn.batch_execute(READING)
        .await
        .map_err(VerifyError::sql(side, "opening a session"))?;
    Ok(conn)
}

/// The commands that begin a transaction under a snapshot, or under a new one.
pub(super) fn begin(snapshot: Option<&str>) -> String {
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    match snapshot {
        Some(name) => format!("{begin}; SET TRANSACTION SNAPSHOT {}", quote_literal(name)),
        None => begin.to_owned(),
    }
}

/// Ends the server's sessions that have this `application_name`, which a comparison that was given
/// up may have left at work.
///
/// # Errors
/// When the server cannot be asked.
pub async fn end_sessions(
    endpoint: &Endpoint,
    side: Side,
    application_name: &str,
) -> Result<(), VerifyError> {
    let conn = endpoint.connect_sql("pointsman control").await;
    let conn = conn.map_err(|source| VerifyError::Connect { side, source })?;
    let sql = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
               WHERE application_name = $1 AND usename = current_user \
               AND datname = pg_catalog.current_database()";
    conn.query(sql, &[&application_name])
        .await
        .map_err(VerifyError::sql(side, "ending sessions of ours"))?;
    Ok(())
}

/// What all sessions of a comparison share.
pub(super) struct Readers {
    source: SideOf,
    target: SideOf,
    application_name: String,
}

struct SideOf {
    endpoint: Endpoint,
    snapshot: String,
    throttle: Throttle,
}

impl Readers {
    pub(super) fn new(
        source: &Endpoint,
        target: &Endpoint,
        aligned: &Aligned,
        options: &VerifyOptions,
    ) -> Self {
        let side = |endpoint: &Endpoint, snapshot: &str| SideOf {
            endpoint: endpoint.clone(),
            snapshot: snapshot.to_owned(),
            throttle: Throttle::new(options.bytes_per_second),
        };
        Self {
            source: side(source, &aligned.source.name),
            target: side(target, &aligned.target.name),
            application_name: options.application_name.clone(),
        }
    }

    fn side(&self, side: Side) -> &SideOf {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }

    pub(super) fn reader(&self, side: Side) -> Reader<'_> {
        Reader {
            readers: self,
            side,
            conn: None,
        }
    }
}

/// A session that reads; it is opened with the first statement, and again when it was lost.
pub(super) struct Reader<'a> {
    readers: &'a Readers,
    pub(super) side: Side,
    conn: Option<SqlConn>,
}

/// Why something could not be read.
#[derive(Debug)]
pub(super) enum Unread {
    /// The server refused; it would again.
    Refused(tokio_postgres::Error),
    /// There is no server to be had.
    Lost(VerifyError),
}

impl Unread {
    /// What fails the whole comparison.
    pub(super) fn fatal(self, side: Side, doing: &'static str) -> VerifyError {
        match self {
            Self::Refused(source) => VerifyError::Sql {
                side,
                doing,
                source,
            },
            Self::Lost(error) => error,
        }
    }
}

impl Reader<'_> {
    /// Runs one query in a transaction of its own under the snapshot, so that no lock stays.
    pub(super) async fn query(
        &mut self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Unread> {
        let mut attempt = 0;
        loop {
            let conn = self.begin().await.map_err(Unread::Lost)?;
            let failed = match conn.query(sql, parameters).await {
                Ok(rows) => match conn.batch_execute("COMMIT").await {
                    Ok(()) => {
                        self.conn = Some(conn);
                        return Ok(rows);
                    }
                    Err(error) => error,
                },
                Err(error) => error,
            };
            let lost = conn.is_closed() || failed.as_db_error().is_none();
            if !lost {
                return Err(Unread::Refused(failed));
            }
            if attempt >= RETRIES {
                let sql = VerifyError::sql(self.side, "reading under a snapshot");
                return Err(Unread::Lost(sql(failed)));
            }
            tracing::warn!(side = %self.side, error = %failed, "reading it again");
            attempt += 1;
        }
    }

    /// The session, in a transaction under the snapshot. The caller gives it back.
    async fn begin(&mut self) -> Result<SqlConn, VerifyError> {
        let side = self.readers.side(self.side);
        let begin = begin(Some(&side.snapshot));
        if let Some(conn) = self.conn.take()
            && conn.batch_execute(&begin).await.is_ok()
        {
            return Ok(conn);
        }
        let conn = open(&side.endpoint, self.side, &self.readers.application_name).await?;
        conn.batch_execute(&begin)
            .await
            .map_err(VerifyError::sql(self.side, "entering a snapshot"))?;
        Ok(conn)
    }

    /// Waits until so much may be read.
    pub(super) async fn throttle(&self, bytes: u64) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.readers.side(self.side).throttle.take(bytes).await;
    }

    /// The catalog, as the snapshot has it.
    pub(super) async fn catalog(&mut self, filter: &TableFilter) -> Result<Catalog, VerifyError> {
        let conn = self.begin().await?;
        let side = self.side;
        let read = Catalog::read(&conn, side, filter).await;
        let catalog = read.map_err(|source| VerifyError::Schema {
            side,
            source: Box::new(source),
        })?;
        conn.batch_execute("COMMIT")
            .await
            .map_err(VerifyError::sql(side, "reading the catalogs"))?;
        self.conn = Some(conn);
        Ok(catalog)
    }
}
