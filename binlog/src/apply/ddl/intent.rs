//! The intent record: what is begun and what is done, in `pointsman.ddl_intent`.

use std::time::{Duration, Instant};

use super::fingerprint::Fingerprint;
use super::halves::Changed;
use super::parse::Kind;
use super::{Again, Statement, context};
use crate::apply::error::{ApplyError, DdlWhy, Doing};
use crate::apply::session::{Session, read_packet_max};
use crate::name::quote_literal;
use crate::wire::{Endpoint, SqlConn, SqlError};

/// How long a statement of a lost connection is waited for, and how often it is looked at.
const LOST_WAIT_MAX: Duration = Duration::from_secs(30);
const LOST_POLL: Duration = Duration::from_millis(200);

/// What is written down with a statement, and how long all of it may be without asking the server.
const RECORD_RESERVE_BYTES: usize = 4 << 10;
const ALWAYS_TAKEN_BYTES: usize = 64 << 10;

/// What `pointsman.ddl_intent` says of a statement.
#[derive(Debug)]
enum Recorded {
    /// Another statement, or none.
    Nothing,
    /// It is done.
    Done,
    /// An operator says that it is to be carried out again.
    Again,
    /// It was begun by this session, when the definitions looked so.
    Begun { thread_id: u32, before: Fingerprint },
}

/// What is left to do of a statement that was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    /// All of it, or the part that is missing: then the server complains of what is done with one
    /// of these codes.
    Run(&'static [u16]),
}

/// Carries out `statement`, unless it is done already.
///
/// # Errors
/// When the target refuses it, or nobody can tell whether it took effect before a crash.
pub(in crate::apply) async fn carry_out(
    target: &Endpoint,
    session: &Session,
    statement: &Statement,
) -> Result<(), ApplyError> {
    let (before, done_codes) = match read(&session.conn, statement).await? {
        Recorded::Done => return Ok(()),
        Recorded::Nothing | Recorded::Again => (look(&session.lookup, statement).await?, &[][..]),
        Recorded::Begun { thread_id, before } => {
            wait_for_lost(session, statement, thread_id).await?;
            let now = look(&session.lookup, statement).await?;
            match left(session, statement, &before, &now)? {
                Left::Nothing => return done(&session.conn, statement).await,
                Left::Run(codes) => (before, codes),
            }
        }
    };
    let conn = Box::pin(target.connect_sql("pointsman ddl"))
        .await
        .map_err(ApplyError::Connect)?;
    refuse_too_long(session, &conn, statement, &before).await?;
    begin(session, statement, conn.thread_id(), &before).await?;
    run(&conn, statement, done_codes).await?;
    done(&session.conn, statement).await
}

/// A longer statement would end the connection, which looks as if it might pass.
async fn refuse_too_long(
    session: &Session,
    conn: &SqlConn,
    statement: &Statement,
    before: &Fingerprint,
) -> Result<(), ApplyError> {
    let text = quote_literal(&statement.ddl.sql).len() + before.text().len();
    let bytes = text + RECORD_RESERVE_BYTES;
    if bytes < ALWAYS_TAKEN_BYTES {
        return Ok(());
    }
    // Somebody may have changed it since.
    let limit = session.packet_max.min(read_packet_max(conn).await?);
    if bytes <= limit {
        return Ok(());
    }
    Err(statement.error(DdlWhy::TooLong { bytes, limit }, None))
}

/// Runs the statement; an error with one of these codes says that a part of it was done before.
async fn run(conn: &SqlConn, statement: &Statement, done_codes: &[u16]) -> Result<(), ApplyError> {
    let refused = |source| statement.error(DdlWhy::Refused, Some(source));
    for setting in context::settings(&statement.ddl, conn.version()) {
        match conn.execute(&setting.sql).await {
            Ok(_) => {}
            Err(error) if setting.may_fail && error.code().is_some() => {}
            Err(error) => return Err(refused(error)),
        }
    }
    let sql = match &statement.scheduled {
        Some(scheduled) => &scheduled.sql,
        None => &statement.ddl.sql,
    };
    match conn.execute(sql).await {
        Ok(_) => Ok(()),
        Err(error) if error.code().is_some_and(|code| done_codes.contains(&code)) => Ok(()),
        Err(error) => Err(refused(error)),
    }
}

