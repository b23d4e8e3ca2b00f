//! Which rows differ, in the buckets that do.

use std::collections::BTreeMap;

/// Differing rows of one table that are named at most.
pub const DIFFERENCES_MAX: usize = 20;

/// A row as its server tells it when a bucket is read again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HashedRow {
    /// What names the row: its key's columns, or where it lies when the table has no key.
    pub name: String,
    /// The hash of the row.
    pub hash: u64,
}

/// A row that does not have its like on the other side.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowDifference {
    /// Both sides have the key, with other values.
    Changed {
        /// The key.
        key: String,
    },
    /// Only the source has it.
    Missing {
        /// The key, or where the row lies on the source.
        row: String,
    },
    /// Only the target has it.
    Extra {
        /// The key, or where the row lies on the target.
        row: String,
    },
}

/// The rows that differ in what was read again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Differences {
    /// The first of them.
    pub first: Vec<RowDifference>,
    /// All that were found in what was read.
    pub found: u64,
}

impl Differences {
    fn add(&mut self, difference: RowDifference) {
        self.found += 1;
        if self.first.len() < DIFFERENCES_MAX {
            self.first.push(difference);
        }
    }
}

/// Finds the rows that differ. With a key, rows of one name belong together; without one, rows of
/// one hash do, and how often they are there counts.
#[must_use]
pub fn pair(source: Vec<HashedRow>, target: Vec<HashedRow>, has_key: bool) -> Differences {
    match has_key {
        true => pair_by_name(source, target),
        false => pair_by_hash(source, target),
    }
}

fn pair_by_name(source: Vec<HashedRow>, target: Vec<HashedRow>) -> Differences {
    let mut there: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for HashedRow { name, hash } in target {
        there.entry(name).or_default().push(hash);
    }
    let mut here: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for HashedRow { name, hash } in source {
        here.entry(name).or_default().push(hash);
    }
    let mut differences = Differences::default();
    for (key, mut hashes) in here {
        match there.remove(&key) {
            None => differences.add(RowDifference::Missing { row: key }),
            Some(mut others) => {
                hashes.sort_unstable();
                others.sort_unstable();
                if hashes != others {
                    differences.add(RowDifference::Changed { key });
                }
            }
        }
    }
    for row in there.into_keys() {
        differences.add(RowDifference::Extra { row });
    }
    differences
}

fn pair_by_hash(source: Vec<HashedRow>, target: Vec<HashedRow>) -> Differences {
    let mut there: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for HashedRow { name, hash } in target {
        there.entry(hash).or_default().push(name);
    }
    let mut differences = Differences::default();
    for HashedRow { name, hash } in source {
        let like = there.get_mut(&hash).and_then(Vec::pop);
        if like.is_none() {
            differences.add(RowDifference::Missing { row: name });
        }
    }
    for row in there.into_values().flatten() {
        differences.add(RowDifference::Extra { row });
    }
    differences
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn row(name: &str, hash: u64) -> HashedRow {
        HashedRow {
            name: name.to_owned(),
            hash,
        }
    }

    #[test]
    fn each_kind_of_difference_is_told_by_its_key() {
        let source = vec![row("1", 10), row("2", 20), row("3", 30)];
        let target = vec![row("2", 21), row("3", 30), row("4", 40)];
        let differences = pair(source, target, true);
        let owned = str::to_owned;
        assert_eq!(
            differences.first,
            [
                RowDifference::Missing { row: owned("1") },
                RowDifference::Changed { key: owned("2") },
                RowDifference::Extra { row: owned("4") },
            ]
        );
    }

    #[test]
    fn without_a_key_the_number_of_equal_rows_counts() {
        let source = vec![row("a", 7), row("b", 7), row("c", 8)];
        let target = vec![row("x", 8), row("y", 7)];
        let differences = pair(source, target, false);
        assert_eq!(differences.found, 1);
        assert!(matches!(
            &differences.first[..],
            [RowDifference::Missing { .. }]
        ));
    }

    #[test]
    fn only_the_first_are_named_and_all_are_counted() {
        let source: Vec<_> = (0..100).map(|n| row(&format!("{n:03}"), n)).collect();
        let differences = pair(source, Vec::new(), true);
        assert_eq!(differences.first.len(), DIFFERENCES_MAX);
        assert_eq!(differences.found, 100);
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_was_done(
            keys in prop::collection::btree_map(0_u16..500, any::<u64>(), 0..100),
            changes in prop::collection::vec((0_u16..500, prop::option::of(any::<u64>())), 0..15),
        ) {
            let mut other = keys.clone();
            for (key, hash) in changes {
                match hash {
                    Some(hash) => drop(other.insert(key, hash)),
                    None => drop(other.remove(&key)),
                }
            }
            let expected: BTreeSet<u16> = keys
                .keys()
                .chain(other.keys())
                .copied()
                .filter(|key| keys.get(key) != other.get(key))
                .collect();
            let rows = |map: &BTreeMap<u16, u64>| -> Vec<HashedRow> {
                map.iter().map(|(key, &hash)| row(&key.to_string(), hash)).collect()
            };
            let found = pair(rows(&keys), rows(&other), true);
            prop_assert_eq!(found.found, u64::try_from(expected.len()).unwrap());
            for difference in found.first {
                let (key, before, after) = match &difference {
                    RowDifference::Changed { key } => (key, true, true),
                    RowDifference::Missing { row } => (row, true, false),
                    RowDifference::Extra { row } => (row, false, true),
                };
                let key: u16 = key.parse().unwrap();
                prop_assert!(expected.contains(&key));
                prop_assert_eq!(keys.contains_key(&key), before);
                prop_assert_eq!(other.contains_key(&key), after);
            }
        }
    }
}
