//! The definitions of everything that is moved, in the source's own words (`SHOW CREATE ..`).

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::try_join_all;
use router::Side;

use super::catalog::{Catalog, Event, EventStatus, Routine, RoutineKind, Trigger};
use super::create_table::{CreateTable, without_counter};
use super::error::SchemaError;
use super::sql::{Token, joined, tokens};
use crate::name::QualifiedName;
use crate::wire::{SqlConn, TextRow};

/// The definitions of a catalog's objects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Definitions {
    /// Tables.
    pub tables: Vec<CreateTable>,
    /// Views, in no order.
    pub views: Vec<Program>,
    /// Procedures, functions and packages.
    pub routines: Vec<Program>,
    /// Triggers in the order in which they run.
    pub triggers: Vec<Program>,
    /// Events, and what becomes of each at the switch.
    pub events: Vec<(Program, EventStatus)>,
}

/// A stored program or view, and what of a session its meaning depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// What it is, for people: `procedure`, `view`, ..
    pub kind: &'static str,
    /// Its name.
    pub name: QualifiedName,
    /// The statement that makes it, in its own database.
    pub statement: String,
    /// What must hold in the session that makes it.
    pub context: Context,
}

/// What of a session a stored program keeps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Context {
    /// `sql_mode`; `None` for views, which keep none.
    pub sql_mode: Option<String>,
    /// `character_set_client`.
    pub charset_client: String,
    /// `collation_connection`.
    pub collation_connection: String,
    /// The time zone of an event's times.
    pub time_zone: Option<String>,
}

impl Definitions {
    /// Reads the definitions of all objects of a catalog, over several connections at once.
    ///
    /// The connections have no default database, so that views name their tables in full; they
    /// have none afterwards either.
    ///
    /// # Errors
    /// A query failed, an object vanished since, or its definition is not shown to us.
    pub async fn read(clients: &[&SqlConn], catalog: &Catalog) -> Result<Self, SchemaError> {
        let all: Vec<Object<'_>> = [
            catalog
                .tables
                .iter()
                .map(|t| Object::Table(&t.name))
                .collect(),
            catalog.views.iter().map(Object::View).collect(),
            catalog.routines.iter().map(Object::Routine).collect(),
            catalog.triggers.iter().map(Object::Trigger).collect(),
            catalog.events.iter().map(Object::Event).collect::<Vec<_>>(),
        ]
        .concat();
        let next = AtomicUsize::new(0);
        let work = async |client: &SqlConn| {
            let mut read = Vec::new();
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some(object) = all.get(place) else {
                    return Ok::<_, SchemaError>(read);
                };
                read.push((place, object.read(client).await?));
            }
        };
        let read = try_join_all(clients.iter().map(|client| work(client))).await?;
        let mut read: Vec<_> = read.into_iter().flatten().collect();
        read.sort_by_key(|(place, _)| *place);
        let mut found = Self::default();
        for (_, definition) in read {
            match definition {
                Definition::Table(table) => found.tables.push(table),
                Definition::View(view) => found.views.push(view),
                Definition::Routine(routine) => found.routines.push(routine),
                Definition::Trigger(trigger) => found.triggers.push(trigger),
                Definition::Event(event, status) => found.events.push((event, status)),
            }
        }
        Ok(found)
    }
}

