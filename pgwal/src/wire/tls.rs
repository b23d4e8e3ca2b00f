//! TLS to servers, by the words of libpq's `sslmode`.
//!
//! The server is asked with an `SSLRequest` and answers with one byte; nothing else may be read in
//! clear, so that bytes put in before the handshake never count as the server's (CVE-2021-23222).
//! See "SSL Session Encryption" and "SSL Support" in the manual.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, CipherSuite, ClientConfig, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::endpoint::{Endpoint, TlsMode};
use super::frontend;
use super::socket::Socket;

/// Where libpq looks for the authorities unless told otherwise, below the home directory.
const ROOT_FILE: &str = ".postgresql/root.crt";

/// `sslrootcert=system`: the authorities that the operating system trusts.
const SYSTEM: &str = "system";

/// TLS could not be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The connection failed before the handshake.
    #[error("the connection failed")]
    Io(#[from] io::Error),
    /// The server has none.
    #[error("the server offers no TLS and sslmode={0} demands it; set ssl = on there")]
    NotOffered(&'static str),
    /// The answer to the request for TLS is none.
    #[error("the server answered the request for TLS with something else")]
    Answer,
    /// The handshake failed.
    #[error("the TLS handshake failed")]
    Handshake(#[source] io::Error),
    /// The file of the authorities cannot be read.
    #[error("cannot read the authority's certificate {} (sslrootcert)", path.display())]
    RootFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no usable authority.
    #[error("there is no usable certificate of an authority in {0} (sslrootcert)")]
    NoRoots(String),
    /// The host is no name that a certificate could be for.
    #[error("a certificate cannot be checked for a host of this name")]
    HostName,
    /// rustls does not take the configuration.
    #[error("TLS cannot be set up")]
    SetUp(#[source] Error),
}

/// Connects to an endpoint's host, in TLS as far as its mode asks for it and the server offers it.
///
/// # Errors
/// None of the addresses answers, or the TLS that is demanded cannot be had.
pub(super) async fn connect(endpoint: &Endpoint) -> Result<Socket, TlsError> {
    let mut socket = Socket::connect(endpoint).await?;
    let asks = match endpoint.tls {
        TlsMode::Disable | TlsMode::Allow => false,
        TlsMode::Prefer | TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => true,
    };
    // As in libpq: there is nobody between the two ends of a unix socket.
    if !asks || endpoint.is_unix() {
        return Ok(socket);
    }
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    socket.write_all(&request).await?;
    match (socket.read_u8().await?, socket) {
        (b'S', Socket::Tcp(stream)) => wrap(endpoint, stream).await,
        (b'N', socket) if endpoint.tls.allows_clear() => Ok(socket),
        (b'N', _) => Err(TlsError::NotOffered(endpoint.tls.as_str())),
        (_, _) => Err(TlsError::Answer),
    }
}

async fn wrap(endpoint: &Endpoint, stream: TcpStream) -> Result<Socket, TlsError> {
    let config = client_config(endpoint).await?;
    let name = match ServerName::try_from(endpoint.host.clone()) {
        Ok(name) => name,
        Err(_odd) if endpoint.tls == TlsMode::VerifyFull => return Err(TlsError::HostName),
        // Nobody compares it.
        Err(_odd) => ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into()),
    };
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(TlsError::Handshake)?;
    Ok(Socket::Tls(Box::new(stream.into())))
}

async fn client_config(endpoint: &Endpoint) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(provider());
    let verifier: Arc<dyn ServerCertVerifier> = match (endpoint.tls, &endpoint.tls_roots) {
        (TlsMode::Disable | TlsMode::Allow | TlsMode::Prefer, _) | (TlsMode::Require, None) => {
            Arc::new(AnyCertificate(Arc::clone(&provider)))
        }
        // As in libpq: an authority that is named counts.
        (TlsMode::Require, Some(_)) | (TlsMode::VerifyCa, _) => {
            Arc::new(AnyName(web_pki(endpoint, &provider).await?))
        }
        (TlsMode::VerifyFull, _) => web_pki(endpoint, &provider).await?,
    };
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::SetUp)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
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
    let (place, roots) = roots(endpoint.tls_roots.as_deref()).await?;
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|_empty| TlsError::NoRoots(place))
}

/// The authorities, and where they come from. Without a file libpq would refuse; the system's
/// authorities are as strict, and are those of managed servers.
async fn roots(named: Option<&str>) -> Result<(String, RootCertStore), TlsError> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(ROOT_FILE));
    let (place, certificates) = match (named, home) {
        (Some(SYSTEM), _) => system_certificates(),
        (Some(file), _) => file_certificates(Path::new(file)).await?,
        (None, Some(file)) if file.is_file() => file_certificates(&file).await?,
        (None, _) => system_certificates(),
    };
    let mut roots = RootCertStore::empty();
    let (added, _unusable) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(TlsError::NoRoots(place));
    }
    Ok((place, roots))
}

fn system_certificates() -> (String, Vec<CertificateDer<'static>>) {
    let found = rustls_native_certs::load_native_certs();
    ("the system's store".to_owned(), found.certs)
}

async fn file_certificates(
    path: &Path,
) -> Result<(String, Vec<CertificateDer<'static>>), TlsError> {
    let pem = tokio::fs::read(path)
        .await
        .map_err(|source| TlsError::RootFile {
            path: path.to_owned(),
            source,
        })?;
    let certificates = CertificateDer::pem_slice_iter(&pem).flatten().collect();
    Ok((path.display().to_string(), certificates))
}

/// `prefer` and `require`: against those who only listen. Whoever can stand between the two ends can
/// make a certificate too.
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
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// `verify-ca`: the chain must hold, the name is not compared.
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
