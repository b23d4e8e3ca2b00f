//! Asking a server for its log: the questions before, the settings, the request.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_replication.html> and, for
//! MariaDB, "Replica Registration" in its manual.

use bytes::{BufMut, BytesMut};
use router::Side;

use super::contiguity::Skips;
use super::error::StreamError;
use super::format::{Checksum, Format};
use super::{StreamOptions, limits};
use crate::position::{BinlogFile, GtidSet, Gtids, Position};
use crate::schema::identity::ServerIdentity;
use crate::version::Flavour;
use crate::wire::{Conn, ConnectOptions, Endpoint, SqlConn, WireError, quote};

/// The name that the connections have on the server.
const PROGRAM_NAME: &str = "pointsman stream";

/// Commands.
mod command {
    pub(super) const QUERY: u8 = 0x03;
    pub(super) const BINLOG_DUMP: u8 = 0x12;
    pub(super) const BINLOG_DUMP_GTID: u8 = 0x1e;
}

/// A connection on which events come now.
pub(super) struct Dump {
    pub(super) conn: Conn,
    /// How the first events are checked.
    pub(super) format: Format,
    /// What the server leaves out.
    pub(super) skips: Skips,
    /// Where reading begins.
    pub(super) begin: Position,
}

/// Asks for the log behind a position.
pub(super) async fn open(
    endpoint: &Endpoint,
    options: &StreamOptions,
) -> Result<Dump, StreamError> {
    let client = endpoint.connect_sql(PROGRAM_NAME).await?;
    let request = prepare(&client, options).await?;
    client.close().await;
    let mut conn = Conn::connect(endpoint, ConnectOptions::named(PROGRAM_NAME)).await?;
    for setting in settings(&request, options) {
        let mut packet = BytesMut::new();
        packet.put_u8(command::QUERY);
        packet.put_slice(setting.as_bytes());
        conn.write_packet(&packet).await?;
        conn.read_ok().await?;
    }
    conn.write_packet(&request.packet(options.server_id)?)
        .await?;
    Ok(Dump {
        conn,
        format: Format::before(request.checksum),
        skips: request.skips(),
        begin: request.begin,
    })
}

/// What is asked for.
struct Request {
    begin: Position,
    by: By,
    checksum: Checksum,
    flavour: Flavour,
}

/// How the server finds the place.
enum By {
    /// Every transaction that is not in the set.
    MySqlGtid(GtidSet),
    /// What follows each domain's last one, which a session variable tells.
    MariaGtid(String),
    File(BinlogFile),
}

async fn prepare(client: &SqlConn, options: &StreamOptions) -> Result<Request, StreamError> {
    if let Some(expected) = &options.source {
        let found = ServerIdentity::read(client, Side::Source).await;
        let found = found.map_err(StreamError::identity)?;
        if found != *expected {
            return Err(StreamError::OtherSource {
                expected: expected.to_string(),
                found: found.to_string(),
            });
        }
    }
    if ask(client, "SELECT @@GLOBAL.log_bin").await?.as_deref() != Some("1") {
        return Err(StreamError::NoLog);
    }
    let server_id = ask(client, "SELECT @@GLOBAL.server_id").await?;
    if server_id == Some(options.server_id.to_string()) {
        return Err(StreamError::ServerId(options.server_id));
    }
    let checksum = match ask(client, "SELECT @@GLOBAL.binlog_checksum")
        .await?
        .as_deref()
    {
        Some("NONE") | None => Checksum::None,
        Some(_crc32) => Checksum::Crc32,
    };
    // What was prepared before and is not yet committed is read again.
    let start = &options.start;
    let mut begin = match &start.reread {
        Some(reread) => Position::new(reread.file.clone(), reread.gtids.clone()),
        None => start.clone(),
    };
    let by = match &begin.gtids {
        Gtids::MySql(set) if has_gtids(client).await? => {
            compare(client, set).await?;
            By::MySqlGtid(set.clone())
        }
        Gtids::MariaDb(state) if !state.is_empty() => By::MariaGtid(state.to_string()),
        Gtids::None | Gtids::MySql(_) | Gtids::MariaDb(_) => {
            // A place beyond 4 GiB cannot be asked for: then the file is read from its beginning,
            // and what was read before is left out by whoever applies it.
            if u32::try_from(begin.file.offset).is_err() {
                begin.file.offset = BinlogFile::FIRST_OFFSET;
            }
            By::File(begin.file.clone())
        }
    };
    Ok(Request {
        begin,
        by,
        checksum,
        flavour: client.version().flavour,
    })
}

async fn ask(client: &SqlConn, sql: &str) -> Result<Option<String>, StreamError> {
    let row = client.query_first(sql).await;
    let row = row.map_err(StreamError::sql("asking for settings of its log"))?;
    Ok(row.and_then(|row| row.text(0).map(str::to_owned)))
}

