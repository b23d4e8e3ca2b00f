//! Random documents and random diffs, against a model that has nothing of the code that is tested.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::read::{Parts, Value};
use super::*;

/// A value, and how it is changed: plainly.
#[derive(Debug, Clone, PartialEq)]
enum Model {
    /// A value that is written as its type and these bytes.
    Scalar(u8, Vec<u8>),
    /// Keys as servers order them: by length, then by bytes.
    Object(BTreeMap<(usize, String), Self>),
    Array(Vec<Self>),
}

fn counted(bytes: &[u8]) -> Vec<u8> {
    let mut length = bytes.len();
    let mut counted = Vec::new();
    while length >= 0x80 {
        counted.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    counted.push(u8::try_from(length).unwrap());
    counted.extend(bytes);
    counted
}

fn text(text: &str) -> Model {
    Model::Scalar(12, counted(text.as_bytes()))
}

fn number(number: i64) -> Model {
    if let Ok(short) = i16::try_from(number) {
        Model::Scalar(5, short.to_le_bytes().to_vec())
    } else if let Ok(middle) = i32::try_from(number) {
        Model::Scalar(7, middle.to_le_bytes().to_vec())
    } else {
        Model::Scalar(9, number.to_le_bytes().to_vec())
    }
}

fn object(members: impl IntoIterator<Item = (String, Model)>) -> Model {
    let members = members.into_iter();
    Model::Object(
        members
            .map(|(key, value)| ((key.len(), key), value))
            .collect(),
    )
}

impl Model {
    /// Type and bytes, as the format's description tells to write them.
    fn written(&self) -> (u8, Vec<u8>) {
        let (keys, values, kind): (Vec<&str>, Vec<&Self>, u8) = match self {
            Self::Scalar(kind, bytes) => return (*kind, bytes.clone()),
            Self::Object(members) => {
                let keys = members.keys().map(|(_, key)| key.as_str());
                (keys.collect(), members.values().collect(), 0)
            }
            Self::Array(cells) => (Vec::new(), cells.iter().collect(), 2),
        };
        let values: Vec<_> = values.into_iter().map(Self::written).collect();
        for (wide, kind) in [(2, kind), (4, kind + 1)] {
            let inlined = |kind: u8| matches!(kind, 4..=6) || (wide == 4 && matches!(kind, 7 | 8));
            let number = |number: usize| number.to_le_bytes()[..wide].to_vec();
            let mut place = 2 * wide + keys.len() * (wide + 2) + values.len() * (wide + 1);
            let (mut entries, mut rest) = (Vec::new(), Vec::new());
            for key in &keys {
                entries.extend(number(place));
                entries.extend(u16::try_from(key.len()).unwrap().to_le_bytes());
                place += key.len();
                rest.extend(key.as_bytes());
            }
            for (kind, bytes) in &values {
                entries.push(*kind);
                if inlined(*kind) {
                    let negative = *kind == 5 && bytes[1] >= 0x80;
                    let fill = u8::from(negative) * 0xff;
                    let filled = bytes.iter().copied().chain(std::iter::repeat(fill));
                    entries.extend(filled.take(wide));
                } else {
                    entries.extend(number(place));
                    place += bytes.len();
                    rest.extend(bytes);
                }
            }
            if wide == 4 || place <= 0xffff {
                let head = [number(values.len()), number(place)].concat();
                return (kind, [head, entries, rest].concat());
            }
        }
        unreachable!("the large form has no limit")
    }

    fn binary(&self) -> Vec<u8> {
        let (kind, bytes) = self.written();
        [vec![kind], bytes].concat()
    }

    /// The objects and arrays in it, by their paths.
    fn containers(&self, path: &[Step], into: &mut Vec<Vec<Step>>) {
        let steps: Vec<(Step, &Self)> = match self {
            Self::Scalar(..) => return,
            Self::Object(members) => {
                let members = members.iter();
                members
                    .map(|((_, key), value)| (Step::Key(key.clone()), value))
                    .collect()
            }
            Self::Array(cells) => cells
                .iter()
                .enumerate()
                .map(|(nth, cell)| (Step::Cell(nth), cell))
                .collect(),
        };
        into.push(path.to_vec());
        for (step, value) in steps {
            value.containers(&[path, &[step]].concat(), into);
        }
    }

    fn at(&mut self, path: &[Step]) -> &mut Self {
        path.iter().fold(self, |value, step| match (value, step) {
            (Self::Object(members), Step::Key(key)) => {
                members.get_mut(&(key.len(), key.clone())).unwrap()
            }
            (Self::Array(cells), Step::Cell(nth)) => &mut cells[*nth],
            (value, step) => panic!("{step:?} in {value:?}"),
        })
    }
}

#[derive(Debug, Clone)]
enum Step {
    Key(String),
    Cell(usize),
}

/// How a random change is made.
#[derive(Debug, Clone)]
struct Choice {
    container: Index,
    place: Index,
    what: u8,
    key: String,
    value: Model,
    from_last: bool,
}

/// Changes the model and gives the diff that tells so; nothing if there is nothing to change.
fn change(model: &mut Model, choice: &Choice) -> Vec<u8> {
    let mut containers = Vec::new();
    model.containers(&[], &mut containers);
    if containers.is_empty() {
        return Vec::new();
    }
    let mut path = choice.container.get(&containers).clone();
    let value = choice.value.clone();
    let (what, count) = match model.at(&path) {
        Model::Scalar(..) => unreachable!("it is a container"),
        Model::Object(members) => {
            let keys: Vec<_> = members.keys().cloned().collect();
            let new = (choice.key.len(), choice.key.clone());
            let what = if keys.is_empty() { 1 } else { choice.what };
            let key = if what == 1 {
                new
            } else {
                choice.place.get(&keys).clone()
            };
            path.push(Step::Key(key.1.clone()));
            match what {
                1 if members.contains_key(&key) => return Vec::new(),
                0 | 1 => drop(members.insert(key, value)),
                _remove => drop(members.remove(&key)),
            }
            (what, 0)
        }
        Model::Array(cells) => {
            let count = cells.len();
            let what = if count == 0 { 1 } else { choice.what };
            let place = choice.place.index(count.max(1));
            match what {
                0 => cells[place] = value,
                1 => cells.insert(place, value),
                _remove => drop(cells.remove(place)),
            }
            path.push(Step::Cell(place));
            (what, count)
        }
    };
    let last = choice.from_last.then_some(count).filter(|count| *count > 0);
    diff(what, &spelt(&path, last), &choice.value)
}

/// A path as text; the last cell counted from the end of so many.
fn spelt(path: &[Step], from_last: Option<usize>) -> String {
    let mut text = "$".to_owned();
    for (nth, step) in path.iter().enumerate() {
        match (step, from_last.filter(|_| nth + 1 == path.len())) {
            (Step::Cell(place), Some(count)) => text += &format!("[last-{}]", count - 1 - place),
            (Step::Cell(place), None) => text += &format!("[{place}]"),
            (Step::Key(key), _) => text += &format!(".{key:?}"),
        }
    }
    text
}

fn diff(what: u8, path: &str, value: &Model) -> Vec<u8> {
    let string = |bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).unwrap().to_le_bytes();
        match bytes.len() {
            0..=250 => [&length[..1], bytes].concat(),
            251..=0xffff => [&[252], &length[..2], bytes].concat(),
            _more => [&[253], &length[..3], bytes].concat(),
        }
    };
    let mut diff = [&[what][..], &string(path.as_bytes())].concat();
    if what != 2 {
        diff.extend(string(&value.binary()));
    }
    diff
}

