//! TLS on the clients' leg, with a certificate from files or one that is made at the start.
//!
//! Several clients refuse `caching_sha2_password` in clear, so TLS is offered unless it is switched
//! off. A self-made certificate protects from listeners and not from impostors, as those that
//! servers make for themselves.

use std::io;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{CipherSuite, RootCertStore, ServerConfig};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::fatal::Fatal;
use crate::wire::Socket;

/// What clients are offered at the start.
#[derive(Debug, Clone, Default)]
pub enum ClientTls {
    /// TLS with a certificate that is made then.
    #[default]
    SelfMade,
    /// TLS with a certificate of the operator's.
    Given(Arc<ListenerTls>),
    /// No TLS.
    Off,
}

/// What is asked of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsDemand {
    /// They may come in clear.
    Allow,
    /// They must not.
    Require,
}

/// A certificate and what is asked of clients.
#[derive(Debug)]
pub struct ListenerTls {
    config: Arc<ServerConfig>,
    demand: TlsDemand,
    /// MariaDB's clients want a proof that this certificate is the server's.
    certificate: CertificateDer<'static>,
}

/// Why there is no TLS for clients.
#[derive(Debug, Error)]
pub enum ListenerTlsError {
    /// The certificate's text.
    #[error("it holds no certificate in PEM")]
    NoCertificate,
    /// The key's text.
    #[error("it holds no private key in PEM")]
    NoKey,
    /// The text of the clients' authorities.
    #[error("it holds no certificate of an authority in PEM")]
    NoClientAuthority,
    /// No certificate can be made.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    /// The certificate and the key do not belong together, or are of a kind that is not supported.
    #[error("certificate and key cannot be used")]
    Unusable(#[source] rustls::Error),
}

impl From<ListenerTlsError> for io::Error {
    fn from(error: ListenerTlsError) -> Self {
        Self::other(error)
    }
}

impl ListenerTls {
    /// Makes a listener's TLS of a certificate (with its chain) and its key, in PEM. With authorities
    /// for clients, every client in TLS must show a certificate of one of them.
    ///
    /// # Errors
    /// One of the texts cannot be used.
    pub fn from_pem(
        certificate: &[u8],
        key: &[u8],
        client_authorities: Option<&[u8]>,
        demand: TlsDemand,
    ) -> Result<Self, ListenerTlsError> {
        let chain = certificates(certificate);
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_none| ListenerTlsError::NoKey);
        Self::new(chain, key, client_authorities, demand)
    }

    /// Makes a certificate, and a listener's TLS of it.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn self_made(demand: TlsDemand) -> Result<Self, ListenerTlsError> {
        let made = rcgen::generate_simple_self_signed(["pointsman".to_owned()])?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        Self::new(vec![made.cert.der().clone()], Ok(key.into()), None, demand)
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: Result<PrivateKeyDer<'static>, ListenerTlsError>,
        client_authorities: Option<&[u8]>,
        demand: TlsDemand,
    ) -> Result<Self, ListenerTlsError> {
        let certificate = chain.first().ok_or(ListenerTlsError::NoCertificate)?;
        let certificate = certificate.clone();
        let mut provider = aws_lc_rs::default_provider();
        provider
            .cipher_suites
            .sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
        let provider = Arc::new(provider);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(ListenerTlsError::Unusable)?;
        let builder = match client_authorities {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(certificates(pem));
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .map_err(|_empty| ListenerTlsError::NoClientAuthority)?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let config = builder
            .with_single_cert(chain, key?)
            .map_err(ListenerTlsError::Unusable)?;
        Ok(Self {
            config: Arc::new(config),
            demand,
            certificate,
        })
    }

    /// What is asked of clients.
    pub(super) fn demand(&self) -> TlsDemand {
        self.demand
    }

    /// Our certificate, as clients see it.
    pub(super) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The handshake.
    pub(super) async fn accept(&self, stream: TcpStream) -> Result<Socket, Fatal> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.config));
        // Whoever fails here cannot be told: the two have no language in common.
        let stream = acceptor.accept(stream).await.map_err(|error| {
            tracing::debug!(%error, "a client's TLS handshake failed");
            Fatal::ClientGone
        })?;
        Ok(Socket::from(tokio_rustls::TlsStream::from(stream)))
    }
}

impl ClientTls {
    /// What clients are offered first.
    pub(super) fn listener(&self) -> Result<Option<Arc<ListenerTls>>, ListenerTlsError> {
        Ok(match self {
            Self::Off => None,
            Self::SelfMade => Some(Arc::new(ListenerTls::self_made(TlsDemand::Allow)?)),
            Self::Given(tls) => Some(Arc::clone(tls)),
        })
    }
}

fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_made_when_none_is_given() {
        assert!(ClientTls::SelfMade.listener().unwrap().is_some());
        assert!(ClientTls::Off.listener().unwrap().is_none());
    }

    #[test]
    fn texts_without_what_is_needed_are_refused() {
        let tls = |certificate: &str, key: &str, authorities: Option<&str>| {
            let authorities = authorities.map(str::as_bytes);
            let (certificate, key) = (certificate.as_bytes(), key.as_bytes());
            ListenerTls::from_pem(certificate, key, authorities, TlsDemand::Allow)
        };
        assert!(matches!(
            tls("", "", None),
            Err(ListenerTlsError::NoCertificate)
        ));
        let certificate = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        assert!(matches!(
            tls(certificate, "no key", None),
            Err(ListenerTlsError::NoKey)
        ));
        assert!(matches!(
            tls(certificate, "no key", Some("nothing")),
            Err(ListenerTlsError::NoClientAuthority)
        ));
    }
}
