//! One client from its first byte to its last.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use router::{Gate, Side};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::face::Guest;
use super::fatal::Fatal;
use super::limits::REQUESTS_MAX;
use super::login::Doorstep;
use super::packet;
use super::pump::{Beginning, Present, Pump};
use super::registry::{Entry, LegKey, NewEntry, SessionId};
use super::relay::Relay;
use super::servers::Common;
use super::session::{Identity, Session};
use super::startup::{self, Startup};
use super::tls::ListenerTls;
use crate::version::Flavour;
use crate::wire::response::{OK, OkPacket};
use crate::wire::{Conn, ConnectError, Credential, Socket};

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
    let guest = Guest {
        socket: Some(Socket::Tcp(client)),
        sequence: 0,
        tls: None,
    };
    if !relay.count_in() {
        let fatal = Fatal::too_many_clients();
        let client = say_goodbye(guest.socket, BytesMut::new(), &fatal, 0).await;
        let_go(client).await;
        return;
    }
    let _counted = Counted(Arc::clone(&relay));
    let mut arrival = Arrival {
        id: relay.registry.next_id(),
        gate: Gate::new(relay.switch(), shard),
        guest,
        address,
        relay,
    };
    match Box::pin(arrival.log_in()).await {
        Ok(admitted) => Box::pin(arrival.run(admitted)).await,
        Err(fatal) => {
            let Guest {
                socket, sequence, ..
            } = arrival.guest;
            let client = say_goodbye(socket, BytesMut::new(), &fatal, sequence).await;
            let_go(client).await;
        }
    }
}

/// A client before its session begins.
#[derive(Debug)]
struct Arrival {
    id: SessionId,
    guest: Guest,
    address: SocketAddr,
    relay: Arc<Relay>,
    gate: Gate,
}

/// A client that is let in on both legs.
#[derive(Debug)]
struct Admitted {
    startup: Startup,
    common: Common,
    credential: Credential,
    conn: Conn,
    side: Side,
}

impl Arrival {
    /// Greeting and log-in on both legs.
    async fn log_in(&mut self) -> Result<Admitted, Fatal> {
        let relay = Arc::clone(&self.relay);
        let common = relay.servers.common(&relay).await?;
        let opening = async {
            let id = self.id.connection_id();
            let startup = startup::open(&mut self.guest, &relay, &common, id).await?;
            let mut doorstep = Doorstep {
                relay: &relay,
                common: &common,
                startup: &startup,
                host: self.address.ip().to_string(),
                face: self.guest.face()?,
                switched: None,
            };
            let credential = doorstep.authenticate().await?;
            let switched = doorstep.switched;
            let startup = Startup {
                switched,
                ..startup
            };
            Ok::<_, Fatal>((startup, credential))
        };
        let (startup, credential) = timeout(relay.login_timeout(), opening)
            .await
            .map_err(|_elapsed| Fatal::too_late())??;
        let side = self.wait_for_release().await?;
        match open_leg(&relay, side, &startup, &credential).await {
            // The permit is kept until the session is in the registry: a fence that goes up before
            // would not know its server connection for one of ours, and end it.
            Ok(conn) => {
                relay.remembered.keep(&startup.user, &credential);
                Ok(Admitted {
                    startup,
                    common,
                    credential,
                    conn,
                    side,
                })
            }
            Err(error) => {
                self.gate.leave();
                relay.remembered.forget(&startup.user);
                tracing::info!(%error, client = %self.address, "a client's log-in failed");
                Err(Fatal::connect(&error))
            }
        }
    }

    /// Takes a permit, so that nobody is still logging in to a server when it is fenced. A client
    /// that leaves while it waits is noticed.
    async fn wait_for_release(&mut self) -> Result<Side, Fatal> {
        if let Ok(side) = self.gate.try_enter() {
            return Ok(side);
        }
        let face = self.guest.face()?;
        let mut early = [0; 1];
        tokio::select! {
            side = self.gate.enter() => Ok(side),
            read = face.socket.read(&mut early) => match read {
                Ok(0) | Err(_) => Err(Fatal::ClientGone),
                Ok(_) => Err(Fatal::out_of_order()),
            },
        }
    }

