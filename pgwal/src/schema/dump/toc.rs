//! The archive's table of contents as `pg_restore --list` prints it.
//!
//! `3456; 2606 16390 CONSTRAINT public orders orders_pkey owner`: the entry's number, the catalog
//! and the OID of the object on the source, and words for people. Only the numbers are read.

/// A part of a database's structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Schemas, types, functions, tables, views.
    PreData,
    /// Indexes, constraints, triggers, rules, policies.
    PostData,
}

impl Section {
    /// The word of `--section`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreData => "pre-data",
            Self::PostData => "post-data",
        }
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TocItem {
    /// OID of the catalog that the object is in; 0 for entries without an object of their own.
    pub(super) class: u32,
    /// OID of the object on the source; 0 as above.
    pub(super) object: u32,
    /// The line as `--use-list` wants it back.
    pub(super) line: String,
}

impl TocItem {
    /// Whether it makes a schema or gives privileges on one.
    pub(super) fn is_of_schema(&self) -> bool {
        let words = self.line.split(' ').skip(3);
        let words: Vec<&str> = words.take(3).collect();
        matches!(words.as_slice(), ["SCHEMA", ..] | ["ACL", "-", "SCHEMA"])
    }

    /// Whether it gives privileges on an object of the system.
    pub(super) fn is_system_privilege(&self) -> bool {
        let mut words = self.line.split(' ').skip(3);
        (words.next(), words.next()) == (Some("ACL"), Some("pg_catalog"))
    }
}

/// Reads a listing; comments and lines of another form are skipped.
pub(super) fn parse(listing: &str) -> Vec<TocItem> {
    listing.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<TocItem> {
    let (number, rest) = line.split_once("; ")?;
    number.parse::<u32>().ok()?;
    let mut words = rest.split(' ');
    let class = words.next()?.parse().ok()?;
    let object = words.next()?.parse().ok()?;
    Some(TocItem {
        class,
        object,
        line: line.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_and_comments_are_not() {
        let listing = ";\n; Archive created at 2026-11-22\n;     Dumped by pg_dump version: 15.18\n\
            ;\n3456; 2606 16390 CONSTRAINT public orders orders_pkey postgres\n\
            12; 0 0 INDEX ATTACH public p_a_idx postgres\n\nodd \"name\n";
        let items = parse(listing);
        let numbers: Vec<(u32, u32)> = items.iter().map(|i| (i.class, i.object)).collect();
        assert_eq!(numbers, [(2606, 16390), (0, 0)]);
    }

    #[test]
    fn schemas_and_their_privileges_are_told_from_the_rest() {
        let listing = "6; 2615 16386 SCHEMA - app owner\n3456; 0 0 ACL - SCHEMA app owner\n\
            7; 0 0 ACL app TABLE t owner\n8; 0 0 COMMENT - SCHEMA app owner\n\
            9; 1259 16390 TABLE SCHEMA t owner\n";
        let items = parse(listing);
        let of_schema: Vec<bool> = items.iter().map(TocItem::is_of_schema).collect();
        assert_eq!(of_schema, [true, true, false, false, false]);
        let [item] = &parse("3; 0 0 ACL pg_catalog TABLE pg_authid owner")[..] else {
            panic!("one entry");
        };
        assert!(item.is_system_privilege() && !items.iter().any(TocItem::is_system_privilege));
    }
}
