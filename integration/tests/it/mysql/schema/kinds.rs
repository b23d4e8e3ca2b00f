//! Every kind of object: it is carried exactly, or named before anything moves.

use std::fmt::Write as _;

use binlog::schema::catalog::{Catalog, Scope, TableFilter};
use binlog::schema::definitions::Definitions;
use binlog::schema::initial::InitialOptions;
use binlog::schema::translate::{Difference, Translation, Weight};
use binlog::wire::SqlConn;
use integration::mysql::{MySqlOptions, Version};
use router::Side;

use super::{Pair, contents};

mod from_mariadb;
mod from_mysql;

use from_mysql::{OLD, PROGRAMS, TABLES};

/// What becomes of an object.
enum Fate {
    /// The target has it, and says these words of it.
    Carried(&'static [&'static str]),
    /// The target has it in other words; the check says this of it.
    Changed(&'static str),
    /// The check refuses it in these words.
    Refused(&'static str),
    /// Carried between servers of one flavour, and this between others.
    Across(&'static Self),
}

use Fate::{Across, Carried, Changed, Refused};

/// An object of the database `kinds`, which has the name of its kind.
struct Kind {
    /// `TABLE`, `VIEW`, ..
    what: &'static str,
    name: &'static str,
    sql: &'static str,
    fate: Fate,
}

impl Kind {
    fn fate(&self, from: Version, to: Version) -> &Fate {
        match &self.fate {
            Across(_) if from.is_mariadb() == to.is_mariadb() => &Carried(&[]),
            Across(other) => other,
            fate => fate,
        }
    }
}

const fn table(name: &'static str, sql: &'static str, fate: Fate) -> Kind {
    of("TABLE", name, sql, fate)
}

const fn of(what: &'static str, name: &'static str, sql: &'static str, fate: Fate) -> Kind {
    Kind {
        what,
        name,
        sql,
        fate,
    }
}

/// What the check says of the source's objects.
async fn findings(source: &SqlConn, target: &SqlConn) -> (Catalog, Vec<Difference>) {
    let filter = TableFilter::default();
    let catalog = Catalog::read(source, Side::Source, &Scope::All, &filter).await;
    let catalog = catalog.unwrap();
    let definitions = Definitions::read(&[source], &catalog).await.unwrap();
    let translation = Translation::between(source, target).await.unwrap();
    let found = translation.findings(&catalog, &definitions);
    (catalog, found)
}

/// What is wrong with what the check says of an object.
fn misjudged(kind: &Kind, fate: &Fate, found: &[Difference]) -> Option<String> {
    let object = format!("{} kinds.{}", kind.what.to_ascii_lowercase(), kind.name);
    let said: Vec<&Difference> = found.iter().filter(|one| one.object == object).collect();
    let says = |weight: Weight, word: &str| {
        said.iter()
            .any(|one| one.weight == weight && one.what.contains(word))
    };
    let right = match fate {
        Carried(_) | Across(_) => said.is_empty(),
        Changed(word) => says(Weight::Changed, word) && !says(Weight::Refused, ""),
        Refused(word) => says(Weight::Refused, word),
    };
    (!right).then(|| format!("{object}: the check says {said:?}"))
}

/// The server's own words about an object.
async fn shown(client: &SqlConn, kind: &Kind) -> Result<String, String> {
    let sql = format!("SHOW CREATE {} kinds.`{}`", kind.what, kind.name);
    let row = client.query_first(&sql).await;
    let row = row.map_err(|error| error.to_string())?;
    let index = match kind.what {
        "TABLE" | "VIEW" => 1,
        "EVENT" => 3,
        _routines => 2,
    };
    let text = row.as_ref().and_then(|row| row.text(index));
    // A column's character set is told once it was named, even if it is the table's.
    let plain = text.unwrap_or_default();
    let plain = plain.replace(" CHARACTER SET utf8mb4", "");
    Ok(plain.trim_end_matches(';').to_owned())
}

/// `table a.b` with its names in backticks.
fn quoted(object: &str) -> String {
    let (kind, name) = object.rsplit_once(' ').unwrap_or(("", object));
    let (schema, name) = name.split_once('.').unwrap_or(("", name));
    format!("{kind} `{schema}`.`{name}`")
}

/// Each object of the list meets its fate.
async fn each_meets_its_fate(from: Version, to: Version, kinds: &[&[Kind]]) {
    let kinds: Vec<&Kind> = kinds.iter().copied().flatten().collect();
    let local = MySqlOptions::default().set("local_infile", "1");
    let pair = Pair::start_with(from, to, MySqlOptions::default(), local).await;
    let collation = "CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci";
    let names = "SET NAMES utf8mb4 COLLATE utf8mb4_unicode_ci";
    let mut script =
        format!("{names};\nCREATE DATABASE kinds {collation};\nUSE kinds;\nDELIMITER //\n");
    for kind in &kinds {
        writeln!(script, "{}\n//", kind.sql).unwrap();
    }
    pair.source.script("", &script).unwrap();
    let (source, target) = pair.endpoints();
    let source = source.connect_sql("test").await.unwrap();
    let target = target.connect_sql("test").await.unwrap();
    let (catalog, found) = findings(&source, &target).await;
    let mut wrong: Vec<String> = kinds
        .iter()
        .filter_map(|kind| misjudged(kind, kind.fate(from, to), &found))
        .collect();
    for one in found.iter().filter(|one| one.weight == Weight::Refused) {
        // One that was part of another is gone already.
        let dropped = source
            .execute(&format!("DROP {}", quoted(&one.object)))
            .await;
        dropped.map(drop).unwrap_or_default();
    }
    assert!(catalog.databases.len() == 1);
    let copy = pair.initial(InitialOptions::new("t1"));
    if let Err(error) = copy.run().await {
        wrong.push(router::words(&error));
        panic!("{wrong:#?}");
    }
    for kind in &kinds {
        let (words, is_same) = match kind.fate(from, to) {
            Refused(_) | Across(_) => continue,
            Carried(words) => (*words, from == to),
            Changed(_) => (&[][..], false),
        };
        let (ours, theirs) = (shown(&source, kind).await, shown(&target, kind).await);
        let is_carried = theirs
            .as_ref()
            .is_ok_and(|theirs| words.iter().all(|word| theirs.contains(word)));
        if !is_carried || (is_same && ours != theirs) {
            wrong.push(format!("{}: {ours:?} became {theirs:?}", kind.name));
        }
        if kind.what == "TABLE" && theirs.is_ok() {
            let name = format!("kinds.`{}`", kind.name);
            let here = contents(&source, &name, "*").await;
            if here != contents(&target, &name, "*").await {
                wrong.push(format!("{}: other rows", kind.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn each_kind_of_mysql_9_7_arrives_on_9_7() {
    each_meets_its_fate(Version::MySql97, Version::MySql97, &[TABLES, PROGRAMS]).await;
}

#[tokio::test]
async fn each_kind_of_mysql_9_7_arrives_on_mariadb_11_8_or_is_refused() {
    each_meets_its_fate(Version::MySql97, Version::MariaDb118, &[TABLES, PROGRAMS]).await;
}

#[tokio::test]
async fn each_kind_of_mysql_5_6_arrives_on_9_7() {
    each_meets_its_fate(Version::MySql56, Version::MySql97, &[OLD]).await;
}

#[tokio::test]
async fn each_kind_of_mariadb_10_11_arrives_on_11_8_or_is_refused() {
    each_meets_its_fate(
        Version::MariaDb1011,
        Version::MariaDb118,
        &[from_mariadb::KINDS],
    )
    .await;
}

#[tokio::test]
async fn each_kind_of_mariadb_11_8_arrives_on_11_8_or_is_refused() {
    each_meets_its_fate(
        Version::MariaDb118,
        Version::MariaDb118,
        &[from_mariadb::KINDS, from_mariadb::NEW],
    )
    .await;
}

#[tokio::test]
async fn each_kind_of_mariadb_11_8_arrives_on_mysql_9_7_or_is_refused() {
    each_meets_its_fate(
        Version::MariaDb118,
        Version::MySql97,
        &[from_mariadb::KINDS, from_mariadb::NEW],
    )
    .await;
}
