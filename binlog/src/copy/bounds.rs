//! Where a large table's key is cut, so that several readers share the table.
//!
//! A key of one integer is cut evenly between its smallest and its largest value. Any other key is
//! walked along in the server's own order, and every so many rows the key found there is a bound;
//! so the ranges are even whatever the values look like, and whatever their collation.

use std::sync::Arc;

use router::Side;

use super::CopyError;
use super::error::{Fault, fault};
use crate::name::{hex_literal, quote_identifier, quote_literal};
use crate::schema::catalog::{Column, Index, Table};
use crate::wire::{SqlConn, TextRow};

/// The values of a key, as SQL literals, one for each of the key's columns.
pub(super) type Bound = Arc<[String]>;

/// The columns by which a table is cut, and the index that they lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    index: String,
    columns: Vec<KeyColumn>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct KeyColumn {
    /// Quoted.
    name: String,
    form: Form,
}

/// How a column's value becomes a literal that is equal to it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Integer,
    Decimal,
    /// Text that the server writes without quotes and backslashes.
    Words,
    Bytes,
    /// Bytes in this character set: the column's collation decides the comparison.
    Text(String),
}

impl Form {
    /// `None` for types whose values are not found again by a literal, or not by their index.
    fn of(column: &Column) -> Option<Self> {
        Some(match column.data_type.as_str() {
            "tinyint" | "smallint" | "mediumint" | "int" | "integer" | "bigint" => Self::Integer,
            "decimal" | "numeric" => Self::Decimal,
            "date" | "time" | "datetime" | "timestamp" | "uuid" | "inet4" | "inet6" => Self::Words,
            "binary" | "varbinary" => Self::Bytes,
            "char" | "varchar" => match column.charset.as_deref() {
                Some("binary") => Self::Bytes,
                Some(charset) => Self::Text(charset.to_owned()),
                None => return None,
            },
            _other => return None,
        })
    }

    fn literal(&self, bytes: &[u8]) -> Option<String> {
        let text = || std::str::from_utf8(bytes).ok();
        match self {
            Self::Integer | Self::Decimal => {
                let is_digit = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
                text()
                    .filter(|_| bytes.iter().all(is_digit))
                    .map(str::to_owned)
            }
            Self::Words => text().map(quote_literal),
            Self::Bytes => Some(hex_literal(bytes)),
            Self::Text(charset) => Some(format!("_{charset} {}", hex_literal(bytes))),
        }
    }
}

impl Key {
    /// The leading columns of the table's key whose values can be bounds.
    pub(super) fn of(table: &Table) -> Option<Self> {
        let index = table.key()?;
        let columns: Vec<KeyColumn> = leading(table, index)
            .map_while(|column| {
                Some(KeyColumn {
                    name: quote_identifier(&column.name),
                    form: Form::of(column)?,
                })
            })
            .collect();
        let index = quote_identifier(&index.name);
        (!columns.is_empty()).then_some(Self { index, columns })
    }

    fn list(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|column| &*column.name).collect();
        names.join(", ")
    }

    /// Whether it is one integer and nothing else.
    fn is_integer(&self, table: &Table) -> bool {
        let is_whole = table.key().is_some_and(|index| index.parts.len() == 1);
        let [column] = self.columns.as_slice() else {
            return false;
        };
        is_whole && column.form == Form::Integer
    }

    /// The condition that holds for rows in these bounds. It is written out by columns, since the
    /// servers do not read an index by a comparison of rows.
    pub(super) fn condition(&self, from: Option<&Bound>, to: Option<&Bound>) -> String {
        let from = from.map(|bound| self.beyond(bound, ">", ">="));
        let to = to.map(|bound| self.beyond(bound, "<", "<"));
        let both: Vec<String> = from.into_iter().chain(to).collect();
        if both.is_empty() {
            "TRUE".to_owned()
        } else {
            both.join(" AND ")
        }
    }

    fn beyond(&self, bound: &Bound, strictly: &str, at_the_end: &str) -> String {
        let pairs: Vec<(&str, &String)> = self
            .columns
            .iter()
            .map(|column| &*column.name)
            .zip(bound.iter())
            .collect();
        let mut ways = Vec::with_capacity(pairs.len());
        for (at, (name, value)) in pairs.iter().enumerate() {
            let mut parts: Vec<String> = pairs
                .iter()
                .take(at)
                .map(|(name, value)| format!("{name} = {value}"))
                .collect();
            let is_last = at + 1 == pairs.len();
            let sign = if is_last { at_the_end } else { strictly };
            parts.push(format!("{name} {sign} {value}"));
            ways.push(parts.join(" AND "));
        }
        format!("({})", ways.join(" OR "))
    }

    fn bound(&self, row: &TextRow) -> Option<Bound> {
        let columns = self.columns.iter().enumerate();
        columns
            .map(|(at, column)| column.form.literal(row.bytes(at)?))
            .collect()
    }
}

fn leading<'a>(table: &'a Table, index: &'a Index) -> impl Iterator<Item = &'a Column> {
    index.parts.iter().map_while(|part| {
        let name = part.column.as_deref().filter(|_| part.prefix.is_none())?;
        table.column(name)
    })
}

