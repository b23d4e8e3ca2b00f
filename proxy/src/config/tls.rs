//! `[tls]`: TLS towards clients.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// What is asked of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TlsClients {
    /// They may come in clear.
    #[default]
    Allow,
    /// They must not.
    Require,
}

/// `[tls]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tls {
    /// File with the certificate and its chain, in PEM.
    pub certificate: Option<PathBuf>,
    /// File with the certificate's private key, in PEM.
    pub key: Option<PathBuf>,
    /// File with the authorities of clients' certificates, in PEM; with it every client needs one.
    pub client_ca: Option<PathBuf>,
    /// What is asked of clients.
    pub clients: TlsClients,
}

/// The contents of the files.
pub(crate) struct TlsFiles {
    /// The certificate and its chain.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: Vec<u8>,
    /// The authorities of clients' certificates.
    pub client_ca: Option<Vec<u8>>,
}

impl Tls {
    /// Reads the files; `None` when no certificate is configured.
    ///
    /// # Errors
    /// A key is missing, or a file cannot be read.
    pub(crate) fn read(&self) -> Result<Option<TlsFiles>, ConfigError> {
        let (certificate, key) = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => (certificate, key),
            (Some(_), None) => return Err(missing("tls.key", "the certificate's key is needed")),
            (None, Some(_)) => {
                return Err(missing(
                    "tls.certificate",
                    "the key's certificate is needed",
                ));
            }
            (None, None) if self.client_ca.is_some() || self.clients == TlsClients::Require => {
                let why = "TLS is asked of clients, and there is no certificate";
                return Err(missing("tls.certificate", why));
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(TlsFiles {
            certificate: read(certificate)?,
            key: read(key)?,
            client_ca: self.client_ca.as_deref().map(read).transpose()?,
        }))
    }
}

fn missing(key: &str, reason: &str) -> ConfigError {
    ConfigError::Value {
        key: key.to_owned(),
        reason: reason.to_owned(),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })
}
