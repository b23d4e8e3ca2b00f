//! The methods of authentication: what both sides compute. No input or output here; the client's
//! course of a log-in is in `login`, the server's in the session.

pub mod caching_sha2;
pub mod native;
pub mod rsa;

/// The method of MySQL 5.6, with RSA or TLS; like the full way of `caching_sha2_password`.
pub const SHA256_PLUGIN: &str = "sha256_password";

/// A log-in that cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The server wants a password and we have none.
    #[error("the server asks for a password and none is known")]
    PasswordRequired,
    /// The server wants the password in clear.
    #[error(
        "the server asks for the password in clear text (mysql_clear_password), which pointsman never sends; use an account with caching_sha2_password or mysql_native_password"
    )]
    CleartextRefused,
    /// What we hold does not fit the method that the server asks for.
    #[error("the server asks for {asked} but only {known} is known for this user")]
    WrongMaterial {
        /// The method.
        asked: &'static str,
        /// What we hold.
        known: &'static str,
    },
    /// A method we do not know.
    #[error(
        "the server asks for the authentication plugin {0}, which is not supported; use an account with caching_sha2_password or mysql_native_password"
    )]
    Unsupported(String),
    /// The server's packet does not fit the method.
    #[error("the server broke off {0}: its packet does not fit the method")]
    Malformed(&'static str),
    /// The server asks again and again.
    #[error("the server keeps asking and neither accepts nor refuses")]
    Endless,
    /// The public key cannot be used.
    #[error("the server's public key for the password cannot be used")]
    BadPublicKey,
    /// The encrypted password cannot be read.
    #[error("the encrypted password cannot be read")]
    BadCiphertext,
    /// The server is too old.
    #[error("the server does not speak the protocol that MySQL has since 5.5")]
    OldProtocol,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandom,
}

/// A challenge for a client: random bytes without zero and `$`, as the servers make them.
///
/// # Errors
/// The system gives no random bytes.
pub fn new_scramble() -> Result<super::handshake::Scramble, AuthError> {
    let mut scramble = super::handshake::Scramble::default();
    getrandom::fill(&mut scramble).map_err(|_failed| AuthError::NoRandom)?;
    for byte in &mut scramble {
        *byte &= 0x7f;
        if *byte == 0 || *byte == b'$' {
            *byte += 1;
        }
    }
    Ok(scramble)
}

fn xor<const N: usize>(left: &[u8; N], right: &[u8; N]) -> [u8; N] {
    let mut result = *left;
    for (byte, other) in result.iter_mut().zip(right) {
        *byte ^= other;
    }
    result
}
