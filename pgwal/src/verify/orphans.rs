//! Rows of the target whose foreign keys lead nowhere.
//!
//! The applier and the copy write without the servers' checks. Where both tables of a foreign key are
//! equal on both sides the source's own check answers for the target too; the others are looked up.

use std::collections::HashSet;

use router::verify::{OrphanedRows, TableReport, Verdict};

use super::error::VerifyError;
use super::session::{Reader, Unread};
use crate::name::{QualifiedName, quote_identifier};
use crate::schema::catalog::Catalog;

/// The columns of every foreign key, of the roots of partitioned tables only.
const FOREIGN_KEYS: &str = "
SELECT k.conname::text, n.nspname::text, c.relname::text, rn.nspname::text, r.relname::text,
       k.confmatchtype::text,
       ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY AS u (num, at)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num
             ORDER BY u.at),
       ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY AS u (num, at)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.num
             ORDER BY u.at),
       k.convalidated
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class r ON r.oid = k.confrelid
JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND n.nspname <> 'pointsman' ORDER BY 2, 3, 1";

/// Looks for orphans in what is not known to be equal.
///
/// # Errors
/// When the target fails.
pub(super) async fn look(
    target: &mut Reader<'_>,
    catalog: &Catalog,
    tables: &[TableReport],
) -> Result<Vec<OrphanedRows>, VerifyError> {
    let doing = "looking at its foreign keys";
    let read = target.query(FOREIGN_KEYS, &[]).await;
    let side = target.side;
    let keys = read.map_err(|unread| unread.fatal(side, doing))?;
    let equal: HashSet<&str> = tables
        .iter()
        .filter(|table| matches!(table.verdict, Verdict::Equal { .. }))
        .map(|table| table.name.as_str())
        .collect();
    let is_equal = |name: &QualifiedName| {
        leaves(catalog, name)
            .iter()
            .all(|leaf| equal.contains(leaf.to_string().as_str()))
    };
    let mut found = Vec::new();
    for row in &keys {
        let failed = || VerifyError::sql(side, doing);
        let text = |column| row.try_get::<_, String>(column).map_err(failed());
        let child = QualifiedName::new(text(1)?, text(2)?);
        let parent = QualifiedName::new(text(3)?, text(4)?);
        // One that says itself that it was never checked promises nothing.
        let promises: bool = row.try_get(8).map_err(failed())?;
        if !promises || (is_equal(&child) && is_equal(&parent)) {
            continue;
        }
        let full_match = text(5)? == "f";
        let columns: Vec<String> = row.try_get(6).map_err(failed())?;
        let references: Vec<String> = row.try_get(7).map_err(failed())?;
        let sql = orphans_sql(&child, &parent, &columns, &references, full_match);
        let counted = target.query(&sql, &[]).await;
        let (rows, why) = match counted {
            Ok(rows) => {
                let count = rows.first().and_then(|row| row.try_get::<_, i64>(0).ok());
                (count.map(i64::unsigned_abs), None)
            }
            Err(Unread::Refused(error)) => (None, Some(error.to_string())),
            Err(Unread::Lost(error)) => return Err(error),
        };
        if rows != Some(0) {
            found.push(OrphanedRows {
                table: child.to_string(),
                constraint: text(0)?,
                rows,
                why,
            });
        }
    }
    Ok(found)
}

/// The tables that have the rows of this one.
fn leaves<'a>(catalog: &'a Catalog, name: &QualifiedName) -> Vec<&'a QualifiedName> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut open = vec![name.clone()];
    while let Some(next) = open.pop() {
        if !seen.insert(next.clone()) {
            continue;
        }
        let partitioned = catalog.table(&next).filter(|table| !table.is_moved());
        match (catalog.table(&next), partitioned) {
            (Some(table), None) => found.push(&table.name),
            (_, _) => {
                let children = catalog.tables.iter();
                let children = children.filter(|table| table.parents.contains(&next));
                open.extend(children.map(|table| table.name.clone()));
            }
        }
    }
    found
}

fn orphans_sql(
    child: &QualifiedName,
    parent: &QualifiedName,
    columns: &[String],
    references: &[String],
    full_match: bool,
) -> String {
    let columns: Vec<String> = columns
        .iter()
        .map(|name| format!("c.{}", quote_identifier(name)))
        .collect();
    let equal: Vec<String> = columns
        .iter()
        .zip(references)
        .map(|(column, reference)| format!("p.{} = {column}", quote_identifier(reference)))
        .collect();
    let set: Vec<String> = columns
        .iter()
        .map(|column| format!("{column} IS NOT NULL"))
        .collect();
    // MATCH FULL lets all columns be NULL, or none.
    let checked = set.join(if full_match { " OR " } else { " AND " });
    format!(
        "SELECT count(*) FROM {} AS c WHERE ({checked}) \
         AND NOT EXISTS (SELECT FROM {} AS p WHERE {})",
        child.quoted(),
        parent.quoted(),
        equal.join(" AND ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orphans_are_rows_of_which_all_columns_are_set_and_none_is_found() {
        let child = QualifiedName::new("s", "c");
        let parent = QualifiedName::new("s", "p");
        let columns = ["a".to_owned(), "b".to_owned()];
        let references = ["x".to_owned(), "y".to_owned()];
        assert_eq!(
            orphans_sql(&child, &parent, &columns, &references, false),
            "SELECT count(*) FROM \"s\".\"c\" AS c WHERE (c.\"a\" IS NOT NULL AND c.\"b\" IS NOT \
             NULL) AND NOT EXISTS (SELECT FROM \"s\".\"p\" AS p WHERE p.\"x\" = c.\"a\" AND \
             p.\"y\" = c.\"b\")"
        );
    }
}
