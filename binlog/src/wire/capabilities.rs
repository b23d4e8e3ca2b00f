//! What client and server agree on in the handshake, and the server's status flags.
//!
//! MariaDB has a second word of its own capabilities; they are bits 32 and up here. A MariaDB server
//! says so by leaving out bit 0, which every MySQL sets.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/group__group__cs__capabilities__flags.html>

use std::fmt;
use std::ops::{BitAnd, BitOr, Not};

/// A set of capabilities.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Capabilities(u64);

impl Capabilities {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Set by every MySQL server and client; a MariaDB server that leaves it out has capabilities
    /// of its own (`CLIENT_MYSQL` there).
    pub const LONG_PASSWORD: Self = Self(1);
    /// Affected rows are those found, not those changed.
    pub const FOUND_ROWS: Self = Self(1 << 1);
    /// Longer flags in column definitions.
    pub const LONG_FLAG: Self = Self(1 << 2);
    /// The handshake response names a database.
    pub const CONNECT_WITH_DB: Self = Self(1 << 3);
    /// `database.table.column` is refused.
    pub const NO_SCHEMA: Self = Self(1 << 4);
    /// zlib compression.
    pub const COMPRESS: Self = Self(1 << 5);
    /// An ODBC client.
    pub const ODBC: Self = Self(1 << 6);
    /// LOAD DATA LOCAL may ask the client for a file.
    pub const LOCAL_FILES: Self = Self(1 << 7);
    /// Spaces before `(` are ignored.
    pub const IGNORE_SPACE: Self = Self(1 << 8);
    /// The protocol since 4.1.
    pub const PROTOCOL_41: Self = Self(1 << 9);
    /// `interactive_timeout` instead of `wait_timeout`.
    pub const INTERACTIVE: Self = Self(1 << 10);
    /// TLS.
    pub const SSL: Self = Self(1 << 11);
    /// Status flags are understood.
    pub const TRANSACTIONS: Self = Self(1 << 13);
    /// The authentication of 4.1 (`CLIENT_RESERVED2` in newer texts).
    pub const SECURE_CONNECTION: Self = Self(1 << 15);
    /// Several statements in one query.
    pub const MULTI_STATEMENTS: Self = Self(1 << 16);
    /// Several results of one query.
    pub const MULTI_RESULTS: Self = Self(1 << 17);
    /// Several results of one prepared statement.
    pub const PS_MULTI_RESULTS: Self = Self(1 << 18);
    /// Authentication plugins.
    pub const PLUGIN_AUTH: Self = Self(1 << 19);
    /// Connection attributes.
    pub const CONNECT_ATTRS: Self = Self(1 << 20);
    /// The authentication data has a length-encoded length.
    pub const PLUGIN_AUTH_LENENC_DATA: Self = Self(1 << 21);
    /// A client that can work with an expired password.
    pub const CAN_HANDLE_EXPIRED_PASSWORDS: Self = Self(1 << 22);
    /// OK packets carry changes of the session's state.
    pub const SESSION_TRACK: Self = Self(1 << 23);
    /// No EOF packets.
    pub const DEPRECATE_EOF: Self = Self(1 << 24);
    /// Results may come without metadata.
    pub const OPTIONAL_RESULTSET_METADATA: Self = Self(1 << 25);
    /// zstd compression.
    pub const ZSTD_COMPRESSION: Self = Self(1 << 26);
    /// Queries carry attributes.
    pub const QUERY_ATTRIBUTES: Self = Self(1 << 27);
    /// More than one factor of authentication.
    pub const MULTI_FACTOR_AUTHENTICATION: Self = Self(1 << 28);
    /// The client's library checks the certificate (never means anything to the server).
    pub const SSL_VERIFY_SERVER_CERT: Self = Self(1 << 30);
    /// Options are kept over a reconnect (means nothing to the server).
    pub const REMEMBER_OPTIONS: Self = Self(1 << 31);
    /// MariaDB: progress reports.
    pub const MARIADB_PROGRESS: Self = Self(1 << 32);
    /// MariaDB: bulk execution of prepared statements.
    pub const MARIADB_STMT_BULK_OPERATIONS: Self = Self(1 << 34);
    /// MariaDB: column definitions carry type names.
    pub const MARIADB_EXTENDED_METADATA: Self = Self(1 << 35);
    /// MariaDB: metadata of prepared statements is sent once.
    pub const MARIADB_CACHE_METADATA: Self = Self(1 << 36);
    /// MariaDB: each unit of a bulk execution has a result.
    pub const MARIADB_BULK_UNIT_RESULTS: Self = Self(1 << 37);

