//! The configuration file: every key, its default, and what is refused.
//!
//! `docs/config.md` documents every key; a test compares the two. Unknown keys are errors that name
//! the key and the nearest known one. Passwords never have to stand in the file: they come from
//! `password_file` keys or the environment (see [`Config::password`]).

mod cutover;
mod error;
mod known;
mod tls;
mod units;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use router::Side;
use serde::{Deserialize, Serialize};

use crate::engine::Kind;

pub(crate) use cutover::{Cutover, Policy, WayBack};
pub(crate) use error::ConfigError;
pub(crate) use tls::{Tls, TlsClients};
pub(crate) use units::{ByteSize, Period};

/// Environment variable with the password for the source.
pub(crate) const SOURCE_PASSWORD_ENV: &str = "POINTSMAN_SOURCE_PASSWORD";

/// Environment variable with the password for the target.
pub(crate) const TARGET_PASSWORD_ENV: &str = "POINTSMAN_TARGET_PASSWORD";

/// The whole configuration file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// URL of the server the data comes from; its scheme chooses the engine.
    pub source: String,
    /// URL of the server the data goes to. Without it pointsman is only a proxy.
    #[serde(default)]
    pub target: Option<String>,
    /// Where applications connect.
    pub listen: SocketAddr,
    /// TLS towards clients.
    #[serde(default)]
    pub tls: Tls,
    /// How clients and servers are logged in.
    #[serde(default)]
    pub auth: Auth,
    /// The initial copy.
    #[serde(default)]
    pub copy: Copy,
    /// Applying the stream on the target.
    #[serde(default)]
    pub apply: Apply,
    /// Comparing both sides.
    #[serde(default)]
    pub verify: Verify,
    /// Changes that wait on local disk.
    #[serde(default)]
    pub spool: Spool,
    /// The movement of the points.
    #[serde(default)]
    pub cutover: Cutover,
    /// What the fence may do with roles and workers that no privilege stops.
    #[serde(default)]
    pub(crate) fence: Fence,
    /// Client connections.
    #[serde(default)]
    pub sessions: Sessions,
    /// The admin socket.
    #[serde(default)]
    pub admin: Admin,
}

/// `[auth]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Auth {
    /// File with the migration user's password on the source, first line.
    pub source_password_file: Option<PathBuf>,
    /// File with the migration user's password on the target, first line.
    pub target_password_file: Option<PathBuf>,
    /// Query that gives a role's stored verifier; `$1` is the role's name. PostgreSQL only.
    pub query: Option<String>,
    /// File with users and their secrets, in place of asking the source. PostgreSQL only.
    pub users_file: Option<PathBuf>,
    /// Clients whose log-in method does not give away what opens the target. MySQL only.
    pub learn_passwords: LearnPasswords,
}

/// Whether a client is asked for its password itself, over TLS, when its own log-in method does not
/// tell what the target wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LearnPasswords {
    /// When the target does not know the source's method.
    #[default]
    WhenNeeded,
    /// Such sessions cannot be moved.
    Never,
}

/// What happens with a table that has no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum KeylessTables {
    /// It gets REPLICA IDENTITY FULL until `finish` or `abort`.
    #[default]
    Full,
    /// `check` fails and `start` refuses.
    Refuse,
}

/// `[copy]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Copy {
    /// Tables (or parts of one) that are copied at the same time.
    pub workers: usize,
    /// Bytes a second over all workers; none means no limit.
    pub bandwidth_limit: Option<ByteSize>,
    /// Whose rows are moved.
    pub tables: Tables,
    /// Tables that have no key.
    pub keyless_tables: KeylessTables,
    /// Folder of `pg_dump` and `pg_restore`; none means they are looked for. PostgreSQL only.
    pub pg_dump_dir: Option<PathBuf>,
    /// How long a statement of ours may wait for a lock on the source.
    pub lock_timeout: Period,
}

/// `[copy.tables]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tables {
    /// Schemas or `schema.table` names to move; empty means all.
    pub include: Vec<String>,
    /// Schemas or `schema.table` names to leave out.
    pub exclude: Vec<String>,
}

