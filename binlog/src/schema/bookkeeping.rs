//! The tables that pointsman keeps on both servers, in a database of its own.
//!
//! Who serves after a crash is answered by these tables, not by memory or a local file: the two
//! servers are what must agree. `finish` and `abort` drop the database on both sides. It is never
//! copied, and its changes in the stream are never applied.
//!
//! Every statement works on MySQL 5.6 and later and on MariaDB 10.5 and later. The statements are
//! separate, since a server commits each definition by itself; a database that exists with tables
//! missing is one whose making was interrupted.

/// Name of our database on both servers.
pub const SCHEMA: &str = "pointsman";

/// Format number of the tables; a program that finds another number refuses to touch them.
pub const FORMAT: i32 = 1;

/// Makes our database, on either side.
pub const CREATE_SCHEMA: &str =
    "CREATE DATABASE IF NOT EXISTS pointsman DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

/// On the source: everything that must be known to put it back the way it was.
///
/// * `migration`: which migration this source belongs to; the same `id` stands on the target.
/// * `fence`: one row once a fence was ever prepared; `state` is `down` or `raising`. `saved` holds
///   what the settings were before, a line each. It becomes `raising` before the first setting is
///   changed and `down` after the last is back, so that a crash at any instant finds what to put
///   back; behind the fence nobody can write a further word.
/// * `marker`: written at the end of the stream by servers whose fence lets us write.
pub const SOURCE_TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS pointsman.migration (
        only_row    TINYINT NOT NULL PRIMARY KEY,
        id          VARCHAR(64) NOT NULL,
        format      INT NOT NULL,
        created_at  TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
    ) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS pointsman.fence (
        only_row    TINYINT NOT NULL PRIMARY KEY,
        epoch       BIGINT NOT NULL,
        state       VARCHAR(16) NOT NULL,
        saved       TEXT,
        changed_at  TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP
    ) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS pointsman.marker (
        id     BIGINT NOT NULL PRIMARY KEY,
        token  VARCHAR(64) NOT NULL
    ) ENGINE=InnoDB",
];

/// On the target: the migration, the copy's and the stream's progress, and the movements.
///
/// * `migration`: one row; `phase` is `copying` or `streaming` (what follows is told by
///   `movement`). `source_id` binds it to one source server. `start_position` is where the stream
///   begins, as [`Position`](crate::position) writes it.
/// * `table_copy`: a row a table; `watermark` is the snapshot's position once it is `copied`.
/// * `made_table`: the tables that were made to be copied, each with a checksum of the source's
///   definition that it was made from; an empty one while it is being made.
/// * `copied_range`: the ranges that are copied of a large table that is not yet `copied`, each
///   with the watermark of its own snapshot. Bounds are SQL literals; NULL is open.
/// * `schema_step`: steps of the schema that are done.
/// * `found_object`: what `abort` must know: `found` are databases that stood there before us,
///   `moved` those that we fill.
/// * `deferred`: statements that make what comes after the rows (indexes, foreign keys, triggers,
///   events), as the source had them at the snapshot; `done` once they ran.
/// * `undo`: statements that take back what was done outside our database, newest first.
/// * `saved_event`: events that are `ENABLED` on the source and made disabled here; the switch enables
///   them and takes their rows away.
/// * `progress`: a row a lane: everything up to `position` is applied. `windows` counts, so that the
///   first change of each of the applier's transactions is one of this row.
/// * `ddl_intent`: the definition statement that is being applied, or was applied last, and where
///   it stands in the stream; `state` is `begun` or `done`. `before_state` tells what it found.
/// * `movement`: a row an epoch; `pending` -> `switched` or `pending` -> `aborted`, by
///   compare-and-set, so that exactly one of a late promote and a recovery wins.
pub const TARGET_TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS pointsman.migration (
        only_row        TINYINT NOT NULL PRIMARY KEY,
        id              VARCHAR(64) NOT NULL,
        format          INT NOT NULL,
        phase           VARCHAR(16) NOT NULL,
        source_id       VARCHAR(128) NOT NULL,
        start_position  MEDIUMTEXT,
        started_at      TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
    ) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS pointsman.table_copy (
        schema_name  VARCHAR(64) NOT NULL,
        table_name   VARCHAR(64) NOT NULL,
        copied       TINYINT NOT NULL DEFAULT 0,
        watermark    MEDIUMTEXT,
        `rows`       BIGINT NOT NULL DEFAULT 0,
        bytes        BIGINT NOT NULL DEFAULT 0,
        PRIMARY KEY (schema_name, table_name)
    ) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS pointsman.made_table (
        schema_name  VARCHAR(64) NOT NULL,
        table_name   VARCHAR(64) NOT NULL,
        definition   VARCHAR(64) NOT NULL,
        PRIMARY KEY (schema_name, table_name)
    ) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS pointsman.copied_range (
        schema_name   VARCHAR(64) NOT NULL,
        table_name    VARCHAR(64) NOT NULL,
        range_number  INT NOT NULL,
        lower_bound   TEXT,
        upper_bound   TEXT,
        watermark     MEDIUMTEXT,
        `rows`        BIGINT NOT NULL,
        bytes         BIGINT NOT NULL,
        PRIMARY KEY (schema_name, table_name, range_number)
    ) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS pointsman.schema_step (
        step     VARCHAR(64) NOT NULL PRIMARY KEY,
        done_at  TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
    ) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS pointsman.found_object (
        kind  VARCHAR(16) NOT NULL,
        name  VARCHAR(160) NOT NULL,
        PRIMARY KEY (kind, name)
    ) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS pointsman.deferred (
        position              BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
        stage                 VARCHAR(16) NOT NULL,
        kind                  VARCHAR(16) NOT NULL,
        schema_name           VARCHAR(64) NOT NULL,
        object_name           VARCHAR(64) NOT NULL,
        part_name             VARCHAR(64),
        sql_mode              TEXT,
        charset_client        VARCHAR(64),
        collation_connection  VARCHAR(64),
        time_zone             VARCHAR(64),
        statement             LONGTEXT NOT NULL,
        done                  TINYINT NOT NULL DEFAULT 0
    ) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS pointsman.undo (
        position   BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
        statement  MEDIUMTEXT NOT NULL
    ) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS pointsman.saved_event (
        schema_name  VARCHAR(64) NOT NULL,
        event_name   VARCHAR(64) NOT NULL,
        PRIMARY KEY (schema_name, event_name)
    ) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS pointsman.progress (
        lane         INT NOT NULL PRIMARY KEY,
        position     MEDIUMTEXT NOT NULL,
        commit_time  BIGINT,
        windows      BIGINT NOT NULL DEFAULT 0
    ) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS pointsman.ddl_intent (
        only_row      TINYINT NOT NULL PRIMARY KEY,
        position      MEDIUMTEXT NOT NULL,
        schema_name   VARCHAR(64),
        statement     MEDIUMTEXT NOT NULL,
        state         VARCHAR(16) NOT NULL,
        before_state  MEDIUMTEXT
    ) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS pointsman.movement (
        epoch       BIGINT NOT NULL PRIMARY KEY,
        serving     VARCHAR(16) NOT NULL,
        state       VARCHAR(16) NOT NULL,
        changed_at  TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP
    ) ENGINE=InnoDB",
];
