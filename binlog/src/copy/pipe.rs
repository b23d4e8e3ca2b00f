//! The source's end of one job: rows out of the snapshot, in the form that the target takes.

use router::Side;
use tokio::sync::mpsc;

use super::Loading;
use super::error::{Fault, fault};
use super::plan::{Job, TablePlan};
use super::progress::TableProgress;
use super::row::{self, Batch, Ready, Row};
use super::target::Piece;
use super::throttle::Throttle;
use crate::wire::SqlConn;

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
        job: &Job,
        pieces: mpsc::Sender<Piece>,
        counted: &mut Counts,
    ) -> Result<(), Fault> {
        let table = &self.plan.table.name;
        let failed = |error| fault(Side::Source, table, error);
        let query = self.plan.query(job);
        let mut rows = source.query_streamed(&query).await.map_err(failed)?;
        let mut usual = Batch::new(self.plan, self.loading);
        let mut typed = Batch::new(self.plan, Loading::Insert);
        let mut refused = None;
        while let Some(row) = rows.next().await.map_err(failed)? {
            if pieces.is_closed() || refused.is_some() {
                continue;
            }
            let full = match row::read(self.plan, &row) {
                Ok(Row::Usual) => usual.put_usual(self.plan, &row),
                Ok(Row::Typed(documents)) => typed.put_typed(self.plan, &row, &documents),
                Ok(Row::Held(documents, held)) => {
                    Some(row::held_piece(self.plan, &row, &documents, &held))
                }
                Err(error) => {
                    refused = Some(error);
                    None
                }
            };
            if let Some(ready) = full {
                self.hand_on(ready, &pieces, counted).await;
            }
        }
        if let Some(error) = refused {
            return Err(Fault::Definite(error));
        }
        for batch in [usual, typed] {
            if let Some(ready) = batch.rest() {
                self.hand_on(ready, &pieces, counted).await;
            }
        }
        Ok(())
    }

    async fn hand_on(&self, ready: Ready, pieces: &mpsc::Sender<Piece>, counted: &mut Counts) {
        let Ready { piece, bytes } = ready;
        let rows = piece.rows;
        self.throttle.take(piece.text.len()).await;
        if pieces.send(piece).await.is_ok() {
            counted.rows += rows;
            counted.bytes += bytes;
            self.progress.add(rows, bytes);
        }
    }
}