fn models() -> impl Strategy<Value = Model> {
    let opaque = prop::collection::vec(any::<u8>(), 0..12)
        .prop_map(|bytes| Model::Scalar(15, [vec![246], counted(&bytes)].concat()));
    let scalars = prop_oneof![
        (0..3_u8).prop_map(|literal| Model::Scalar(4, vec![literal])),
        any::<i64>().prop_map(number),
        any::<i16>().prop_map(|short| number(short.into())),
        any::<i32>().prop_map(|middle| number(middle.into())),
        any::<u16>().prop_map(|short| Model::Scalar(6, short.to_le_bytes().to_vec())),
        any::<f64>().prop_map(|double| Model::Scalar(11, double.to_le_bytes().to_vec())),
        "[a-zé]{0,8}".prop_map(|word| text(&word)),
        // So that some are larger than the small form can be.
        (150..20_000_usize).prop_map(|length| text(&"x".repeat(length))),
        opaque,
    ];
    scalars.prop_recursive(4, 40, 6, |inner| {
        let members = prop::collection::vec(("[a-c .]{0,3}", inner.clone()), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..6).prop_map(Model::Array),
            members.prop_map(object),
        ]
    })
}

fn choices() -> impl Strategy<Value = Choice> {
    let small = models();
    (
        any::<Index>(),
        any::<Index>(),
        0..3_u8,
        "[a-f .]{0,4}",
        small,
        any::<bool>(),
    )
        .prop_map(|(container, place, what, key, value, from_last)| Choice {
            container,
            place,
            what,
            key,
            value,
            from_last,
        })
}

