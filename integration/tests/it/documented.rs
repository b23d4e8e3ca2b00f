//! The tests that the documents name are there.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// The source of everything that has tests.
fn sources(folder: &Path, found: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// What stands between backticks in the rows of the tables behind a heading.
fn named(document: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("docs").join(document)).unwrap();
    let (_, tables) = text.split_once("## Known traps").unwrap();
    let tables = tables.split("\n## ").next().unwrap();
    let rows = tables.lines().filter(|line| line.starts_with('|'));
    let tests = rows.filter_map(|row| row.rsplit('|').nth(1));
    tests
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_test_that_the_tables_of_traps_name_is_there() {
    let mut all = String::new();
    let folders = [
        "integration/tests",
        "binlog/src",
        "pgwal/src",
        "router/src",
        "router/tests",
    ];
    for folder in folders {
        sources(&root().join(folder), &mut all);
    }
    for document in ["failures.md", "mysql.md", "postgres.md"] {
        let tests = named(document);
        assert!(tests.len() >= 12, "{document} names {tests:?}");
        for test in tests {
            let in_macro = format!(" {test}: ");
            let is_there = all.contains(&format!("fn {test}(")) || all.contains(&in_macro);
            assert!(is_there, "{document} names {test}, which is not there");
        }
    }
}
