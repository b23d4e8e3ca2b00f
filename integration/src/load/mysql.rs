//! The load's transactions and tables on MySQL and MariaDB. Even clients send text, odd ones
//! execute statements that they prepared when they connected.

use anyhow::{Context as _, Result};
use binlog::wire::command::{COM_QUERY, COM_STMT_EXECUTE, COM_STMT_PREPARE};
use binlog::wire::response::OkPacket;
use binlog::wire::{Conn, ConnectOptions, Endpoint, SqlConn, WireError};

use super::account::Found;
use super::connection::Ending;

/// The tables of the load, empty. `row` has no relation to `id`, so that a transaction that was
/// run twice by anybody is found and not refused.
pub(super) const TABLES: [&str; 2] = [
    "CREATE TABLE load_event (
        `row`    bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
        id       bigint NOT NULL,
        client   int NOT NULL,
        note     varchar(200) NOT NULL,
        at       timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
        KEY load_event_id (id)
    ) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci",
    "CREATE TABLE load_counter (client int NOT NULL PRIMARY KEY, total bigint NOT NULL)
        ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci",
];

/// The counters' rows.
pub(super) fn counters() -> String {
    let rows: Vec<String> = (0..1000).map(|client| format!("({client}, 0)")).collect();
    format!("INSERT INTO load_counter VALUES {}", rows.join(", "))
}

/// LAST_INSERT_ID with an argument puts the new total into the answer, without a row.
const INSERT: &str = "INSERT INTO load_event (id, client, note) VALUES (?, ?, ?)";
const UPDATE: &str = "UPDATE load_counter SET total = LAST_INSERT_ID(total + ?) WHERE client = ?";

/// Types of parameters: LONGLONG, VAR_STRING, each with the byte that says signed.
const LONGLONG: [u8; 2] = [8, 0];
const VAR_STRING: [u8; 2] = [253, 0];

/// Errors with which a server ends a session; a COMMIT may have gone through before.
const SESSION_ENDED: [u16; 6] = [1053, 1152, 1317, 1927, 3169, 4031];

pub(super) struct Connection {
    conn: Conn,
    prepared: Option<Prepared>,
    broken: bool,
}

/// Statement ids as the server (or who is in front of it) gave them.
struct Prepared {
    insert: u32,
    update: u32,
}

impl Connection {
    pub(super) async fn open(url: &str, client: i32) -> Result<Self> {
        let endpoint: Endpoint = url.parse()?;
        let options = ConnectOptions {
            database: endpoint.database.clone().map(Into::into),
            ..ConnectOptions::named("load")
        };
        let mut conn = Conn::connect(&endpoint, options).await?;
        let mut prepared = None;
        if client % 2 != 0 {
            prepared = Some(Prepared {
                insert: prepare(&mut conn, INSERT).await?,
                update: prepare(&mut conn, UPDATE).await?,
            });
        }
        Ok(Self {
            conn,
            prepared,
            broken: false,
        })
    }

    pub(super) fn is_closed(&mut self) -> bool {
        self.broken || !self.conn.is_open()
    }

    pub(super) async fn write(&mut self, client: i32, id: i64) -> Result<i64> {
        self.text("BEGIN").await?;
        let done = match &self.prepared {
            Some(Prepared { insert, update }) => {
                let (insert, update) = (*insert, *update);
                let note = format!("prepared {id}");
                let (number, client) = (id.to_le_bytes(), i64::from(client).to_le_bytes());
                let mut text = vec![u8::try_from(note.len())?];
                text.extend_from_slice(note.as_bytes());
                let note = (VAR_STRING, text.as_slice());
                let (number, client) = ((LONGLONG, &number[..]), (LONGLONG, &client[..]));
                self.prepared(insert, &[number, client, note]).await?;
                self.prepared(update, &[number, client]).await?
            }
            None => {
                self.text(&format!(
                    "INSERT INTO load_event (id, client, note) VALUES ({id}, {client}, 'text {id}')"
                ))
                .await?;
                self.text(&format!(
                    "UPDATE load_counter SET total = LAST_INSERT_ID(total + {id}) \
                     WHERE client = {client}"
                ))
                .await?
            }
        };
        anyhow::ensure!(
            done.affected_rows == 1,
            "the client's counter is not there: {} rows",
            done.affected_rows
        );
        Ok(i64::try_from(done.last_insert_id)?)
    }

