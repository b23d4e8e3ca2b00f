//! The client's side of the authentication.

use bytes::{BufMut, Bytes, BytesMut};
use router::Secret;

use super::auth::caching_sha2::{self, Sha2Key};
use super::auth::native::{self, NativeKey};
use super::auth::{AuthError, SHA256_PLUGIN, rsa};
use super::handshake::{AuthSwitch, Scramble};

/// The method for a password in clear.
const CLEAR_PLUGIN: &str = "mysql_clear_password";

/// What we can answer a server's challenge with.
#[derive(Debug, Clone)]
pub enum Credential {
    /// Nothing: the account has no password.
    None,
    /// The password itself.
    Password(Secret),
    /// What a client's proof gave away, as good as the password for `mysql_native_password`.
    NativeKey(NativeKey),
    /// What a client's proof gave away, as good as the password for the fast way of
    /// `caching_sha2_password`.
    Sha2Key(Sha2Key),
}

impl Credential {
    /// The password of an endpoint, if it has one.
    #[must_use]
    pub fn from_password(password: Option<&Secret>) -> Self {
        match password {
            Some(password) if !password.expose().is_empty() => Self::Password(password.clone()),
            Some(_) | None => Self::None,
        }
    }

    fn known(&self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::Password(_) => "a password",
            Self::NativeKey(_) => "a key for mysql_native_password",
            Self::Sha2Key(_) => "a key for caching_sha2_password",
        }
    }

    fn wrong(&self, asked: &'static str) -> AuthError {
        AuthError::WrongMaterial {
            asked,
            known: self.known(),
        }
    }
}

/// Whether the way to the server can be read by others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Privacy {
    /// TLS or a unix socket: the password may go over it.
    Private,
    /// In clear.
    Clear,
}

/// A method of authentication and how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    /// Our proof is the whole of it.
    Native,
    /// Our proof for the fast way is out.
    Sha2Fast,
    /// We asked for the public key, in either SHA2 method.
    PublicKey,
    /// Everything of ours is out.
    Done,
}

/// A log-in in progress: takes the server's requests, gives the answers.
pub(super) struct Login<'a> {
    credential: &'a Credential,
    privacy: Privacy,
    scramble: Scramble,
    method: Method,
}

impl<'a> Login<'a> {
    /// Begins with the method and the challenge of the greeting. Gives the method for our response
    /// and its first answer; a method that we do not know is answered by one that we do, and the
    /// server then asks for the one it wants.
    pub(super) fn begin(
        credential: &'a Credential,
        privacy: Privacy,
        plugin: &str,
        scramble: Scramble,
    ) -> (Self, &'static str, Bytes) {
        let mut login = Self {
            credential,
            privacy,
            scramble,
            method: Method::Done,
        };
        match login.start(plugin) {
            Ok((plugin, answer)) => (login, plugin, answer),
            Err(_other) => {
                login.method = Method::Done;
                (login, native::PLUGIN, Bytes::new())
            }
        }
    }

    /// Answers a request to change the method.
    pub(super) fn switch(
        &mut self,
        switch: &AuthSwitch,
    ) -> Result<(&'static str, Bytes), AuthError> {
        if let Some(scramble) = switch.scramble() {
            self.scramble = scramble;
        }
        self.start(&switch.plugin)
    }

    /// Answers more data of the method; `None` when there is nothing to say.
    pub(super) fn more(&mut self, data: &[u8]) -> Result<Option<Bytes>, AuthError> {
        match (self.method, data) {
            (Method::Sha2Fast, [caching_sha2::FAST_AUTH_OK]) => {
                self.method = Method::Done;
                Ok(None)
            }
            (Method::Sha2Fast, [caching_sha2::FULL_AUTH]) => {
                let password = self.password(caching_sha2::PLUGIN)?;
                Ok(Some(match self.privacy {
                    Privacy::Private => {
                        self.method = Method::Done;
                        with_zero(password)
                    }
                    Privacy::Clear => {
                        self.method = Method::PublicKey;
                        Bytes::from_static(&[caching_sha2::REQUEST_PUBLIC_KEY])
                    }
                }))
            }
            (Method::PublicKey, key) => {
                let password = self.password(caching_sha2::PLUGIN)?;
                let sealed = rsa::encrypt_password(password, &self.scramble, key)?;
                self.method = Method::Done;
                Ok(Some(sealed.into()))
            }
            (Method::Sha2Fast, _) => Err(AuthError::Malformed(caching_sha2::PLUGIN)),
            (Method::Native, _) => Err(AuthError::Malformed(native::PLUGIN)),
            (Method::Done, _) => Err(AuthError::Malformed("the log-in")),
        }
    }

    fn start(&mut self, plugin: &str) -> Result<(&'static str, Bytes), AuthError> {
        match plugin {
            native::PLUGIN => {
                self.method = Method::Native;
                let answer = match self.credential {
                    Credential::None => Bytes::new(),
                    Credential::Password(password) => {
                        let key = NativeKey::from_password(password.expose());
                        Bytes::copy_from_slice(&key.answer(&self.scramble))
                    }
                    Credential::NativeKey(key) => {
                        Bytes::copy_from_slice(&key.answer(&self.scramble))
                    }
                    Credential::Sha2Key(_) => return Err(self.credential.wrong(native::PLUGIN)),
                };
                Ok((native::PLUGIN, answer))
            }
            caching_sha2::PLUGIN => {
                self.method = Method::Sha2Fast;
                let answer = match self.credential {
                    Credential::None => Bytes::new(),
                    Credential::Password(password) => {
                        let key = Sha2Key::from_password(password.expose());
                        Bytes::copy_from_slice(&key.answer(&self.scramble))
                    }
                    Credential::Sha2Key(key) => Bytes::copy_from_slice(&key.answer(&self.scramble)),
                    Credential::NativeKey(_) => {
                        return Err(self.credential.wrong(caching_sha2::PLUGIN));
                    }
                };
                Ok((caching_sha2::PLUGIN, answer))
            }
            SHA256_PLUGIN => {
                let answer = match (self.credential, self.privacy) {
                    (Credential::None, _) => Bytes::from_static(&[0]),
                    (_, Privacy::Private) => with_zero(self.password(SHA256_PLUGIN)?),
                    (_, Privacy::Clear) => {
                        self.password(SHA256_PLUGIN)?;
                        self.method = Method::PublicKey;
                        let request = [caching_sha2::SHA256_REQUEST_PUBLIC_KEY];
                        return Ok((SHA256_PLUGIN, Bytes::copy_from_slice(&request)));
                    }
                };
                self.method = Method::Done;
                Ok((SHA256_PLUGIN, answer))
            }
            CLEAR_PLUGIN => Err(AuthError::CleartextRefused),
            other => Err(AuthError::Unsupported(other.chars().take(64).collect())),
        }
    }

    fn password(&self, asked: &'static str) -> Result<&'a str, AuthError> {
        match self.credential {
            Credential::Password(password) => Ok(password.expose()),
            Credential::None => Err(AuthError::PasswordRequired),
            Credential::NativeKey(_) | Credential::Sha2Key(_) => Err(self.credential.wrong(asked)),
        }
    }
}

fn with_zero(password: &str) -> Bytes {
    let mut clear = BytesMut::with_capacity(password.len() + 1);
    clear.put_slice(password.as_bytes());
    clear.put_u8(0);
    clear.freeze()
}
