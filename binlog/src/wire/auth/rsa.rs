//! The password under a public key: OAEP with SHA1, as MySQL has it since 5.7.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey, PublicEncryptingKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{AuthError, caching_sha2};
use crate::wire::handshake::Scramble;
use crate::wire::limits::PUBLIC_KEY_BYTES_MAX;

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";

/// Characters of a line of a PEM text.
const LINE_CHARS: usize = 64;

/// A password, mixed with the challenge and encrypted for the holder of `public_key` (PEM).
///
/// # Errors
/// The key cannot be read or is too small for the password.
pub fn encrypt_password(
    password: &str,
    scramble: &Scramble,
    public_key: &[u8],
) -> Result<Vec<u8>, AuthError> {
    let key = PublicEncryptingKey::from_der(&der_of(public_key)?)
        .map_err(|_bad| AuthError::BadPublicKey)?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_bad| AuthError::BadPublicKey)?;
    let mut clear = password.as_bytes().to_vec();
    clear.push(0);
    let mixed = caching_sha2::mix(&clear, scramble);
    let mut sealed = vec![0; key.ciphertext_size()];
    let sealed = key
        .encrypt(&OAEP_SHA1_MGF1SHA1, &mixed, &mut sealed, None)
        .map_err(|_bad| AuthError::BadPublicKey)?;
    Ok(sealed.to_vec())
}

fn der_of(pem: &[u8]) -> Result<Vec<u8>, AuthError> {
    let bad = || AuthError::BadPublicKey;
    if pem.len() > PUBLIC_KEY_BYTES_MAX {
        return Err(bad());
    }
    let text = std::str::from_utf8(pem).map_err(|_binary| bad())?;
    let (_before, rest) = text.split_once(BEGIN).ok_or_else(bad)?;
    let (body, _after) = rest.split_once(END).ok_or_else(bad)?;
    let body: String = body.split_ascii_whitespace().collect();
    STANDARD.decode(body).map_err(|_bad| bad())
}

/// A key pair of ours, for clients that log in to us.
pub struct KeyPair {
    private: OaepPrivateDecryptingKey,
    /// The public key in PEM, as clients expect it.
    public_pem: String,
}

impl KeyPair {
    /// Makes a pair of 2048 bits; it takes some ten to hundred milliseconds.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn generate() -> Result<Self, AuthError> {
        let failed = || AuthError::NoRandom;
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).map_err(|_failed| failed())?;
        let der: PublicKeyX509Der<'_> = key.public_key().as_der().map_err(|_failed| failed())?;
        let encoded = STANDARD.encode(der.as_ref());
        let mut public_pem = format!("{BEGIN}\n");
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, more) = rest.split_at(rest.len().min(LINE_CHARS));
            public_pem.push_str(line);
            public_pem.push('\n');
            rest = more;
        }
        public_pem.push_str(END);
        public_pem.push('\n');
        Ok(Self {
            private: OaepPrivateDecryptingKey::new(key).map_err(|_failed| failed())?,
            public_pem,
        })
    }

    /// The public key in PEM.
    #[must_use]
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// The password that [`encrypt_password`] or a client's library encrypted, without the zero
    /// byte at its end.
    ///
    /// # Errors
    /// It was not encrypted for this key and challenge.
    pub fn decrypt_password(
        &self,
        sealed: &[u8],
        scramble: &Scramble,
    ) -> Result<Vec<u8>, AuthError> {
        let mut clear = vec![0; self.private.min_output_size()];
        let clear = self
            .private
            .decrypt(&OAEP_SHA1_MGF1SHA1, sealed, &mut clear, None)
            .map_err(|_bad| AuthError::BadCiphertext)?;
        let mut password = caching_sha2::mix(clear, scramble);
        if password.pop() == Some(0) {
            Ok(password)
        } else {
            Err(AuthError::BadCiphertext)
        }
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_under_our_public_key_is_read_with_the_private_one() {
        let pair = KeyPair::generate().unwrap();
        let scramble = *b"abcdefghijklmnopqrst";
        let pem = pair.public_pem().as_bytes();
        let long = "p".repeat(100);
        for password in ["", "pässword", &long] {
            let sealed = encrypt_password(password, &scramble, pem).unwrap();
            let clear = pair.decrypt_password(&sealed, &scramble).unwrap();
            assert_eq!(clear, password.as_bytes());
        }
        let sealed = encrypt_password("x", &scramble, pem).unwrap();
        let other = *b"zzzzzzzzzzzzzzzzzzzz";
        assert_eq!(
            pair.decrypt_password(&sealed, &other),
            Err(AuthError::BadCiphertext)
        );
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let scramble = *b"abcdefghijklmnopqrst";
        let huge = vec![b'A'; 100_000];
        let texts: [&[u8]; 4] = [
            b"",
            b"\xff\xff",
            &huge,
            b"-----BEGIN PUBLIC KEY-----\nAAAA\n",
        ];
        for text in texts {
            let refused = encrypt_password("x", &scramble, text);
            assert_eq!(refused, Err(AuthError::BadPublicKey));
        }
        let pair = KeyPair::generate().unwrap();
        assert!(pair.decrypt_password(b"short", &scramble).is_err());
        let too_long = "p".repeat(300);
        let refused = encrypt_password(&too_long, &scramble, pair.public_pem().as_bytes());
        assert_eq!(refused, Err(AuthError::BadPublicKey));
    }
}