/// What is left to do of a statement that was begun and runs no more.
fn left(
    session: &Session,
    statement: &Statement,
    before: &Fingerprint,
    now: &Fingerprint,
) -> Result<Left, ApplyError> {
    let unknown = || Err(statement.error(DdlWhy::Unknown, None));
    match (before.changed(now), statement.again()) {
        (Some(true), _) => match statement.changed(session.conn.version()) {
            Changed::Done => Ok(Left::Nothing),
            Changed::Repeat(codes) => Ok(Left::Run(codes)),
            Changed::Unknown => unknown(),
        },
        (Some(false), _) | (None, Again::Harmless) => Ok(Left::Run(&[])),
        (None, Again::OnlyWithNumbers) => unknown(),
    }
}

async fn look(conn: &SqlConn, statement: &Statement) -> Result<Fingerprint, ApplyError> {
    let mut databases: Vec<_> = statement
        .parsed
        .objects
        .iter()
        .map(|object| object.schema.as_str())
        .collect();
    databases.sort_unstable();
    databases.dedup();
    let accounts = statement.parsed.kind == Kind::Account;
    let found = if accounts {
        Fingerprint::of_accounts(conn).await
    } else {
        Fingerprint::read(conn, &databases).await
    };
    found.map_err(intent)
}

async fn read(conn: &SqlConn, statement: &Statement) -> Result<Recorded, ApplyError> {
    let rows = conn
        .query("SELECT position, state, before_state FROM pointsman.ddl_intent WHERE only_row = 1")
        .await
        .map_err(intent)?;
    let Some(row) = rows
        .first()
        .filter(|row| row.text(0) == Some(statement.place.as_str()))
    else {
        return Ok(Recorded::Nothing);
    };
    Ok(match row.text(1) {
        Some("done") => Recorded::Done,
        Some("again") => Recorded::Again,
        Some(_) | None => {
            let (thread_id, before) = row
                .text(2)
                .and_then(|text| text.split_once(' '))
                .unwrap_or(("0", ""));
            Recorded::Begun {
                thread_id: thread_id.parse().unwrap_or(0),
                before: Fingerprint::of_text(before),
            }
        }
    })
}

/// Writes down that the statement is begun, if the progress is still where we left it.
async fn begin(
    session: &Session,
    statement: &Statement,
    thread_id: u32,
    before: &Fingerprint,
) -> Result<(), ApplyError> {
    let conn = &session.conn;
    conn.execute("BEGIN").await.map_err(intent)?;
    session.open_window().await?;
    let sql = format!(
        "REPLACE INTO pointsman.ddl_intent \
         (only_row, position, schema_name, statement, state, before_state) \
         VALUES (1, {}, {}, {}, 'begun', {})",
        quote_literal(&statement.place),
        quote_literal(&statement.ddl.schema),
        quote_literal(&statement.ddl.sql),
        quote_literal(&format!("{thread_id} {}", before.text())),
    );
    conn.execute(&sql).await.map_err(intent)?;
    conn.execute("COMMIT").await.map_err(intent)?;
    Ok(())
}

/// Writes down that the statement is done, and what it means for the events that wait for the
/// switch.
async fn done(conn: &SqlConn, statement: &Statement) -> Result<(), ApplyError> {
    let done = format!(
        "UPDATE pointsman.ddl_intent SET state = 'done' WHERE only_row = 1 AND position = {}",
        quote_literal(&statement.place)
    );
    let keep = statement
        .scheduled
        .iter()
        .flat_map(|scheduled| &scheduled.keep);
    conn.execute("BEGIN").await.map_err(intent)?;
    for sql in keep.chain([&done]) {
        conn.execute(sql).await.map_err(intent)?;
    }
    conn.execute("COMMIT").await.map_err(intent)?;
    Ok(())
}

/// A statement outlives its connection: until it ends the definitions tell nothing.
async fn wait_for_lost(
    session: &Session,
    statement: &Statement,
    thread_id: u32,
) -> Result<(), ApplyError> {
    let began = Instant::now();
    let sql = format!(
        "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID = {thread_id} \
         AND COMMAND = 'Query' AND ID <> CONNECTION_ID()"
    );
    loop {
        let rows = session.lookup.query(&sql).await.map_err(intent)?;
        let running = rows.first().and_then(|row| row.text(0)) != Some("0");
        if !running {
            return Ok(());
        }
        if began.elapsed() > LOST_WAIT_MAX {
            return Err(statement.error(DdlWhy::StillRunning, None));
        }
        tokio::time::sleep(LOST_POLL).await;
    }
}

fn intent(source: SqlError) -> ApplyError {
    ApplyError::Server {
        doing: Doing::Intent,
        source,
    }
}
