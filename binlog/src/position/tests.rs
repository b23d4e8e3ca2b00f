//! Positions: their text, their order, and the arithmetic of sets.

use std::collections::BTreeSet;

use proptest::prelude::*;
use router::Position as _;

use super::*;

const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const B: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

fn set(text: &str) -> GtidSet {
    text.parse().unwrap()
}

#[test]
fn a_set_prints_and_parses_as_the_server_writes_it() {
    for text in [
        String::new(),
        format!("{A}:1-5"),
        format!("{A}:1-5:7,{B}:3"),
        format!("{A}:1-5:blue:1-2:9:red:4"),
        format!("{A}:blue:1,{B}:1"),
    ] {
        assert_eq!(set(&text).to_string(), text);
    }
    let loose = format!(" {} : 1 - 3 : 5 ,\n {B}:Blue:2 ", A.to_uppercase());
    assert_eq!(set(&loose), set(&format!("{A}:1-3:5,{B}:blue:2")));
}

#[test]
fn what_is_no_set_is_refused() {
    for text in [
        "x".to_owned(),
        A.to_owned(),
        format!("{A}:"),
        format!("{A}:0"),
        format!("{A}:5-3"),
        format!("{A}:tag"),
        format!("{A}:1-"),
        format!("{A}:+1"),
        format!("{A}:9223372036854775807"),
        format!("{A}:1tag:1"),
        format!("{A}:{}:1", "t".repeat(33)),
        format!("{}:1", A.replace('3', "g")),
        "0-1-5".to_owned(),
    ] {
        assert!(text.parse::<GtidSet>().is_err(), "{text}");
    }
}

#[test]
fn a_single_transaction_is_in_a_set_or_not() {
    let all = set(&format!("{A}:1-5:7-8,{A}:blue:3"));
    let has = |text: String| all.contains(&text.parse().unwrap());
    assert!(has(format!("{A}:1")) && has(format!("{A}:5")) && has(format!("{A}:8")));
    assert!(has(format!("{A}:blue:3")));
    assert!(!has(format!("{A}:6")) && !has(format!("{A}:9")) && !has(format!("{A}:blue:1")));
    assert!(!has(format!("{B}:1")));
    assert!(format!("{A}:1-2").parse::<Gtid>().is_err());
}

#[test]
fn a_set_without_tags_has_the_form_that_old_servers_know() {
    let bytes = set(&format!("{A}:1-5:7")).encode();
    assert_eq!(bytes.len(), 8 + 16 + 8 + 2 * 16);
    assert_eq!(bytes[..8], 1_u64.to_le_bytes());
    assert_eq!(bytes[24..32], 2_u64.to_le_bytes());
    assert_eq!(bytes[40..48], 6_u64.to_le_bytes());
    let tagged = set(&format!("{A}:1:blue:2")).encode();
    assert_eq!(tagged[..8], [1, 2, 0, 0, 0, 0, 0, 1]);
    assert_eq!(tagged[24], 0);
    assert_eq!(&tagged[24 + 1 + 24 + 16..][..5], b"\x08blue");
}

#[test]
fn mariadb_states_print_parse_and_compare() {
    let state: MariaGtidState = "0-1-5, 7-2-18446744073709551615".parse().unwrap();
    assert_eq!(state.to_string(), "0-1-5,7-2-18446744073709551615");
    assert_eq!("".parse(), Ok(MariaGtidState::new()));
    for text in ["0-1", "0-1-2-3", "0-1-x", "0-1-1,0-2-2", "-1-1-1", "0-1-+1"] {
        assert!(text.parse::<MariaGtidState>().is_err(), "{text}");
    }
    let later: MariaGtidState = "0-3-6,7-2-18446744073709551615,9-9-9".parse().unwrap();
    assert!(state.is_subset(&later) && !later.is_subset(&state));
    assert!(later.contains("0-1-5".parse().unwrap()));
    assert!(!later.contains("1-1-1".parse().unwrap()));
}

#[test]
fn files_are_ordered_by_their_number_and_not_by_their_text() {
    let place = BinlogFile::new;
    assert!(place("b.999999", 4) < place("b.1000000", 4));
    assert!(place("b.000002", 4) > place("b.000001", 5_000_000_000));
    assert!(place("b.000002", 4) < place("b.000002", 5));
    assert_eq!(
        place("b.000001", 4).partial_cmp(&place("c.000001", 4)),
        None
    );
    assert_eq!(place("b.01", 4).partial_cmp(&place("b.001", 4)), None);
    assert_eq!(place("mysql-bin.log", 4).parts(), None);
}

