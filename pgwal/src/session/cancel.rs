//! Cancel requests: our own keys, mapped to the present server of the session.
//!
//! The client is given the process id of its first backend, so that it equals the one in its
//! notifications, and a random key of ours: it opens nothing on the servers. A request is passed on
//! only while the session's own query runs, so that a late one hits nothing of ours.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use subtle::ConstantTimeEq;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::limits::CANCEL_TIMEOUT;
use super::registry::{Entry, LegKey, SessionState};
use super::relay::Relay;
use crate::wire::frontend;

/// Bytes of a key for clients of protocol 3.0, and from 3.2 on.
const SHORT_KEY_BYTES: usize = 4;
const LONG_KEY_BYTES: usize = 32;

/// Which sessions the keys that we gave out belong to.
#[derive(Debug, Default)]
pub(super) struct CancelKeys(Mutex<HashMap<i32, Owners>>);

/// Keys that were given out under one process id, and whose they are.
type Owners = Vec<(Bytes, Arc<Entry>)>;

/// A key that is known as long as this lives.
#[derive(Debug)]
pub(super) struct IssuedKey {
    relay: Arc<Relay>,
    pid: i32,
    pub(super) key: Bytes,
}

/// A random key of the length that a protocol version has.
pub(super) fn random_key(protocol: u32) -> Result<Bytes, getrandom::Error> {
    let mut key = [0; LONG_KEY_BYTES];
    getrandom::fill(&mut key)?;
    let length = if protocol >= frontend::PROTOCOL_3_2 {
        LONG_KEY_BYTES
    } else {
        SHORT_KEY_BYTES
    };
    Ok(Bytes::copy_from_slice(key.get(..length).unwrap_or(&key)))
}

impl IssuedKey {
    pub(super) fn new(relay: &Arc<Relay>, entry: &Arc<Entry>, pid: i32, key: Bytes) -> Self {
        let owner = (key.clone(), Arc::clone(entry));
        relay
            .cancel_keys
            .0
            .lock()
            .entry(pid)
            .or_default()
            .push(owner);
        Self {
            relay: Arc::clone(relay),
            pid,
            key,
        }
    }
}

impl Drop for IssuedKey {
    fn drop(&mut self) {
        let mut keys = self.relay.cancel_keys.0.lock();
        if let Some(owners) = keys.get_mut(&self.pid) {
            owners.retain(|(key, _)| *key != self.key);
            if owners.is_empty() {
                keys.remove(&self.pid);
            }
        }
    }
}

impl CancelKeys {
    /// Whose key that is, compared in constant time.
    fn owner(&self, pid: i32, key: &[u8]) -> Option<Arc<Entry>> {
        let keys = self.0.lock();
        let owners = keys.get(&pid)?;
        let owner = owners
            .iter()
            .find(|(issued, _)| bool::from(issued.as_ref().ct_eq(key)))?;
        Some(Arc::clone(&owner.1))
    }
}

/// Handles a client's cancel request. There is never an answer, right or wrong.
pub(super) async fn forward(relay: &Relay, pid: i32, key: &[u8]) {
    let Some(entry) = relay.cancel_keys.owner(pid, key) else {
        tracing::debug!(pid, "a cancel request with an unknown key");
        return;
    };
    let leg = entry.legs.lock().current.clone();
    if entry.state() != SessionState::Active {
        return;
    }
    send(relay, &leg).await;
}

/// Sends a cancel request to the server of a leg and waits until the server has taken it.
pub(super) async fn send(relay: &Relay, leg: &LegKey) {
    match timeout(CANCEL_TIMEOUT, deliver(relay, leg)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, side = %leg.side, "a cancel request did not reach the server");
        }
        Err(_elapsed) => {
            tracing::warn!(side = %leg.side, "the server took too long for a cancel request");
        }
    }
}

async fn deliver(relay: &Relay, leg: &LegKey) -> Result<(), Box<dyn Error + Send + Sync>> {
    let Some(endpoint) = relay.endpoint(leg.side) else {
        return Ok(());
    };
    let mut request = BytesMut::new();
    frontend::cancel_request(leg.pid, &leg.cancel_key, &mut request)?;
    let mut socket = endpoint.connect_socket().await?;
    socket.write_all(&request).await?;
    socket.flush().await?;
    // The server closes when the signal is sent; a client that cancels waits for that.
    let mut rest = [0; 1];
    let _end = socket.read(&mut rest).await?;
    Ok(())
}
