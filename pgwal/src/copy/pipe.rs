//! One COPY from the source's connection into the target's.

use router::Side;

use super::link::{CHUNK_BYTES, TargetLink, command_tag, rows_of_tag};
use super::progress::TableProgress;
use super::throttle::Throttle;
use crate::wire::{Conn, Message, ServerError, WireError, frontend};

/// What went through the pipe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// Where rows were lost between the two counts.
#[derive(Debug)]
pub(super) enum PipeError {
    /// One of the connections failed, or its server refused.
    Wire(Side, WireError),
    /// The two servers count differently.
    Count { sent: u64, taken: u64 },
}

impl PipeError {
    pub(super) fn on(side: Side) -> impl FnOnce(WireError) -> Self {
        move |error| Self::Wire(side, error)
    }
}

/// Moves all rows of `query` (a `COPY .. TO STDOUT`); the target is already taking them.
///
/// `counted` is brought up to date as the rows go, also when it ends with an error. After an error
/// both connections are good for nothing but closing.
pub(super) async fn pipe(
    source: &mut Conn,
    query: &str,
    target: &mut TargetLink,
    throttle: &Throttle,
    progress: &TableProgress,
    counted: &mut Counts,
) -> Result<(), PipeError> {
    let on_source = || PipeError::on(Side::Source);
    frontend::query(query, source.out())
        .map_err(|_zero| on_source()(WireError::Unwritable("a query holds a zero byte")))?;
    source.flush().await.map_err(on_source())?;
    let mut batch = Counts::default();
    let mut sent = None;
    let mut failure = None;
    loop {
        let message = match source.try_message().map_err(on_source())? {
            Some(message) => message,
            None => source.read_message().await.map_err(on_source())?,
        };
        match message.tag {
            b'd' => take_row(&message, target, &mut batch),
            b'C' => sent = rows_of_tag(&command_tag(&message)),
            b'E' => {
                let error = ServerError::parse(message.body);
                failure = Some(error.map_err(|error| on_source()(error.into()))?);
            }
            b'Z' => break,
            _other => {}
        }
        if target.waiting() >= CHUNK_BYTES {
            deliver(target, throttle, progress, &mut batch, counted).await?;
        }
    }
    if let Some(error) = failure {
        return Err(on_source()(error.into()));
    }
    deliver(target, throttle, progress, &mut batch, counted).await?;
    let tag = target
        .end_copy()
        .await
        .map_err(PipeError::on(Side::Target))?;
    let taken = rows_of_tag(&tag).unwrap_or(0);
    if sent == Some(taken) && taken == counted.rows {
        Ok(())
    } else {
        Err(PipeError::Count {
            sent: sent.unwrap_or(counted.rows),
            taken,
        })
    }
}

fn take_row(message: &Message, target: &mut TargetLink, batch: &mut Counts) {
    target.push(&message.body);
    batch.rows += 1;
    batch.bytes += u64::try_from(message.body.len()).unwrap_or(u64::MAX);
}

async fn deliver(
    target: &mut TargetLink,
    throttle: &Throttle,
    progress: &TableProgress,
    batch: &mut Counts,
    counted: &mut Counts,
) -> Result<(), PipeError> {
    let bytes = target.waiting();
    target.flush().await.map_err(PipeError::on(Side::Target))?;
    progress.add(batch.rows, batch.bytes);
    counted.rows += batch.rows;
    counted.bytes += batch.bytes;
    *batch = Counts::default();
    throttle.take(bytes).await;
    Ok(())
}
