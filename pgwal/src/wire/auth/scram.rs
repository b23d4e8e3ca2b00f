//! SCRAM-SHA-256 (RFC 5802, RFC 7677) as PostgreSQL speaks it: without channel binding.
//!
//! [`ScramClient`] logs in with a [`ScramKeys`] pair instead of the password. [`ScramServer`] checks
//! a client against a verifier and gives the client's key back when its proof is right.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::AuthError;
use super::verifier::ScramVerifier;
use crate::wire::limits::SCRAM_ITERATIONS_MAX;

/// The mechanism's name in `AuthenticationSASL`.
pub const MECHANISM: &str = "SCRAM-SHA-256";

/// The mechanism that is bound to the TLS connection (RFC 5929, `tls-server-end-point`).
pub const MECHANISM_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// How an exchange stands to the TLS connection that it is made in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// There is nothing to bind to.
    NotOffered,
    /// The client was offered it and took [`MECHANISM`]. It must not claim that it was not offered:
    /// somebody else would have taken the offer away.
    Declined,
    /// The client binds to the certificate with this hash.
    Bound(Vec<u8>),
}

/// Iterations of the mock exchange, the server's default.
const MOCK_ITERATIONS: u32 = 4096;

/// What opens a server that keeps the matching verifier, and proves that server.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    /// HMAC(SaltedPassword, "Client Key").
    pub client_key: [u8; 32],
    /// HMAC(SaltedPassword, "Server Key").
    pub server_key: [u8; 32],
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramKeys(***)")
    }
}

/// The client's side of one exchange.
#[derive(Debug)]
pub struct ScramClient {
    keys: ScramKeys,
    first_bare: String,
    nonce: String,
}

/// The client's side after its proof was sent.
#[derive(Debug)]
pub struct ScramClientProof {
    /// The client-final-message.
    pub message: String,
    expected_signature: [u8; 32],
}

impl ScramClient {
    /// Starts an exchange.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn new(keys: ScramKeys) -> Result<Self, AuthError> {
        let nonce = nonce()?;
        Ok(Self {
            keys,
            first_bare: format!("n=,r={nonce}"),
            nonce,
        })
    }

    /// The client-first-message.
    #[must_use]
    pub fn first_message(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    /// Takes the server-first-message and computes the proof.
    ///
    /// # Errors
    /// The message is malformed, its nonce is not ours, or it asks for too many iterations.
    pub fn prove(self, server_first: &[u8]) -> Result<ScramClientProof, AuthError> {
        let text = utf8(server_first)?;
        let mut attributes = text.split(',');
        let nonce = attribute(attributes.next(), "r=", "server nonce")?;
        let salt = attribute(attributes.next(), "s=", "salt")?;
        let count = attribute(attributes.next(), "i=", "iteration count")?;
        STANDARD
            .decode(salt)
            .map_err(|_bad| AuthError::Malformed("the salt is not base64"))?;
        let iterations: u32 = count
            .parse()
            .map_err(|_bad| AuthError::Malformed("the iteration count"))?;
        if iterations > SCRAM_ITERATIONS_MAX {
            return Err(AuthError::TooManyIterations(iterations));
        }
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(AuthError::Malformed(
                "the server's nonce does not continue ours",
            ));
        }
        let without_proof = format!("c=biws,r={nonce}");
        let auth_message = format!("{},{text},{without_proof}", self.first_bare);
        let stored_key = Sha256::digest(self.keys.client_key);
        let signature = hmac(&stored_key, auth_message.as_bytes());
        let proof = STANDARD.encode(xor(self.keys.client_key, signature));
        Ok(ScramClientProof {
            message: format!("{without_proof},p={proof}"),
            expected_signature: hmac(&self.keys.server_key, auth_message.as_bytes()),
        })
    }
}

