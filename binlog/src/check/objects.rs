//! Tables and other objects of the source: what moves slowly, in another way, or not at all.

use router::Side;

use super::privileges;
use super::report::{Advice, Level, Report, listed};
use super::server::Server;
use super::{CheckOptions, KeylessTables};
use crate::schema::catalog::{Catalog, ReferentialAction, RoutineKind, Table, TableKind};
use crate::schema::definitions::Definitions;
use crate::schema::translate::{Translation, Weight};

pub(super) fn source(
    source: &Server,
    catalog: &Catalog,
    options: &CheckOptions,
    report: &mut Report,
) {
    if catalog.databases.is_empty() {
        let advice = Advice {
            why: "there is nothing to move",
            fix: "correct the database's name in the URL of the source",
        };
        report.fail(
            Side::Source,
            "there is no such database, or none at all",
            advice,
        );
        return;
    }
    let count = catalog.moved_tables().count();
    let databases: Vec<String> = catalog
        .databases
        .iter()
        .map(|one| one.name.clone())
        .collect();
    report.ok(
        Side::Source,
        &format!("{count} tables of {} move", listed(&databases)),
    );
    if !catalog.others.is_empty() {
        let advice = Advice {
            why: "the URL of the source names one database, and only that moves; the fence shuts \
                  the whole server",
            fix: "leave the database out of the URL to move all, or move these too",
        };
        let what = format!("other databases stay: {}", listed(&catalog.others));
        report.warn(Side::Source, &what, advice);
    }
    keyless(catalog, options, report);
    engines(catalog, report);
    cascades(source, catalog, report);
    refused(catalog, report);
}

fn names<'a>(tables: impl IntoIterator<Item = &'a Table>) -> Vec<String> {
    tables
        .into_iter()
        .map(|table| table.name.to_string())
        .collect()
}

fn keyless(catalog: &Catalog, options: &CheckOptions, report: &mut Report) {
    let tables = names(catalog.keyless_tables());
    if tables.is_empty() {
        return;
    }
    let level = match options.keyless_tables {
        KeylessTables::Full => Level::Warn,
        KeylessTables::Refuse => Level::Fail,
    };
    let advice = Advice {
        why: "every change of a row is found by all its columns, which reads the whole table",
        fix: "ALTER TABLE ... ADD a primary key, or a unique key over columns that are NOT NULL",
    };
    let what = format!("tables without a key: {}", listed(&tables));
    report.add(level, Side::Source, &what, advice);
}

/// Engines whose rows are not in the tables, or are gone after a restart.
const NO_ROWS: [&str; 7] = [
    "MEMORY",
    "BLACKHOLE",
    "FEDERATED",
    "MRG_MYISAM",
    "CONNECT",
    "SPIDER",
    "NDBCLUSTER",
];

fn engines(catalog: &Catalog, report: &mut Report) {
    let (odd, old): (Vec<&Table>, Vec<&Table>) = catalog
        .unsafe_engines()
        .into_iter()
        .partition(|table| NO_ROWS.contains(&table.engine.to_ascii_uppercase().as_str()));
    let described = |tables: Vec<&Table>| -> Vec<String> {
        let one = |table: &Table| format!("{} ({})", table.name, table.engine);
        tables.into_iter().map(one).collect()
    };
    let (odd, old) = (described(odd), described(old));
    if !odd.is_empty() {
        let advice = Advice {
            why: "their rows are elsewhere, or gone after a restart",
            fix: "exclude them in [copy] tables, or ALTER TABLE ... ENGINE=InnoDB",
        };
        let what = format!(
            "tables whose engine keeps no rows of its own: {}",
            listed(&odd)
        );
        report.fail(Side::Source, &what, advice);
    }
    if !old.is_empty() {
        let advice = Advice {
            why: "no snapshot holds their rows, and a statement that fails half-way leaves half of \
                  it: what is copied while they are written may be refused as already there",
            fix: "ALTER TABLE ... ENGINE=InnoDB on the source before the start",
        };
        let what = format!("tables without transactions: {}", listed(&old));
        report.fail(Side::Source, &what, advice);
    }
}

