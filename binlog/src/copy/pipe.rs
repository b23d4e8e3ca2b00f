//! The source's end of one job: rows out of the snapshot, in the form that the target takes.

use router::Side;
use tokio::sync::mpsc;

use super::Loading;
use super::error::{Fault, fault};
use super::lines::{Pieces, put_line, put_tuple};
use super::plan::{Job, TablePlan};
use super::progress::TableProgress;
use super::target::{Piece, opening};
use super::throttle::Throttle;
use crate::wire::{SqlConn, TextRow};

/// The size of a piece; an INSERT statement is as large, or one row larger.
const PIECE_BYTES: usize = 256 << 10;

/// Rows and bytes of one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// What the rows pass through.
pub(super) struct Pipe<'a> {
    pub(super) plan: &'a TablePlan,
    pub(super) loading: Loading,
    pub(super) throttle: &'a Throttle,
    pub(super) progress: &'a TableProgress,
}

impl Pipe<'_> {
    /// Reads a job's rows to their end. When nobody takes the pieces any more the rows are still
    /// read: giving the query up would end the snapshot.
    pub(super) async fn read(
        &self,
        source: &SqlConn,
        job: Job,
        pieces: mpsc::Sender<Piece>,
        counted: &mut Counts,
    ) -> Result<(), Fault> {
        let table = &self.plan.table.name;
        let failed = |error| fault(Side::Source, table, error);
        let query = self.plan.query(job);
        let mut rows = source.query_streamed(&query).await.map_err(failed)?;
        let mut buffer = Pieces::new(PIECE_BYTES);
        let mut pending = Counts::default();
        let head = opening(self.plan, self.loading);
        while let Some(row) = rows.next().await.map_err(failed)? {
            if pieces.is_closed() {
                continue;
            }
            self.put(&row, pending.rows, &head, &mut buffer);
            pending.rows += 1;
            pending.bytes += size_of(&row);
            if let Some(text) = buffer.full() {
                self.hand_on(text, &mut pending, &pieces, counted).await;
            }
        }
        if pending.rows > 0 {
            self.hand_on(buffer.rest(), &mut pending, &pieces, counted)
                .await;
        }
        Ok(())
    }

    fn put(&self, row: &TextRow, rows_before: u64, head: &str, buffer: &mut Pieces) {
        let lanes = &self.plan.lanes;
        let out = buffer.buffer();
        match self.loading {
            Loading::LoadData => {
                put_line((0..lanes.len()).map(|index| row.bytes(index)), out);
            }
            Loading::Insert => {
                if rows_before == 0 {
                    out.extend_from_slice(head.as_bytes());
                } else {
                    out.extend_from_slice(b",");
                }
                let fields = lanes.iter().enumerate();
                let fields = fields.map(|(index, lane)| (lane.carriage, row.bytes(index)));
                put_tuple(fields, out);
            }
        }
    }

    async fn hand_on(
        &self,
        text: bytes::Bytes,
        pending: &mut Counts,
        pieces: &mpsc::Sender<Piece>,
        counted: &mut Counts,
    ) {
        let Counts { rows, bytes } = std::mem::take(pending);
        self.throttle.take(text.len()).await;
        if pieces.send(Piece { text, rows }).await.is_ok() {
            counted.rows += rows;
            counted.bytes += bytes;
            self.progress.add(rows, bytes);
        }
    }
}

fn size_of(row: &TextRow) -> u64 {
    let bytes: usize = (0..row.len())
        .map(|index| row.bytes(index).map_or(0, <[u8]>::len))
        .sum();
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
