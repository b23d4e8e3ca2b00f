//! Reading and writing of the pump: never more than the other side takes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::limits::KEPT_BUFFER_BYTES;
use super::{Flushed, Lane, SCRATCH};
use crate::wire::Socket;

/// Writes as much of the backlog as the socket takes. Ready when all of it is on its way.
pub(super) fn flush_backlog(
    lane: &mut Lane,
    socket: &mut Socket,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while !lane.backlog.is_empty() {
        match Pin::new(&mut *socket).poll_write(cx, &lane.backlog) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(written)) => {
                lane.backlog.advance(written);
                lane.flushed = Flushed::No;
            }
        }
    }
    give_back(&mut lane.backlog);
    if lane.flushed == Flushed::No {
        match Pin::new(socket).poll_flush(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => lane.flushed = Flushed::Yes,
        }
    }
    Poll::Ready(Ok(()))
}

/// Gives back the memory of an empty buffer that had to grow.
pub(super) fn give_back(buffer: &mut BytesMut) {
    if buffer.is_empty() && buffer.capacity() > KEPT_BUFFER_BYTES {
        *buffer = BytesMut::new();
    }
}

/// Reads behind what is already there.
pub(super) fn read_into(
    socket: &mut Socket,
    buffer: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let read = read_scratch(socket, scratch, cx);
        if let Poll::Ready(Ok(count)) = read {
            buffer.extend_from_slice(scratch.get(..count).unwrap_or_default());
        }
        read
    })
}

pub(super) fn read_scratch(
    socket: &mut Socket,
    scratch: &mut [u8],
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut space = ReadBuf::new(scratch);
    match Pin::new(socket).poll_read(cx, &mut space) {
        Poll::Pending => Poll::Pending,
        Poll::Ready(Ok(())) => Poll::Ready(Ok(space.filled().len())),
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
    }
}

/// Writes as much of `bytes` as the socket takes at once; the rest goes to the backlog.
pub(super) fn write_or_keep(
    bytes: &[u8],
    lane: &mut Lane,
    socket: &mut Socket,
    cx: &mut Context<'_>,
) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let written = match Pin::new(socket).poll_write(cx, bytes) {
        Poll::Pending => 0,
        Poll::Ready(written) => written?,
    };
    if written > 0 {
        lane.flushed = Flushed::No;
    }
    lane.backlog
        .extend_from_slice(bytes.get(written..).unwrap_or_default());
    Ok(())
}

/// Steps over what is missing of a frame; the number of bytes that belong to it.
pub(super) fn skip_remaining(remaining: &mut u64, bytes: &[u8]) -> usize {
    let available = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let step = available.min(*remaining);
    *remaining -= step;
    usize::try_from(step).unwrap_or(bytes.len())
}