/// Where to cut a table into about so many ranges.
pub(super) async fn find(
    source: &SqlConn,
    table: &Table,
    key: &Key,
    ranges: u64,
) -> Result<Vec<Bound>, CopyError> {
    if ranges < 2 {
        return Ok(Vec::new());
    }
    let found = if key.is_integer(table) {
        evenly(source, table, key, ranges).await
    } else {
        walk(source, table, key, ranges).await
    };
    found.map_err(|error| match fault(Side::Source, &table.name, error) {
        Fault::Transient(error) | Fault::Definite(error) => error,
        Fault::SnapshotGone | Fault::CopiedBefore => CopyError::SnapshotLost,
    })
}

async fn evenly(
    source: &SqlConn,
    table: &Table,
    key: &Key,
    ranges: u64,
) -> Result<Vec<Bound>, crate::wire::SqlError> {
    let column = key.list();
    let name = table.name.quoted();
    let query = format!("SELECT MIN({column}), MAX({column}) FROM {name}");
    let row = source.query_first(&query).await?;
    let ends = row.and_then(|row| Some((row.parse(0).ok()?, row.parse(1).ok()?)));
    let cuts = ends.map_or_else(Vec::new, |ends| split(ends, ranges));
    let bounds = cuts.iter().map(|cut| Bound::from([cut.to_string()]));
    Ok(bounds.collect())
}

async fn walk(
    source: &SqlConn,
    table: &Table,
    key: &Key,
    ranges: u64,
) -> Result<Vec<Bound>, crate::wire::SqlError> {
    let rows_each = (table.rows_estimate / ranges).max(1);
    let (list, name, index) = (key.list(), table.name.quoted(), &key.index);
    let mut bounds: Vec<Bound> = Vec::new();
    // The estimate may be far off; the last range takes what is left.
    while u64::try_from(bounds.len()).is_ok_and(|found| found + 1 < ranges.saturating_mul(2)) {
        let after = bounds
            .last()
            .map_or_else(|| "TRUE".to_owned(), |bound| key.beyond(bound, ">", ">"));
        let query = format!(
            "SELECT {list} FROM {name} FORCE INDEX ({index}) WHERE {after} ORDER BY {list} \
             LIMIT {rows_each}, 1"
        );
        let row = source.query_first(&query).await?;
        let Some(bound) = row.as_ref().and_then(|row| key.bound(row)) else {
            break;
        };
        bounds.push(bound);
    }
    Ok(bounds)
}

/// Cuts the values from the smallest to the largest.
fn split((smallest, largest): (i128, i128), ranges: u64) -> Vec<i128> {
    let ranges = i128::from(ranges);
    // 64-bit bounds: nothing here comes near the limits of 128 bits.
    let width = (largest - smallest) / ranges + 1;
    (1..ranges)
        .map(|cut| smallest + cut * width)
        .take_while(|cut| *cut <= largest)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(columns: &[(&str, Form)]) -> Key {
        Key {
            index: "`PRIMARY`".to_owned(),
            columns: columns
                .iter()
                .map(|(name, form)| KeyColumn {
                    name: quote_identifier(name),
                    form: form.clone(),
                })
                .collect(),
        }
    }

    proptest! {
        #[test]
        fn cuts_rise_and_lie_between_the_ends(
            smallest in any::<i64>(),
            span in any::<u64>(),
            ranges in 1_u64..300,
        ) {
            let smallest = i128::from(smallest);
            let largest = smallest + i128::from(span);
            let cuts = split((smallest, largest), ranges);
            prop_assert!(u64::try_from(cuts.len()).unwrap() < ranges);
            prop_assert!(cuts.is_sorted_by(|a, b| a < b));
            prop_assert!(cuts.iter().all(|cut| *cut > smallest && *cut <= largest));
        }
    }

    #[test]
    fn a_range_holds_its_first_key_and_not_the_next_ones() {
        let key = key(&[("a", Form::Integer), ("b", Form::Text("latin1".to_owned()))]);
        let from = Bound::from(["1".to_owned(), "_latin1 x'61'".to_owned()]);
        let to = Bound::from(["2".to_owned(), "_latin1 x'62'".to_owned()]);
        assert_eq!(
            key.condition(Some(&from), Some(&to)),
            "(`a` > 1 OR `a` = 1 AND `b` >= _latin1 x'61') AND \
             (`a` < 2 OR `a` = 2 AND `b` < _latin1 x'62')"
        );
        assert_eq!(key.condition(None, None), "TRUE");
    }

    #[test]
    fn literals_are_equal_to_the_values_that_they_were_made_of() {
        assert_eq!(Form::Decimal.literal(b"-1.50").unwrap(), "-1.50");
        assert_eq!(Form::Decimal.literal(b"1 OR 1"), None);
        assert_eq!(Form::Words.literal(b"2024-01-02").unwrap(), "'2024-01-02'");
        assert_eq!(Form::Bytes.literal(b"\0'").unwrap(), "x'0027'");
        let text = Form::Text("ucs2".to_owned());
        assert_eq!(text.literal(b"\0a").unwrap(), "_ucs2 x'0061'");
    }
}
