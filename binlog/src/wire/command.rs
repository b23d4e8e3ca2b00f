//! The first byte of a command, as the manual names them.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/my__command_8h.html>

/// Goodbye.
pub const COM_QUIT: u8 = 0x01;
/// Changes the default database.
pub const COM_INIT_DB: u8 = 0x02;
/// A query as text.
pub const COM_QUERY: u8 = 0x03;
/// The columns of a table.
pub const COM_FIELD_LIST: u8 = 0x04;
/// Makes a database.
pub const COM_CREATE_DB: u8 = 0x05;
/// Drops a database.
pub const COM_DROP_DB: u8 = 0x06;
/// Flushes.
pub const COM_REFRESH: u8 = 0x07;
/// Shuts the server down.
pub const COM_SHUTDOWN: u8 = 0x08;
/// A line of statistics.
pub const COM_STATISTICS: u8 = 0x09;
/// The list of processes.
pub const COM_PROCESS_INFO: u8 = 0x0a;
/// Ends a connection.
pub const COM_PROCESS_KILL: u8 = 0x0c;
/// Writes debugging information to the server's log.
pub const COM_DEBUG: u8 = 0x0d;
/// Are you there?
pub const COM_PING: u8 = 0x0e;
/// Logs in anew over the same connection.
pub const COM_CHANGE_USER: u8 = 0x11;
/// The binary log from a file and offset.
pub const COM_BINLOG_DUMP: u8 = 0x12;
/// Makes the connection known as a replica.
pub const COM_REGISTER_REPLICA: u8 = 0x15;
/// Prepares a statement.
pub const COM_STMT_PREPARE: u8 = 0x16;
/// Runs a prepared statement.
pub const COM_STMT_EXECUTE: u8 = 0x17;
/// A piece of a long parameter; has no answer.
pub const COM_STMT_SEND_LONG_DATA: u8 = 0x18;
/// Forgets a prepared statement; has no answer.
pub const COM_STMT_CLOSE: u8 = 0x19;
/// Resets a prepared statement.
pub const COM_STMT_RESET: u8 = 0x1a;
/// Switches several statements in one query on or off.
pub const COM_SET_OPTION: u8 = 0x1b;
/// Rows of a cursor.
pub const COM_STMT_FETCH: u8 = 0x1c;
/// The binary log from a set of GTIDs.
pub const COM_BINLOG_DUMP_GTID: u8 = 0x1e;
/// Resets the session.
pub const COM_RESET_CONNECTION: u8 = 0x1f;
/// Subscribes to a group replication stream or clones (MySQL).
pub const COM_CLONE: u8 = 0x20;
/// MariaDB: runs a prepared statement over an array of parameters.
pub const COM_STMT_BULK_EXECUTE: u8 = 0xfa;