impl Default for Copy {
    fn default() -> Self {
        Self {
            workers: 4,
            bandwidth_limit: None,
            tables: Tables::default(),
            keyless_tables: KeylessTables::default(),
            pg_dump_dir: None,
            lock_timeout: Period::from_millis(2_000),
        }
    }
}

/// `[apply]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Apply {
    /// Target connections that apply one window.
    pub lanes: usize,
    /// How much one window may hold.
    pub window: Window,
}

/// `[apply.window]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Window {
    /// Changed rows at most.
    pub rows: u64,
    /// Bytes of changes held in memory at most.
    pub bytes: ByteSize,
}

impl Default for Apply {
    fn default() -> Self {
        Self {
            lanes: 1,
            window: Window::default(),
        }
    }
}

impl Default for Window {
    fn default() -> Self {
        Self {
            rows: router::limits::WINDOW_ROWS_MAX,
            bytes: ByteSize::from_bytes(router::limits::WINDOW_BYTES_MAX),
        }
    }
}

/// `[verify]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Verify {
    /// Connections to each server that read.
    pub workers: usize,
    /// Bytes a second that are read of each server, over all its workers; none means no limit.
    pub bandwidth_limit: Option<ByteSize>,
}

impl Default for Verify {
    fn default() -> Self {
        Self {
            workers: 4,
            bandwidth_limit: None,
        }
    }
}

/// `[spool]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Spool {
    /// Folder of the spool.
    pub dir: PathBuf,
    /// Bytes on disk at most; reaching it slows the source's sender, and loses nothing.
    pub limit: ByteSize,
}

impl Default for Spool {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("/var/lib/pointsman/spool"),
            limit: ByteSize::from_bytes(16 * 1024 * 1024 * 1024),
        }
    }
}

/// `[fence]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Fence {
    /// Roles of applications that no privilege stops: they may not log in while the fence is up.
    pub(crate) nologin: Vec<String>,
    /// Such roles whose sessions are left alone, since they are trusted not to write.
    pub(crate) trusted_roles: Vec<String>,
    /// Background workers (by `backend_type`) that are trusted not to write. PostgreSQL only.
    pub(crate) trusted_workers: Vec<String>,
}

/// `[sessions]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sessions {
    /// Relay threads; 0 means one for each core.
    pub threads: usize,
    /// Client connections at most.
    pub max: usize,
    /// How long a client may take to log in.
    pub login_timeout: Period,
    /// Names of the application's own settings (`app.tenant`) that sessions carry over. PostgreSQL
    /// only.
    pub custom_settings: Vec<String>,
    /// Whether `LOAD DATA LOCAL` works through the proxy. MySQL only.
    pub local_infile: bool,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            threads: 0,
            max: 10_000,
            login_timeout: Period::from_millis(60_000),
            custom_settings: Vec::new(),
            local_infile: false,
        }
    }
}