    /// From the two words of the wire.
    #[must_use]
    pub fn from_words(standard: u32, mariadb: u32) -> Self {
        Self(u64::from(standard) | u64::from(mariadb) << 32)
    }

    /// The word both families know.
    #[must_use]
    pub fn standard_word(self) -> u32 {
        let [a, b, c, d, ..] = self.0.to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// MariaDB's own word.
    #[must_use]
    pub fn mariadb_word(self) -> u32 {
        let [_, _, _, _, a, b, c, d] = self.0.to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// Whether all of `other` are in this set.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// This set without `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        self & !other
    }

    /// This set with `other` if `wanted`, else without it.
    #[must_use]
    pub fn with(self, other: Self, wanted: bool) -> Self {
        if wanted {
            self | other
        } else {
            self.without(other)
        }
    }
}

impl BitOr for Capabilities {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Capabilities {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for Capabilities {
    type Output = Self;

    fn not(self) -> Self {
        Self(!self.0)
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Capabilities({:#x})", self.0)
    }
}

/// The server's status flags, in OK and EOF packets.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct StatusFlags(pub u16);

impl StatusFlags {
    /// A transaction is open.
    pub const IN_TRANS: Self = Self(0x0001);
    /// Statements commit by themselves.
    pub const AUTOCOMMIT: Self = Self(0x0002);
    /// Another result follows.
    pub const MORE_RESULTS_EXISTS: Self = Self(0x0008);
    /// A cursor was opened.
    pub const CURSOR_EXISTS: Self = Self(0x0040);
    /// The cursor gave its last row.
    pub const LAST_ROW_SENT: Self = Self(0x0080);
    /// A database was dropped.
    pub const DB_DROPPED: Self = Self(0x0100);
    /// `sql_mode` has NO_BACKSLASH_ESCAPES.
    pub const NO_BACKSLASH_ESCAPES: Self = Self(0x0200);
    /// A prepared statement's columns changed.
    pub const METADATA_CHANGED: Self = Self(0x0400);
    /// The result holds OUT parameters.
    pub const PS_OUT_PARAMS: Self = Self(0x1000);
    /// The open transaction is read only.
    pub const IN_TRANS_READONLY: Self = Self(0x2000);
    /// The OK packet carries changes of the session's state.
    pub const SESSION_STATE_CHANGED: Self = Self(0x4000);
    /// MariaDB: `sql_mode` has ANSI_QUOTES.
    pub const ANSI_QUOTES: Self = Self(0x8000);

    /// Whether all of `other` are set.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether a transaction is open, by a statement or by a snapshot.
    #[must_use]
    pub fn in_transaction(self) -> bool {
        self.contains(Self::IN_TRANS)
    }
}

impl BitOr for StatusFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for StatusFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StatusFlags({:#x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_words_survive_the_way_over_the_wire() {
        let all = Capabilities::PROTOCOL_41
            | Capabilities::REMEMBER_OPTIONS
            | Capabilities::MARIADB_BULK_UNIT_RESULTS;
        let again = Capabilities::from_words(all.standard_word(), all.mariadb_word());
        assert_eq!(again, all);
        assert!(again.contains(Capabilities::MARIADB_BULK_UNIT_RESULTS));
        assert!(
            !again
                .without(Capabilities::PROTOCOL_41)
                .contains(Capabilities::PROTOCOL_41)
        );
    }
}
