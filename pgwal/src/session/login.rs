//! The server's side of a client's log-in.
//!
//! The stored verifier is read from the operator's file, or from the server by a connection of ours; the client's proof is
//! checked against it, and reveals the key with which we log in to the servers as that user. What
//! we cannot check ourselves (no password, no such user) is left to the server: if it lets the user
//! in without a password, so do we; if it asks for one, the client gets the same futile exchange
//! that the server would have given it. `VALID UNTIL`, `pg_hba.conf` and connection limits are the
//! server's business anyway: it refuses our log-in, and the client gets its very words.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::fatal::Fatal;
use super::relay::Relay;
use super::users::UserSecret;
use crate::wire::auth::md5::Md5Verifier;
use crate::wire::auth::scram::{Binding, MECHANISM, MECHANISM_PLUS, ScramServer};
use crate::wire::auth::{AuthError, Verifier};
use crate::wire::limits::LOGIN_MESSAGE_BYTES_MAX;
use crate::wire::{Credential, Fields, Socket, backend, frame};

/// A client that is not let in yet.
#[derive(Debug)]
pub(super) struct Doorstep<'a> {
    pub(super) relay: &'a Relay,
    pub(super) user: &'a str,
    /// What the client may bind its exchange to.
    pub(super) binding: Option<&'a [u8]>,
    pub(super) socket: &'a mut Socket,
    pub(super) buffer: &'a mut BytesMut,
    /// Written with the next message.
    pub(super) out: &'a mut BytesMut,
}

impl Doorstep<'_> {
    /// Checks the client, when there is a verifier to check it by. Otherwise
    /// [`Credential::None`]: the server decides.
    pub(super) async fn authenticate(&mut self) -> Result<Credential, Fatal> {
        match self.relay.users().and_then(|users| users.find(self.user)) {
            Some(UserSecret::Verifier(verifier)) => return self.check(verifier).await,
            Some(UserSecret::Password { password, verifier }) => {
                self.check(verifier).await?;
                return Ok(Credential::Password(password));
            }
            None => {}
        }
        let stored = self.relay.verifiers.find(self.relay, self.user).await?;
        match stored.as_deref().and_then(Verifier::parse) {
            Some(verifier) => self.check(verifier).await,
            None => Ok(Credential::None),
        }
    }

    async fn check(&mut self, verifier: Verifier) -> Result<Credential, Fatal> {
        match verifier {
            Verifier::Scram(verifier) => self.scram(ScramServer::new(verifier)).await,
            Verifier::Md5(hash) => self.md5(hash).await,
        }
    }

    /// Goes through the motions with a client that cannot be let in.
    pub(super) async fn refuse(&mut self) -> Fatal {
        let seed = self.relay.mock_seed;
        match self.scram(ScramServer::mock(self.user, &seed)).await {
            Ok(_never) => Fatal::wrong_password(self.user),
            Err(fatal) => fatal,
        }
    }

    async fn scram(&mut self, server: ScramServer) -> Result<Credential, Fatal> {
        let offered: &[&str] = match self.binding {
            Some(_) => &[MECHANISM_PLUS, MECHANISM],
            None => &[MECHANISM],
        };
        backend::authentication_sasl(offered, self.out);
        let first = self.next().await?;
        let (mechanism, data) = initial_response(&first)?;
        let binding = match (mechanism, self.binding) {
            (MECHANISM_PLUS, Some(end_point)) => Binding::Bound(end_point.to_vec()),
            (MECHANISM, Some(_)) => Binding::Declined,
            (MECHANISM, None) => Binding::NotOffered,
            (_, _) => {
                return Err(Fatal::protocol(
                    "client selected an invalid SASL authentication mechanism",
                ));
            }
        };
        let challenge = server
            .challenge(data, binding)
            .map_err(|error| self.failed(&error))?;
        backend::authentication_sasl_continue(&challenge.message, self.out);
        let last = self.next().await?;
        let success = challenge
            .check(&last)
            .map_err(|error| self.failed(&error))?;
        backend::authentication_sasl_final(&success.message, self.out);
        Ok(Credential::ScramKeys(success.keys))
    }

    async fn md5(&mut self, hash: Md5Verifier) -> Result<Credential, Fatal> {
        let mut salt = [0; 4];
        getrandom::fill(&mut salt).map_err(|_none| self.failed(&AuthError::NoRandom))?;
        backend::authentication_md5(salt, self.out);
        let response = self.next().await?;
        let response = Fields::new(&response)
            .string()
            .map_err(|_bad| Fatal::protocol("invalid password packet size"))?;
        if hash.accepts(response, salt) {
            Ok(Credential::Md5Verifier(hash))
        } else {
            Err(Fatal::wrong_password(self.user))
        }
    }

    /// Sends what is to be sent and reads the client's answer.
    async fn next(&mut self) -> Result<Bytes, Fatal> {
        let sent = async {
            self.socket.write_all(self.out).await?;
            self.socket.flush().await
        };
        sent.await.map_err(|_gone| Fatal::ClientGone)?;
        self.out.clear();
        loop {
            let message = frame::take(self.buffer, LOGIN_MESSAGE_BYTES_MAX)
                .map_err(|_bad| Fatal::protocol("invalid message during the log-in"))?;
            match message {
                Some(message) if message.tag == b'p' => return Ok(message.body),
                Some(message) => {
                    let tag = frame::show_tag(message.tag);
                    return Err(Fatal::protocol(format!(
                        "expected a password response, got message type {tag}"
                    )));
                }
                None => {}
            }
            let read = self.socket.read_buf(self.buffer).await;
            if read.map_err(|_gone| Fatal::ClientGone)? == 0 {
                return Err(Fatal::ClientGone);
            }
        }
    }

    fn failed(&self, error: &AuthError) -> Fatal {
        match error {
            AuthError::WrongProof => Fatal::wrong_password(self.user),
            AuthError::Malformed(_) => Fatal::protocol(error.to_string()),
            AuthError::NoRandom
            | AuthError::PasswordRequired
            | AuthError::CleartextRefused
            | AuthError::WrongMaterial { .. }
            | AuthError::Unsupported(_)
            | AuthError::TooManyIterations(_)
            | AuthError::ServerNotProven => Fatal::new("28000", error.to_string()),
        }
    }
}

/// Takes a `SASLInitialResponse` apart.
fn initial_response(body: &Bytes) -> Result<(&str, &[u8]), Fatal> {
    let malformed = |_bad| Fatal::protocol("malformed SASLInitialResponse");
    let mut fields = Fields::new(body);
    let mechanism = fields.string().map_err(malformed)?;
    let mechanism = std::str::from_utf8(mechanism).unwrap_or_default();
    let length = usize::try_from(fields.i32().map_err(malformed)?)
        .map_err(|_negative| Fatal::protocol("the initial SASL response is empty"))?;
    let data = fields.bytes(length).map_err(malformed)?;
    if fields.is_empty() {
        Ok((mechanism, data))
    } else {
        Err(Fatal::protocol("malformed SASLInitialResponse"))
    }
}
