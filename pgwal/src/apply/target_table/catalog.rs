//! What the target's catalogs say about one table.

use tokio_postgres::{Client, Row};

use super::{Reading, TargetColumn, Writing};
use crate::apply::error::{ApplyError, Doing, ServerFailure, TableError};
use crate::name::QualifiedName;

/// A table, as far as applying needs to know it.
#[derive(Debug, Default)]
pub(super) struct TableCatalog {
    pub(super) columns: Vec<CatalogColumn>,
    pub(super) indexes: Vec<CatalogIndex>,
    /// Generated columns with the columns that they are computed of, by attribute number.
    pub(super) generated_of: Vec<(i16, i16)>,
}

#[derive(Debug)]
pub(super) struct CatalogColumn {
    pub(super) number: i16,
    pub(super) name: String,
    pub(super) type_oid: u32,
    pub(super) type_modifier: i32,
    /// The type with its modifier, for messages.
    pub(super) shown_type: String,
    pub(super) not_null: bool,
    pub(super) column: TargetColumn,
}

/// A unique or exclusion index.
#[derive(Debug)]
pub(super) struct CatalogIndex {
    /// Whether it can identify rows: unique, checked at once, valid, on plain columns, not partial.
    pub(super) identifies: bool,
    /// Whether violations are found row by row; deferrable ones are checked by a trigger, which
    /// does not fire for us.
    pub(super) immediate: bool,
    /// Attribute numbers of its key columns; 0 is an expression.
    pub(super) keys: Vec<i16>,
    /// Equality operators of its key columns, schema-qualified.
    pub(super) equalities: Vec<String>,
    /// Attribute numbers that its expressions and its predicate use.
    pub(super) used: Vec<i16>,
    /// Whether an expression or the predicate uses the whole row.
    pub(super) uses_whole_row: bool,
}

const COLUMNS: &str = "
SELECT a.attnum, a.attname::text, a.atttypid, a.atttypmod, a.attnotnull,
       pg_catalog.format_type(a.atttypid, -1),
       pg_catalog.format_type(a.atttypid, a.atttypmod),
       a.attidentity::text, a.attgenerated::text, a.attlen = -1, t.typcategory = 'A',
       EXISTS (SELECT FROM pg_catalog.pg_cast k
               JOIN pg_catalog.pg_type b ON b.oid = k.casttarget
               WHERE k.castsource = 'pg_catalog.text'::pg_catalog.regtype
                 AND b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
                 AND (b.typname LIKE 'reg%'
                      OR (b.typnamespace <> 'pg_catalog'::pg_catalog.regnamespace
                          AND b.typname <> 'citext')))
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum";

const INDEXES: &str = "
SELECT i.indimmediate,
       i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL
           AND i.indexprs IS NULL,
       i.indnkeyatts, i.indkey::text,
       ARRAY(SELECT pg_catalog.quote_ident(n.nspname) || '.' || o.oprname
             FROM pg_catalog.generate_series(0, i.indnkeyatts - 1) k
             JOIN pg_catalog.pg_opclass c ON c.oid = i.indclass[k]
             JOIN pg_catalog.pg_amop m ON m.amopfamily = c.opcfamily
                  AND m.amoplefttype = c.opcintype AND m.amoprighttype = c.opcintype
                  AND m.amopstrategy = 3
             JOIN pg_catalog.pg_operator o ON o.oid = m.amopopr
             JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
             WHERE i.indisunique
             ORDER BY k),
       ARRAY(SELECT d.refobjsubid::int2 FROM pg_catalog.pg_depend d
             WHERE (i.indpred IS NOT NULL OR i.indexprs IS NOT NULL)
               AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
               AND d.objid = i.indexrelid
               AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
               AND d.refobjid = i.indrelid AND d.refobjsubid > 0),
       pg_catalog.concat(i.indexprs::text, i.indpred::text) LIKE '%:varattno 0 %'
FROM pg_catalog.pg_index i
WHERE i.indrelid = $1 AND (i.indisunique OR i.indisexclusion)
ORDER BY i.indisprimary DESC, i.indexrelid";

