//! One client from its first byte to its last.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use router::{Gate, Side};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::cancel::{self, IssuedKey};
use super::fatal::Fatal;
use super::limits::REQUESTS_MAX;
use super::login::Doorstep;
use super::pump::{Beginning, Pump};
use super::registry::{Entry, LegKey, NewEntry};
use super::relay::Relay;
use super::session::{Identity, Session};
use super::startup::{self, Opening, Startup};
use super::tls::ListenerTls;
use crate::wire::auth::AuthError;
use crate::wire::{Conn, ConnectError, Credential, Socket, backend};

/// How long a client may take to read the reason of its end, and what it may still send.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);
const GOODBYE_BYTES_MAX: usize = 1024 * 1024;

/// Counts a client as long as it is there.
#[derive(Debug)]
struct Counted(Arc<Relay>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.count_out();
    }
}

/// Serves one client on the thread of the caller.
pub async fn serve(client: TcpStream, address: SocketAddr, relay: Arc<Relay>) {
    serve_on(client, address, relay, 0).await;
}

pub(super) async fn serve_on(
    client: TcpStream,
    address: SocketAddr,
    relay: Arc<Relay>,
    shard: usize,
) {
    let mut client = Socket::Tcp(client);
    if !relay.count_in() {
        let fatal = Fatal::new("53300", "sorry, too many clients already");
        say_goodbye(&mut client, BytesMut::new(), &fatal).await;
        return;
    }
    let _counted = Counted(Arc::clone(&relay));
    let mut arrival = Arrival {
        gate: Gate::new(relay.switch(), shard),
        client,
        address,
        relay,
        buffer: BytesMut::new(),
        out: BytesMut::new(),
    };
    match Box::pin(arrival.log_in()).await {
        Ok(Some(admitted)) => Box::pin(arrival.run(admitted)).await,
        Ok(None) => {}
        Err(fatal) => say_goodbye(&mut arrival.client, arrival.out, &fatal).await,
    }
}

/// A client before its session begins.
#[derive(Debug)]
struct Arrival {
    client: Socket,
    address: SocketAddr,
    relay: Arc<Relay>,
    gate: Gate,
    buffer: BytesMut,
    out: BytesMut,
}

/// A client that is let in on both legs.
#[derive(Debug)]
struct Admitted {
    startup: Startup,
    credential: Credential,
    conn: Conn,
    side: Side,
}

impl Arrival {
    /// Start-up and log-in on both legs; `None` when the client wanted no session.
    async fn log_in(&mut self) -> Result<Option<Admitted>, Fatal> {
        let relay = Arc::clone(&self.relay);
        let too_late = |_elapsed| Fatal::new("57014", "canceling authentication due to timeout");
        let tls = relay.tls();
        let opening = async {
            let opening = startup::open(&mut self.client, &mut self.buffer, tls.as_deref()).await?;
            let Opening::Session(startup) = opening else {
                return Ok((opening, None));
            };
            startup.negotiate(&mut self.out);
            let credential = self
                .doorstep(startup.user(), tls.as_deref())
                .authenticate()
                .await?;
            Ok((Opening::Session(startup), Some(credential)))
        };
        let (opening, credential) = timeout(relay.login_timeout(), opening)
            .await
            .map_err(too_late)??;
        let (startup, credential) = match (opening, credential) {
            (Opening::Session(startup), Some(credential)) => (startup, credential),
            (Opening::Session(_), None) | (Opening::Gone, _) => return Ok(None),
            (Opening::Cancel { pid, key }, _) => {
                cancel::forward(&relay, pid, &key).await;
                return Ok(None);
            }
        };
        let side = self.wait_for_release().await?;
        let error = match self.connect(side, &startup, &credential).await {
            // The permit is kept until the session is in the registry: a fence that goes up before
            // would not know its server process for one of ours, and end it.
            Ok(conn) => {
                return Ok(Some(Admitted {
                    startup,
                    credential,
                    conn,
                    side,
                }));
            }
            Err(error) => error,
        };
        self.gate.leave();
        if let ConnectError::Auth {
            source: AuthError::PasswordRequired,
            ..
        } = error
        {
            let refuse = async { self.doorstep(startup.user(), tls.as_deref()).refuse().await };
            return Err(timeout(relay.login_timeout(), refuse)
                .await
                .map_err(too_late)?);
        }
        tracing::info!(%error, client = %self.address, "a client's log-in failed");
        Err(Fatal::connect(&error))
    }

