//! `COM_CHANGE_USER`: another log-in on the same connection of the client.
//!
//! It is done by a new connection to the server, which leaves nothing of the old session, as the
//! command wants it. What becomes of a session whose wish is refused is the server's way: MySQL
//! ends it, MariaDB lets it go on as the old user with nothing left of its state, and after the
//! third refusal does not listen any more.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::super::command::code;
use super::super::face::Face;
use super::super::fatal::Fatal;
use super::super::limits::{GOODBYE_TIMEOUT, REFUSED_USERS_MAX};
use super::super::login::Doorstep;
use super::super::packet;
use super::super::serve::{open_leg, put_ok};
use super::super::startup::Startup;
use super::super::state::Reading;
use super::{Session, close};
use crate::version::{Flavour, ServerVersion};
use crate::wire::{Conn, Credential, Socket};

/// What lets a client in: the account's password, and a connection that it opened.
struct Admission {
    credential: Credential,
    conn: Conn,
}

impl Session {
    /// Logs the client in anew.
    pub(super) async fn change_user(&mut self, payload: &Bytes) -> Result<(), Fatal> {
        if self.refused_users >= REFUSED_USERS_MAX {
            Fatal::unknown_command().write(1, self.pump.tell_client());
            return Ok(());
        }
        let malformed = |_bad| Fatal::malformed("Malformed communication packet");
        let startup = self
            .identity
            .startup
            .change_user(payload)
            .map_err(malformed)?;
        self.settle_preparation().await;
        self.drop_twin().await;
        let mut sequence = 1;
        let admitted = self.admit_anew(&startup, &mut sequence).await;
        self.pump.set_sequence(sequence);
        match admitted {
            Ok(admission) => {
                let out = self.pump.tell_client();
                put_ok(&startup, &admission.conn, Bytes::new(), sequence, out);
                self.become_user(startup, admission).await;
                Ok(())
            }
            Err(fatal) if self.stays_after(&fatal) => {
                self.refused_users += 1;
                fatal.write(sequence, self.pump.tell_client());
                self.forget_all().await
            }
            Err(fatal) => Err(fatal),
        }
    }

    async fn admit_anew(
        &mut self,
        startup: &Startup,
        sequence: &mut u8,
    ) -> Result<Admission, Fatal> {
        let relay = Arc::clone(&self.relay);
        // A session in a transaction holds a permit already.
        let side = match self.gate.try_enter() {
            Ok(side) => side,
            Err(_held) => self.pump.side(),
        };
        // The server may be another one than at the log-in.
        self.identity.common = relay.servers.common(&relay).await?;
        let doorstep = async {
            let mut doorstep = Doorstep {
                relay: &relay,
                common: &self.identity.common,
                startup,
                host: self.entry.client.ip().to_string(),
                face: Face {
                    socket: self.pump.client(),
                    sequence,
                },
                switched: None,
            };
            doorstep.authenticate().await
        };
        let authenticated = timeout(relay.login_timeout(), doorstep).await;
        let credential = authenticated.map_err(|_elapsed| Fatal::too_late())??;
        match open_leg(&relay, side, startup, &credential).await {
            Ok(conn) => {
                relay.remembered.keep(&startup.user, &credential);
                Ok(Admission { credential, conn })
            }
            Err(error) => {
                relay.remembered.forget(&startup.user);
                Err(Fatal::connect(&error))
            }
        }
    }

    async fn become_user(&mut self, startup: Startup, admission: Admission) {
        self.pump.forget_state();
        let side = self.pump.side();
        self.take_server(admission.conn, side).await;
        // What the old connection had locked must be free before the client goes on.
        self.entry.legs.lock().retired = None;
        if let Some(mut old) = self.retired.take() {
            give_back(&mut old, self.identity.common.version).await;
            close(old).await;
        }
        self.entry.mark_dirty();
        self.entry
            .rename(startup.user_name(), startup.database_name());
        self.identity.startup = startup;
        self.identity.credential = admission.credential;
        self.reading = Reading::default();
        self.refused_users = 0;
    }

    /// Whether the session goes on as the old user.
    fn stays_after(&self, fatal: &Fatal) -> bool {
        self.identity.common.version.flavour == Flavour::MariaDb && fatal.refuses_log_in()
    }

    /// As MariaDB does when it refuses: nothing is left of the session but its user and database.
    async fn forget_all(&mut self) -> Result<(), Fatal> {
        let leg = self.pump.server();
        let reset = timeout(GOODBYE_TIMEOUT, async {
            ask_plainly(leg, &[code::RESET_CONNECTION]).await?;
            ask_plainly(leg, &query("SET NAMES DEFAULT")).await
        });
        match reset.await {
            Ok(Ok(())) => {
                self.pump.forget_state();
                self.pump.nothing_is_open();
                self.entry.mark_dirty();
                Ok(())
            }
            Ok(Err(_gone)) => Err(Fatal::ServerGone),
            Err(_elapsed) => Err(Fatal::too_late()),
        }
    }
}

/// Has a server that is left give back what the session holds, before others can notice that it
/// is gone: a server that is told goodbye does so by and by.
async fn give_back(server: &mut Socket, version: ServerVersion) {
    let resets = version.is_mysql_at_least(5, 7, 3) || version.is_mariadb_at_least(10, 2, 4);
    let given = async {
        if resets {
            return ask_plainly(server, &[code::RESET_CONNECTION]).await;
        }
        // The one lock that a session can have there is given back for another.
        for sql in ["ROLLBACK", "UNLOCK TABLES", "DO GET_LOCK('pointsman', 0)"] {
            ask_plainly(server, &query(sql)).await?;
        }
        Ok(())
    };
    match timeout(GOODBYE_TIMEOUT, given).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a server was gone before its session"),
        Err(_elapsed) => tracing::debug!("a server does not give back what a session had"),
    }
}

fn query(sql: &str) -> Vec<u8> {
    [&[code::QUERY], sql.as_bytes()].concat()
}

/// Sends a command that is answered by one packet, and reads that.
async fn ask_plainly(server: &mut Socket, command: &[u8]) -> std::io::Result<()> {
    let mut buffer = BytesMut::new();
    packet::put(command, 0, &mut buffer);
    server.write_all(&buffer).await?;
    server.flush().await?;
    buffer.clear();
    while packet::take(&mut buffer).is_none() {
        if server.read_buf(&mut buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