/// Up to 14 the generated column itself depends on what it is computed of, later its expression.
const GENERATED_OF: &str = "
SELECT f.adnum, d.refobjsubid::int2
FROM pg_catalog.pg_attrdef f
JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
     AND d.objid = f.oid
WHERE f.adrelid = $1 AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
  AND d.refobjid = $1 AND d.refobjsubid > 0 AND d.refobjsubid <> f.adnum
UNION
SELECT d.objsubid::int2, d.refobjsubid::int2
FROM pg_catalog.pg_depend d
WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = $1
  AND d.objsubid > 0 AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
  AND d.refobjid = $1 AND d.refobjsubid > 0";

impl TableCatalog {
    pub(super) async fn read(client: &Client, name: &QualifiedName) -> Result<Self, ApplyError> {
        Self::read_all(client, name)
            .await
            .map_err(|error| ApplyError::Server {
                doing: Doing::Describe(name.clone()),
                failure: ServerFailure::of(&error),
            })?
            .ok_or_else(|| {
                TableError::Unknown {
                    table: name.clone(),
                }
                .into()
            })
    }

    async fn read_all(
        client: &Client,
        name: &QualifiedName,
    ) -> Result<Option<Self>, tokio_postgres::Error> {
        let found = client
            .query_opt(
                "SELECT c.oid FROM pg_catalog.pg_class c
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')",
                &[&name.schema, &name.name],
            )
            .await?;
        let Some(found) = found else { return Ok(None) };
        let oid: u32 = found.try_get(0)?;
        let (columns, indexes, generated) = futures_util::future::try_join3(
            client.query(COLUMNS, &[&oid]),
            client.query(INDEXES, &[&oid]),
            client.query(GENERATED_OF, &[&oid]),
        )
        .await?;
        Ok(Some(Self {
            columns: columns.iter().map(column).collect::<Result<_, _>>()?,
            indexes: indexes.iter().map(index).collect::<Result<_, _>>()?,
            generated_of: generated
                .iter()
                .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
                .collect::<Result<_, tokio_postgres::Error>>()?,
        }))
    }

    /// The name of an attribute.
    pub(super) fn column_name(&self, number: i16) -> Option<&str> {
        self.columns
            .iter()
            .find(|column| column.number == number)
            .map(|column| column.name.as_str())
    }
}

fn column(row: &Row) -> Result<CatalogColumn, tokio_postgres::Error> {
    let name: String = row.try_get(1)?;
    let identity: &str = row.try_get(7)?;
    let generated: &str = row.try_get(8)?;
    let writing = if !generated.is_empty() {
        Writing::Never
    } else if identity == "a" {
        Writing::InsertOnly
    } else {
        Writing::Plain
    };
    let reading = if row.try_get(11)? {
        Reading::ThroughArray
    } else {
        Reading::Cast
    };
    Ok(CatalogColumn {
        number: row.try_get(0)?,
        name: name.clone(),
        type_oid: row.try_get(2)?,
        type_modifier: row.try_get(3)?,
        not_null: row.try_get(4)?,
        shown_type: row.try_get(6)?,
        column: TargetColumn {
            name,
            type_sql: row.try_get(5)?,
            writing,
            reading,
            toastable: row.try_get(9)?,
            array: row.try_get(10)?,
        },
    })
}

fn index(row: &Row) -> Result<CatalogIndex, tokio_postgres::Error> {
    let keys_max: i16 = row.try_get(2)?;
    let keys: &str = row.try_get(3)?;
    Ok(CatalogIndex {
        immediate: row.try_get(0)?,
        identifies: row.try_get(1)?,
        keys: keys
            .split_ascii_whitespace()
            .filter_map(|number| number.parse().ok())
            .take(usize::try_from(keys_max).unwrap_or(0))
            .collect(),
        equalities: row.try_get(4)?,
        used: row.try_get(5)?,
        uses_whole_row: row.try_get(6)?,
    })
}
