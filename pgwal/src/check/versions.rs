//! Versions: which pairs move, and which minor versions lose changes.

use router::Side;

use super::report::{Advice, Report};
use super::server::Server;

/// Major versions that pointsman moves from and to.
const MAJORS: std::ops::RangeInclusive<i32> = 12..=18;

/// First minor versions in which a transaction that runs while a publication changes is decoded
/// right (releases of May 2025). Version 12 never got it, 18 was born with it.
const DECODING_FIXED: [i32; 5] = [130_021, 140_018, 150_013, 160_009, 170_005];

/// Why a version may not be used, if so.
fn out_of_range(version: i32) -> bool {
    !MAJORS.contains(&(version / 10_000))
}

/// The minor version that corrects logical decoding, if this version lacks it; `Some(None)` if no
/// minor version of its major has it.
fn lacks_fix(version: i32) -> Option<Option<i32>> {
    let major = version / 10_000;
    match DECODING_FIXED.iter().find(|fixed| *fixed / 10_000 == major) {
        Some(fixed) => (version < *fixed).then_some(Some(*fixed)),
        None => (major < 13).then_some(None),
    }
}

pub(super) fn source(source: &Server, report: &mut Report) {
    in_range(source, report);
    let Some(fixed) = lacks_fix(source.version) else {
        return;
    };
    let fix = match fixed {
        Some(fixed) => format!(
            "update the source to {}.{} or newer (a restart), or let no DDL run while the \
             migration starts",
            fixed / 10_000,
            fixed % 10_000
        ),
        None => "no version 12 has the correction: let no DDL run while the migration starts, and \
                 run `pointsman verify` before the cutover"
            .to_owned(),
    };
    let what = format!(
        "version {} can lose changes in logical decoding",
        source.version_text()
    );
    let why = "before 13.21, 14.18, 15.13, 16.9 and 17.5, a transaction that was open while a \
               publication or a table was altered could be decoded without some of its changes; \
               pointsman waits for such transactions, DDL of others does not";
    report.warn(Side::Source, &what, Advice { why, fix: &fix });
}

fn in_range(server: &Server, report: &mut Report) -> bool {
    if !out_of_range(server.version) {
        return true;
    }
    let what = format!("version {} is out of range", server.version_text());
    let advice = Advice {
        why: "pointsman moves PostgreSQL 12 to 18; other versions were never tried with it",
        fix: "use a server of version 12 to 18",
    };
    report.fail(server.side, &what, advice);
    false
}

pub(super) fn both(source: &Server, target: &Server, report: &mut Report) {
    if !in_range(target, report) {
        return;
    }
    let (from, to) = (source.version_text(), target.version_text());
    if target.major() >= source.major() {
        report.ok(
            Side::Target,
            &format!("version {to} can take over from {from}"),
        );
        return;
    }
    let what = format!("version {to} is out of range: older than the source's {from}");
    let advice = Advice {
        why: "the schema of a newer major version cannot be restored into an older one",
        fix: "use a target of the source's major version or a newer one",
    };
    report.fail(Side::Target, &what, advice);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_before_12_and_after_18_are_out_of_range() {
        for version in [90_624, 110_022, 190_000] {
            assert!(out_of_range(version), "{version}");
        }
        for version in [120_000, 180_004] {
            assert!(!out_of_range(version), "{version}");
        }
    }

    #[test]
    fn the_minor_version_that_corrects_decoding_is_told() {
        assert_eq!(lacks_fix(140_017), Some(Some(140_018)));
        assert_eq!(lacks_fix(140_018), None);
        assert_eq!(lacks_fix(120_022), Some(None));
        assert_eq!(lacks_fix(180_000), None);
    }
}