proptest! {
    #[test]
    fn diffs_do_what_they_say(
        document in models(),
        choices in prop::collection::vec(choices(), 0..6),
    ) {
        let mut model = document.clone();
        let diffs: Vec<u8> = choices.iter().flat_map(|choice| change(&mut model, choice)).collect();
        let came = diff::apply(&document.binary(), &diffs);
        // What nobody looked into keeps its form.
        prop_assert_eq!(canonical(&came.unwrap()).unwrap(), model.binary());
    }

    #[test]
    fn a_document_has_one_form(document in models()) {
        prop_assert_eq!(canonical(&document.binary()).unwrap(), document.binary());
    }

    #[test]
    fn damage_makes_no_panic_and_no_flood(
        document in models(),
        choices in prop::collection::vec(choices(), 1..4),
        damages in prop::collection::vec((any::<bool>(), any::<Index>(), any::<u8>()), 1..4),
    ) {
        let mut model = document.clone();
        let mut diffs: Vec<u8> = choices.iter().flat_map(|choice| change(&mut model, choice)).collect();
        let mut document = document.binary();
        for (in_diffs, place, byte) in damages {
            let bytes = if in_diffs && !diffs.is_empty() { &mut diffs } else { &mut document };
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let most = 4 * (document.len() + diffs.len()) + 64;
        if let Ok(came) = diff::apply(&document, &diffs) {
            prop_assert!(came.len() <= most);
        }
        if let Ok(came) = canonical(&document) {
            prop_assert!(came.len() <= most);
        }
    }

    #[test]
    fn no_bytes_make_a_panic(
        document in prop::collection::vec(any::<u8>(), 0..80),
        diffs in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        drop(canonical(&document));
        drop(diff::apply(&document, &diffs));
    }
}

#[test]
fn documents_grow_over_and_shrink_below_the_small_form() {
    let cell = |nth: i64| {
        object([
            ("k".to_owned(), text(&format!("{nth:040}"))),
            ("n".to_owned(), number(nth)),
        ])
    };
    for count in [900, 1200, 3000] {
        let mut cells: Vec<_> = (0..count).map(cell).collect();
        let document = Model::Array(cells.clone()).binary();
        let diffs = [
            diff(1, "$[500]", &text(&"y".repeat(70_000))),
            diff(0, "$[last].k", &number(-70_000)),
            diff(2, "$[0]", &number(0)),
        ];
        let came = diff::apply(&document, &diffs.concat()).unwrap();
        cells.insert(500, text(&"y".repeat(70_000)));
        *Model::at(cells.last_mut().unwrap(), &[Step::Key("k".to_owned())]) = number(-70_000);
        cells.remove(0);
        assert!(came.len() > 65_536);
        assert_eq!(came, Model::Array(cells.clone()).binary());
        let diffs: Vec<u8> = (0..count - 20)
            .flat_map(|_| diff(2, "$[0]", &number(0)))
            .collect();
        let came = diff::apply(&came, &diffs).unwrap();
        let rest = cells.split_off(cells.len() - 20);
        assert_eq!(came, Model::Array(rest).binary());
        assert_eq!(came[0], 2);
    }
}

#[test]
fn what_a_document_does_not_have_is_not_changed() {
    let members = [
        ("a".to_owned(), Model::Array(vec![number(1)])),
        ("b".to_owned(), number(2)),
    ];
    let document = object(members).binary();
    for (what, path) in [
        (0, "$.c"),
        (0, "$.a[1]"),
        (0, "$.b[0]"),
        (0, "$[0]"),
        (0, "$"),
        (0, "$.a.x"),
        (1, "$.b"),
        (1, "$.b.x"),
        (1, "$.c.x"),
        (1, "$.a.x"),
        (1, "$[0]"),
        (2, "$.c"),
        (2, "$.a[1]"),
        (2, "$.a[last-1]"),
        (2, "$"),
        (3, "$.a"),
        (0, "$.*"),
    ] {
        let came = diff::apply(&document, &diff(what, path, &number(3)));
        assert!(came.is_err(), "{what} {path}");
    }
    // Cells behind the last are put at the end, those before the first at the beginning.
    let array = Model::Array(vec![number(1)]).binary();
    let came = diff::apply(
        &array,
        &[
            diff(1, "$[9]", &number(2)),
            diff(1, "$[last-9]", &number(0)),
        ]
        .concat(),
    );
    let three = [number(0), number(1), number(2)];
    assert_eq!(came.unwrap(), Model::Array(three.to_vec()).binary());
}

#[test]
fn values_that_are_too_deep_are_refused() {
    let nested = |levels: u32| (0..levels).fold(number(1), |inner, _| Model::Array(vec![inner]));
    assert!(canonical(&nested(100).binary()).is_ok());
    assert!(canonical(&nested(101).binary()).is_err());
    let path = |levels: usize| format!("${}", "[0]".repeat(levels));
    let document = nested(60).binary();
    let deeper = |levels| diff::apply(&document, &diff(0, &path(60), &nested(levels)));
    assert_eq!(deeper(40).unwrap(), nested(100).binary());
    assert!(deeper(41).is_err());
    // A tower that could be walked, of bytes that are used again and again.
    let mut tower = vec![2, 1, 0, 7, 0, 2, 0, 0];
    assert!(canonical(&tower).is_err());
    tower[6] = 4;
    assert!(canonical(&tower).is_err());
}

#[test]
fn parts_that_share_bytes_are_refused() {
    // Two strings in one place: with more levels, few bytes would be a value of any size.
    let shared = [2, 2, 0, 14, 0, 12, 10, 0, 12, 10, 0, 3, b'a', b'b', b'c'];
    assert!(Value::of(&shared).unwrap().parts().is_err());
    let apart = [2, 2, 0, 14, 0, 12, 10, 0, 12, 12, 0, 1, b'a', 1, b'b'];
    let Ok(Parts::Array(cells)) = Value::of(&apart).unwrap().parts() else {
        panic!("it is an array");
    };
    assert_eq!(cells[1].bytes, [1, b'b']);
}

#[test]
fn holes_are_left_out_of_the_one_form() {
    // ["a", <hole>, "b"]
    let holed = [2, 2, 0, 16, 0, 12, 10, 0, 12, 14, 0, 1, b'a', 7, 7, 1, b'b'];
    let whole = Model::Array(vec![text("a"), text("b")]).binary();
    assert_eq!(canonical(&holed).unwrap(), whole);
    assert_eq!(canonical(&[]).unwrap(), [4, 0]);
}