#[test]
fn ordinals_grow_with_the_place_and_know_their_bounds() {
    let ordinal = |name: &str, offset| BinlogFile::new(name, offset).ordinal();
    assert!(ordinal("b.000001", (1 << 38) - 1) < ordinal("b.000002", 4));
    assert!(ordinal("b.000002", 4) < ordinal("b.000002", 5));
    assert_eq!(ordinal("b.000001", 1 << 38), None);
    assert_eq!(ordinal("b.67108864", 4), None);
    assert!(ordinal("b.67108863", 4).is_some());
    assert_eq!(ordinal("b", 4), None);
}

#[test]
fn positions_print_and_parse() {
    for text in [
        "binlog.000003:1547".to_owned(),
        format!("binlog.000003:5000000000 mysql {A}:1-5:7"),
        "binlog.000003:4 mysql ".to_owned(),
        "my%20log%25%3A.000003:4 mariadb 0-1-5,1-1-1".to_owned(),
        "b.000003:400 mariadb 0-1-5 reread b.000002:90 mariadb 0-1-3".to_owned(),
        "b.000003:400 reread b.000002:90".to_owned(),
    ] {
        let position: Position = text.parse().unwrap();
        assert_eq!(position.to_string(), text);
    }
    let odd: Position = "my%20log%25%3A.000003:4".parse().unwrap();
    assert_eq!(&*odd.file.name, "my log%:.000003");
}

#[test]
fn what_is_no_position_is_refused() {
    for text in [
        "",
        "binlog.000003",
        "binlog.000003:",
        "binlog.000003:x",
        ":4",
        "b.1:4 oracle x",
        "b.1:4 mysql x",
        "b.1:4 mariadb x",
        "b.1:4 reread ",
        "b.1:+4",
    ] {
        assert!(text.parse::<Position>().is_err(), "{text:?}");
    }
}

#[test]
fn positions_are_ordered_by_their_file_coordinates() {
    let one: Position = format!("b.000001:9 mysql {A}:1-5").parse().unwrap();
    let two: Position = format!("b.000002:4 mysql {A}:1-5").parse().unwrap();
    assert!(two.includes(&one) && !one.includes(&two) && one.includes(&one));
}

/// Small sets, so that intervals meet.
fn numbers() -> impl Strategy<Value = BTreeSet<(bool, u64)>> {
    prop::collection::btree_set((any::<bool>(), 1..40_u64), 0..40)
}

fn as_set(numbers: &BTreeSet<(bool, u64)>, order: impl Iterator<Item = (bool, u64)>) -> GtidSet {
    let mut out = GtidSet::new();
    for (tagged, number) in order {
        let tag = tagged.then(|| Tag::new("t").unwrap());
        let uuid = A.parse().unwrap();
        let sid = Sid { uuid, tag };
        out.insert(&Gtid { sid, number });
    }
    assert_eq!(out.count(), u64::try_from(numbers.len()).unwrap());
    out
}

proptest! {
    #[test]
    fn set_arithmetic_is_that_of_sets_of_numbers(
        one in numbers(),
        two in numbers(),
        shuffled in any::<prop::sample::Index>(),
    ) {
        let mut order: Vec<_> = one.iter().copied().collect();
        if !order.is_empty() {
            let by = shuffled.index(order.len());
            order.rotate_left(by);
        }
        let a = as_set(&one, order.into_iter());
        let b = as_set(&two, two.iter().copied());
        prop_assert_eq!(&a, &as_set(&one, one.iter().copied()));
        let both: BTreeSet<_> = one.union(&two).copied().collect();
        prop_assert_eq!(a.union(&b), as_set(&both, both.iter().copied()));
        let rest: BTreeSet<_> = one.difference(&two).copied().collect();
        prop_assert_eq!(a.subtract(&b), as_set(&rest, rest.iter().copied()));
        prop_assert_eq!(a.is_subset(&b), one.is_subset(&two));
        prop_assert_eq!(&a.to_string().parse::<GtidSet>().unwrap(), &a);
    }

    #[test]
    fn any_text_is_a_position_or_an_error(text in "\\PC{0,60}") {
        if let Ok(position) = text.parse::<Position>() {
            let again: Position = position.to_string().parse().unwrap();
            prop_assert_eq!(again.to_string(), position.to_string());
        }
    }
}
