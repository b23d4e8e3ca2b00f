//! The md5 method: the stored hash is all that either side needs.

use std::fmt;
use std::fmt::Write;

use md5::{Digest, Md5};
use subtle::ConstantTimeEq;

/// The stored form: `md5` and the hex of md5(password + user).
#[derive(Clone, PartialEq, Eq)]
pub struct Md5Verifier(String);

impl fmt::Debug for Md5Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Md5Verifier(***)")
    }
}

impl Md5Verifier {
    /// Reads the stored form.
    #[must_use]
    pub fn parse(stored: &str) -> Option<Self> {
        let hex = stored.strip_prefix("md5")?;
        let right = hex.len() == 32 && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
        right.then(|| Self(hex.to_ascii_lowercase()))
    }

    /// The stored form of a password.
    #[must_use]
    pub fn of_password(user: &str, password: &str) -> Self {
        let mut hash = Md5::new();
        hash.update(password.as_bytes());
        hash.update(user.as_bytes());
        Self(hex(&hash.finalize()))
    }

    /// What a client answers to `AuthenticationMD5Password` with this salt.
    #[must_use]
    pub fn response(&self, salt: [u8; 4]) -> String {
        let mut hash = Md5::new();
        hash.update(self.0.as_bytes());
        hash.update(salt);
        format!("md5{}", hex(&hash.finalize()))
    }

    /// Whether a client's answer is right, in constant time.
    #[must_use]
    pub fn accepts(&self, response: &[u8], salt: [u8; 4]) -> bool {
        self.response(salt).as_bytes().ct_eq(response).into()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("invariant: writing to a string does not fail");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_response_equals_the_one_of_the_reference_implementation() {
        let salt = [0x2a, 0x3d, 0x8f, 0xe0];
        let verifier = Md5Verifier::of_password("md5_user", "password");
        let reference = postgres_protocol::authentication::md5_hash(b"md5_user", b"password", salt);
        assert_eq!(verifier.response(salt), reference);
        assert!(verifier.accepts(reference.as_bytes(), salt));
        assert!(!verifier.accepts(b"md5", salt));
        assert!(!verifier.accepts(reference.as_bytes(), [0; 4]));
    }

    #[test]
    fn only_the_stored_form_is_read() {
        assert!(Md5Verifier::parse("md50123456789abcdef0123456789ABCDEF").is_some());
        assert!(Md5Verifier::parse("md5012345").is_none());
        assert!(Md5Verifier::parse("0123456789abcdef0123456789abcdef").is_none());
    }
}
