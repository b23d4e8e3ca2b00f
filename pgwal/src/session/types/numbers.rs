//! Which numbers a client knows.

use router::Side;

use super::super::type_names::FIXED_TYPES;
use super::catalog::TypeCatalog;

/// Most numbers of one server that are kept one by one. A client that was told more knows them all, such
/// as a driver that reads the whole catalog first.
const KNOWN_MAX: usize = 512;

/// Most numbers that are kept in all.
const KEPT_MAX: usize = 4 * KNOWN_MAX;

/// Types that can have a number of our own at once in one session.
const ALIASES_MAX: usize = 256;

/// A number that no server gives a type: to use it is an error.
const NO_TYPE: u32 = u32::MAX;

/// The numbers of types that a client knows, each with the server that it is the number of.
///
/// No number means two types for one client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::session) struct Numbers {
    /// In ascending order.
    known: Vec<(u32, Side)>,
    /// The server of which the client knows every number.
    whole: Option<Side>,
    aliases: Vec<Alias>,
}

/// A type whose own number means another type to the client, so that it got one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Alias {
    client: u32,
    number: u32,
    side: Side,
}

impl Numbers {
    /// The client meets a server's number for what it is there.
    #[inline]
    pub(in crate::session) fn note(&mut self, number: u32, side: Side) {
        if number >= FIXED_TYPES {
            self.keep(number, side);
        }
    }

    fn keep(&mut self, number: u32, side: Side) {
        if self.whole == Some(side) || self.known.len() >= KEPT_MAX {
            return;
        }
        let Err(place) = self
            .known
            .binary_search_by_key(&number, |(known, _)| *known)
        else {
            return;
        };
        let of_side = |(_, known): &&(u32, Side)| *known == side;
        if self.whole.is_none()
            && self.known.len() >= KNOWN_MAX
            && self.known.iter().filter(of_side).count() == self.known.len()
        {
            self.whole = Some(side);
            self.known = Vec::new();
            return;
        }
        self.known.insert(place, (number, side));
    }

    /// Who knows a type meets the types in its values, too.
    pub(super) fn close_over(&mut self, catalog: &TypeCatalog) {
        // What was read in a column of numbers need not be that of a type.
        self.known
            .retain(|(number, side)| catalog.has(*side, *number));
        let mut left = self.known.clone();
        while let Some((number, side)) = left.pop() {
            for inner in catalog.inner(side, number) {
                let before = self.known.len();
                self.keep(*inner, side);
                if self.known.len() > before {
                    left.push((*inner, side));
                }
            }
        }
    }

    /// The client meets a number, but not for the first one of its type: the first one stays.
    fn learn(&mut self, number: u32, side: Side, catalog: &TypeCatalog) {
        let elsewhere = catalog.counterpart(side, number);
        let is_known = |other| self.owner(other, side, catalog) == Some(side.other());
        if !elsewhere.is_some_and(is_known) {
            self.keep(number, side);
        }
    }

    /// The client reads a number that may be a type's.
    pub(super) fn note_read(&mut self, number: u32, side: Side, catalog: &TypeCatalog) {
        if number >= FIXED_TYPES && catalog.has(side, number) {
            self.learn(number, side, catalog);
        }
    }

    /// Whether some of the numbers are not this server's.
    pub(in crate::session) fn has_others_than(&self, side: Side) -> bool {
        let other = side.other();
        self.whole == Some(other)
            || !self.aliases.is_empty()
            || self.known.iter().any(|(_, known)| *known == other)
    }

    /// The server whose number the client takes this for.
    fn owner(&self, number: u32, side: Side, catalog: &TypeCatalog) -> Option<Side> {
        let place = self
            .known
            .binary_search_by_key(&number, |(known, _)| *known);
        let known = place.ok().and_then(|place| self.known.get(place));
        let owner = match known {
            Some((_, owner)) => *owner,
            None => self.whole?,
        };
        // A number that came in a column of numbers need not be that of a type.
        let is_type = || catalog.has(owner, number);
        ((known.is_some() && owner == side) || is_type()).then_some(owner)
    }

    /// What a type of this server is called towards the client.
    pub(in crate::session) fn for_client(
        &mut self,
        number: u32,
        side: Side,
        catalog: &TypeCatalog,
    ) -> u32 {
        if number < FIXED_TYPES {
            return number;
        }
        let owner = self.owner(number, side, catalog);
        if owner == Some(side) {
            return number;
        }
        let elsewhere = catalog.counterpart(side, number);
        if let Some(elsewhere) = elsewhere
            && self.owner(elsewhere, side, catalog) == Some(side.other())
        {
            return elsewhere;
        }
        let is_it = |alias: &&Alias| {
            (alias.side == side && alias.number == number)
                || (alias.side != side && Some(alias.number) == elsewhere)
        };
        if let Some(alias) = self.aliases.iter().find(is_it) {
            return alias.client;
        }
        if owner.is_some() {
            return self.name_anew(number, side);
        }
        self.learn(number, side, catalog);
        number
    }

