//! `mysql_native_password`: the client proves that it knows SHA1(password), the server stores
//! SHA1(SHA1(password)).
//!
//! Who holds the stored hash and sees one proof can compute SHA1(password), which is as good as
//! the password for this method: that is how a log-in is carried to a second server.

use std::fmt;

use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;

use super::xor;
use crate::wire::handshake::Scramble;

/// The method's name.
pub const PLUGIN: &str = "mysql_native_password";

/// Bytes of a SHA1.
const HASH_BYTES: usize = 20;

/// SHA1(password): as good as the password for this method.
#[derive(Clone, PartialEq, Eq)]
pub struct NativeKey([u8; HASH_BYTES]);

/// SHA1(SHA1(password)): what servers store, `*` and 40 hexadecimal digits there.
#[derive(Clone, PartialEq, Eq)]
pub struct NativeHash(pub [u8; HASH_BYTES]);

impl NativeKey {
    /// The key of a password.
    #[must_use]
    pub fn from_password(password: &str) -> Self {
        Self(Sha1::digest(password).into())
    }

    /// What the server stores for this key.
    #[must_use]
    pub fn hash(&self) -> NativeHash {
        NativeHash(Sha1::digest(self.0).into())
    }

    /// The answer to a challenge.
    #[must_use]
    pub fn answer(&self, scramble: &Scramble) -> [u8; HASH_BYTES] {
        xor(&self.0, &self.hash().mask(scramble))
    }
}

impl NativeHash {
    /// Reads `*` and 40 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('*')?;
        let mut hash = [0; HASH_BYTES];
        if digits.len() != 2 * HASH_BYTES {
            return None;
        }
        for (index, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok()?;
        }
        Some(Self(hash))
    }

    /// Checks a client's answer; gives the key that it proves.
    #[must_use]
    pub fn verify(&self, scramble: &Scramble, answer: &[u8]) -> Option<NativeKey> {
        let answer = <[u8; HASH_BYTES]>::try_from(answer).ok()?;
        let key = NativeKey(xor(&answer, &self.mask(scramble)));
        bool::from(key.hash().0.ct_eq(&self.0)).then_some(key)
    }

    fn mask(&self, scramble: &Scramble) -> [u8; HASH_BYTES] {
        Sha1::new()
            .chain_update(scramble)
            .chain_update(self.0)
            .finalize()
            .into()
    }
}

impl fmt::Debug for NativeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NativeKey(***)")
    }
}

impl fmt::Debug for NativeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NativeHash(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_stored_form_is_that_of_the_server() {
        // SELECT PASSWORD('password') on MySQL 5.6.
        let stored = NativeHash::parse("*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19").unwrap();
        assert!(stored == NativeKey::from_password("password").hash());
        assert!(NativeHash::parse("2470C0").is_none());
        assert!(NativeHash::parse(&format!("*{}", "é".repeat(20))).is_none());
        assert!(!format!("{stored:?}").contains("24"));
    }

    proptest! {
        #[test]
        fn a_proof_gives_the_key_and_a_wrong_password_gives_nothing(
            password: String, other: String, scramble: [u8; 20],
        ) {
            let key = NativeKey::from_password(&password);
            let answer = key.answer(&scramble);
            let proven = key.hash().verify(&scramble, &answer);
            prop_assert!(proven == Some(key));
            prop_assume!(password != other);
            let wrong = NativeKey::from_password(&other).hash();
            prop_assert!(wrong.verify(&scramble, &answer).is_none());
        }

        #[test]
        fn random_answers_never_panic(answer: Vec<u8>, text: String, scramble: [u8; 20]) {
            let hash = NativeKey::from_password("x").hash();
            prop_assert!(hash.verify(&scramble, &answer).is_none());
            let _parsed = NativeHash::parse(&text);
        }
    }
}