fn cascades(source: &Server, catalog: &Catalog, report: &mut Report) {
    let cascading: Vec<String> = catalog
        .foreign_keys
        .iter()
        .filter(|key| {
            key.on_delete == ReferentialAction::Cascade
                || key.on_update == ReferentialAction::Cascade
        })
        .map(|key| format!("{} of {}", key.name, key.table))
        .collect();
    if !cascading.is_empty() && !source.version.is_mysql_at_least(9, 6, 0) {
        let what = format!(
            "foreign keys that cascade, which this version does not log: {}; changes of their \
             parents are applied one by one in their place",
            listed(&cascading)
        );
        report.ok(Side::Source, &what);
    }
    if source.is_on("enable_cascade_triggers") && !catalog.triggers.is_empty() {
        let advice = Advice {
            why: "what cascades fire on the source is applied as rows; pointsman was not tried \
                  with it",
            fix: "SET GLOBAL enable_cascade_triggers = OFF, or run `pointsman verify` before the \
                  cutover",
        };
        report.warn(Side::Source, "enable_cascade_triggers is on", advice);
    }
    let cut: Vec<String> = catalog
        .foreign_keys_to_excluded()
        .iter()
        .map(|key| format!("{} of {}", key.name, key.table))
        .collect();
    if !cut.is_empty() {
        let advice = Advice {
            why: "the rows that they refer to would not be on the target",
            fix: "include the tables that they refer to, or exclude those that have them",
        };
        let what = format!("foreign keys refer to excluded tables: {}", listed(&cut));
        report.fail(Side::Source, &what, advice);
    }
}

fn refused(catalog: &Catalog, report: &mut Report) {
    let versioned = names(
        catalog
            .moved_tables()
            .filter(|table| table.kind == TableKind::SystemVersioned),
    );
    let sequences: Vec<String> = catalog.sequences.iter().map(ToString::to_string).collect();
    for (found, what, why, fix) in [
        (
            versioned,
            "system-versioned tables",
            "the history of their rows cannot be inserted",
            "exclude them, or ALTER TABLE ... DROP SYSTEM VERSIONING",
        ),
        (
            sequences,
            "sequences",
            "their values are not carried in this version",
            "replace them by AUTO_INCREMENT columns, or drop them and make them on the target \
             after the switch",
        ),
    ] {
        if !found.is_empty() {
            let what = format!("{what}: {}", listed(&found));
            report.fail(Side::Source, &what, Advice { why, fix });
        }
    }
}

/// Triggers must not fire when changes are applied.
pub(super) fn triggers(target: &Server, catalog: &Catalog, report: &mut Report) {
    if catalog.triggers.is_empty() || privileges::may_binlog(target) {
        return;
    }
    let names: Vec<String> = catalog
        .triggers
        .iter()
        .map(|trigger| trigger.name.to_string())
        .collect();
    let privilege = match target.version.is_mariadb() {
        true => "BINLOG REPLAY",
        false => "REPLICATION_APPLIER",
    };
    let fix = format!("GRANT {privilege} ON *.* TO {}", target.account);
    let what = format!(
        "triggers would fire on changes that the source's have acted on: {}",
        listed(&names)
    );
    let why = "without the BINLOG statement changes are applied as SQL, which fires triggers";
    report.fail(Side::Target, &what, Advice { why, fix: &fix });
}

/// A server that logs takes functions and triggers from accounts with SUPER alone, unless told that
/// their authors are trusted.
pub(super) fn creators(target: &Server, catalog: &Catalog, report: &mut Report) {
    let has_functions = catalog
        .routines
        .iter()
        .any(|routine| routine.kind != RoutineKind::Procedure);
    let makes_none = catalog.triggers.is_empty() && !has_functions;
    if makes_none
        || !target.is_on("log_bin")
        || target.is_on("log_bin_trust_function_creators")
        || target.grants.has(&["SUPER"])
    {
        return;
    }
    let advice = Advice {
        why: "a server that writes a binary log takes functions and triggers only from accounts \
              with SUPER",
        fix: "SET GLOBAL log_bin_trust_function_creators = ON on the target for the time of the \
              migration",
    };
    let what = "log_bin_trust_function_creators is off";
    report.fail(Side::Target, what, advice);
}

/// What cannot be said in the target's words.
pub(super) async fn translated(
    source: &Server,
    target: &Server,
    catalog: &Catalog,
    report: &mut Report,
) {
    let definitions = match Definitions::read(&[&source.conn], catalog).await {
        Ok(definitions) => definitions,
        Err(error) => {
            report.not_asked(source, "definitions", &error);
            return;
        }
    };
    let translation = match Translation::between(&source.conn, &target.conn).await {
        Ok(translation) => translation,
        Err(error) => {
            report.not_asked(target, "collations", &error);
            return;
        }
    };
    let found = translation.findings(catalog, &definitions);
    let (errors, warnings): (Vec<_>, Vec<_>) = found
        .iter()
        .partition(|difference| difference.weight == Weight::Refused);
    for what in &errors {
        let advice = Advice {
            why: "the target cannot have it",
            fix: "do what it says, change the object on the source, or exclude it",
        };
        report.fail(Side::Target, &what.to_string(), advice);
    }
    for what in &warnings {
        let advice = Advice {
            why: "it is not quite the same on the target",
            fix: "see that the application can live with it",
        };
        report.warn(Side::Target, &what.to_string(), advice);
    }
    if errors.is_empty() {
        report.ok(Side::Target, "it can have all that is moved");
    }
}
