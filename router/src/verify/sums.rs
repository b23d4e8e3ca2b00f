//! Sums of row hashes in buckets.

use std::collections::BTreeMap;

/// Buckets of one table at most: what a server groups by and what we keep of each side.
pub const BUCKETS_MAX: u32 = 1 << 15;

/// Rows that one bucket should have, as far as the number of rows is known.
const ROWS_IN_A_BUCKET: u64 = 512;

/// Rows of one side that are read again at most to find out which of them differ.
pub const NARROWED_ROWS_MAX: u64 = 50_000;

/// The sum of one bucket's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BucketSum {
    /// How many rows it has.
    pub rows: u64,
    /// The sum of the rows' hashes, modulo 2^128.
    pub hash: u128,
    /// The sum of the hashes of those hashes, modulo 2^128: two rows that change so that their
    /// hashes' sum stays the same do not keep this one.
    pub rehash: u128,
}

/// The sums of one side of one table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sums {
    buckets: BTreeMap<u32, BucketSum>,
}

impl Sums {
    /// Adds what a part of the table has in a bucket.
    pub fn add(&mut self, bucket: u32, part: BucketSum) {
        let sum = self.buckets.entry(bucket).or_default();
        sum.rows += part.rows;
        sum.hash = sum.hash.wrapping_add(part.hash);
        sum.rehash = sum.rehash.wrapping_add(part.rehash);
    }

    /// Adds the sums of another part of the table.
    pub fn merge(&mut self, part: Self) {
        for (bucket, sum) in part.buckets {
            self.add(bucket, sum);
        }
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.buckets.values().map(|sum| sum.rows).sum()
    }

    fn of(&self, bucket: u32) -> BucketSum {
        self.buckets.get(&bucket).copied().unwrap_or_default()
    }
}

/// How many buckets a table of about so many rows is summed up in: a power of two, so that a bucket
/// is some bits of a hash.
#[must_use]
pub fn buckets_for(rows_estimate: u64) -> u32 {
    let wanted = (rows_estimate / ROWS_IN_A_BUCKET).clamp(1, u64::from(BUCKETS_MAX));
    u32::try_from(wanted).map_or(BUCKETS_MAX, u32::next_power_of_two)
}

/// The buckets whose sums differ, in ascending order.
#[must_use]
pub fn compare(source: &Sums, target: &Sums) -> Vec<u32> {
    let mut all: Vec<u32> = source.buckets.keys().copied().collect();
    all.extend(target.buckets.keys());
    all.sort_unstable();
    all.dedup();
    all.retain(|&bucket| source.of(bucket) != target.of(bucket));
    all
}

/// As many of the differing buckets as may be read again row by row; none that is too large by itself.
#[must_use]
pub fn worth_narrowing(differing: &[u32], source: &Sums, target: &Sums) -> Vec<u32> {
    let mut read = 0_u64;
    let mut chosen = Vec::new();
    for &bucket in differing {
        let rows = source.of(bucket).rows.max(target.of(bucket).rows);
        if read + rows <= NARROWED_ROWS_MAX {
            read += rows;
            chosen.push(bucket);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(hash: u64) -> BucketSum {
        BucketSum {
            rows: 1,
            hash: u128::from(hash),
            rehash: u128::from(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31)),
        }
    }

    fn sums(hashes: &[u64], buckets: u32) -> Sums {
        let mut sums = Sums::default();
        for &hash in hashes {
            let bucket = u32::try_from(hash & u64::from(buckets - 1)).unwrap();
            sums.add(bucket, row(hash));
        }
        sums
    }

    #[test]
    fn the_number_of_buckets_is_a_power_of_two_within_its_bounds() {
        for rows in [0, 1, 511, 512, 1_000_000, u64::MAX] {
            let buckets = buckets_for(rows);
            assert!(buckets.is_power_of_two(), "{rows}: {buckets}");
            assert!((1..=BUCKETS_MAX).contains(&buckets), "{rows}: {buckets}");
        }
        assert_eq!(buckets_for(1_000_000), 2048);
    }

    #[test]
    fn rows_are_read_again_only_within_the_bound() {
        let rows = |rows| BucketSum {
            rows,
            ..BucketSum::default()
        };
        let mut source = Sums::default();
        source.add(0, rows(NARROWED_ROWS_MAX * 3));
        source.add(1, rows(NARROWED_ROWS_MAX / 2));
        source.add(2, rows(NARROWED_ROWS_MAX / 2));
        source.add(3, rows(1));
        let empty = Sums::default();
        assert_eq!(compare(&source, &empty), [0, 1, 2, 3]);
        assert_eq!(worth_narrowing(&[0, 1, 2, 3], &source, &empty), [1, 2]);
    }

    proptest! {
        #[test]
        fn the_pieces_that_a_table_is_read_in_do_not_matter(
            hashes in prop::collection::vec(any::<u64>(), 0..200),
            cut in any::<prop::sample::Index>(),
        ) {
            let whole = sums(&hashes, 8);
            let at = cut.index(hashes.len() + 1);
            let (first, second) = hashes.split_at(at);
            let mut pieces = sums(second, 8);
            pieces.merge(sums(first, 8));
            prop_assert_eq!(compare(&whole, &pieces), Vec::<u32>::new());
            prop_assert_eq!(whole.rows(), pieces.rows());
        }

        #[test]
        fn a_row_that_is_changed_missing_or_doubled_changes_its_bucket(
            hashes in prop::collection::vec(any::<u64>(), 1..200),
            place in any::<prop::sample::Index>(),
            other in any::<u64>(),
        ) {
            let source = sums(&hashes, 8);
            let at = place.index(hashes.len());
            let old = hashes[at];
            let bucket = u32::try_from(old & 7).unwrap();

            let mut missing = hashes.clone();
            missing.swap_remove(at);
            prop_assert_eq!(compare(&source, &sums(&missing, 8)), vec![bucket]);

            let mut doubled = hashes.clone();
            doubled.push(old);
            prop_assert_eq!(compare(&source, &sums(&doubled, 8)), vec![bucket]);

            let mut changed = hashes.clone();
            changed[at] = other;
            let differs = !compare(&source, &sums(&changed, 8)).is_empty();
            prop_assert_eq!(differs, other != old);
        }
    }
}
