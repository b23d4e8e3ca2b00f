//! TLS towards clients: a certificate from files, or one that is made at the start.
//!
//! Several clients refuse `caching_sha2_password` in clear, so TLS is offered unless it is switched
//! off. A self-made certificate protects from listeners and not from impostors, as those that
//! servers make for themselves.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

/// What clients are offered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ClientTls {
    /// TLS with a certificate that is made at the start.
    #[default]
    SelfMade,
    /// TLS with a certificate from files in PEM.
    Files {
        /// The certificate, and those of the authorities between it and a known one.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// No TLS.
    Off,
}

/// TLS towards clients cannot be set up.
#[derive(Debug, Error)]
pub enum ClientTlsError {
    /// A file cannot be read as PEM.
    #[error("cannot read {} as PEM: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// The file holds no certificate.
    #[error("{} holds no certificate", .0.display())]
    NoCertificate(PathBuf),
    /// No certificate can be made.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    /// Certificate and key do not fit, or rustls does not take them.
    #[error("the certificate and its key cannot be used")]
    Unusable(#[from] rustls::Error),
}

impl From<ClientTlsError> for io::Error {
    fn from(error: ClientTlsError) -> Self {
        Self::other(error)
    }
}

/// What it takes to accept TLS.
#[derive(Clone)]
pub(super) struct Acceptor {
    pub(super) acceptor: TlsAcceptor,
    /// Our certificate: MariaDB's clients want a proof that it is the server's.
    pub(super) certificate: CertificateDer<'static>,
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

impl ClientTls {
    /// Reads or makes the certificate; `None` when TLS is off.
    pub(super) fn acceptor(&self) -> Result<Option<Acceptor>, ClientTlsError> {
        let (chain, key) = match self {
            Self::Off => return Ok(None),
            Self::SelfMade => self_made()?,
            Self::Files { certificate, key } => from_files(certificate, key)?,
        };
        let certificate = chain
            .first()
            .cloned()
            .ok_or_else(|| ClientTlsError::NoCertificate(PathBuf::new()))?;
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        Ok(Some(Acceptor {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            certificate,
        }))
    }
}

type ChainAndKey = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn self_made() -> Result<ChainAndKey, ClientTlsError> {
    let made = rcgen::generate_simple_self_signed(["pointsman".to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    Ok((vec![made.cert.der().clone()], key.into()))
}

fn from_files(certificate: &PathBuf, key: &PathBuf) -> Result<ChainAndKey, ClientTlsError> {
    let unreadable = |path: &PathBuf| {
        let path = path.clone();
        move |source| ClientTlsError::File { path, source }
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(unreadable(certificate))?;
    if chain.is_empty() {
        return Err(ClientTlsError::NoCertificate(certificate.clone()));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(unreadable(key))?;
    Ok((chain, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_made_when_none_is_given() {
        assert!(ClientTls::SelfMade.acceptor().unwrap().is_some());
        assert!(ClientTls::Off.acceptor().unwrap().is_none());
    }

    #[test]
    fn a_file_that_is_no_certificate_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let certificate = dir.path().join("cert.pem");
        std::fs::write(&certificate, "nothing").unwrap();
        let key = dir.path().join("none.pem");
        let error = ClientTls::Files { certificate, key }
            .acceptor()
            .unwrap_err();
        assert!(error.to_string().contains("cert.pem"), "{error}");
    }
}
