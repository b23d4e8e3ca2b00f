//! TLS on the clients' leg, with a certificate of our own.
//!
//! Clients ask for it with an `SSLRequest`, or begin with the handshake itself and the protocol name
//! `postgresql` (PostgreSQL 17 and later, "Direct SSL"). The certificate is also what a client may
//! bind its SCRAM exchange to (`tls-server-end-point`, RFC 5929): it then knows that nobody stands
//! between it and us.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{CipherSuite, RootCertStore, ServerConfig};
use sha2::{Digest, Sha256, Sha384, Sha512};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::fatal::Fatal;
use crate::wire::Socket;

/// The protocol name of a direct handshake.
const PROTOCOL: &[u8] = b"postgresql";

/// The first byte of a handshake: a record of this type.
pub(super) const HANDSHAKE_RECORD: u8 = 0x16;

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
    /// The certificate's hash for channel binding; none for kinds that RFC 5929 does not define.
    end_point: Option<Vec<u8>>,
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
    /// The certificate and the key do not belong together, or are of a kind that is not supported.
    #[error("certificate and key cannot be used")]
    Unusable(#[source] rustls::Error),
}

impl ListenerTls {
    /// Makes a listener's TLS of a certificate (with its chain) and its key, in PEM. With authorities
    /// for clients, every client must show a certificate of one of them.
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
        let first = chain.first().ok_or(ListenerTlsError::NoCertificate)?;
        let end_point = end_point(first);
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_none| ListenerTlsError::NoKey)?;
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
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(ListenerTlsError::Unusable)?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self {
            config: Arc::new(config),
            demand,
            end_point,
        })
    }

    /// What is asked of clients.
    pub(super) fn demand(&self) -> TlsDemand {
        self.demand
    }

    /// What a client binds its log-in to.
    pub(super) fn end_point(&self) -> Option<&[u8]> {
        self.end_point.as_deref()
    }

    /// The handshake.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        opening: Opening,
    ) -> Result<Socket, Fatal> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.config));
        // Whoever fails here cannot be told: the two have no language in common.
        let stream = acceptor.accept(stream).await.map_err(|error| {
            tracing::debug!(%error, "a client's TLS handshake failed");
            Fatal::ClientGone
        })?;
        let named = stream.get_ref().1.alpn_protocol() == Some(PROTOCOL);
        let socket = Socket::Tls(Box::new(stream.into()));
        match opening {
            // So that no other protocol's bytes are ever taken for ours.
            Opening::Direct if !named => Err(Fatal::ClientGone),
            Opening::Direct | Opening::Asked => Ok(socket),
        }
    }
}

/// How a handshake began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// After a request in clear.
    Asked,
    /// With the first byte.
    Direct,
}

fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).flatten().collect()
}

/// The hash of a certificate by the function of its own signature, SHA-256 in place of weaker ones.
fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
    const ECDSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01];
    let (whole, _) = der(certificate, 0x30)?;
    let (_to_be_signed, rest) = der(whole, 0x30)?;
    let (algorithm, _) = der(rest, 0x30)?;
    let (oid, _) = der(algorithm, 0x06)?;
    if oid == ECDSA_SHA1 {
        return Some(Sha256::digest(certificate).to_vec());
    }
    let (last, family) = oid.split_last()?;
    match (family, last) {
        (RSA, 4 | 5 | 11) | (ECDSA, 2) => Some(Sha256::digest(certificate).to_vec()),
        (RSA, 12) | (ECDSA, 3) => Some(Sha384::digest(certificate).to_vec()),
        (RSA, 13) | (ECDSA, 4) => Some(Sha512::digest(certificate).to_vec()),
        (_, _) => None,
    }
}

/// An element of this tag: its content, and what follows it (X.690, definite lengths only).
fn der(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            let digit = |length: usize, digit: &u8| length << 8 | usize::from(*digit);
            (digits.iter().fold(0, digit), rest)
        }
        0x80 | 0x85..=0xff => return None,
    };
    (found == tag).then_some(())?;
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_without_what_is_needed_are_refused() {
        let tls = |certificate: &[u8], key: &[u8]| {
            ListenerTls::from_pem(certificate, key, None, TlsDemand::Allow)
        };
        assert!(matches!(
            tls(b"", b""),
            Err(ListenerTlsError::NoCertificate)
        ));
        let certificate = b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        assert!(matches!(
            tls(certificate, b"no key"),
            Err(ListenerTlsError::NoKey)
        ));
    }

    proptest! {
        #[test]
        fn no_certificate_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(end_point(&bytes).is_none_or(|hash| hash.len() >= 32));
        }
    }
}