    pub(super) async fn commit(&mut self) -> Result<(), Ending> {
        let said = self.text("COMMIT").await;
        said.map(drop).map_err(|error| {
            let code = error.server().map(|error| error.code);
            if !self.broken && code.is_some_and(|code| !SESSION_ENDED.contains(&code)) {
                Ending::RolledBack(error.into())
            } else {
                Ending::Unknown(error.into())
            }
        })
    }

    pub(super) async fn roll_back(&mut self) {
        if !self.broken {
            self.text("ROLLBACK").await.map(drop).unwrap_or_default();
        }
    }

    async fn text(&mut self, sql: &str) -> Result<OkPacket, WireError> {
        self.conn.queue_command(&[COM_QUERY], sql.as_bytes());
        self.answer().await
    }

    /// Executes with each parameter's type and bytes.
    async fn prepared(
        &mut self,
        statement: u32,
        parameters: &[([u8; 2], &[u8])],
    ) -> Result<OkPacket, WireError> {
        let mut packet = statement.to_le_bytes().to_vec();
        // No cursor; one iteration; no NULL among up to eight parameters; types follow.
        packet.extend_from_slice(&[0, 1, 0, 0, 0, 0, 1]);
        for (kind, _) in parameters {
            packet.extend_from_slice(kind);
        }
        for (_, value) in parameters {
            packet.extend_from_slice(value);
        }
        self.conn.queue_command(&[COM_STMT_EXECUTE], &packet);
        self.answer().await
    }

    async fn answer(&mut self) -> Result<OkPacket, WireError> {
        let answer = match self.conn.flush().await {
            Ok(()) => self.conn.read_ok().await,
            Err(error) => Err(error),
        };
        self.broken = matches!(&answer, Err(error) if !matches!(error, WireError::Server(_)));
        answer
    }
}

/// Prepares a statement without result columns; gives its id.
async fn prepare(conn: &mut Conn, sql: &str) -> Result<u32> {
    conn.queue_command(&[COM_STMT_PREPARE], sql.as_bytes());
    conn.flush().await?;
    let packet = conn.read_packet().await?;
    let head: &[u8; 9] = packet
        .first_chunk()
        .context("the answer to PREPARE is too short")?;
    let [kind, id @ .., columns, _, parameters, _] = *head;
    anyhow::ensure!(
        kind == 0 && columns == 0,
        "the statement was not prepared: {}",
        String::from_utf8_lossy(&packet)
    );
    // A definition of each parameter, and before DEPRECATE_EOF an end of them.
    use binlog::wire::Capabilities;
    let end = u8::from(!conn.capabilities().contains(Capabilities::DEPRECATE_EOF));
    for _ in 0..parameters + end {
        conn.read_packet().await?;
    }
    Ok(u32::from_le_bytes(id))
}

/// Everything that the load's tables hold.
pub(super) async fn found(client: &SqlConn, database: &str) -> Result<Found> {
    let mut found = Found::default();
    let database = binlog::wire::quote::ident(database);
    let sql = format!("SELECT id, client FROM {database}.load_event");
    let mut rows = client.query_streamed(&sql).await?;
    while let Some(row) = rows.next().await? {
        found.events.push((row.parse(0)?, row.parse(1)?));
    }
    drop(rows);
    let sql = format!("SELECT client, total FROM {database}.load_counter");
    for row in client.query(&sql).await? {
        found.totals.push((row.parse(0)?, row.parse(1)?));
    }
    Ok(found)
}
