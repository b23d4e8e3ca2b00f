//! Which row a statement did not find, for the operator.

use router::Key;

use super::rows::{Hit, ordinals};
use crate::apply::session::Session;
use crate::apply::sql::Shape;
use crate::apply::target_table::TargetTable;
use crate::apply::work::key_arrays;

/// The first key that the target does not have; `None` when there is no key or it cannot be asked.
pub(super) async fn first_missing(
    session: &mut Session,
    table: &TargetTable,
    hit: &Hit<'_>,
) -> Option<Key> {
    let keys: Vec<&Key> = match hit {
        Hit::Deletes(keys) => keys.to_vec(),
        Hit::Moves(moves) => moves.iter().map(|(key, _)| *key).collect(),
        Hit::Updates(updates) => updates.iter().map(|update| &update.key).collect(),
        Hit::DeletedRows(_) | Hit::Inserts(_) => return None,
    };
    let statement = session.prepare(table, Shape::FindMissing).await.ok()?;
    let arrays = key_arrays(table, keys.iter().copied());
    let found = ordinals(session, &statement, arrays).await.ok()?;
    found
        .first()
        .and_then(|&place| keys.get(place).map(|key| (*key).clone()))
}