    /// The session itself.
    async fn run(self, admitted: Admitted) {
        let Admitted {
            startup,
            common,
            credential,
            conn,
            side,
        } = admitted;
        let Guest {
            socket: Some(client),
            sequence,
            tls,
        } = self.guest
        else {
            return;
        };
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let leg = LegKey {
            side,
            id: conn.thread_id(),
        };
        let entry = Arc::new(Entry::new(NewEntry {
            id: self.id,
            client: self.address,
            user: startup.user_name(),
            database: startup.database_name(),
            application: startup.application(),
            leg,
            requests: sender,
        }));
        let mut welcome = BytesMut::new();
        let proof = proof_of_certificate(tls.as_deref(), &common, &startup, &credential);
        put_ok(&startup, &conn, proof, sequence, &mut welcome);
        let pump = Pump::new(Beginning {
            client,
            welcome,
            eof: startup.eof(),
            database: startup.database.clone(),
            local_file: startup.local_file(),
            server: Present::of(conn, side),
            entry: Arc::clone(&entry),
            requests,
            turns: Arc::clone(&self.relay.turns),
        });
        let identity = Identity {
            startup,
            common,
            credential,
        };
        let over = entry.over.clone().drop_guard();
        let session = Session::new(self.relay, entry, self.gate, identity, pump);
        let end = session.run().await;
        let client = say_goodbye(Some(end.client), end.unsent, &end.fatal, end.sequence).await;
        drop(over);
        let_go(client).await;
    }
}

/// Opens a server connection for a client.
pub(super) async fn open_leg(
    relay: &Relay,
    side: Side,
    startup: &Startup,
    credential: &Credential,
) -> Result<Conn, ConnectError> {
    let endpoint = relay
        .endpoint(side)
        .ok_or_else(|| ConnectError::Unreachable {
            endpoint: side.to_string(),
            source: std::io::ErrorKind::NotFound.into(),
        })?;
    let database = relay.database_for(side, startup.database.clone());
    let options = startup.connect_options(database, credential.clone());
    Conn::connect(&endpoint, options).await
}

/// The OK that lets a client in.
pub(super) fn put_ok(
    startup: &Startup,
    conn: &Conn,
    info: Bytes,
    sequence: u8,
    out: &mut BytesMut,
) {
    let ok = OkPacket {
        status: conn.status_flags(),
        info,
        ..OkPacket::default()
    };
    let mut payload = BytesMut::new();
    // What changed is no news: the client asked for it.
    let ok = OkPacket {
        status: crate::wire::StatusFlags(
            ok.status.0 & !crate::wire::StatusFlags::SESSION_STATE_CHANGED.0,
        ),
        ..ok
    };
    ok.put(OK, startup.capabilities, &mut payload);
    packet::put(&payload, sequence, out);
}

/// MariaDB's clients from 11.4 on check a certificate of unknown origin by a proof that the server
/// knows their password: a hash over the stored password, the challenge and the certificate.
fn proof_of_certificate(
    tls: Option<&ListenerTls>,
    common: &Common,
    startup: &Startup,
    credential: &Credential,
) -> Bytes {
    let (Some(tls), Credential::NativeKey(key), Flavour::MariaDb) =
        (tls, credential, common.version.flavour)
    else {
        return Bytes::new();
    };
    let certificate = Sha256::digest(tls.certificate());
    let proof = Sha256::new()
        .chain_update(key.hash().0)
        .chain_update(startup.scramble)
        .chain_update(certificate)
        .finalize();
    let mut info = String::from("\u{1}");
    for byte in proof {
        info.push_str(&format!("{byte:02X}"));
    }
    Bytes::from(info)
}

/// Tells a client why it must go, and that nothing more comes. Gives back the connection, on which the
/// client may still be sending.
async fn say_goodbye(
    client: Option<Socket>,
    mut out: BytesMut,
    fatal: &Fatal,
    sequence: u8,
) -> Option<Socket> {
    let mut client = client.filter(|_| !matches!(fatal, Fatal::ClientGone))?;
    fatal.write(sequence, &mut out);
    let goodbye = async {
        client.write_all(&out).await?;
        client.shutdown().await
    };
    match timeout(GOODBYE_TIMEOUT, goodbye).await {
        Ok(Ok(())) => Some(client),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a client was gone before its goodbye");
            None
        }
        Err(_elapsed) => {
            tracing::debug!("a client did not take its goodbye");
            None
        }
    }
}

/// Gives a client the time to read its goodbye: a socket that is closed with unread bytes in it throws
/// away what was sent.
async fn let_go(client: Option<Socket>) {
    let Some(mut client) = client else {
        return;
    };
    let reading = async {
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
    match timeout(GOODBYE_TIMEOUT, reading).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a client did not read its goodbye"),
        Err(_elapsed) => tracing::debug!("a client does not close its connection"),
    }
}
