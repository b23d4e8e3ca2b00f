//! Packets to and from a client that is not let in yet. Only what belongs to a packet is read, so
//! that no byte that was sent in clear counts as sent under TLS.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::fatal::Fatal;
use super::limits::LOGIN_PACKET_BYTES_MAX;
use super::packet::{self, HEADER_BYTES, Header};
use super::tls::ListenerTls;
use crate::wire::Socket;

/// A client that has no session yet.
#[derive(Debug)]
pub(super) struct Guest {
    /// `None` after a TLS handshake that failed.
    pub(super) socket: Option<Socket>,
    /// The number of the next packet.
    pub(super) sequence: u8,
    /// What it saw as ours, once it is in TLS.
    pub(super) tls: Option<Arc<ListenerTls>>,
}

impl Guest {
    pub(super) fn face(&mut self) -> Result<Face<'_>, Fatal> {
        Ok(Face {
            socket: self.socket.as_mut().ok_or(Fatal::ClientGone)?,
            sequence: &mut self.sequence,
        })
    }

    /// Goes on under TLS.
    pub(super) async fn upgrade(&mut self, tls: Arc<ListenerTls>) -> Result<(), Fatal> {
        let Some(Socket::Tcp(stream)) = self.socket.take() else {
            return Err(Fatal::ClientGone);
        };
        self.socket = Some(tls.accept(stream).await?);
        self.tls = Some(tls);
        Ok(())
    }
}

/// A client, and the number of the next packet.
#[derive(Debug)]
pub(super) struct Face<'a> {
    pub(super) socket: &'a mut Socket,
    pub(super) sequence: &'a mut u8,
}

impl Face<'_> {
    /// Sends a packet.
    pub(super) async fn send(&mut self, payload: &[u8]) -> Result<(), Fatal> {
        let mut frame = BytesMut::new();
        packet::put(payload, *self.sequence, &mut frame);
        *self.sequence = self.sequence.wrapping_add(1);
        let sent = async {
            self.socket.write_all(&frame).await?;
            self.socket.flush().await
        };
        sent.await.map_err(|_gone| Fatal::ClientGone)
    }

    /// Reads a packet, with the number that is due.
    pub(super) async fn receive(&mut self) -> Result<Bytes, Fatal> {
        let mut header = [0; HEADER_BYTES];
        let read = self.socket.read_exact(&mut header).await;
        read.map_err(|_gone| Fatal::ClientGone)?;
        let header = Header::peek(&header).ok_or(Fatal::ClientGone)?;
        if header.length > LOGIN_PACKET_BYTES_MAX {
            return Err(Fatal::bad_handshake());
        }
        if header.sequence != *self.sequence {
            return Err(Fatal::out_of_order());
        }
        *self.sequence = self.sequence.wrapping_add(1);
        let length = usize::try_from(header.length).unwrap_or_default();
        let mut payload = BytesMut::zeroed(length);
        let read = self.socket.read_exact(&mut payload).await;
        read.map_err(|_gone| Fatal::ClientGone)?;
        Ok(payload.freeze())
    }
}
