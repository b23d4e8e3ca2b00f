//! Questions of ours to the session's own server, while it is idle. The client sees nothing of it;
//! what the server says to the client on its own account meanwhile is passed on.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::super::advisory::{self, HeldLock, Lock};
use super::super::cancel;
use super::super::columns::{self, Described};
use super::super::fatal::Fatal;
use super::super::limits::{ASK_GRACE, ASK_TIMEOUT};
use super::super::question;
use super::super::registry::LegKey;
use super::super::relay::Relay;
use super::super::sequences::{self, Current};
use super::Pump;
use crate::wire::limits::{MESSAGE_BYTES_MAX, READ_CHUNK_BYTES};
use crate::wire::{FieldError, Message, ServerError, backend, frame, frontend};

/// Most bytes of an answer to a question of ours.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The rows of an answer, or the server's refusal.
pub(in crate::session) type Answer = Result<Vec<Vec<Option<Bytes>>>, Box<ServerError>>;

/// What a session is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session) enum Want {
    /// Its state.
    State,
    /// What `currval()` and `lastval()` say in it, too.
    Sequences,
}

/// What a session says of its state.
#[derive(Debug)]
pub(in crate::session) enum Told {
    /// It is what it was when it was read before.
    Same,
    /// This.
    State(Answer),
}

impl Pump {
    /// Asks for the session's state, and for what `currval()` and `lastval()` say if wanted, in one
    /// exchange as a rule. The questions are kept on the server for the next time.
    ///
    /// There are no sequences when the server does not tell, for one because it has no PL/pgSQL.
    pub(in crate::session) async fn ask_state(
        &mut self,
        relay: &Relay,
        want: Want,
    ) -> Result<(Told, Vec<Current>), Fatal> {
        let names = relay.setting_names();
        let is_kept = self.question.is_kept_for(&names);
        let compares = is_kept && !self.statements.has_changed() && self.question.seen().is_some();
        let mut questions = match (is_kept, compares) {
            (true, true) => question::look(),
            (true, false) => question::ask(),
            (false, _) => question::make(&names),
        };
        let mut count = if compares { 1 } else { 2 };
        if want == Want::Sequences {
            questions.unsplit(sequences::question());
            count += 1;
        }
        self.entry.set_asked(true);
        let mut answers = self.ask_each(relay, &questions, count).await?;
        let sequences = match want {
            Want::Sequences => answers.pop().and_then(Result::ok),
            Want::State => None,
        };
        let sequences = sequences.and_then(|rows| sequences::read(&rows));
        let sequences = sequences.unwrap_or_default();
        if compares {
            let seen = answers.pop().and_then(digest);
            if seen.is_some() && seen.as_ref() == self.question.seen() {
                return Ok((Told::Same, sequences));
            }
            answers = self.ask_each(relay, &question::ask(), 2).await?;
        }
        if is_kept && answers.iter().any(Result::is_err) {
            // The client dropped what was kept.
            answers = self.ask_each(relay, &question::make(&names), 2).await?;
        }
        self.question.forget();
        let state = answers.pop().unwrap_or_else(|| Ok(Vec::new()));
        if state.is_ok() {
            self.question.keep(names);
            self.question.see(answers.pop().and_then(digest));
        }
        Ok((Told::State(state), sequences))
    }

    /// The next time the state is read whole, whatever a look says.
    pub(in crate::session) fn read_whole_next(&mut self) {
        self.question.see(None);
    }

    /// Asks how often the session holds these locks. Its server process has them: while it is
    /// asked, nobody else may run anything.
    pub(in crate::session) async fn count_locks(
        &mut self,
        relay: &Relay,
        locks: &[Lock],
    ) -> Result<Vec<HeldLock>, Fatal> {
        let in_doubt = || {
            Fatal::new(
                "57P01",
                "terminating connection: its advisory locks could not be counted",
            )
        };
        // A refusal may have come between giving up a lock and taking it again.
        match self.ask(relay, &advisory::count_question(locks)).await? {
            Ok(rows) => advisory::counted(locks, &rows).ok_or_else(in_doubt),
            Err(error) => {
                tracing::error!(%error, "a session's advisory locks cannot be counted");
                Err(in_doubt())
            }
        }
    }

    /// Has the server say everything that it has to say to the client by itself: notifications of
    /// what was committed before this was called.
    pub(in crate::session) async fn hear_out(&mut self, relay: &Relay) -> Result<(), Fatal> {
        let mut nothing = BytesMut::new();
        frontend::sync(&mut nothing);
        self.ask(relay, &nothing).await.map(|_answer| ())
    }

    /// Asks what a statement takes and gives. One at a time: a server that has to wait for somebody's
    /// lock is to be stopped by one cancel request.
    pub(in crate::session) async fn describe(
        &mut self,
        relay: &Relay,
        name: &Bytes,
    ) -> Result<Result<Described, Box<ServerError>>, Fatal> {
        let leg = self.entry.legs.lock().current.clone();
        in_time(relay, &leg, self.describe_now(name)).await
    }

    async fn describe_now(
        &mut self,
        name: &Bytes,
    ) -> Result<Result<Described, Box<ServerError>>, Fatal> {
        self.send(&columns::question([name])).await?;
        let mut answer = columns::Answer::default();
        while let Some(message) = self.next_of_answer().await? {
            answer.take(message).map_err(malformed)?;
        }
        Ok(answer.end())
    }