impl ScramClientProof {
    /// Checks the server-final-message.
    ///
    /// # Errors
    /// The server did not prove that it knows the user's secret.
    pub fn finish(&self, server_final: &[u8]) -> Result<(), AuthError> {
        let signature = attribute(Some(utf8(server_final)?), "v=", "server signature")?;
        let signature = STANDARD
            .decode(signature)
            .map_err(|_bad| AuthError::Malformed("the server signature is not base64"))?;
        let right: bool = self.expected_signature.as_slice().ct_eq(&signature).into();
        right.then_some(()).ok_or(AuthError::ServerNotProven)
    }
}

/// The server's side of one exchange, before the client's first message.
#[derive(Debug)]
pub struct ScramServer {
    verifier: ScramVerifier,
    kind: ServerKind,
}

/// Whether the exchange can succeed at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServerKind {
    /// There is such a user.
    Real,
    /// There is none; the exchange looks the same and fails.
    Mock,
}

/// The server's side after its first message.
#[derive(Debug)]
pub struct ScramServerChallenge {
    /// The server-first-message.
    pub message: String,
    server: ScramServer,
    /// What the client must repeat, in base64: the GS2 header and what it binds to.
    binding: String,
    client_first_bare: String,
    nonce: String,
}

/// A client that knows the password.
#[derive(Debug)]
pub struct ScramServerSuccess {
    /// The server-final-message.
    pub message: String,
    /// What the client's proof revealed, with the server's half from the verifier.
    pub keys: ScramKeys,
}

impl ScramServer {
    /// Checks a client against its stored verifier.
    #[must_use]
    pub fn new(verifier: ScramVerifier) -> Self {
        Self {
            verifier,
            kind: ServerKind::Real,
        }
    }

    /// Goes through the motions for a user that has no verifier. `seed` is secret and the same for
    /// the life of the process, so that the salt of a name does not change between attempts.
    #[must_use]
    pub fn mock(user: &str, seed: &[u8; 32]) -> Self {
        let salt = hmac(seed, user.as_bytes());
        let verifier = ScramVerifier {
            iterations: MOCK_ITERATIONS,
            salt: STANDARD.encode(salt.get(..16).unwrap_or(&salt)),
            stored_key: [0; 32],
            server_key: [0; 32],
        };
        Self {
            verifier,
            kind: ServerKind::Mock,
        }
    }

    /// Takes the client-first-message.
    ///
    /// # Errors
    /// The message is malformed or does not fit `binding`, or there are no random bytes.
    pub fn challenge(
        self,
        client_first: &[u8],
        binding: Binding,
    ) -> Result<ScramServerChallenge, AuthError> {
        let text = utf8(client_first)?;
        let (gs2_header, bare) = split_gs2(text, &binding)?;
        let mut bound = gs2_header.as_bytes().to_vec();
        if let Binding::Bound(end_point) = binding {
            bound.extend(end_point);
        }
        let mut attributes = bare.split(',');
        attribute(attributes.next(), "n=", "user name")?;
        let client_nonce = attribute(attributes.next(), "r=", "client nonce")?;
        let printable = client_nonce.bytes().all(|byte| byte.is_ascii_graphic());
        if client_nonce.is_empty() || !printable {
            return Err(AuthError::Malformed(
                "the client nonce is empty or not printable",
            ));
        }
        let nonce = format!("{client_nonce}{}", nonce()?);
        Ok(ScramServerChallenge {
            message: format!(
                "r={nonce},s={},i={}",
                self.verifier.salt, self.verifier.iterations
            ),
            binding: STANDARD.encode(bound),
            client_first_bare: bare.to_owned(),
            nonce,
            server: self,
        })
    }
}

