//! Applying to a real target what a real source has done.

mod pair;
mod resume;
mod speed;
mod streamed;
mod unique;
mod values;
mod watch;

use anyhow::{Context, Result};
use pair::Pair;
use pgwal::apply::{Action, ApplyError, TableError};

#[tokio::test]
async fn inserts_updates_and_deletes_arrive() -> Result<()> {
    let pair = Pair::new(14, 17, "CREATE TABLE a (id int PRIMARY KEY, v text)").await?;
    pair.on_source(
        "INSERT INTO a SELECT n, 'v' || n FROM generate_series(1, 1000) n;
         UPDATE a SET v = NULL WHERE id % 7 = 0;
         UPDATE a SET v = E'tab\\tnew\\nline\\\\' WHERE id % 7 = 1;
         DELETE FROM a WHERE id % 5 = 0",
    )
    .await?;
    pair.apply_and_compare().await?;
    pair.on_source(
        "UPDATE a SET v = v || 'x' WHERE id > 500; DELETE FROM a WHERE id < 100;
         UPDATE a SET id = id + 10000 WHERE id > 990; INSERT INTO a VALUES (5, NULL)",
    )
    .await?;
    pair.apply_and_compare().await
}

#[tokio::test]
async fn truncate_keeps_its_place_among_the_changes() -> Result<()> {
    let ddl = "CREATE TABLE a (id int PRIMARY KEY, v text);
               CREATE TABLE b (id serial PRIMARY KEY, a_id int REFERENCES a)";
    let pair = Pair::new(14, 17, ddl).await?;
    pair.on_source("INSERT INTO a VALUES (1, 'one'); INSERT INTO b (a_id) VALUES (1)")
        .await?;
    pair.apply_and_compare().await?;
    pair.on_source(
        "BEGIN; INSERT INTO a VALUES (2, 'two'); TRUNCATE a, b RESTART IDENTITY;
         INSERT INTO a VALUES (2, 'again'); COMMIT; TRUNCATE b; INSERT INTO b (a_id) VALUES (2)",
    )
    .await?;
    pair.apply_and_compare().await
}

/// P6: a row that should be there and is not stops the migration.
#[tokio::test]
async fn an_update_of_a_missing_row_stops_and_names_table_and_key() -> Result<()> {
    let pair = Pair::new(14, 17, "CREATE TABLE a (id int PRIMARY KEY, v text)").await?;
    pair.on_source("INSERT INTO a SELECT n, 'secret' FROM generate_series(1, 20) n")
        .await?;
    pair.apply_and_compare().await?;
    pair.target
        .batch_execute("DELETE FROM a WHERE id = 13")
        .await?;
    for (sql, expected) in [
        ("UPDATE a SET v = 'other secret'", Action::Updated),
        ("UPDATE a SET id = id + 100", Action::Moved),
        ("DELETE FROM a", Action::Deleted),
    ] {
        let before = pair::rows(&pair.target, "a").await?;
        pair.on_source(&format!("BEGIN; {sql}; COMMIT")).await?;
        let error = pair.apply().await.expect_err("the row is missing");
        assert!(!error.is_transient(), "{error}");
        let key: Vec<_> = error.key().context("a key")?.values().collect();
        let ApplyError::RowsMissing(missing) = &error else {
            anyhow::bail!("{error:?}")
        };
        // A key change of a row whose values are all told is a delete and an insert.
        let seen = if expected == Action::Moved {
            Action::Deleted
        } else {
            expected
        };
        assert_eq!(
            (missing.action, missing.found, &*missing.key_columns),
            (seen, 19, "id")
        );
        assert_eq!(missing.table.to_string(), "public.a");
        assert!(!error.to_string().contains("13"), "{error}");
        assert_eq!(pair::rows(&pair.target, "a").await?, before);
        if expected == Action::Updated {
            assert_eq!(key, ["13"]);
        }
        // Undone on the source, so that the next case starts from the same rows.
        pair.on_source(
            "TRUNCATE a; INSERT INTO a SELECT n, 'secret' FROM generate_series(1, 20) n",
        )
        .await?;
        pair.apply().await?;
        pair.target
            .batch_execute("DELETE FROM a WHERE id = 13")
            .await?;
    }
    Ok(())
}

/// P6: as does one that should not be there.
#[tokio::test]
async fn a_row_that_is_already_there_stops_and_names_the_constraint() -> Result<()> {
    let pair = Pair::new(14, 17, "CREATE TABLE a (id int PRIMARY KEY, v text UNIQUE)").await?;
    pair.target
        .batch_execute("INSERT INTO a VALUES (7, 'foreign')")
        .await?;
    pair.on_source("INSERT INTO a SELECT n, 'v' || n FROM generate_series(1, 1000) n")
        .await?;
    let error = pair.apply().await.expect_err("the row is there");
    let ApplyError::RowExists { table, constraint } = &error else {
        anyhow::bail!("{error:?}")
    };
    assert_eq!(
        (table.to_string().as_str(), constraint.as_str()),
        ("public.a", "a_pkey")
    );
    assert_eq!(pair::rows(&pair.target, "a").await?, ["(7,foreign)"]);
    Ok(())
}

#[tokio::test]
async fn a_new_column_while_streaming_stops_and_is_named() -> Result<()> {
    let pair = Pair::new(14, 17, "CREATE TABLE orders (id int PRIMARY KEY, v text)").await?;
    pair.on_source(
        "INSERT INTO orders VALUES (1, 'a'); ALTER TABLE orders ADD COLUMN note text;
         INSERT INTO orders VALUES (2, 'b', 'c')",
    )
    .await?;
    let error = pair.apply().await.expect_err("a new column");
    assert!(
        matches!(&error, ApplyError::Table(TableError::NewColumn { column, .. }) if column == "note"),
        "{error:?}"
    );
    assert!(error.to_string().contains("public.orders.note"), "{error}");
    Ok(())
}