    /// Drops the kept question from the server.
    pub(in crate::session) async fn withdraw_question(
        &mut self,
        relay: &Relay,
    ) -> Result<(), Fatal> {
        if self.entry.is_asked() {
            self.question.forget();
            self.entry.set_asked(false);
            if let Err(error) = self.ask(relay, &question::drop_kept()).await? {
                tracing::debug!(%error, "our question stays with a client's server");
            }
        }
        Ok(())
    }

    /// Sends messages that end in one Sync and reads the rows up to `ReadyForQuery`.
    ///
    /// Only between two messages with an idle server. A question that takes too long is cancelled.
    async fn ask(&mut self, relay: &Relay, question: &BytesMut) -> Result<Answer, Fatal> {
        let mut answers = self.ask_each(relay, question, 1).await?;
        Ok(answers.pop().unwrap_or_else(|| Ok(Vec::new())))
    }

    /// As [`Pump::ask`], for so many questions, each with its own Sync: one that is refused does
    /// not concern the others. There is an answer for each.
    async fn ask_each(
        &mut self,
        relay: &Relay,
        questions: &BytesMut,
        count: usize,
    ) -> Result<Vec<Answer>, Fatal> {
        let leg = self.entry.legs.lock().current.clone();
        in_time(relay, &leg, self.exchange(questions, count)).await
    }

    async fn exchange(&mut self, questions: &BytesMut, count: usize) -> Result<Vec<Answer>, Fatal> {
        self.send(questions).await?;
        let mut answers = Vec::with_capacity(count);
        for _question in 0..count {
            answers.push(self.read_answer().await?);
        }
        Ok(answers)
    }

    async fn send(&mut self, questions: &BytesMut) -> Result<(), Fatal> {
        let server = &mut self.server;
        let sent = async {
            server.write_all(questions).await?;
            server.flush().await
        };
        sent.await.map_err(|_gone| Fatal::ServerGone)
    }

    /// Reads what comes up to `ReadyForQuery`.
    async fn read_answer(&mut self) -> Result<Answer, Fatal> {
        let mut rows = Vec::new();
        let mut bytes = 0;
        let mut refusal = None;
        while let Some(message) = self.next_of_answer().await? {
            match message.tag {
                b'D' => {
                    bytes += message.body.len();
                    if bytes > ANSWER_BYTES_MAX {
                        return Err(Fatal::new("54000", "the session's state is too large"));
                    }
                    rows.push(backend::data_row(&message.body).map_err(malformed)?);
                }
                b'E' => {
                    let error = ServerError::parse(message.body).map_err(malformed)?;
                    refusal = Some(Box::new(error));
                }
                _of_no_interest => {}
            }
        }
        Ok(refusal.map_or(Ok(rows), Err))
    }

    /// The next message of an answer to us; none at its end. What is for the client goes there.
    async fn next_of_answer(&mut self) -> Result<Option<Message>, Fatal> {
        loop {
            let message = self.next_from_server().await?;
            match message.tag {
                b'E' => {
                    let error = ServerError::parse(message.body.clone()).map_err(malformed)?;
                    if error.severity != "ERROR" {
                        return Err(Fatal::Server(error.body));
                    }
                    return Ok(Some(message));
                }
                b'A' => {
                    let mut body = BytesMut::from(message.body);
                    if let Some(pid) = body.first_chunk_mut() {
                        self.name_sender(pid);
                    }
                    backend::raw(b'A', &body, &mut self.down.backlog);
                }
                b'S' => {
                    self.note_parameter(&message.body);
                    backend::raw(b'S', &message.body, &mut self.down.backlog);
                }
                b'Z' => return Ok(None),
                _part => return Ok(Some(message)),
            }
        }
    }

    async fn next_from_server(&mut self) -> Result<Message, Fatal> {
        loop {
            let bad = |_bad| Fatal::protocol("the server sent a bad message header");
            if let Some(message) =
                frame::take(&mut self.down.held, MESSAGE_BYTES_MAX).map_err(bad)?
            {
                return Ok(message);
            }
            self.down.held.reserve(READ_CHUNK_BYTES);
            let read = self.server.read_buf(&mut self.down.held).await;
            if read.map_err(|_gone| Fatal::ServerGone)? == 0 {
                return Err(Fatal::ServerGone);
            }
        }
    }
}

/// Waits for an exchange; one that takes too long is cancelled.
async fn in_time<T>(
    relay: &Relay,
    leg: &LegKey,
    exchange: impl Future<Output = Result<T, Fatal>>,
) -> Result<T, Fatal> {
    let mut exchange = Box::pin(exchange);
    if let Ok(answers) = timeout(ASK_TIMEOUT, &mut exchange).await {
        return answers;
    }
    cancel::send(relay, leg).await;
    match timeout(ASK_GRACE, exchange).await {
        Ok(answers) => answers,
        Err(_elapsed) => Err(Fatal::new(
            "57P01",
            "the server does not answer while the session is moved",
        )),
    }
}

fn malformed(_bad: FieldError) -> Fatal {
    Fatal::protocol("the server sent a message that cannot be read")
}

/// The one value of a look's answer.
fn digest(answer: Answer) -> Option<Bytes> {
    answer.ok()?.into_iter().next()?.into_iter().next()?
}
