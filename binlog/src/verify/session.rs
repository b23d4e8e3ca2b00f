//! The sessions of a comparison, and how they are ended.

use std::sync::Arc;

use parking_lot::Mutex;
use router::Side;

use super::VerifyOptions;
use super::error::VerifyError;
use crate::wire::{Endpoint, SqlConn};

/// The sessions that comparisons have opened. A server goes on with a statement whose client is gone,
/// so whoever gives a comparison up ends them by their numbers.
#[derive(Debug, Clone, Default)]
pub struct Sessions {
    opened: Arc<Mutex<Vec<(Side, u32)>>>,
}

impl Sessions {
    /// Opens one.
    pub(super) async fn open(
        &self,
        endpoint: &Endpoint,
        side: Side,
        options: &VerifyOptions,
    ) -> Result<SqlConn, VerifyError> {
        let opened = endpoint.connect_sql(&options.program_name).await;
        let client = opened.map_err(|source| VerifyError::Connect { side, source })?;
        self.note(side, &client);
        Ok(client)
    }

    /// Notes one that was opened elsewhere.
    pub(super) fn note(&self, side: Side, client: &SqlConn) {
        self.opened.lock().push((side, client.thread_id()));
    }

    /// Ends those that are left on this server.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn end(&self, endpoint: &Endpoint, side: Side) -> Result<(), VerifyError> {
        let ids: Vec<String> = {
            let mut opened = self.opened.lock();
            let ours = opened.extract_if(.., |(of, _)| *of == side);
            ours.map(|(_, id)| id.to_string()).collect()
        };
        if ids.is_empty() {
            return Ok(());
        }
        let client = endpoint.connect_sql("pointsman control").await;
        let client = client.map_err(|source| VerifyError::Connect { side, source })?;
        let doing = "ending sessions of ours";
        let sql = format!(
            "SELECT ID FROM information_schema.PROCESSLIST WHERE ID IN ({}) \
             AND USER = SUBSTRING_INDEX(USER(), '@', 1)",
            ids.join(", ")
        );
        let left = client.query(&sql).await;
        for row in left.map_err(VerifyError::sql(side, doing))? {
            if let Some(id) = row.text(0) {
                // One that has ended meanwhile is no error of ours.
                let ended = client.execute(&format!("KILL {id}")).await;
                if let Err(error) = ended.as_ref()
                    && error.server().is_none()
                {
                    return ended.map(drop).map_err(VerifyError::sql(side, doing));
                }
            }
        }
        Ok(())
    }
}
