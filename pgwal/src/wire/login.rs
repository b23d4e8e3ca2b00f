//! The frontend's side of a log-in.

use bytes::{Bytes, BytesMut};
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

use super::auth::AuthError;
use super::auth::md5::Md5Verifier;
use super::auth::scram::{MECHANISM, ScramClient, ScramClientProof, ScramKeys};
use super::backend::Authentication;
use super::frontend;
use router::Secret;

/// What we can answer a server's authentication request with.
#[derive(Debug, Clone)]
pub enum Credential {
    /// Nothing: only `trust` and the like let us in.
    None,
    /// The password itself.
    Password(Secret),
    /// The stored md5 hash, which is as good as the password for md5.
    Md5Verifier(Md5Verifier),
    /// The keys recovered from a client's proof, which are as good as the password for SCRAM.
    ScramKeys(ScramKeys),
}

impl Credential {
    /// The password of an endpoint, if it has one.
    #[must_use]
    pub fn from_password(password: Option<&Secret>) -> Self {
        password.map_or(Self::None, |password| Self::Password(password.clone()))
    }

    fn known(&self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::Password(_) => "a password",
            Self::Md5Verifier(_) => "an md5 hash",
            Self::ScramKeys(_) => "a pair of SCRAM keys",
        }
    }
}

/// A log-in in progress: takes the server's requests, writes the answers.
pub(super) struct Login<'a> {
    user: &'a str,
    credential: &'a Credential,
    exchange: Exchange,
}

/// How far a SASL exchange has come.
enum Exchange {
    /// No exchange was begun.
    None,
    /// By password, in the hands of `postgres-protocol`.
    Password(Box<ScramSha256>),
    /// By keys, our first message is out.
    Keys(ScramClient),
    /// By keys, our proof is out.
    Proven(ScramClientProof),
    /// The server proved itself.
    Done,
}

impl<'a> Login<'a> {
    pub(super) fn new(user: &'a str, credential: &'a Credential) -> Self {
        Self {
            user,
            credential,
            exchange: Exchange::None,
        }
    }

    /// Takes one request; writes what to answer. `true` when the server let us in.
    pub(super) fn answer(
        &mut self,
        request: Authentication,
        out: &mut BytesMut,
    ) -> Result<bool, AuthError> {
        match request {
            Authentication::Ok => return self.finished(),
            Authentication::CleartextPassword => return Err(AuthError::CleartextRefused),
            Authentication::Md5Password(salt) => self.md5(salt, out)?,
            Authentication::Sasl(mechanisms) => self.begin(&mechanisms, out)?,
            Authentication::SaslContinue(data) => self.prove(&data, out)?,
            Authentication::SaslFinal(data) => self.verify(&data)?,
            Authentication::Other(code) => {
                return Err(AuthError::Unsupported(format!(
                    "authentication method {code}"
                )));
            }
        }
        Ok(false)
    }

    /// `AuthenticationOk` in the middle of an exchange would let an impostor skip its own proof.
    fn finished(&self) -> Result<bool, AuthError> {
        match self.exchange {
            Exchange::None | Exchange::Done => Ok(true),
            Exchange::Password(_) | Exchange::Keys(_) | Exchange::Proven(_) => {
                Err(AuthError::ServerNotProven)
            }
        }
    }

    fn md5(&self, salt: [u8; 4], out: &mut BytesMut) -> Result<(), AuthError> {
        let response = match self.credential {
            Credential::None => return Err(AuthError::PasswordRequired),
            Credential::Password(password) => {
                Md5Verifier::of_password(self.user, password.expose()).response(salt)
            }
            Credential::Md5Verifier(hash) => hash.response(salt),
            Credential::ScramKeys(_) => return Err(self.wrong_material("md5")),
        };
        frontend::password_message(response.as_bytes(), out)
            .map_err(|_long| AuthError::Malformed("the md5 response"))
    }

    fn begin(&mut self, mechanisms: &[String], out: &mut BytesMut) -> Result<(), AuthError> {
        if !mechanisms.iter().any(|mechanism| mechanism == MECHANISM) {
            return Err(AuthError::Unsupported(format!("SASL with {mechanisms:?}")));
        }
        let first = match self.credential {
            Credential::None => return Err(AuthError::PasswordRequired),
            Credential::Md5Verifier(_) => return Err(self.wrong_material(MECHANISM)),
            Credential::Password(password) => {
                let binding = ChannelBinding::unsupported();
                let scram = ScramSha256::new(password.expose().as_bytes(), binding);
                let first = Bytes::copy_from_slice(scram.message());
                self.exchange = Exchange::Password(Box::new(scram));
                first
            }
            Credential::ScramKeys(keys) => {
                let scram = ScramClient::new(keys.clone())?;
                let first = Bytes::from(scram.first_message());
                self.exchange = Exchange::Keys(scram);
                first
            }
        };
        frontend::sasl_initial_response(MECHANISM, &first, out)
            .map_err(|_long| AuthError::Malformed("our first message"))
    }

    fn prove(&mut self, data: &Bytes, out: &mut BytesMut) -> Result<(), AuthError> {
        let malformed = AuthError::Malformed("the server's first message");
        match std::mem::replace(&mut self.exchange, Exchange::None) {
            Exchange::Password(mut scram) => {
                scram.update(data).map_err(|_bad| malformed.clone())?;
                frontend::sasl_response(scram.message(), out).map_err(|_long| malformed)?;
                self.exchange = Exchange::Password(scram);
            }
            Exchange::Keys(scram) => {
                let proof = scram.prove(data)?;
                frontend::sasl_response(proof.message.as_bytes(), out)
                    .map_err(|_long| malformed)?;
                self.exchange = Exchange::Proven(proof);
            }
            Exchange::None | Exchange::Proven(_) | Exchange::Done => return Err(malformed),
        }
        Ok(())
    }

    fn verify(&mut self, data: &Bytes) -> Result<(), AuthError> {
        match std::mem::replace(&mut self.exchange, Exchange::Done) {
            Exchange::Password(mut scram) => scram
                .finish(data)
                .map_err(|_bad| AuthError::ServerNotProven),
            Exchange::Proven(proof) => proof.finish(data),
            Exchange::None | Exchange::Keys(_) | Exchange::Done => {
                Err(AuthError::Malformed("a final message out of turn"))
            }
        }
    }

    fn wrong_material(&self, asked: &'static str) -> AuthError {
        AuthError::WrongMaterial {
            asked,
            known: self.credential.known(),
        }
    }
}