impl ScramServerChallenge {
    /// Takes the client-final-message.
    ///
    /// # Errors
    /// The message is malformed, or [`AuthError::WrongProof`].
    pub fn check(self, client_final: &[u8]) -> Result<ScramServerSuccess, AuthError> {
        let text = utf8(client_final)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(AuthError::Malformed(
            "the client's final message has no proof",
        ))?;
        let mut attributes = without_proof.split(',');
        let binding = attribute(attributes.next(), "c=", "channel binding")?;
        if binding != self.binding {
            return Err(AuthError::Malformed(
                "the channel binding changed during the exchange",
            ));
        }
        if attribute(attributes.next(), "r=", "nonce")? != self.nonce {
            return Err(AuthError::Malformed(
                "the nonce changed during the exchange",
            ));
        }
        let proof: [u8; 32] = STANDARD
            .decode(proof)
            .ok()
            .and_then(|proof| proof.try_into().ok())
            .ok_or(AuthError::Malformed("the proof is not base64 of 32 bytes"))?;
        let auth_message = format!(
            "{},{},{without_proof}",
            self.client_first_bare, self.message
        );
        let verifier = &self.server.verifier;
        let client_key = xor(proof, hmac(&verifier.stored_key, auth_message.as_bytes()));
        let right: bool = Sha256::digest(client_key)
            .as_slice()
            .ct_eq(&verifier.stored_key)
            .into();
        if !right || self.server.kind == ServerKind::Mock {
            return Err(AuthError::WrongProof);
        }
        let signature = hmac(&verifier.server_key, auth_message.as_bytes());
        Ok(ScramServerSuccess {
            message: format!("v={}", STANDARD.encode(signature)),
            keys: ScramKeys {
                client_key,
                server_key: verifier.server_key,
            },
        })
    }
}

/// Splits the GS2 header (channel binding flag and authorization identity) from the message.
fn split_gs2<'a>(text: &'a str, binding: &Binding) -> Result<(&'static str, &'a str), AuthError> {
    let allowed: &[&'static str] = match binding {
        Binding::NotOffered => &["n,,", "y,,"],
        Binding::Declined => &["n,,"],
        Binding::Bound(_) => &["p=tls-server-end-point,,"],
    };
    allowed
        .iter()
        .find_map(|header| Some((*header, text.strip_prefix(header)?)))
        .ok_or(AuthError::Malformed(
            "its channel binding is not the one that was offered, or it names an authorization \
             identity",
        ))
}

fn attribute<'a>(
    field: Option<&'a str>,
    prefix: &str,
    what: &'static str,
) -> Result<&'a str, AuthError> {
    field
        .and_then(|field| field.strip_prefix(prefix))
        .ok_or(AuthError::Malformed(what))
}

fn utf8(bytes: &[u8]) -> Result<&str, AuthError> {
    std::str::from_utf8(bytes).map_err(|_bad| AuthError::Malformed("it is not valid UTF-8"))
}

