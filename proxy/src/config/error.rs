//! What can be wrong with the configuration.

use std::path::PathBuf;

use thiserror::Error;

/// A configuration that cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text is no TOML, or a value has the wrong type.
    #[error("the configuration is not valid")]
    Syntax {
        /// What, with line and column.
        source: Box<toml::de::Error>,
    },
    /// A key that does not exist.
    #[error("unknown key `{key}`{}", nearest.as_ref().map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default())]
    UnknownKey {
        /// The key as written, with its section.
        key: String,
        /// The nearest known one.
        nearest: Option<String>,
    },
    /// A value that is not allowed.
    #[error("`{key}`: {reason}")]
    Value {
        /// The key with its section.
        key: String,
        /// Why, and what is allowed.
        reason: String,
    },
    /// A server's URL that is not understood.
    #[error("`{key}` is not a usable server URL")]
    Url {
        /// The key.
        key: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