    /// Beyond the limit a type is called by a number that means none.
    fn name_anew(&mut self, number: u32, side: Side) -> u32 {
        if self.aliases.len() >= ALIASES_MAX {
            return NO_TYPE;
        }
        let count = u32::try_from(self.aliases.len()).unwrap_or_default();
        let client = NO_TYPE - 1 - count;
        self.aliases.push(Alias {
            client,
            number,
            side,
        });
        client
    }

    /// The number on this server of the type that the client calls so.
    pub(in crate::session) fn for_server(
        &mut self,
        number: u32,
        side: Side,
        catalog: &TypeCatalog,
    ) -> u32 {
        if number < FIXED_TYPES {
            return number;
        }
        let on_this = |of: Side, number: u32| {
            if of == side {
                return number;
            }
            catalog.counterpart(of, number).unwrap_or(NO_TYPE)
        };
        if let Some(alias) = self.aliases.iter().find(|alias| alias.client == number) {
            return on_this(alias.side, alias.number);
        }
        match self.owner(number, side, catalog) {
            Some(owner) => on_this(owner, number),
            None => {
                self.learn(number, side, catalog);
                number
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalog::{Kind, OfType};
    use super::*;
    use proptest::prelude::*;

    /// A type's name with its number on each server.
    type One<'a> = (&'a str, Option<u32>, Option<u32>);

    fn catalog(types: &[One<'_>]) -> TypeCatalog {
        let of = |pick: fn(&One<'_>) -> Option<u32>| {
            types
                .iter()
                .filter_map(|one| {
                    Some(OfType {
                        number: pick(one)?,
                        name: bytes::Bytes::copy_from_slice(one.0.as_bytes()),
                        kind: Kind::Plain,
                        inner: Vec::new(),
                    })
                })
                .collect::<Vec<_>>()
        };
        TypeCatalog::new(of(|one| one.1), of(|one| one.2))
    }

    const S: Side = Side::Source;
    const T: Side = Side::Target;

    #[test]
    fn a_type_keeps_the_number_that_the_client_learnt() {
        let catalog = catalog(&[("mood", Some(16_400), Some(16_500))]);
        let mut numbers = Numbers::default();
        numbers.note(16_400, S);
        numbers.note(25, S);
        assert!(numbers.has_others_than(T) && !numbers.has_others_than(S));
        assert_eq!(numbers.for_client(16_500, T, &catalog), 16_400);
        assert_eq!(numbers.for_server(16_400, T, &catalog), 16_500);
        assert_eq!(numbers.for_client(25, T, &catalog), 25);
        assert_eq!(numbers.for_server(25, T, &catalog), 25);
    }

    #[test]
    fn a_type_that_is_met_later_passes_under_its_own_number_and_keeps_it_on_the_way_back() {
        let catalog = catalog(&[
            ("mood", Some(16_400), Some(16_500)),
            ("color", Some(16_401), Some(16_501)),
        ]);
        let mut numbers = Numbers::default();
        numbers.note(16_400, S);
        assert_eq!(numbers.for_client(16_501, T, &catalog), 16_501);
        assert_eq!(numbers.for_server(16_501, T, &catalog), 16_501);
        assert_eq!(numbers.for_client(16_401, S, &catalog), 16_501);
        assert_eq!(numbers.for_server(16_501, S, &catalog), 16_401);
        assert_eq!(numbers.for_client(16_400, S, &catalog), 16_400);
    }

    #[test]
    fn a_type_keeps_its_number_when_the_other_one_is_read_from_the_catalog() {
        let catalog = catalog(&[("mood", Some(16_400), Some(16_500))]);
        let mut numbers = Numbers::default();
        numbers.note(16_400, S);
        numbers.note_read(16_500, T, &catalog);
        assert_eq!(numbers.for_server(16_500, T, &catalog), 16_500);
        assert_eq!(numbers.for_client(16_500, T, &catalog), 16_400);
        assert_eq!(numbers.for_client(16_400, S, &catalog), 16_400);
    }

    #[test]
    fn a_number_never_means_two_types() {
        let catalog = catalog(&[
            ("mood", Some(16_400), Some(16_500)),
            ("color", Some(16_300), Some(16_400)),
        ]);
        let mut numbers = Numbers::default();
        numbers.note(16_400, S);
        let color = numbers.for_client(16_400, T, &catalog);
        assert_ne!(color, 16_400);
        assert_eq!(numbers.for_client(16_400, T, &catalog), color);
        assert_eq!(numbers.for_server(color, T, &catalog), 16_400);
        assert_eq!(numbers.for_client(16_300, S, &catalog), color);
        assert_eq!(numbers.for_server(color, S, &catalog), 16_300);
    }

    #[test]
    fn a_type_that_this_server_lacks_is_no_type_there() {
        let catalog = catalog(&[("mood", Some(16_400), None), ("color", None, Some(16_400))]);
        let mut numbers = Numbers::default();
        numbers.note(16_400, S);
        assert_eq!(numbers.for_server(16_400, T, &catalog), NO_TYPE);
        assert_ne!(numbers.for_client(16_400, T, &catalog), 16_400);
    }

    #[test]
    fn a_number_of_something_else_stands_in_nobodys_way() {
        let catalog = catalog(&[("color", Some(16_300), Some(16_400))]);
        let mut numbers = Numbers::default();
        // Such as a table's.
        numbers.note(16_400, S);
        assert_eq!(numbers.for_client(16_400, T, &catalog), 16_400);
    }

    #[test]
    fn who_knows_a_composite_knows_what_it_is_made_of() {
        let types = |shift: u32| {
            let of = |number: u32, inner: &[u32]| OfType {
                number: number + shift,
                name: number.to_string().into(),
                kind: Kind::Composite,
                inner: inner.iter().map(|inner| inner + shift).collect(),
            };
            vec![
                of(16_400, &[16_401, 16_402]),
                of(16_401, &[16_403]),
                of(16_402, &[16_400]),
                of(16_403, &[]),
                of(16_404, &[]),
            ]
        };
        let catalog = TypeCatalog::new(types(0), types(10));
        let mut numbers = Numbers::default();
        numbers.note(16_400, S);
        numbers.close_over(&catalog);
        for number in [16_400, 16_401, 16_402, 16_403] {
            assert_eq!(numbers.for_client(number + 10, T, &catalog), number);
        }
        assert_eq!(numbers.for_client(16_414, T, &catalog), 16_414);
    }

    #[test]
    fn who_was_told_very_many_numbers_knows_them_all() {
        let types: Vec<_> = (0..1_000_u32)
            .map(|one| (one.to_string(), Some(20_000 + one), Some(20_001 + one)))
            .collect();
        let types: Vec<_> = types.iter().map(|(n, s, t)| (n.as_str(), *s, *t)).collect();
        let catalog = catalog(&types);
        let mut numbers = Numbers::default();
        for one in 0..600 {
            numbers.note(20_000 + one, S);
        }
        assert_eq!((numbers.whole, numbers.known.len()), (Some(S), 0));
        assert!(numbers.has_others_than(T));
        for one in 0..1_000 {
            assert_eq!(numbers.for_client(20_001 + one, T, &catalog), 20_000 + one);
            assert_eq!(numbers.for_server(20_000 + one, T, &catalog), 20_001 + one);
        }
    }

    proptest! {
        /// Whatever is met in whatever order on whichever server: a number always means the same
        /// type to the client, and what the client calls so reaches that type.
        #[test]
        fn numbers_mean_one_type_each_for_ever(
            source in Just((0..12_u32).collect::<Vec<_>>()).prop_shuffle(),
            target in Just((0..12_u32).collect::<Vec<_>>()).prop_shuffle(),
            steps in proptest::collection::vec(
                (any::<bool>(), 0..12_usize, any::<bool>()),
                1..60,
            ),
        ) {
            let number = |side: &Vec<u32>, one: usize| 16_384 + side[one];
            let names: Vec<String> = (0..12).map(|one| one.to_string()).collect();
            let types: Vec<_> = names
                .iter()
                .enumerate()
                .map(|(one, name)| {
                    (name.as_str(), Some(number(&source, one)), Some(number(&target, one)))
                })
                .collect();
            let catalog = catalog(&types);
            let mut numbers = Numbers::default();
            let mut told = std::collections::HashMap::new();
            for (on_target, one, reads) in steps {
                let (side, here) = if on_target { (T, &target) } else { (S, &source) };
                if reads {
                    numbers.note_read(number(here, one), side, &catalog);
                    continue;
                }
                let client = numbers.for_client(number(here, one), side, &catalog);
                prop_assert_eq!(*told.entry(client).or_insert(one), one);
                for (client, one) in &told {
                    for (side, here) in [(S, &source), (T, &target)] {
                        let mut numbers = numbers.clone();
                        let server = numbers.for_server(*client, side, &catalog);
                        prop_assert_eq!(server, number(here, *one));
                    }
                }
            }
        }
    }
}
