//! The server's side of a client's log-in.
//!
//! For `mysql_native_password` the stored hash is read from the server; the client's proof is
//! checked against it and reveals the key that opens the servers. For `caching_sha2_password` the
//! client gives the password itself, over TLS or under a key of ours, unless we know it from an
//! earlier log-in and its proof is right; for `sha256_password` it always does. What is wrong with a password that we cannot check, an
//! account that is locked or expired, or too many connections, is the server's business: it refuses
//! our log-in, and the client gets its very words.

use std::collections::HashMap;

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;

use super::accounts::{self, Account};
use super::face::Face;
use super::fatal::Fatal;
use super::limits::{PASSWORD_BYTES_MAX, REMEMBERED_MAX};
use super::relay::{PasswordLearning, Relay};
use super::servers::Common;
use super::startup::{Startup, default_plugin};
use crate::wire::auth::caching_sha2::{self, Sha2Hash, Sha2Key};
use crate::wire::auth::native::{self, NativeHash, NativeKey};
use crate::wire::auth::{SHA256_PLUGIN, new_scramble};
use crate::wire::handshake::{AUTH_MORE_DATA, AuthSwitch, Scramble};
use crate::wire::{Capabilities, Credential, Secret};

/// Passwords of users that logged in, for the fast way: in memory only.
#[derive(Debug, Default)]
pub(super) struct Remembered(Mutex<HashMap<Bytes, (Sha2Hash, Secret)>>);

impl Remembered {
    fn get(&self, user: &Bytes) -> Option<(Sha2Hash, Secret)> {
        self.0.lock().get(user).cloned()
    }

    /// Keeps the password of a user that a server let in with it.
    pub(super) fn keep(&self, user: &Bytes, credential: &Credential) {
        let Credential::Password(password) = credential else {
            return;
        };
        let hash = Sha2Key::from_password(password.expose()).hash();
        let mut all = self.0.lock();
        if all.len() < REMEMBERED_MAX || all.contains_key(user) {
            all.insert(user.clone(), (hash, password.clone()));
        }
    }

    /// Forgets the password of a user that a server did not let in with it.
    pub(super) fn forget(&self, user: &Bytes) {
        let forgotten = self.0.lock().remove(user);
        drop(forgotten);
    }
}

/// A client that is not let in yet.
#[derive(Debug)]
pub(super) struct Doorstep<'a> {
    pub(super) relay: &'a Relay,
    pub(super) common: &'a Common,
    pub(super) startup: &'a Startup,
    pub(super) face: Face<'a>,
    /// Where the client is, for the words of a refusal.
    pub(super) host: String,
    /// The challenge of a change of the method, if there was one.
    pub(super) switched: Option<Scramble>,
}

/// A challenge and what came back.
struct Proof {
    scramble: Scramble,
    answer: Bytes,
}

