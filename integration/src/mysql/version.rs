//! The versions that `fetch.sh` brings, and where their programs are.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::binaries;

/// A server that the tests run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// MySQL 9.7.
    MySql97,
    /// MySQL 5.6.
    MySql56,
    /// MariaDB 10.11.
    MariaDb1011,
    /// MariaDB 11.8.
    MariaDb118,
}

impl Version {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::MySql97,
        Self::MySql56,
        Self::MariaDb1011,
        Self::MariaDb118,
    ];

    /// Whether it is MariaDB.
    pub fn is_mariadb(self) -> bool {
        matches!(self, Self::MariaDb1011 | Self::MariaDb118)
    }

    /// The folder's name below the servers' folder.
    pub fn folder(self) -> &'static str {
        match self {
            Self::MySql97 => "mysql97",
            Self::MySql56 => "mysql56",
            Self::MariaDb1011 => "mariadb1011",
            Self::MariaDb118 => "mariadb118",
        }
    }

    /// A version by what people call it, such as `9.7`, `mysql-9.7` or `mariadb-10.11`.
    ///
    /// # Errors
    ///
    /// When there is no such server here.
    pub fn named(name: &str) -> Result<Self> {
        let number = name
            .trim_start_matches("mysql-")
            .trim_start_matches("mariadb-");
        match number {
            "9.7" => Ok(Self::MySql97),
            "5.6" => Ok(Self::MySql56),
            "10.11" => Ok(Self::MariaDb1011),
            "11.8" => Ok(Self::MariaDb118),
            _ => bail!(
                "there is no server {name}: use mysql-9.7, mysql-5.6, mariadb-10.11 or mariadb-11.8"
            ),
        }
    }

    /// The folder of the programs.
    ///
    /// # Errors
    ///
    /// When they were not fetched.
    pub fn home(self) -> Result<PathBuf> {
        let home = binaries::servers_dir().join(self.folder());
        if !home.join(".ready").is_file() {
            bail!(
                "there is no {self} in {}; run integration/fetch.sh once (or set \
                 POINTSMAN_SERVERS_DIR to the folder it filled)",
                home.display()
            );
        }
        Ok(home)
    }

    /// The CLI of this version; 5.6 comes without one, and MariaDB's speaks to it.
    ///
    /// # Errors
    ///
    /// When it was not fetched.
    pub fn cli(self) -> Result<PathBuf> {
        self.client("mysql")
    }

    /// A client program of this version: `mysql`, `mysqldump` or `mysqlbinlog`.
    ///
    /// # Errors
    ///
    /// When it was not fetched.
    pub fn client(self, program: &str) -> Result<PathBuf> {
        let home = match self {
            Self::MySql56 => Self::MariaDb1011.home()?,
            Self::MySql97 | Self::MariaDb1011 | Self::MariaDb118 => self.home()?,
        };
        Ok(home.join("bin").join(program))
    }

    /// The server's program with what every start needs; it does not refuse root. The kernel ends
    /// it with the thread that starts it.
    pub(super) fn server(self) -> Result<Command> {
        Ok(Self::server_at(&self.home()?.join("bin/mysqld")))
    }

    /// The same, with a program of one's own.
    pub(super) fn server_at(program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig=KILL", "--"])
            .arg(program)
            .arg("--user=root");
        command
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MySql97 => "MySQL 9.7",
            Self::MySql56 => "MySQL 5.6",
            Self::MariaDb1011 => "MariaDB 10.11",
            Self::MariaDb118 => "MariaDB 11.8",
        })
    }
}
