//! What identifies a row of the target, and which columns unique indexes and cascades watch.

use super::{Generated, TargetColumn, TargetIdentity};
use crate::apply::field::FieldType;
use crate::name::QualifiedName;

/// One column of a unique index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexColumn {
    pub(super) index: String,
    /// `None` for an expression.
    pub(super) column: Option<String>,
    /// Whether the index has the whole value, no prefix.
    pub(super) whole: bool,
}

/// A column that a foreign key elsewhere refers to, with rules that act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::apply) struct ForeignKeyToUs {
    pub(in crate::apply) parent: QualifiedName,
    pub(in crate::apply) column: String,
    pub(in crate::apply) child: QualifiedName,
    pub(in crate::apply) on_delete: bool,
    pub(in crate::apply) on_update: bool,
}

/// Columns of which a change can be in the way of another row's unique value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::apply) enum Watched {
    /// These, by index.
    Columns(Vec<usize>),
    /// Any: an index has an expression or a generated column.
    Any,
}

/// What a change of the table makes its children's rows do on the source, untold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::apply) struct Cascades {
    pub(in crate::apply) on_delete: bool,
    /// Columns whose update cascades.
    pub(in crate::apply) on_update: Vec<usize>,
    /// Other tables whose rows may change with it: its children, theirs, and so on.
    pub(in crate::apply) descendants: Vec<QualifiedName>,
}

/// The name of the primary key's index on every server.
const PRIMARY: &str = "PRIMARY";

/// What identifies a row, and the columns of the other unique indexes.
pub(super) fn keys(columns: &[TargetColumn], unique: &[IndexColumn]) -> (TargetIdentity, Watched) {
    let mut identity: Option<(&str, Vec<usize>)> = None;
    for index in unique.chunk_by(|one, other| one.index == other.index) {
        let Some(name) = index.first().map(|column| column.index.as_str()) else {
            continue;
        };
        let Some(key) = identifying(columns, index) else {
            continue;
        };
        if name == PRIMARY || identity.is_none() {
            identity = Some((name, key));
        }
    }
    let mut watched = Vec::new();
    let others = unique.iter().filter(|column| {
        identity
            .as_ref()
            .is_none_or(|(name, _)| *name != column.index)
    });
    for column in others {
        let place = column
            .column
            .as_deref()
            .and_then(|name| columns.iter().position(|column| column.name == name));
        match place {
            Some(place) if columns[place].generated == Generated::No => watched.push(place),
            Some(_) | None => return (to_identity(identity), Watched::Any),
        }
    }
    watched.sort_unstable();
    watched.dedup();
    (to_identity(identity), Watched::Columns(watched))
}

fn to_identity(found: Option<(&str, Vec<usize>)>) -> TargetIdentity {
    found.map_or(TargetIdentity::WholeRow, |(_, columns)| {
        TargetIdentity::Key(columns)
    })
}

/// The columns of an index that identifies a row: whole values, none ever NULL, none computed on
/// reading. Long values have no index that a server could find rows by.
fn identifying(columns: &[TargetColumn], index: &[IndexColumn]) -> Option<Vec<usize>> {
    let place = |part: &IndexColumn| {
        let name = part.column.as_deref().filter(|_| part.whole)?;
        let place = columns.iter().position(|column| column.name == name)?;
        let column = &columns[place];
        let long = matches!(
            column.field,
            Some(FieldType::Blob { .. } | FieldType::BlobCompressed { .. })
        );
        let fits = !column.nullable && column.generated != Generated::Virtual && !long;
        fits.then_some(place)
    };
    index.iter().map(place).collect()
}

/// What changes of `table` cascade to.
pub(super) fn cascades(
    table: &QualifiedName,
    columns: &[TargetColumn],
    keys: &[ForeignKeyToUs],
) -> Cascades {
    let mut cascades = Cascades::default();
    for key in keys.iter().filter(|key| key.parent == *table) {
        cascades.on_delete |= key.on_delete;
        if key.on_update
            && let Some(place) = columns.iter().position(|column| column.name == key.column)
            && !cascades.on_update.contains(&place)
        {
            cascades.on_update.push(place);
        }
    }
    cascades.descendants = descendants(table, keys);
    cascades
}

fn descendants(table: &QualifiedName, keys: &[ForeignKeyToUs]) -> Vec<QualifiedName> {
    let mut found = vec![table];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        for key in keys.iter().filter(|key| key.parent == *parent) {
            if !found.contains(&&key.child) {
                found.push(&key.child);
            }
        }
        next += 1;
    }
    found.into_iter().skip(1).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, nullable: bool) -> TargetColumn {
        TargetColumn {
            name: name.to_owned(),
            field: Some(FieldType::Int(4)),
            shown_type: "int".to_owned(),
            nullable,
            unsigned: false,
            charset: None,
            generated: Generated::No,
            dimensions: None,
        }
    }

    fn part(index: &str, column: Option<&str>, whole: bool) -> IndexColumn {
        IndexColumn {
            index: index.to_owned(),
            column: column.map(str::to_owned),
            whole,
        }
    }

    #[test]
    fn the_primary_key_identifies_rows_and_other_unique_columns_are_watched() {
        let columns = [column("a", false), column("b", true), column("c", false)];
        let unique = [
            part("A_first", Some("c"), true),
            part("PRIMARY", Some("a"), true),
            part("u", Some("b"), true),
        ];
        assert_eq!(
            keys(&columns, &unique),
            (TargetIdentity::Key(vec![0]), Watched::Columns(vec![1, 2]))
        );
    }

    #[test]
    fn cascades_reach_the_children_of_children_once() {
        let table = |name: &str| QualifiedName::new("d", name);
        let key = |parent: &str, child: &str| ForeignKeyToUs {
            parent: table(parent),
            column: "a".to_owned(),
            child: table(child),
            on_delete: true,
            on_update: false,
        };
        let keys = [
            key("c", "g"),
            key("p", "p"),
            key("p", "c"),
            key("g", "c"),
            key("other", "x"),
        ];
        let found = cascades(&table("p"), &[column("a", false)], &keys);
        assert!(found.on_delete && found.on_update.is_empty());
        assert_eq!(found.descendants, [table("c"), table("g")]);
    }

    #[test]
    fn prefixes_nullable_columns_and_expressions_identify_nothing() {
        let columns = [column("a", true), column("b", false)];
        let unique = [
            part("n", Some("a"), true),
            part("p", Some("b"), false),
            part("x", None, true),
        ];
        assert_eq!(
            keys(&columns, &unique),
            (TargetIdentity::WholeRow, Watched::Any)
        );
    }
}