impl Doorstep<'_> {
    /// Gets from the client what opens the servers.
    pub(super) async fn authenticate(&mut self) -> Result<Credential, Fatal> {
        let user = self.startup.user_name();
        match accounts::find(self.relay, self.common, &user).await? {
            Account::Native(hash) if self.learns_passwords() => self.learn(&hash).await,
            Account::Native(hash) => self.native(&hash).await,
            Account::Sha2 => self.sha2(None).await,
            Account::Sha256 => self.sha256().await,
            Account::NoPassword => self.no_password().await,
            Account::Foreign(plugin) => Err(Fatal::plugin(&user, &plugin)),
            Account::Unknown => Err(self.refuse().await),
        }
    }

    /// Whether passwords of native accounts are to be learnt: the other server has no such method
    /// and needs the password itself.
    fn learns_passwords(&self) -> bool {
        let needed = |version: crate::version::ServerVersion| version.is_mysql_at_least(9, 0, 0);
        self.relay.password_learning() == PasswordLearning::WhenNeeded
            && self.common.other.is_some_and(needed)
    }

    async fn native(&mut self, hash: &NativeHash) -> Result<Credential, Fatal> {
        if let Some(key) = self.known_proof(hash) {
            return Ok(Credential::NativeKey(key));
        }
        let proof = self.proof(native::PLUGIN).await?;
        let key = hash.verify(&proof.scramble, &proof.answer);
        key.map(Credential::NativeKey)
            .ok_or_else(|| self.wrong(!proof.answer.is_empty()))
    }

    /// The key of a change of the user whose first answer is right. As servers do, it is taken for an
    /// answer to the challenge of the log-in; libmariadb's clients answer no other one.
    fn known_proof(&self, hash: &NativeHash) -> Option<NativeKey> {
        if self.is_first_answer() || self.startup.plugin.as_deref() != Some(native::PLUGIN) {
            return None;
        }
        let challenge = self.startup.switched.unwrap_or(self.startup.scramble);
        hash.verify(&challenge, &self.startup.answer)
    }

    /// Asks the user of a native account for the password itself.
    async fn learn(&mut self, hash: &NativeHash) -> Result<Credential, Fatal> {
        match self.sha2(Some(hash)).await? {
            Credential::Password(password)
                if NativeKey::from_password(password.expose()).hash() == *hash =>
            {
                Ok(Credential::Password(password))
            }
            other => Err(self.wrong(!matches!(other, Credential::None))),
        }
    }

    async fn no_password(&mut self) -> Result<Credential, Fatal> {
        // Every method has the empty answer for the empty password.
        let plugin = default_plugin(self.common);
        let empty = |answer: &Bytes| answer.is_empty() || answer.as_ref() == [0];
        let answered = self.startup.plugin.is_some() && !self.startup.answer.is_empty();
        let answer = if answered {
            self.startup.answer.clone()
        } else {
            self.proof(plugin).await?.answer
        };
        if empty(&answer) {
            Ok(Credential::None)
        } else {
            Err(self.wrong(true))
        }
    }

    /// `caching_sha2_password`.
    async fn sha2(&mut self, native: Option<&NativeHash>) -> Result<Credential, Fatal> {
        let proof = self.proof(caching_sha2::PLUGIN).await?;
        if proof.answer.is_empty() || proof.answer.as_ref() == [0] {
            return Ok(Credential::None);
        }
        if let Some((hash, password)) = self.relay.remembered.get(&self.startup.user)
            && hash.verify(&proof.scramble, &proof.answer).is_some()
            && native
                .is_none_or(|stored| NativeKey::from_password(password.expose()).hash() == *stored)
        {
            self.more(&[caching_sha2::FAST_AUTH_OK]).await?;
            return Ok(Credential::Password(password));
        }
        let password = self.full(&proof.scramble).await?;
        Ok(Credential::Password(password))
    }

    /// `sha256_password`: the password itself, always. Clients of its time know no other method
    /// that gives it.
    async fn sha256(&mut self) -> Result<Credential, Fatal> {
        let proof = self.proof(SHA256_PLUGIN).await?;
        if proof.answer.is_empty() || proof.answer.as_ref() == [0] {
            return Ok(Credential::None);
        }
        let request = caching_sha2::SHA256_REQUEST_PUBLIC_KEY;
        let password = self.disclosed(&proof, request).await?;
        Ok(Credential::Password(password))
    }

    /// The password itself, after a proof that does not give it.
    async fn full(&mut self, scramble: &Scramble) -> Result<Secret, Fatal> {
        self.more(&[caching_sha2::FULL_AUTH]).await?;
        let proof = Proof {
            scramble: *scramble,
            answer: self.face.receive().await?,
        };
        self.disclosed(&proof, caching_sha2::REQUEST_PUBLIC_KEY)
            .await
    }

    /// The password of an answer, or of the next one when this one asks for our key.
    async fn disclosed(&mut self, proof: &Proof, request: u8) -> Result<Secret, Fatal> {
        let Proof { scramble, answer } = proof;
        let clear = if self.face.socket.is_private() {
            answer.strip_suffix(&[0]).map(<[u8]>::to_vec)
        } else if answer.as_ref() == [request] {
            let keys = self.relay.key_pair()?;
            self.more(keys.public_pem().as_bytes()).await?;
            let sealed = self.face.receive().await?;
            keys.decrypt_password(&sealed, scramble).ok()
        } else {
            // A client that will not send its password in clear, nor ask for a key, says nothing
            // that could be a password.
            None
        };
        clear
            .filter(|password| password.len() <= PASSWORD_BYTES_MAX)
            .and_then(|password| String::from_utf8(password).ok())
            .map(Secret::from)
            .ok_or_else(|| self.wrong(true))
    }

    /// Goes through the motions with a client that cannot be let in.
    async fn refuse(&mut self) -> Fatal {
        let plugin = default_plugin(self.common);
        let proof = match self.proof(plugin).await {
            Ok(proof) => proof,
            Err(fatal) => return fatal,
        };
        if plugin == caching_sha2::PLUGIN && !proof.answer.is_empty() {
            match self.full(&proof.scramble).await {
                Ok(_never) => {}
                Err(fatal) => return fatal,
            }
        }
        self.wrong(!proof.answer.is_empty())
    }

    /// The client's answer by a method: the one it gave already, or after a change of the method.
    async fn proof(&mut self, plugin: &'static str) -> Result<Proof, Fatal> {
        let begun = match self.startup.plugin.as_deref() {
            Some(begun) => begun,
            None => native::PLUGIN,
        };
        if begun == plugin && self.is_first_answer() {
            return Ok(Proof {
                scramble: self.startup.scramble,
                answer: self.startup.answer.clone(),
            });
        }
        let can_switch = self
            .startup
            .capabilities
            .contains(Capabilities::PLUGIN_AUTH);
        if !can_switch {
            return Err(Fatal::old_client());
        }
        let scramble = new_scramble().map_err(|error| Fatal::other(error.to_string()))?;
        let mut payload = BytesMut::new();
        AuthSwitch {
            plugin: plugin.to_owned(),
            data: Bytes::copy_from_slice(&scramble),
        }
        .put(&mut payload);
        self.face.send(&payload).await?;
        self.switched = Some(scramble);
        let answer = self.face.receive().await?;
        Ok(Proof { scramble, answer })
    }

    /// Whether the client's first answer is to the challenge of this log-in: after a
    /// `COM_CHANGE_USER` clients differ in which one they take.
    fn is_first_answer(&self) -> bool {
        self.startup.challenge == super::startup::Challenge::Greeting
    }

    async fn more(&mut self, data: &[u8]) -> Result<(), Fatal> {
        let mut payload = BytesMut::with_capacity(1 + data.len());
        payload.put_u8(AUTH_MORE_DATA);
        payload.put_slice(data);
        self.face.send(&payload).await
    }

    fn wrong(&self, using: bool) -> Fatal {
        Fatal::wrong_password(&self.startup.user_name(), &self.host, using)
    }
}
