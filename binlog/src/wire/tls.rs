//! TLS to servers, by the words of the mysql client's `ssl-mode`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, CipherSuite, ClientConfig, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use super::endpoint::{Endpoint, TlsMode};

/// TLS could not be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The server has none.
    #[error("the server offers no TLS and ssl-mode={0} demands it")]
    NotOffered(&'static str),
    /// The server's first packet under TLS came in clear.
    #[error("the server sent bytes in clear after TLS was asked for")]
    ClearBytes,
    /// The handshake failed.
    #[error("the TLS handshake failed (servers before MySQL 5.7 often know only TLS 1.0 and 1.1)")]
    Handshake(#[source] io::Error),
    /// A file that the URL names cannot be read.
    #[error("cannot read {} of {parameter}", path.display())]
    File {
        /// The parameter.
        parameter: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no usable authority.
    #[error("there is no usable certificate of an authority in {0} (ssl-ca)")]
    NoRoots(String),
    /// Our own certificate or its key is none.
    #[error("there is no usable {what} in {} of the URL", path.display())]
    OwnCertificate {
        /// What should be there.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The host is no name that a certificate could be for.
    #[error("a certificate cannot be checked for a host of this name")]
    HostName,
    /// rustls does not take the configuration.
    #[error("TLS cannot be set up")]
    SetUp(#[source] Error),
}

/// Wraps a connection to a server in TLS.
pub(super) async fn wrap(
    endpoint: &Endpoint,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, TlsError> {
    let config = without_memory(client_config(endpoint).await?);
    let name = match ServerName::try_from(endpoint.host.clone()) {
        Ok(name) => name,
        Err(_odd) if endpoint.tls == TlsMode::VerifyIdentity => return Err(TlsError::HostName),
        // Nobody compares it.
        Err(_odd) => ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into()),
    };
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(TlsError::Handshake)?;
    Ok(stream.into())
}

async fn client_config(endpoint: &Endpoint) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(provider());
    let verifier: Arc<dyn ServerCertVerifier> = match endpoint.tls {
        TlsMode::Disabled | TlsMode::Preferred | TlsMode::Required => {
            Arc::new(AnyCertificate(Arc::clone(&provider)))
        }
        TlsMode::VerifyCa => Arc::new(AnyName(web_pki(endpoint, &provider).await?)),
        TlsMode::VerifyIdentity => web_pki(endpoint, &provider).await?,
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::SetUp)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    match (&endpoint.tls_cert, &endpoint.tls_key) {
        (Some(cert), Some(key)) => {
            let certificates = certificates(&read("ssl-cert", cert).await?);
            if certificates.is_empty() {
                return Err(own("certificate", cert));
            }
            let key_pem = read("ssl-key", key).await?;
            let private = PrivateKeyDer::from_pem_slice(&key_pem);
            let private = private.map_err(|_none| own("private key", key))?;
            let signer = aws_lc_rs::sign::any_supported_type(&private);
            let signer = signer.map_err(|_odd| own("private key", key))?;
            // Not by the usual way, which refuses certificates of X.509 version 1: MySQL's manual
            // teaches to make such.
            let ours = CertifiedKey::new(certificates, signer);
            Ok(config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(ours))))
        }
        (Some(_) | None, Some(_) | None) => Ok(config.with_no_client_auth()),
    }
}

/// Each connection has a configuration of its own, so a memory of earlier ones is of no use.
fn without_memory(mut config: ClientConfig) -> ClientConfig {
    config.resumption = Resumption::disabled();
    config
}

fn own(what: &'static str, path: &Path) -> TlsError {
    let path = path.to_owned();
    TlsError::OwnCertificate { what, path }
}

/// AES-128-GCM first: the processor does it, and 256 bits buy nothing here.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider
        .cipher_suites
        .sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider
}

async fn web_pki(
    endpoint: &Endpoint,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let (place, found) = match &endpoint.tls_ca {
        Some(file) => (
            file.display().to_string(),
            certificates(&read("ssl-ca", file).await?),
        ),
        None => (
            "the system's store".to_owned(),
            rustls_native_certs::load_native_certs().certs,
        ),
    };
    let mut roots = RootCertStore::empty();
    let (added, _unusable) = roots.add_parsable_certificates(found);
    if added == 0 {
        return Err(TlsError::NoRoots(place));
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|_empty| TlsError::NoRoots(place))
}

async fn read(parameter: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    tokio::fs::read(path)
        .await
        .map_err(|source| TlsError::File {
            parameter,
            path: path.to_owned(),
            source,
        })
}

fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).flatten().collect()
}

/// PREFERRED and REQUIRED: against those who only listen. Signatures are not checked either: they
/// would prove the possession of a certificate that anybody can make.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// VERIFY_CA: the chain must hold, the name is not compared. MySQL's own certificates have no host
/// name in them.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict =
            self.0
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        // The name is compared last, when the chain has already been found good.
        match verdict {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