    fn doorstep<'a>(&'a mut self, user: &'a str, tls: Option<&'a ListenerTls>) -> Doorstep<'a> {
        let binding = match &self.client {
            Socket::Tls(_) => tls.and_then(ListenerTls::end_point),
            Socket::Tcp(_) | Socket::Unix(_) | Socket::Closed => None,
        };
        Doorstep {
            binding,
            relay: &self.relay,
            user,
            socket: &mut self.client,
            buffer: &mut self.buffer,
            out: &mut self.out,
        }
    }

    /// Takes a permit, so that nobody is still logging in to a server when it is fenced. A client
    /// that leaves while it waits is noticed.
    async fn wait_for_release(&mut self) -> Result<Side, Fatal> {
        if let Ok(side) = self.gate.try_enter() {
            return Ok(side);
        }
        tokio::select! {
            side = self.gate.enter() => Ok(side),
            read = self.client.read_buf(&mut self.buffer) => match read {
                Ok(0) | Err(_) => Err(Fatal::ClientGone),
                Ok(_) => Err(Fatal::protocol("a message was sent before the end of the log-in")),
            },
        }
    }

    async fn connect(
        &self,
        side: Side,
        startup: &Startup,
        credential: &Credential,
    ) -> Result<Conn, ConnectError> {
        let endpoint = self
            .relay
            .endpoint(side)
            .ok_or_else(|| ConnectError::Unreachable {
                endpoint: side.to_string(),
                source: std::io::ErrorKind::NotFound.into(),
            })?;
        let parameters = self.relay.parameters_for(side, startup);
        Conn::connect(&endpoint, &parameters, credential.clone()).await
    }

    /// The session itself.
    async fn run(mut self, admitted: Admitted) {
        let Admitted {
            startup,
            credential,
            conn,
            side,
        } = admitted;
        let Ok(key) = cancel::random_key(startup.protocol) else {
            let fatal = Fatal::new("58000", "the system gives no random bytes");
            say_goodbye(&mut self.client, self.out, &fatal).await;
            return;
        };
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let leg = LegKey {
            side,
            pid: conn.backend_pid(),
            cancel_key: conn.cancel_key().clone(),
        };
        let entry = Arc::new(Entry::new(NewEntry {
            id: self.relay.registry.next_id(),
            client: self.address,
            user: startup.user().to_owned(),
            database: startup.database().to_owned(),
            application: startup.application().to_owned(),
            leg,
            requests: sender,
        }));
        let issued = IssuedKey::new(&self.relay, &entry, conn.backend_pid(), key);
        self.relay.set_custom_settings(startup.custom_settings());
        welcome(&conn, &issued, &mut self.out);
        let parameters = conn.greeting().to_vec();
        let mut pump = Pump::new(Beginning {
            client: self.client,
            client_sent: self.buffer,
            welcome: self.out,
            server: conn.into_parts(),
            side,
            entry: Arc::clone(&entry),
            requests,
            turns: Arc::clone(&self.relay.turns),
        });
        for message in parameters.iter().filter(|message| message.tag == b'S') {
            pump.note_parameter(&message.body);
        }
        let identity = Identity {
            startup,
            credential,
        };
        let session = Session::new(self.relay, entry, self.gate, identity, pump);
        let (mut client, out, fatal) = session.run().await;
        drop(issued);
        say_goodbye(&mut client, out, &fatal).await;
    }
}

/// What a client is told when it is let in.
fn welcome(conn: &Conn, issued: &IssuedKey, out: &mut BytesMut) {
    backend::authentication_ok(out);
    for message in conn.greeting() {
        backend::raw(message.tag, &message.body, out);
    }
    backend::backend_key_data(conn.backend_pid(), &issued.key, out);
    backend::ready_for_query(b'I', out);
}

/// Tells a client why it must go. It is given the time to read it: a socket that is closed with
/// unread bytes in it throws away what was sent.
async fn say_goodbye(client: &mut Socket, mut out: BytesMut, fatal: &Fatal) {
    if matches!(fatal, Fatal::ClientGone) {
        return;
    }
    fatal.write(&mut out);
    let goodbye = async {
        client.write_all(&out).await?;
        client.shutdown().await?;
        let mut unread = BytesMut::with_capacity(4096);
        let mut total = 0;
        while total < GOODBYE_BYTES_MAX {
            unread.clear();
            match client.read_buf(&mut unread).await? {
                0 => break,
                count => total += count,
            }
        }
        Ok::<(), std::io::Error>(())
    };
    match timeout(GOODBYE_TIMEOUT, goodbye).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a client was gone before its goodbye"),
        Err(_elapsed) => tracing::debug!("a client did not read its goodbye"),
    }
}