/// `[admin]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Admin {
    /// Path of the admin socket.
    pub socket: PathBuf,
    /// Address of a status page; not in this version.
    pub http: Option<SocketAddr>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            socket: PathBuf::from("/run/pointsman/admin.sock"),
            http: None,
        }
    }
}

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// When the file cannot be read or holds something that is not understood; the error names the
    /// key.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text)
    }

    /// Parses and checks the text of a configuration file.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        let table: toml::Table = text.parse().map_err(|source| ConfigError::Syntax {
            source: Box::new(source),
        })?;
        known::refuse_unknown_keys(&table)?;
        // Parsed from the text again, not from the table, so that errors carry line numbers.
        let config: Self = toml::from_str(text).map_err(|source| ConfigError::Syntax {
            source: Box::new(source),
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let engine = self.engine()?;
        for side in [Side::Source, Side::Target] {
            let checked = self.url(side).map_or(Ok(()), |url| engine.check(url));
            checked.map_err(|source| ConfigError::Url {
                key: side.as_str().to_owned(),
                source,
            })?;
        }
        if let Some((key, owner)) = self.foreign_key(engine) {
            let reason = format!("only {} has this; leave it out", owner.name());
            return Err(ConfigError::Value {
                key: key.to_owned(),
                reason,
            });
        }
        let invalid = |key: &str, reason: &str| {
            Err(ConfigError::Value {
                key: key.to_owned(),
                reason: reason.to_owned(),
            })
        };
        if !(1..=64).contains(&self.copy.workers) {
            return invalid("copy.workers", "must be between 1 and 64");
        }
        if self.apply.lanes != 1 {
            return invalid(
                "apply.lanes",
                "this version applies with one lane; set it to 1",
            );
        }
        if !(1..=64).contains(&self.verify.workers) {
            return invalid("verify.workers", "must be between 1 and 64");
        }
        if self.apply.window.rows == 0 {
            return invalid("apply.window.rows", "must be at least 1");
        }
        if self.sessions.max == 0 {
            return invalid("sessions.max", "must be at least 1");
        }
        if self.sessions.threads > 256 {
            return invalid("sessions.threads", "must be at most 256");
        }
        if self.admin.http.is_some() {
            return invalid(
                "admin.http",
                "there is no page in this version; leave it out",
            );
        }
        self.tls.read()?;
        self.cutover.check(engine)
    }

    /// A key that is set and that another engine has.
    fn foreign_key(&self, engine: Kind) -> Option<(&'static str, Kind)> {
        let (auth, copy) = (&self.auth, &self.copy);
        let learn = auth.learn_passwords != LearnPasswords::default();
        let custom = !self.sessions.custom_settings.is_empty();
        let workers = !self.fence.trusted_workers.is_empty();
        let set = [
            ("auth.query", Kind::Postgres, auth.query.is_some()),
            ("auth.users_file", Kind::Postgres, auth.users_file.is_some()),
            ("auth.learn_passwords", Kind::MySql, learn),
            (
                "copy.pg_dump_dir",
                Kind::Postgres,
                copy.pg_dump_dir.is_some(),
            ),
            ("fence.trusted_workers", Kind::Postgres, workers),
            ("sessions.custom_settings", Kind::Postgres, custom),
            (
                "sessions.local_infile",
                Kind::MySql,
                self.sessions.local_infile,
            ),
        ];
        let foreign = |&(key, owner, set): &(&'static str, Kind, bool)| {
            (set && owner != engine).then_some((key, owner))
        };
        set.iter().find_map(foreign)
    }

    /// The URL of a side's server.
    pub(crate) fn url(&self, side: Side) -> Option<&str> {
        match side {
            Side::Source => Some(&self.source),
            Side::Target => self.target.as_deref(),
        }
    }

    /// The password for a side's server, where it does not stand in the URL: the password file wins
    /// over the environment.
    ///
    /// # Errors
    /// When the password file cannot be read.
    pub(crate) fn password(&self, side: Side) -> Result<Option<String>, ConfigError> {
        let (file, variable) = match side {
            Side::Source => (&self.auth.source_password_file, SOURCE_PASSWORD_ENV),
            Side::Target => (&self.auth.target_password_file, TARGET_PASSWORD_ENV),
        };
        let Some(path) = file else {
            return Ok(std::env::var(variable).ok());
        };
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Ok(Some(text.lines().next().unwrap_or_default().to_owned()))
    }

    /// The engine that both URLs mean.
    ///
    /// # Errors
    /// When a scheme means none, or the two mean different ones.
    pub(crate) fn engine(&self) -> Result<Kind, ConfigError> {
        let value = |side: Side, reason| ConfigError::Value {
            key: side.as_str().to_owned(),
            reason,
        };
        let source = Kind::of(&self.source).map_err(|reason| value(Side::Source, reason))?;
        let Some(target) = &self.target else {
            return Ok(source);
        };
        let target = Kind::of(target).map_err(|reason| value(Side::Target, reason))?;
        if source != target {
            let (from, to) = (source.name(), target.name());
            let reason = format!("is {to}, and `source` is {from}; both must be the same");
            return Err(value(Side::Target, reason));
        }
        Ok(source)
    }
}

#[cfg(test)]
mod tests;
