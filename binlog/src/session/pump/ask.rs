//! Questions of ours to the session's own server, while it is idle. The client sees nothing of it.

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::super::answer::{Answer, Collector};
use super::super::command::code;
use super::super::fatal::Fatal;
use super::super::limits::{ANSWER_BYTES_MAX, ASK_TIMEOUT};
use super::super::packet;
use super::Pump;
use super::bytes_io::give_back;

/// Bytes that are made room for at once.
const READ_BYTES: usize = 16 * 1024;

impl Pump {
    /// Asks questions in text form, all at once; the answers in their order. Only between two
    /// commands with an idle server.
    pub(in crate::session) async fn ask(
        &mut self,
        questions: &[&str],
    ) -> Result<Vec<Answer>, Fatal> {
        let exchange = Box::pin(self.exchange(questions));
        let answers = timeout(ASK_TIMEOUT, exchange).await;
        give_back(&mut self.down.held);
        answers.unwrap_or_else(|_elapsed| {
            Err(Fatal::other(
                "the server does not answer while the session is moved",
            ))
        })
    }

    async fn exchange(&mut self, questions: &[&str]) -> Result<Vec<Answer>, Fatal> {
        let mut out = BytesMut::new();
        for sql in questions {
            let mut payload = BytesMut::with_capacity(sql.len() + 1);
            payload.put_u8(code::QUERY);
            payload.put_slice(sql.as_bytes());
            packet::put(&payload, 0, &mut out);
        }
        let sent = async {
            self.server.write_all(&out).await?;
            self.server.flush().await
        };
        sent.await.map_err(|_gone| Fatal::ServerGone)?;
        let mut answers = Vec::with_capacity(questions.len());
        while answers.len() < questions.len() {
            answers.push(self.answer().await?);
        }
        Ok(answers)
    }

    async fn answer(&mut self) -> Result<Answer, Fatal> {
        let mut collector = Collector::new(self.pulse.eof());
        loop {
            let packet = self.next_from_server().await?;
            let taken = collector.take(&packet).map_err(|error| {
                tracing::error!(%error, "a server's answer to a question of ours cannot be read");
                Fatal::other("the server sent a packet that cannot be read")
            })?;
            if let Some(answer) = taken {
                return Ok(answer);
            }
        }
    }

    async fn next_from_server(&mut self) -> Result<Bytes, Fatal> {
        loop {
            if let Some((header, payload)) = packet::take(&mut self.down.held) {
                if header.continues() {
                    return Err(Fatal::other("the session's state is too large"));
                }
                return Ok(payload);
            }
            if self.down.held.len() > ANSWER_BYTES_MAX {
                return Err(Fatal::other("the session's state is too large"));
            }
            self.down.held.reserve(READ_BYTES);
            let read = self.server.read_buf(&mut self.down.held).await;
            if read.map_err(|_gone| Fatal::ServerGone)? == 0 {
                return Err(Fatal::ServerGone);
            }
        }
    }
}
