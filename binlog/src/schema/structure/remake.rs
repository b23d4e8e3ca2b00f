//! Tables that are not copied yet, made as they are under a newer snapshot.
//!
//! A table's copy is its rows and its definition at one position. What was made at the start fits
//! the rows of the start; when rows are read under a newer snapshot, the tables that are left must
//! be what they are there, and the definition statements up to its position are left out of the
//! stream for them.

use router::Side;

use super::super::catalog::Catalog;
use super::super::create_table::CreateTable;
use super::super::deferred::Store;
use super::super::error::SchemaError;
use super::super::translate::Translation;
use super::make::{Makers, indexes_of, make_table};
use super::{made, prepare_session};
use crate::copy;
use crate::name::QualifiedName;
use crate::position::Position;
use crate::wire::SqlConn;

/// What differs from when the tables were made, of those that are not copied.
#[derive(Debug, Default)]
pub(in super::super) struct Remaking<'a> {
    /// Tables with another definition, or new ones.
    pub(in super::super) changed: Vec<&'a CreateTable>,
    /// Tables that the source has no more.
    pub(in super::super) dropped: Vec<QualifiedName>,
}

/// Makes the changed tables again and drops those that are gone; these count as copied, with
/// nothing in them, up to the snapshot.
///
/// # Errors
/// The target refused, or cannot have a table as it is now; a later call goes on.
pub(in super::super) async fn remake(
    target: &SqlConn,
    makers: &Makers,
    remaking: &Remaking<'_>,
    watermark: &Position,
    catalog: &Catalog,
    translation: &Translation,
) -> Result<Vec<String>, SchemaError> {
    let mut warnings = Vec::new();
    prepare_session(target).await?;
    for table in &remaking.dropped {
        made::record_unmade(target, table).await?;
        drop_table(target, table).await?;
        Store::resume(target).forget(table).await?;
        copy::record_dropped(target, table, watermark).await?;
    }
    for table in &remaking.changed {
        made::record_unmade(target, &table.name).await?;
        drop_table(target, &table.name).await?;
        let translated = translation.table(table, &mut warnings)?;
        let stages = translated.stages(indexes_of(&translated, catalog));
        let mut store = Store::resume(target);
        store.forget(&table.name).await?;
        store.table(&table.name, &stages).await?;
        store.end().await?;
        if let Some(maker) = makers.first() {
            let made = make_table(maker, &stages.create).await;
            let what = format!("making table {}", table.name);
            made.map_err(SchemaError::sql(Side::Target, what))?;
        }
        made::record(target, &[*table]).await?;
    }
    Ok(warnings)
}

async fn drop_table(target: &SqlConn, table: &QualifiedName) -> Result<(), SchemaError> {
    let drop_it = format!("DROP TABLE IF EXISTS {}", table.quoted());
    let what = format!("dropping table {table}, which changed on the source");
    let dropped = target.execute(&drop_it).await;
    dropped
        .map(drop)
        .map_err(SchemaError::sql(Side::Target, what))
}
