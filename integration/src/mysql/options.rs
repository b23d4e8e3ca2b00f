//! How a server differs from the usual one.

use super::Version;

/// Whether commits survive a crash of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Commits {
    #[default]
    Relaxed,
    Durable,
}

/// Whether a MySQL server gives its transactions GTIDs; MariaDB always does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum MySqlGtids {
    #[default]
    On,
    Off,
}

/// Whether the server writes a binlog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Binlog {
    #[default]
    On,
    Off,
}

/// Whether the server has keys to encrypt tables with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Keys {
    #[default]
    None,
    Own,
}

/// Settings of a server; the default is what most tests want.
#[derive(Clone, Debug, Default)]
pub struct MySqlOptions {
    settings: Vec<(String, String)>,
    commits: Commits,
    gtids: MySqlGtids,
    binlog: Binlog,
    pub(super) keys: Keys,
}

impl MySqlOptions {
    /// One more setting, as on the server's command line; later ones win.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// `sync_binlog=1` and `innodb_flush_log_at_trx_commit=1`: for tests that kill the server, and
    /// for measuring.
    #[must_use]
    pub fn durable(mut self) -> Self {
        self.commits = Commits::Durable;
        self
    }

    /// MySQL without GTIDs.
    #[must_use]
    pub fn without_gtids(mut self) -> Self {
        self.gtids = MySqlGtids::Off;
        self
    }

    /// A server that can encrypt tables: MySQL 9.7 with a keyring, MariaDB with keys 1 and 7.
    #[must_use]
    pub fn with_keys(mut self) -> Self {
        self.keys = Keys::Own;
        self
    }

    /// A server without a binlog.
    #[must_use]
    pub fn without_binlog(mut self) -> Self {
        self.binlog = Binlog::Off;
        self.gtids = MySqlGtids::Off;
        self
    }

    pub(super) fn arguments(&self, version: Version) -> Vec<String> {
        let mut arguments: Vec<String> = [
            "bind-address=127.0.0.1",
            "skip-name-resolve",
            "secure-file-priv=",
            "max-connections=250",
            "innodb-buffer-pool-size=64M",
        ]
        .map(str::to_owned)
        .to_vec();
        let durable = self.commits == Commits::Durable;
        arguments.push(format!("sync-binlog={}", u8::from(durable)));
        let flush = if durable { 1 } else { 2 };
        arguments.push(format!("innodb-flush-log-at-trx-commit={flush}"));
        let usual: &[&str] = match version {
            Version::MySql97 => &["innodb-redo-log-capacity=64M"],
            Version::MySql56 => &["innodb-log-file-size=32M", "binlog-format=ROW"],
            Version::MariaDb1011 | Version::MariaDb118 => {
                &["innodb-log-file-size=64M", "binlog-format=ROW"]
            }
        };
        arguments.extend(usual.iter().map(|&argument| argument.to_owned()));
        match self.binlog {
            Binlog::On => arguments.push("log-bin=binlog".to_owned()),
            Binlog::Off => arguments.push("skip-log-bin".to_owned()),
        }
        if version == Version::MySql97 && self.gtids == MySqlGtids::Off {
            // They are on unless told otherwise.
            arguments.extend(["gtid-mode=OFF", "enforce-gtid-consistency=OFF"].map(str::to_owned));
        }
        if !version.is_mariadb() && self.gtids == MySqlGtids::On {
            arguments.extend(["gtid-mode=ON", "enforce-gtid-consistency=ON"].map(str::to_owned));
            if version == Version::MySql56 {
                // 5.6 has no GTIDs without it.
                arguments.push("log-slave-updates".to_owned());
            }
        }
        let asked = self.settings.iter();
        arguments.extend(asked.map(|(name, value)| format!("{name}={value}")));
        arguments
            .iter()
            .map(|argument| format!("--{argument}"))
            .collect()
    }
}
