//! Random histories: applying the net change gives what the history gave, and no step of it breaks
//! a unique constraint.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const KEYS: [&str; 6] = ["a", "A", "b", "B", "c", "d"];
const UNIQUE: [&str; 4] = ["-", "x", "y", "z"];
const FREE: [&str; 3] = ["-", "1", "2"];

/// A table on a server that checks its unique constraints after every single row, as servers do.
#[derive(Debug, Clone)]
struct Server {
    rows: Vec<Row>,
    /// Column of the key, if there is one; it is compared without regard to case if `folds`.
    key: Option<usize>,
    folds: bool,
    /// A nullable column with a unique index.
    unique: usize,
}

impl Server {
    fn same_key(&self, one: &Cell, two: &Cell) -> bool {
        match (one, two) {
            (Cell::Value(one), Cell::Value(two)) if self.folds => one.eq_ignore_ascii_case(two),
            (one, two) => one == two,
        }
    }

    /// Whether the row may stand beside the rows other than the one at `place`.
    fn allows(&self, row: &Row, place: Option<usize>) -> bool {
        let mut others = self
            .rows
            .iter()
            .enumerate()
            .filter(|(other, _)| Some(*other) != place)
            .map(|(_, r)| r);
        !others.any(|other| {
            let same_key = self
                .key
                .is_some_and(|column| self.same_key(&other.cells()[column], &row.cells()[column]));
            let unique = &row.cells()[self.unique];
            same_key || (*unique != Cell::Null && *unique == other.cells()[self.unique])
        })
    }

    fn insert(&mut self, row: Row) {
        assert!(row.is_complete(), "an incomplete row was inserted");
        assert!(
            self.allows(&row, None),
            "an insert broke a unique constraint"
        );
        self.rows.push(row);
    }

    fn find(&self, key: &Key) -> usize {
        let cell = Cell::Value(key.values().next().unwrap());
        let column = self.key.unwrap();
        let same = |row: &Row| self.same_key(&row.cells()[column], &cell);
        assert_eq!(
            self.rows.iter().filter(|row| same(row)).count(),
            1,
            "no row of the key"
        );
        self.rows.iter().position(same).unwrap()
    }

    /// Deletes the row and takes from it what `row` left out (`DELETE .. RETURNING`).
    fn delete_returning(&mut self, key: &Key, mut row: Row) -> Row {
        let place = self.find(key);
        row.fill_unchanged_from(&self.rows.remove(place));
        row
    }

    fn update(&mut self, key: &Key, mut row: Row) {
        let place = self.find(key);
        row.fill_unchanged_from(&self.rows[place]);
        assert!(
            self.allows(&row, Some(place)),
            "an update broke a unique constraint"
        );
        self.rows[place] = row;
    }

    fn changes_unique(&self, updated: &Updated) -> bool {
        let cell = &updated.row.cells()[self.unique];
        *cell != Cell::Unchanged && *cell != self.rows[self.find(&updated.key)].cells()[self.unique]
    }

    /// What an applier does, in the order that `net.rs` demands.
    fn apply(&mut self, net: NetChange) {
        let mut inserts = net.inserts;
        let (reinserts, updates): (Vec<_>, Vec<_>) = net
            .updates
            .into_iter()
            .partition(|updated| self.changes_unique(updated));
        for key in net.deletes {
            let place = self.find(&key);
            self.rows.remove(place);
        }
        for Moved { from, row } in net.moves {
            inserts.push(self.delete_returning(&from, row));
        }
        for Updated { key, row } in reinserts {
            inserts.push(self.delete_returning(&key, row));
        }
        for Updated { key, row } in updates {
            self.update(&key, row);
        }
        for row in inserts {
            self.insert(row);
        }
        let (gone, come): (Vec<_>, Vec<_>) = net.bag.into_iter().partition(|(_, count)| *count < 0);
        for (row, _) in gone
            .iter()
            .flat_map(|(row, n)| (0..-n).map(move |one| (row, one)))
        {
            let place = self
                .rows
                .iter()
                .position(|there| there == row)
                .expect("a row to delete");
            self.rows.remove(place);
        }
        for (row, _) in come
            .iter()
            .flat_map(|(row, n)| (0..*n).map(move |one| (row, one)))
        {
            self.insert(row.clone());
        }
    }

    fn sorted(&self) -> Vec<String> {
        let mut rows: Vec<_> = self.rows.iter().map(show).collect();
        rows.sort();
        rows
    }
}

fn show(row: &Row) -> String {
    let cells = row.cells().iter().map(|cell| match cell {
        Cell::Null => "-".to_owned(),
        Cell::Value(value) => String::from_utf8_lossy(value).into_owned(),
        Cell::Unchanged => "*".to_owned(),
    });
    cells.collect::<Vec<_>>().join(",")
}