async fn has_gtids(client: &SqlConn) -> Result<bool, StreamError> {
    let mode = ask(client, "SELECT @@GLOBAL.gtid_mode").await?;
    Ok(mode.as_deref() == Some("ON"))
}

/// A server never sends again what it is told to be known, and cannot send what it has removed: so
/// both must be asked before.
async fn compare(client: &SqlConn, known: &GtidSet) -> Result<(), StreamError> {
    let set = async |variable: &str| {
        let text = ask(client, &format!("SELECT @@GLOBAL.{variable}")).await?;
        let text = text.unwrap_or_default();
        text.parse::<GtidSet>()
            .map_err(|_bad| StreamError::Rewound(format!("its {variable} cannot be read")))
    };
    let missing = set("gtid_purged").await?.subtract(known);
    if !missing.is_empty() {
        return Err(StreamError::Purged(missing.to_string()));
    }
    let unknown = known.subtract(&set("gtid_executed").await?);
    if !unknown.is_empty() {
        return Err(StreamError::Rewound(unknown.to_string()));
    }
    Ok(())
}

/// Settings of the connection that sends the log. User variables that a server does not know do
/// no harm, so old and new names are both set.
fn settings(request: &Request, options: &StreamOptions) -> Vec<String> {
    let checksum = match request.checksum {
        Checksum::None => "NONE",
        Checksum::Crc32 => "CRC32",
    };
    let heartbeat_ns = limits::HEARTBEAT_PERIOD.as_nanos();
    let uuid = quote::literal(&options.replica_uuid());
    let mut settings = vec![
        format!(
            "SET @master_binlog_checksum = '{checksum}', @source_binlog_checksum = '{checksum}'"
        ),
        format!(
            "SET @master_heartbeat_period = {heartbeat_ns}, \
             @source_heartbeat_period = {heartbeat_ns}"
        ),
        // A server that finds an older connection of the same replica ends it.
        format!("SET @slave_uuid = {uuid}, @replica_uuid = {uuid}"),
        // While the target is slow nothing is read for long.
        "SET SESSION net_write_timeout = 3600".to_owned(),
    ];
    match &request.by {
        By::MariaGtid(state) => settings.extend([
            "SET @mariadb_slave_capability = 4".to_owned(),
            format!("SET @slave_connect_state = {}", quote::literal(state)),
            "SET @slave_gtid_strict_mode = 0".to_owned(),
            "SET @slave_gtid_ignore_duplicates = 0".to_owned(),
        ]),
        By::File(_) => settings.push("SET @mariadb_slave_capability = 4".to_owned()),
        By::MySqlGtid(_) => {}
    }
    settings
}

impl Request {
    fn skips(&self) -> Skips {
        match (&self.by, &self.begin.gtids) {
            (By::File(_), _) => Skips::Nothing,
            (By::MySqlGtid(_), _) => Skips::Told,
            (By::MariaGtid(_), Gtids::MariaDb(state)) => {
                Skips::Domains(state.iter().map(|gtid| gtid.domain).collect())
            }
            (By::MariaGtid(_), Gtids::None | Gtids::MySql(_)) => Skips::Nothing,
        }
    }

    fn flags(&self) -> u16 {
        /// MariaDB leaves out the statements that row events come from, unless it is asked for
        /// them; a hole could be one of them, or something that matters.
        const SEND_ANNOTATE_ROWS: u16 = 2;
        match self.flavour {
            Flavour::MariaDb => SEND_ANNOTATE_ROWS,
            Flavour::MySql => 0,
        }
    }

    fn packet(&self, server_id: u32) -> Result<BytesMut, StreamError> {
        let mut packet = BytesMut::new();
        match &self.by {
            By::MySqlGtid(set) => {
                let set = set.encode();
                let length = u32::try_from(set.len()).map_err(|_long| WireError::Unusable)?;
                packet.put_u8(command::BINLOG_DUMP_GTID);
                packet.put_u16_le(0);
                packet.put_u32_le(server_id);
                packet.put_u32_le(0);
                packet.put_u64_le(BinlogFile::FIRST_OFFSET);
                packet.put_u32_le(length);
                packet.put_slice(&set);
            }
            By::MariaGtid(_) => {
                let nowhere = BinlogFile::new("", BinlogFile::FIRST_OFFSET);
                dump(&nowhere, self.flags(), server_id, &mut packet);
            }
            By::File(file) => dump(file, self.flags(), server_id, &mut packet),
        }
        Ok(packet)
    }
}

/// The request by a place, of which the server takes 32 bits.
fn dump(file: &BinlogFile, flags: u16, server_id: u32, packet: &mut BytesMut) {
    let offset = u32::try_from(file.offset).unwrap_or(4);
    packet.put_u8(command::BINLOG_DUMP);
    packet.put_u32_le(offset);
    packet.put_u16_le(flags);
    packet.put_u32_le(server_id);
    packet.put_slice(file.name.as_bytes());
}
