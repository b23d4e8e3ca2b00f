//! What a server keeps in `pg_authid.rolpassword`.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::md5::Md5Verifier;

/// A stored password in one of the two forms of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verifier {
    /// `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`
    Scram(ScramVerifier),
    /// `md5` and 32 hex digits.
    Md5(Md5Verifier),
}

/// The parts of a SCRAM verifier.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    /// Rounds of PBKDF2.
    pub iterations: u32,
    /// The salt, base64 as stored.
    pub salt: String,
    /// SHA-256 of the client's key.
    pub stored_key: [u8; 32],
    /// The key by which the server proves itself.
    pub server_key: [u8; 32],
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramVerifier")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

impl Verifier {
    /// Reads `rolpassword`; `None` when it is neither form.
    #[must_use]
    pub fn parse(stored: &str) -> Option<Self> {
        if let Some(hash) = Md5Verifier::parse(stored) {
            return Some(Self::Md5(hash));
        }
        ScramVerifier::parse(stored).map(Self::Scram)
    }
}

impl ScramVerifier {
    fn parse(stored: &str) -> Option<Self> {
        let rest = stored.strip_prefix("SCRAM-SHA-256$")?;
        let (head, keys) = rest.split_once('$')?;
        let (iterations, salt) = head.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        STANDARD.decode(salt).ok()?;
        Some(Self {
            iterations: iterations.parse().ok().filter(|count| *count > 0)?,
            salt: salt.to_owned(),
            stored_key: STANDARD.decode(stored_key).ok()?.try_into().ok()?,
            server_key: STANDARD.decode(server_key).ok()?.try_into().ok()?,
        })
    }
}
