//! `caching_sha2_password`: fast by a proof against SHA256(SHA256(password)), which the server holds
//! in memory only after it saw the password once; else in full, with the password itself over TLS or
//! under the server's public key.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::xor;
use crate::wire::handshake::Scramble;

/// The method's name.
pub const PLUGIN: &str = "caching_sha2_password";

/// The server knows the user and the proof was right.
pub const FAST_AUTH_OK: u8 = 0x03;
/// The server wants the password itself.
pub const FULL_AUTH: u8 = 0x04;
/// The client wants the server's public key.
pub const REQUEST_PUBLIC_KEY: u8 = 0x02;
/// The same in `sha256_password`.
pub const SHA256_REQUEST_PUBLIC_KEY: u8 = 0x01;

/// Bytes of a SHA256.
const HASH_BYTES: usize = 32;

/// SHA256(password): as good as the password for the fast way.
#[derive(Clone, PartialEq, Eq)]
pub struct Sha2Key([u8; HASH_BYTES]);

/// SHA256(SHA256(password)): what a server caches.
#[derive(Clone, PartialEq, Eq)]
pub struct Sha2Hash([u8; HASH_BYTES]);

impl Sha2Key {
    /// The key of a password.
    #[must_use]
    pub fn from_password(password: &str) -> Self {
        Self(Sha256::digest(password).into())
    }

    /// What a server caches for this key.
    #[must_use]
    pub fn hash(&self) -> Sha2Hash {
        Sha2Hash(Sha256::digest(self.0).into())
    }

    /// The answer to a challenge.
    #[must_use]
    pub fn answer(&self, scramble: &Scramble) -> [u8; HASH_BYTES] {
        xor(&self.0, &self.hash().mask(scramble))
    }
}

impl Sha2Hash {
    /// Checks a client's answer; gives the key that it proves.
    #[must_use]
    pub fn verify(&self, scramble: &Scramble, answer: &[u8]) -> Option<Sha2Key> {
        let answer = <[u8; HASH_BYTES]>::try_from(answer).ok()?;
        let key = Sha2Key(xor(&answer, &self.mask(scramble)));
        bool::from(key.hash().0.ct_eq(&self.0)).then_some(key)
    }

    fn mask(&self, scramble: &Scramble) -> [u8; HASH_BYTES] {
        Sha256::new()
            .chain_update(self.0)
            .chain_update(scramble)
            .finalize()
            .into()
    }
}

/// Mixes a password, with the zero byte at its end, and the challenge: what goes under the public
/// key. The same function takes the mix apart again.
#[must_use]
pub fn mix(password: &[u8], scramble: &Scramble) -> Vec<u8> {
    password
        .iter()
        .zip(scramble.iter().cycle())
        .map(|(byte, mask)| byte ^ mask)
        .collect()
}

impl fmt::Debug for Sha2Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha2Key(***)")
    }
}

impl fmt::Debug for Sha2Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha2Hash(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_proof_gives_the_key_and_a_wrong_password_gives_nothing(
            password: String, other: String, scramble: [u8; 20],
        ) {
            let key = Sha2Key::from_password(&password);
            let answer = key.answer(&scramble);
            prop_assert!(key.hash().verify(&scramble, &answer) == Some(key));
            prop_assume!(password != other);
            let wrong = Sha2Key::from_password(&other).hash();
            prop_assert!(wrong.verify(&scramble, &answer).is_none());
        }

        #[test]
        fn a_mix_is_taken_apart_by_mixing_again(password: Vec<u8>, scramble: [u8; 20]) {
            prop_assert_eq!(mix(&mix(&password, &scramble), &scramble), password);
        }
    }
}
