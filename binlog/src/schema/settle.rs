//! What the target needs before it can serve as well as the source: statistics.

use router::Side;

use super::catalog::Catalog;
use super::error::SchemaError;
use crate::wire::SqlConn;

/// Tables in one `ANALYZE TABLE`.
const TABLES_AT_ONCE: usize = 50;

/// Lets the target count anew what its planner relies on.
///
/// # Errors
/// The target refused.
pub async fn analyze(target: &SqlConn, catalog: &Catalog) -> Result<(), SchemaError> {
    let moved: Vec<String> = catalog
        .moved_tables()
        .map(|table| table.name.quoted())
        .collect();
    for some in moved.chunks(TABLES_AT_ONCE) {
        let statement = format!("ANALYZE TABLE {}", some.join(", "));
        let done = target.execute(&statement).await;
        done.map_err(SchemaError::sql(Side::Target, "analyzing its tables"))?;
    }
    Ok(())
}
