//! Opening a stream: the slot is checked, the spool is taken up or thrown away, the reader starts.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use router::Lsn;
use router::spool::{Recovered, SpoolError, SpoolOptions};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::buffer::Buffer;
use super::consumer::{Decoder, Origin};
use super::copy_both::{ReplicationConn, SystemIdentity};
use super::error::StreamError;
use super::handle::Progress;
use super::item::transaction_file_end;
use super::limits::{MEMORY_BYTES_DEFAULT, SEGMENT_BYTES, SPOOL_BYTES_DEFAULT, SPOOL_WAIT};
use super::reader::Reader;
use super::shared::Shared;
use super::slot::{Resume, SlotFacts, resume_check};
use super::{Life, Stream};
use crate::wire::Endpoint;

/// What a stream needs to know.
#[derive(Debug, Clone)]
pub struct StreamOptions {
    /// The replication slot.
    pub slot: String,
    /// The publication.
    pub publication: String,
    /// The applied position that is written down on the target; the slot's consistent point when
    /// nothing was applied yet. Transactions that committed before it are not given again.
    pub start: Lsn,
    /// The source as it was when the slot was made; a source that is another is refused.
    pub source: Option<SystemIdentity>,
    /// The spool's folder, for this stream alone.
    pub spool_dir: PathBuf,
    /// Bytes in the spool. The files of single large transactions come on top.
    pub spool_limit_bytes: u64,
    /// Bytes held in memory before the spool is used.
    pub memory_bytes: usize,
}

impl StreamOptions {
    /// Options with the default bounds.
    #[must_use]
    pub fn new(
        slot: impl Into<String>,
        publication: impl Into<String>,
        start: Lsn,
        spool_dir: impl Into<PathBuf>,
    ) -> Self {
        Self {
            slot: slot.into(),
            publication: publication.into(),
            start,
            source: None,
            spool_dir: spool_dir.into(),
            spool_limit_bytes: SPOOL_BYTES_DEFAULT,
            memory_bytes: MEMORY_BYTES_DEFAULT,
        }
    }
}

impl Stream {
    /// Opens the stream behind `options.start`. What an earlier stream left in the spool is used if
    /// it goes on from there, and is thrown away if the slot still has everything.
    ///
    /// # Errors
    /// The source cannot be reached or refuses, the slot cannot give everything that follows, or
    /// the spool does not work. [`StreamError::is_transient`] says whether to try again.
    pub async fn open(endpoint: &Endpoint, options: StreamOptions) -> Result<Self, StreamError> {
        let mut conn = ReplicationConn::open(endpoint, "pointsman stream").await?;
        let found = conn.identify().await?;
        let wal_sender_timeout = conn.wal_sender_timeout().await?;
        let facts = SlotFacts::read_on(&mut conn, &options.slot).await?;

        let recovered = recover(&options).await?;
        let spooled = recovered.covers(options.start.0).map(Lsn);
        resume_check(Resume {
            slot: &options.slot,
            facts: facts.as_ref(),
            found: &found,
            expected: options.source.as_ref(),
            applied: options.start,
            spooled,
        })?;
        let start = spooled.unwrap_or(options.start);
        let confirmed = facts
            .and_then(|facts| facts.confirmed_flush_lsn)
            .unwrap_or_default();

        let backend_pid = conn.backend_pid();
        let copy_both = conn
            .start(&options.slot, &options.publication, start)
            .await?;
        let (dir, applied) = (options.spool_dir.clone(), options.start);
        let buffer = on_disk(move || take_up(recovered, &options)).await??;
        let shared = Arc::new(Shared::new(
            buffer,
            Progress::new(backend_pid, applied, confirmed, start),
        ));
        let stop = CancellationToken::new();
        let mut reader = JoinSet::new();
        let task = Reader::new(
            copy_both,
            Arc::clone(&shared),
            stop.clone(),
            wal_sender_timeout,
        );
        reader.spawn(task.run(dir, start));
        let origin = if spooled.is_some() {
            Origin::Spool
        } else {
            Origin::Source
        };
        Ok(Self {
            shared,
            decoder: Decoder::new(applied, origin),
            items: VecDeque::new(),
            replay: None,
            job: None,
            reader,
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
            counted_from: start,
            life: Life::Open,
        })
    }
}

/// Reads the spool. A stream that was just dropped may still hold it for a moment.
async fn recover(options: &StreamOptions) -> Result<Recovered, StreamError> {
    let begun = Instant::now();
    loop {
        let spool = SpoolOptions {
            dir: options.spool_dir.clone(),
            limit_bytes: options.spool_limit_bytes,
            segment_bytes: SEGMENT_BYTES.min(options.spool_limit_bytes / 4),
        };
        match on_disk(move || Recovered::read(spool)).await? {
            Err(SpoolError::InUse { .. }) if begun.elapsed() < SPOOL_WAIT => {
                sleep(Duration::from_millis(50)).await;
            }
            recovered => return Ok(recovered?),
        }
    }
}

/// Makes the queue over what was recovered, if it can be used.
fn take_up(recovered: Recovered, options: &StreamOptions) -> Result<Buffer, SpoolError> {
    let dir = &options.spool_dir;
    let applied = options.start;
    let (spool, files) = match recovered.covers(applied.0) {
        Some(end) => {
            let files = clean(dir, |file_end| file_end > applied && file_end <= Lsn(end))?;
            (recovered.resume(applied.0)?, files)
        }
        None => {
            if !recovered.is_empty() {
                tracing::info!(dir = %dir.display(), "the spool is of no use and is deleted");
            }
            (recovered.discard(applied.0)?, clean(dir, |_end| false)?)
        }
    };
    Ok(Buffer::new(dir.clone(), options.memory_bytes, spool, files))
}

/// Deletes the transactions' files of an earlier stream, but those to keep; gives these.
fn clean(dir: &Path, keep: impl Fn(Lsn) -> bool) -> Result<BTreeMap<Lsn, PathBuf>, SpoolError> {
    let failed = |doing, file: &Path| {
        let file = file.to_owned();
        move |source| SpoolError::Io {
            doing,
            file,
            source,
        }
    };
    let mut kept = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(failed("list", dir))? {
        let path = entry.map_err(failed("list", dir))?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        match transaction_file_end(name) {
            Some(end) if keep(end) => {
                kept.insert(end, path);
            }
            None if !(name.starts_with("running-") && name.ends_with(".rows")) => {}
            Some(_) | None => fs::remove_file(&path).map_err(failed("delete", &path))?,
        }
    }
    Ok(kept)
}

async fn on_disk<T: Send + 'static>(
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StreamError> {
    spawn_blocking(job)
        .await
        .map_err(|_gone| StreamError::ReaderGone)
}