/// 18 random bytes in base64: the server's own nonce length, printable and without a comma.
fn nonce() -> Result<String, AuthError> {
    let mut bytes = [0_u8; 18];
    getrandom::fill(&mut bytes).map_err(|_none| AuthError::NoRandom)?;
    Ok(STANDARD.encode(bytes))
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key).expect("invariant: HMAC takes keys of every length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

fn xor(mut left: [u8; 32], right: [u8; 32]) -> [u8; 32] {
    for (byte, other) in left.iter_mut().zip(right) {
        *byte ^= other;
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::auth::Verifier;
    use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

    fn verifier(password: &str) -> ScramVerifier {
        let stored = postgres_protocol::password::scram_sha_256(password.as_bytes());
        let Some(Verifier::Scram(verifier)) = Verifier::parse(&stored) else {
            panic!("not a SCRAM verifier: {stored}");
        };
        verifier
    }

    fn log_in(password: &str, server: ScramServer) -> Result<ScramKeys, AuthError> {
        let mut client = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        let challenge = server.challenge(client.message(), Binding::NotOffered)?;
        client.update(challenge.message.as_bytes()).unwrap();
        let success = challenge.check(client.message())?;
        client.finish(success.message.as_bytes()).unwrap();
        Ok(success.keys)
    }

    #[test]
    fn a_right_password_reveals_the_keys_that_open_every_server_with_that_verifier() {
        let verifier = verifier("s3cret");
        let keys = log_in("s3cret", ScramServer::new(verifier.clone())).unwrap();

        let client = ScramClient::new(keys.clone()).unwrap();
        let challenge = ScramServer::new(verifier)
            .challenge(client.first_message().as_bytes(), Binding::NotOffered)
            .unwrap();
        let proof = client.prove(challenge.message.as_bytes()).unwrap();
        let success = challenge.check(proof.message.as_bytes()).unwrap();
        proof.finish(success.message.as_bytes()).unwrap();
        assert_eq!(success.keys, keys);
    }

    #[test]
    fn a_wrong_password_and_a_mock_exchange_fail_alike() {
        let wrong = log_in("wrong", ScramServer::new(verifier("s3cret")));
        let mock = log_in("s3cret", ScramServer::mock("nobody", &[7; 32]));
        assert_eq!(wrong.unwrap_err(), AuthError::WrongProof);
        assert_eq!(mock.unwrap_err(), AuthError::WrongProof);
    }

    #[test]
    fn the_mock_salt_of_a_name_stays_the_same() {
        let salt = |user| ScramServer::mock(user, &[7; 32]).verifier.salt;
        assert_eq!(salt("a"), salt("a"));
        assert_ne!(salt("a"), salt("b"));
    }

    #[test]
    fn a_server_that_asks_for_endless_work_or_another_nonce_is_refused() {
        let keys = ScramKeys {
            client_key: [1; 32],
            server_key: [2; 32],
        };
        let client = ScramClient::new(keys.clone()).unwrap();
        let message = format!("r={}x,s=AAAA,i=100001", client.nonce);
        assert_eq!(
            client.prove(message.as_bytes()).unwrap_err(),
            AuthError::TooManyIterations(100_001)
        );
        let client = ScramClient::new(keys).unwrap();
        assert!(client.prove(b"r=other,s=AAAA,i=4096").is_err());
    }

    #[test]
    fn a_binding_must_be_the_one_that_was_offered_and_of_our_certificate() {
        let bound = || Binding::Bound(b"hash".to_vec());
        let cases = [
            ("n,,", Binding::NotOffered, true),
            ("y,,", Binding::NotOffered, true),
            ("n,,", Binding::Declined, true),
            // The offer was taken away on the way.
            ("y,,", Binding::Declined, false),
            ("n,,", bound(), false),
            ("p=tls-unique,,", bound(), false),
            ("p=tls-server-end-point,,", Binding::NotOffered, false),
            ("p=tls-server-end-point,,", bound(), true),
        ];
        for (header, binding, fits) in cases {
            let first = format!("{header}n=,r=abc");
            let server = ScramServer::new(verifier("x"));
            let challenge = server.challenge(first.as_bytes(), binding.clone());
            assert_eq!(challenge.is_ok(), fits, "{header} {binding:?}");
        }
        let server = ScramServer::new(verifier("x"));
        let first = b"p=tls-server-end-point,,n=,r=abc";
        let challenge = server.challenge(first, bound()).unwrap();
        let other = STANDARD.encode("p=tls-server-end-point,,other");
        let error = challenge.check(format!("c={other},r=abc,p=AA").as_bytes());
        assert!(matches!(error, Err(AuthError::Malformed(why)) if why.contains("channel binding")),);
    }

    #[test]
    fn channel_binding_garbage_and_truncated_messages_are_malformed() {
        for first in [
            "p=tls-unique,,n=,r=abc",
            "",
            "n,,",
            "n,,n=",
            "n,,n=,r=",
            "n,a=x,n=,r=a",
        ] {
            let server = ScramServer::new(verifier("x"));
            assert!(
                server
                    .challenge(first.as_bytes(), Binding::NotOffered)
                    .is_err(),
                "{first}"
            );
        }
        for last in ["", "c=biws", "c=biws,r=abc,p=AA", "p="] {
            let server = ScramServer::new(verifier("x"));
            let challenge = server
                .challenge(b"n,,n=,r=abc", Binding::NotOffered)
                .unwrap();
            assert!(challenge.check(last.as_bytes()).is_err(), "{last}");
        }
    }
}
