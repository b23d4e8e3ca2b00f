//! Unique and exclusion indexes: no order of the changes may meet a conflict that the source had
//! not.

use anyhow::Result;

use super::pair::arrives;

#[tokio::test]
async fn rows_that_exchange_a_unique_value_arrive() -> Result<()> {
    arrives(
        "CREATE TABLE a (id int PRIMARY KEY, place int UNIQUE, v text);
         INSERT INTO a SELECT n, n, 'v' || n FROM generate_series(1, 1000) n",
        &[
            "BEGIN; UPDATE a SET place = -1 WHERE id = 1; UPDATE a SET place = 1 WHERE id = 2;
           UPDATE a SET place = 2 WHERE id = 1; COMMIT",
            "BEGIN; UPDATE a SET place = -place; UPDATE a SET place = 1001 + place; COMMIT",
            "UPDATE a SET v = v || 'x'",
        ],
    )
    .await
}

#[tokio::test]
async fn a_partial_index_whose_predicate_flips_is_no_obstacle() -> Result<()> {
    arrives(
        "CREATE TABLE a (id int PRIMARY KEY, account int, active boolean);
         CREATE UNIQUE INDEX one_active ON a (account) WHERE active;
         INSERT INTO a SELECT n, 1 + n % 50, n <= 50 FROM generate_series(1, 100) n",
        &["BEGIN; UPDATE a SET account = account WHERE id > 50; UPDATE a SET active = false WHERE id <= 50;
           UPDATE a SET active = true WHERE id > 50; COMMIT"],
    )
    .await
}

#[tokio::test]
async fn a_unique_index_on_an_expression_is_no_obstacle() -> Result<()> {
    arrives(
        "CREATE TABLE a (id int PRIMARY KEY, name text, n int);
         CREATE UNIQUE INDEX a_lower ON a (lower(name));
         INSERT INTO a SELECT n, 'name' || n, 0 FROM generate_series(1, 100) n",
        &["BEGIN; UPDATE a SET name = 'tmp' || name; UPDATE a SET name = 'NAME' || (101 - id); COMMIT"],
    )
    .await
}

#[tokio::test]
async fn a_unique_index_on_a_generated_column_is_no_obstacle() -> Result<()> {
    arrives(
        "CREATE TABLE a (id int PRIMARY KEY, base int, twice int GENERATED ALWAYS AS (base * 2) STORED
                         UNIQUE);
         INSERT INTO a SELECT n, n FROM generate_series(1, 100) n",
        &["BEGIN; UPDATE a SET base = -base; UPDATE a SET base = 101 + base; COMMIT;
           INSERT INTO a SELECT n, n FROM generate_series(201, 600) n"],
    )
    .await
}

#[tokio::test]
async fn an_exclusion_constraint_is_no_obstacle() -> Result<()> {
    arrives(
        "CREATE TABLE a (id int PRIMARY KEY, during int4range,
                         EXCLUDE USING gist (during WITH &&));
         INSERT INTO a SELECT n, int4range(n * 10, n * 10 + 10) FROM generate_series(1, 50) n",
        &[
            "BEGIN; UPDATE a SET during = int4range(lower(during) + 10000, upper(during) + 10000);
           UPDATE a SET during = int4range(lower(during) - 9995, upper(during) - 9995); COMMIT",
        ],
    )
    .await
}

#[tokio::test]
async fn a_deferrable_unique_constraint_is_no_obstacle() -> Result<()> {
    arrives(
        "CREATE TABLE a (id int PRIMARY KEY, place int UNIQUE DEFERRABLE INITIALLY DEFERRED);
         CREATE TABLE k (id int PRIMARY KEY DEFERRABLE, v text);
         ALTER TABLE k REPLICA IDENTITY FULL;
         INSERT INTO a SELECT n, n FROM generate_series(1, 100) n;
         INSERT INTO k SELECT n, 'v' || n FROM generate_series(1, 100) n",
        &[
            "UPDATE a SET place = 101 - place",
            "UPDATE k SET id = 101 - id",
            "DELETE FROM k WHERE id % 3 = 0",
        ],
    )
    .await
}

#[tokio::test]
async fn a_case_insensitive_key_arrives() -> Result<()> {
    arrives(
        "CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext;
         CREATE TABLE a (id ext.citext PRIMARY KEY, v text);
         CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TABLE b (id text COLLATE nocase PRIMARY KEY, v text);
         CREATE TABLE c (a ext.citext, b numeric, v text, PRIMARY KEY (a, b));
         INSERT INTO a VALUES ('abc', '1'), ('Def', '2'); INSERT INTO b VALUES ('abc', '1');
         INSERT INTO c VALUES ('abc', 1.0, 'x')",
        &["SET search_path = public, ext; UPDATE a SET id = 'ABC' WHERE id = 'aBc'; UPDATE a SET v = 'x' WHERE id = 'abc';
           UPDATE b SET id = 'ABC'; UPDATE b SET v = 'x' WHERE id = 'abc';
           BEGIN; DELETE FROM a WHERE id = 'DEF'; INSERT INTO a VALUES ('dEF', '3'); COMMIT;
           UPDATE c SET b = 1.00; UPDATE c SET v = 'y', a = 'ABC'"],
    )
    .await
}

#[tokio::test]
async fn keys_that_rotate_arrive_also_with_values_left_out() -> Result<()> {
    // Stored out of line and uncompressed, so that the stream leaves unchanged values out.
    let ddl = "CREATE TABLE a (id int PRIMARY KEY, big text, small text);
               ALTER TABLE a ALTER big SET STORAGE EXTERNAL;
               INSERT INTO a SELECT n, repeat('v' || n, 2000), 's' || n
               FROM generate_series(1, 1000) n";
    arrives(
        ddl,
        &["BEGIN; UPDATE a SET id = -id; UPDATE a SET id = 1 + (-id) % 1000; COMMIT",
          "UPDATE a SET small = 'new' WHERE id % 2 = 0",
          "BEGIN; UPDATE a SET id = -id WHERE id % 2 = 0; UPDATE a SET big = 'short' WHERE id % 3 = 0;
           DELETE FROM a WHERE id % 7 = 0; INSERT INTO a SELECT n, 'n', 'n' FROM generate_series(2, 1000, 2) n; COMMIT"],
    )
    .await
}

#[tokio::test]
async fn values_left_out_stay_as_they_are_when_a_unique_value_moves() -> Result<()> {
    arrives(
        "CREATE TABLE a (id int PRIMARY KEY, place int UNIQUE, big text, bigger text);
         ALTER TABLE a ALTER big SET STORAGE EXTERNAL, ALTER bigger SET STORAGE EXTERNAL;
         INSERT INTO a SELECT n, n, repeat('v' || n, 2000), repeat('w' || n, 2000)
         FROM generate_series(1, 100) n",
        &["BEGIN; UPDATE a SET place = -place; UPDATE a SET place = 101 + place; COMMIT",
          "BEGIN; UPDATE a SET place = -place; UPDATE a SET place = 101 + place, big = 'b' WHERE id > 50;
           UPDATE a SET place = 101 + place, bigger = NULL WHERE id <= 50; COMMIT"],
    )
    .await
}
