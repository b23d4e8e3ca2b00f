//! Rows of the target whose foreign keys lead nowhere.
//!
//! The applier and the copy write without the servers' checks. Where both tables of a foreign key are
//! equal on both sides the source's own check answers for the target too; the others are looked up.

use std::collections::{BTreeMap, HashSet};

use router::Side;
use router::verify::{OrphanedRows, TableReport, Verdict};

use super::align::{Aligned, release};
use super::error::VerifyError;
use crate::name::{QualifiedName, quote_identifier, quote_literal};
use crate::schema::catalog::Catalog;
use crate::wire::SqlConn;

/// Looks for orphans in what is not known to be equal.
///
/// # Errors
/// When the target is lost.
pub(super) async fn look(
    aligned: &Aligned,
    catalog: &Catalog,
    tables: &[TableReport],
) -> Result<Vec<OrphanedRows>, VerifyError> {
    let client = aligned.target.first().ok_or(VerifyError::Unread)?;
    let equal: HashSet<&str> = tables
        .iter()
        .filter(|table| matches!(table.verdict, Verdict::Equal { .. }))
        .map(|table| table.name.as_str())
        .collect();
    let is_equal = |name: &QualifiedName| equal.contains(name.to_string().as_str());
    let mut found = Vec::new();
    for key in &catalog.foreign_keys {
        if is_equal(&key.table) && is_equal(&key.references) {
            continue;
        }
        let counted = count(client, &key.table, &key.name, &key.references).await;
        release(client).await;
        let (rows, why) = match counted {
            Ok(rows) => (rows, None),
            Err(error) => match error.server() {
                Some(server) => (None, Some(server.message.clone())),
                None => {
                    let doing = "looking at its foreign keys";
                    return Err(VerifyError::sql(Side::Target, doing)(error));
                }
            },
        };
        if rows != Some(0) {
            found.push(OrphanedRows {
                table: key.table.to_string(),
                constraint: key.name.clone(),
                rows,
                why,
            });
        }
    }
    Ok(found)
}

async fn count(
    client: &SqlConn,
    child: &QualifiedName,
    constraint: &str,
    parent: &QualifiedName,
) -> Result<Option<u64>, crate::wire::SqlError> {
    let sql = format!(
        "SELECT ORDINAL_POSITION, COLUMN_NAME, REFERENCED_COLUMN_NAME \
         FROM information_schema.KEY_COLUMN_USAGE WHERE CONSTRAINT_SCHEMA = {} \
         AND TABLE_NAME = {} AND CONSTRAINT_NAME = {} AND REFERENCED_COLUMN_NAME IS NOT NULL",
        quote_literal(&child.schema),
        quote_literal(&child.name),
        quote_literal(constraint)
    );
    let mut columns = BTreeMap::new();
    for row in client.query(&sql).await? {
        let text = |column| row.text(column).unwrap_or_default().to_owned();
        drop(columns.insert(
            text(0).parse::<u32>().unwrap_or_default(),
            (text(1), text(2)),
        ));
    }
    let sql = orphans_sql(child, parent, columns.values());
    let row = client.query_first(&sql).await?;
    Ok(row.and_then(|row| row.text(0)?.parse().ok()))
}

fn orphans_sql<'a>(
    child: &QualifiedName,
    parent: &QualifiedName,
    columns: impl Iterator<Item = &'a (String, String)> + Clone,
) -> String {
    let own = |name: &str| format!("c.{}", quote_identifier(name));
    let set = columns.clone();
    let set: Vec<String> = set
        .map(|(column, _)| format!("{} IS NOT NULL", own(column)))
        .collect();
    let equal: Vec<String> = columns
        .map(|(column, to)| format!("p.{} = {}", quote_identifier(to), own(column)))
        .collect();
    format!(
        "SELECT COUNT(*) FROM {} AS c WHERE {} AND NOT EXISTS (SELECT 1 FROM {} AS p WHERE {})",
        child.quoted(),
        set.join(" AND "),
        parent.quoted(),
        equal.join(" AND ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orphans_are_rows_of_which_all_columns_are_set_and_none_is_found() {
        let columns = [
            ("a".to_owned(), "x".to_owned()),
            ("b".to_owned(), "y".to_owned()),
        ];
        let (child, parent) = (QualifiedName::new("s", "c"), QualifiedName::new("s", "p"));
        assert_eq!(
            orphans_sql(&child, &parent, columns.iter()),
            "SELECT COUNT(*) FROM `s`.`c` AS c WHERE c.`a` IS NOT NULL AND c.`b` IS NOT NULL AND \
             NOT EXISTS (SELECT 1 FROM `s`.`p` AS p WHERE p.`x` = c.`a` AND p.`y` = c.`b`)"
        );
    }
}