/// One thing that an application tries; what the server would refuse does not happen.
#[derive(Debug, Clone)]
struct Attempt {
    what: What,
    key: Index,
    unique: Index,
    free: Index,
    row: Index,
    /// Which of the unchanged cells the stream leaves out, a bit a column.
    leave_out: u8,
    old_image: u8,
    /// Whether the batch ends after it.
    flush: bool,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Insert,
    Update,
    ChangeKey,
    Delete,
}

fn attempts() -> impl Strategy<Value = Vec<Attempt>> {
    let what = prop_oneof![
        3 => Just(What::Insert), 2 => Just(What::Update),
        3 => Just(What::ChangeKey), 2 => Just(What::Delete),
    ];
    let index = any::<Index>;
    let attempt = (
        (what, index(), index(), index(), index()),
        (any::<u8>(), any::<u8>(), prop::bool::weighted(0.1)),
    );
    let attempt = attempt.prop_map(
        |((what, key, unique, free, row), (leave_out, old_image, flush))| Attempt {
            what,
            key,
            unique,
            free,
            row,
            leave_out,
            old_image,
            flush,
        },
    );
    prop::collection::vec(attempt, 0..60)
}

/// Does on `server` what the attempt wants, if that is legal, and gives the change as the stream
/// would tell it.
fn attempt(server: &mut Server, attempt: &Attempt) -> Option<Change> {
    let key = KEYS[attempt.key.index(KEYS.len())];
    let unique = UNIQUE[attempt.unique.index(UNIQUE.len())];
    let free = FREE[attempt.free.index(FREE.len())];
    let fresh = row(&[key, unique, free]);
    if let What::Insert = attempt.what {
        if !server.allows(&fresh, None) {
            return None;
        }
        server.insert(fresh.clone());
        return Some(Change::Insert { row: fresh });
    }
    if server.rows.is_empty() {
        return None;
    }
    let place = attempt.row.index(server.rows.len());
    let old = server.rows[place].clone();
    let full = server.key.is_none() || attempt.old_image.is_multiple_of(3);
    let old_image = || {
        if full {
            return OldImage::Full(old.clone());
        }
        OldImage::Key(Row::new(vec![
            old.cells()[0].clone(),
            Cell::Null,
            Cell::Null,
        ]))
    };
    if let What::Delete = attempt.what {
        server.rows.remove(place);
        return Some(Change::Delete { old: old_image() });
    }
    let mut new = fresh;
    if let What::Update = attempt.what {
        new.cells_mut()[0] = old.cells()[0].clone();
    }
    if !server.allows(&new, Some(place)) {
        return None;
    }
    server.rows[place] = new.clone();
    let told = new.cells()[0] != old.cells()[0] || full || attempt.old_image.is_multiple_of(2);
    for (column, cell) in new.cells_mut().iter_mut().enumerate() {
        let may_leave_out = *cell == old.cells()[column] && (column != 0 || told);
        if may_leave_out && attempt.leave_out & (1 << column) != 0 {
            *cell = Cell::Unchanged;
        }
    }
    Some(Change::Update {
        old: told.then(old_image),
        row: new,
    })
}

/// Runs the history on a source and its net changes, batch by batch, on a target.
fn run(source: &mut Server, identity: Identity, attempts: &[Attempt]) {
    let mut target = source.clone();
    let mut net = NetTable::new(NetShape {
        columns: 3,
        identity,
    });
    for wanted in attempts {
        if let Some(change) = attempt(source, wanted) {
            net.push(change).expect("a legal history");
        }
        if wanted.flush {
            target.apply(net.take());
            assert_eq!(target.sorted(), source.sorted());
            assert_eq!(net.memory_bytes(), 0);
        }
    }
    target.apply(net.take());
    assert_eq!(target.sorted(), source.sorted());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_net_change_of_a_keyed_table_does_what_its_history_did(
        attempts in attempts(), folds in any::<bool>(),
    ) {
        let rows = vec![row(&["a", "x", "1"]), row(&["b", "y", "-"]), row(&["c", "-", "-"])];
        let mut source = Server { rows, key: Some(0), folds, unique: 1 };
        run(&mut source, Identity::Key(vec![0]), &attempts);
    }

    #[test]
    fn the_net_change_of_a_table_without_a_key_does_what_its_history_did(attempts in attempts()) {
        let rows = vec![row(&["a", "-", "1"]), row(&["a", "-", "1"]), row(&["c", "z", "-"])];
        let mut source = Server { rows, key: None, folds: false, unique: 1 };
        run(&mut source, Identity::WholeRow, &attempts);
    }
}