/// One object of a catalog.
#[derive(Debug, Clone, Copy)]
enum Object<'a> {
    Table(&'a QualifiedName),
    View(&'a QualifiedName),
    Routine(&'a Routine),
    Trigger(&'a Trigger),
    Event(&'a Event),
}

/// What was read of it.
#[derive(Debug)]
enum Definition {
    Table(CreateTable),
    View(Program),
    Routine(Program),
    Trigger(Program),
    Event(Program, EventStatus),
}

impl Object<'_> {
    async fn read(&self, client: &SqlConn) -> Result<Definition, SchemaError> {
        Ok(match self {
            Self::Table(name) => {
                let row = show(client, "TABLE", name).await?;
                let text = definition(&row, 1, &format!("table {name}"), "SELECT")?;
                Definition::Table(CreateTable::parse((*name).clone(), &text)?)
            }
            Self::View(name) => Definition::View(read_view(client, name).await?),
            Self::Routine(routine) => Definition::Routine(read_routine(client, routine).await?),
            Self::Trigger(trigger) => Definition::Trigger(read_trigger(client, trigger).await?),
            Self::Event(event) => Definition::Event(read_event(client, event).await?, event.status),
        })
    }
}

async fn read_view(client: &SqlConn, name: &QualifiedName) -> Result<Program, SchemaError> {
    let row = show(client, "VIEW", name).await?;
    Ok(Program {
        kind: "view",
        name: name.clone(),
        statement: definition(&row, 1, &format!("view {name}"), "SHOW VIEW")?,
        context: Context {
            sql_mode: None,
            charset_client: text_of(&row, 2),
            collation_connection: text_of(&row, 3),
            time_zone: None,
        },
    })
}

impl Definitions {
    /// Whether both are the same but for the tables' counters.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let tables = self.tables.len() == other.tables.len()
            && self.tables.iter().zip(&other.tables).all(|(one, two)| {
                one.name == two.name
                    && one.items == two.items
                    && without_counter(&one.options) == without_counter(&two.options)
            });
        tables
            && self.views == other.views
            && self.routines == other.routines
            && self.triggers == other.triggers
            && self.events == other.events
    }
}

async fn read_routine(client: &SqlConn, routine: &Routine) -> Result<Program, SchemaError> {
    let kind = routine.kind.as_str();
    let row = show(client, kind, &routine.name).await?;
    let kind = match routine.kind {
        RoutineKind::Function => "function",
        RoutineKind::Procedure => "procedure",
        RoutineKind::Package => "package",
        RoutineKind::PackageBody => "package body",
    };
    let object = format!("{kind} {}", routine.name);
    Ok(Program {
        kind,
        name: routine.name.clone(),
        statement: definition(&row, 2, &object, "SHOW_ROUTINE")?,
        context: Context {
            sql_mode: Some(text_of(&row, 1)),
            charset_client: text_of(&row, 3),
            collation_connection: text_of(&row, 4),
            time_zone: None,
        },
    })
}

async fn read_trigger(client: &SqlConn, trigger: &Trigger) -> Result<Program, SchemaError> {
    let row = show(client, "TRIGGER", &trigger.name).await?;
    let object = format!("trigger {}", trigger.name);
    let text = definition(&row, 2, &object, "TRIGGER")?;
    Ok(Program {
        kind: "trigger",
        name: trigger.name.clone(),
        statement: without_order(&text),
        context: Context {
            sql_mode: Some(text_of(&row, 1)),
            charset_client: text_of(&row, 3),
            collation_connection: text_of(&row, 4),
            time_zone: None,
        },
    })
}

async fn read_event(client: &SqlConn, event: &Event) -> Result<Program, SchemaError> {
    let row = show(client, "EVENT", &event.name).await?;
    let object = format!("event {}", event.name);
    let text = definition(&row, 3, &object, "EVENT")?;
    Ok(Program {
        kind: "event",
        name: event.name.clone(),
        statement: disabled(&text),
        context: Context {
            sql_mode: Some(text_of(&row, 1)),
            charset_client: text_of(&row, 4),
            collation_connection: text_of(&row, 5),
            time_zone: Some(text_of(&row, 2)),
        },
    })
}

async fn show(client: &SqlConn, kind: &str, name: &QualifiedName) -> Result<TextRow, SchemaError> {
    let sql = format!("SHOW CREATE {kind} {}", name.quoted());
    let what = format!("showing the definition of {name}");
    let rows = client.query(&sql).await;
    let rows = rows.map_err(SchemaError::sql(Side::Source, what))?;
    rows.into_iter()
        .next()
        .ok_or_else(|| SchemaError::Unreadable {
            side: Side::Source,
            what: format!("the definition of {name}"),
        })
}

fn definition(
    row: &TextRow,
    index: usize,
    object: &str,
    privilege: &'static str,
) -> Result<String, SchemaError> {
    match row.text(index) {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        Some(_) | None => Err(SchemaError::Hidden {
            object: object.to_owned(),
            privilege,
        }),
    }
}

fn text_of(row: &TextRow, index: usize) -> String {
    row.text(index).unwrap_or_default().to_owned()
}

/// Triggers are made in the order in which they run, so `FOLLOWS` and `PRECEDES` say nothing new.
fn without_order(text: &str) -> String {
    let all = tokens(text);
    let mut kept = Vec::with_capacity(all.len());
    let mut row_seen = false;
    let mut at = 0;
    while let Some(token) = all.get(at) {
        let is_order = token.is_word("FOLLOWS") || token.is_word("PRECEDES");
        if row_seen && is_order {
            // The word, what separates, and the other trigger's name.
            let name = all.iter().skip(at + 1).position(Token::is_meaning);
            at += name.map_or(1, |gap| gap + 2);
            row_seen = false;
            continue;
        }
        if token.is_word("ROW") {
            row_seen = true;
        } else if token.is_meaning() {
            row_seen = false;
        }
        kept.push(*token);
        at += 1;
    }
    joined(&kept)
}

/// The event, made so that it does not run.
fn disabled(text: &str) -> String {
    let all = tokens(text);
    let mut written = String::with_capacity(text.len() + 8);
    let mut rest = all.iter();
    for token in rest.by_ref() {
        let states = token.is_word("ENABLE") || token.is_word("DISABLE");
        let begins = token.is_word("COMMENT") || token.is_word("DO");
        if states || begins {
            written.push_str("DISABLE");
            if begins {
                written.push(' ');
                written.push_str(token.text);
            }
            break;
        }
        written.push_str(token.text);
    }
    let rest: Vec<_> = rest.copied().collect();
    written.push_str(&joined(without_replica_words(&rest)));
    written
}

/// What follows `DISABLE`, without `ON SLAVE` or `ON REPLICA`.
fn without_replica_words<'a, 'b>(rest: &'a [Token<'b>]) -> &'a [Token<'b>] {
    let meaning: Vec<(usize, &Token<'_>)> = rest
        .iter()
        .enumerate()
        .filter(|(_, token)| token.is_meaning())
        .take(2)
        .collect();
    match meaning.as_slice() {
        [(_, on), (at, who)]
            if on.is_word("ON") && (who.is_word("SLAVE") || who.is_word("REPLICA")) =>
        {
            rest.get(at + 1..).unwrap_or_default()
        }
        _others => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_made_so_that_they_do_not_run() {
        for (text, made) in [
            (
                "CREATE EVENT `e` ON SCHEDULE EVERY 1 DAY ON COMPLETION NOT PRESERVE ENABLE DO \
                 SET @ENABLE = 1",
                "CREATE EVENT `e` ON SCHEDULE EVERY 1 DAY ON COMPLETION NOT PRESERVE DISABLE DO \
                 SET @ENABLE = 1",
            ),
            (
                "CREATE EVENT `e` ON SCHEDULE EVERY 1 DAY DISABLE ON SLAVE COMMENT 'ENABLE' DO \
                 DELETE FROM t",
                "CREATE EVENT `e` ON SCHEDULE EVERY 1 DAY DISABLE COMMENT 'ENABLE' DO DELETE \
                 FROM t",
            ),
            (
                "CREATE EVENT `e` ON SCHEDULE EVERY 1 DAY DO x",
                "CREATE EVENT `e` ON SCHEDULE EVERY 1 DAY DISABLE DO x",
            ),
        ] {
            assert_eq!(disabled(text), made);
        }
    }

    #[test]
    fn a_trigger_does_not_name_its_neighbour() {
        assert_eq!(
            without_order(
                "CREATE TRIGGER `a` AFTER INSERT ON `t` FOR EACH ROW FOLLOWS `b` SET @x=1"
            ),
            "CREATE TRIGGER `a` AFTER INSERT ON `t` FOR EACH ROW  SET @x=1"
        );
        let plain = "CREATE TRIGGER `a` AFTER INSERT ON `t` FOR EACH ROW SET @follows=1";
        assert_eq!(without_order(plain), plain);
    }
}
