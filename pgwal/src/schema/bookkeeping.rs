//! The tables that pointsman keeps in both databases, in a schema of its own.
//!
//! Who serves after a crash is answered by these tables, not by memory or a local file: the two
//! servers are what must agree. `finish` and `abort` drop the schema on both sides.

use router::Side;

/// Name of our schema on both servers.
pub const SCHEMA: &str = "pointsman";

/// Name of the table whose rows mark a position in the stream (`pointsman.marker` on the source).
pub const MARKER_TABLE: &str = "marker";

/// On the source: everything that must be known to put it back the way it was.
///
/// * `migration`: which migration this source belongs to; the same `id` stands on the target.
/// * `saved_identity`: tables whose REPLICA IDENTITY we set to FULL, and what it was.
/// * `fence`: one row once a fence was ever raised; `state` is `down`, `raising`, `up` or
///   `lowering`. `datacl` is the database's ACL before (NULL if it was NULL), `nologin` the roles
///   that were set to NOLOGIN. It becomes `raising` in the transaction that revokes, so that a crash
///   at any instant finds what to put back.
/// * `marker`: written at the end of the stream; part of our publication.
/// * `progress`: as on the target, of the stream that comes back from there while it serves.
pub const SOURCE_DDL: &str = "
CREATE SCHEMA pointsman;
REVOKE ALL ON SCHEMA pointsman FROM PUBLIC;
CREATE TABLE pointsman.migration (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    id          text NOT NULL,
    format      integer NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE pointsman.saved_identity (
    table_oid    oid PRIMARY KEY,
    table_name   text NOT NULL,
    identity     \"char\" NOT NULL,
    index_name   text
);
CREATE TABLE pointsman.fence (
    only_row     boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch        bigint NOT NULL,
    state        text NOT NULL CHECK (state IN ('down', 'raising', 'up', 'lowering')),
    datacl       text,
    nologin      text[] NOT NULL DEFAULT '{}',
    changed_at   timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE pointsman.marker (
    id      bigint PRIMARY KEY,
    token   text NOT NULL
);
CREATE TABLE pointsman.progress (
    lane         integer PRIMARY KEY,
    end_lsn      pg_lsn NOT NULL,
    commit_time  timestamptz,
    epoch        bigint NOT NULL DEFAULT 0
);
";

/// On the target: the migration, the copy's and the stream's progress, and the movements.
///
/// * `migration`: one row; `phase` is `copying` or `streaming` (what follows is told by
///   `movement`). `source_system_id`, `source_timeline` and `slot_name` bind it to one source.
/// * `table_copy`: a row a table; `watermark` is the snapshot's position once it is `copied`.
/// * `copied_range`: the ranges that are copied of a large table that is not yet `copied`.
/// * `schema_step`: steps of the schema that are done (`roles`, `pre_data`, `post_data`, `analyze`).
/// * `found_object`: what stood in the database before us; `abort` drops the rest.
/// * `undo`: statements that take back what was done to roles and the database, newest first.
/// * `granted_role`: roles that we made ourselves a member of, to hand objects over to them.
/// * `saved_acl`: owner, privileges and comment of things that stood there and are changed by the
///   restored schema.
/// * `saved_identity`: as on the source; the restored tables have our identity too.
/// * `progress`: a row a lane: everything committed before `end_lsn` is applied. Of an `epoch`, since
///   each movement begins a stream anew: the epoch in which the server that is streamed from serves.
/// * `movement`: a row an epoch; `pending` -> `switched` or `pending` -> `aborted`, by
///   compare-and-set, so that exactly one of a late promote and a recovery wins. `position` is where
///   the log of the side stood that serves since then: what it committed before it, the other has.
/// * `fence`, `marker`: as on the source, for a movement back.
pub const TARGET_DDL: &str = r#"
CREATE SCHEMA pointsman;
REVOKE ALL ON SCHEMA pointsman FROM PUBLIC;
CREATE TABLE pointsman.migration (
    only_row          boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    id                text NOT NULL,
    format            integer NOT NULL,
    phase             text NOT NULL CHECK (phase IN ('copying', 'streaming')),
    source_system_id  text NOT NULL,
    source_timeline   integer NOT NULL,
    source_database   text NOT NULL,
    slot_name         text NOT NULL,
    publication_name  text NOT NULL,
    consistent_point  pg_lsn,
    started_at        timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE pointsman.table_copy (
    schema_name  text NOT NULL,
    table_name   text NOT NULL,
    copied       boolean NOT NULL DEFAULT false,
    watermark    pg_lsn,
    rows         bigint NOT NULL DEFAULT 0,
    bytes        bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (schema_name, table_name)
);
CREATE TABLE pointsman.copied_range (
    schema_name  text NOT NULL,
    table_name   text NOT NULL,
    range_number integer NOT NULL,
    rows         bigint NOT NULL,
    bytes        bigint NOT NULL,
    PRIMARY KEY (schema_name, table_name, range_number)
);
CREATE TABLE pointsman.schema_step (
    step     text PRIMARY KEY,
    done_at  timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE pointsman.found_object (
    class_name  text NOT NULL,
    object_oid  oid NOT NULL,
    PRIMARY KEY (class_name, object_oid)
);
CREATE TABLE pointsman.undo (
    position   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    statement  text NOT NULL
);
CREATE TABLE pointsman.granted_role (
    role_name  text PRIMARY KEY
);
CREATE TABLE pointsman.saved_acl (
    kind         text NOT NULL CHECK (kind IN ('schema', 'database')),
    name         text NOT NULL,
    owner_name   text NOT NULL,
    acl          text,
    description  text,
    PRIMARY KEY (kind, name)
);
CREATE TABLE pointsman.saved_identity (
    schema_name  text NOT NULL,
    table_name   text NOT NULL,
    identity     "char" NOT NULL,
    index_name   text,
    PRIMARY KEY (schema_name, table_name)
);
CREATE TABLE pointsman.progress (
    lane         integer PRIMARY KEY,
    end_lsn      pg_lsn NOT NULL,
    commit_time  timestamptz,
    epoch        bigint NOT NULL DEFAULT 0
);
CREATE TABLE pointsman.movement (
    epoch        bigint PRIMARY KEY,
    serving      text NOT NULL CHECK (serving IN ('source', 'target')),
    state        text NOT NULL CHECK (state IN ('pending', 'switched', 'aborted')),
    changed_at   timestamptz NOT NULL DEFAULT now(),
    position     pg_lsn
);
CREATE TABLE pointsman.fence (
    only_row     boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch        bigint NOT NULL,
    state        text NOT NULL CHECK (state IN ('down', 'raising', 'up', 'lowering')),
    datacl       text,
    nologin      text[] NOT NULL DEFAULT '{}',
    changed_at   timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE pointsman.marker (
    id      bigint PRIMARY KEY,
    token   text NOT NULL
);
"#;

/// Format number of the tables above; a program that finds another number refuses to touch them.
pub const FORMAT: i32 = 2;

/// Start of the names of a migration's replication slot, publication and replication origin; the
/// migration's id follows. Slots and origins are shared by all databases of a server.
pub const OBJECT_PREFIX: &str = "pointsman_";

/// The name of a migration's slot, publication and origin.
#[must_use]
pub fn object_name(id: &str) -> String {
    format!("{OBJECT_PREFIX}{id}")
}

/// The name of the slot and publication on this side, which feed the other while this one serves,
/// and of the replication origin there.
#[must_use]
pub fn stream_name(id: &str, side: Side) -> String {
    match side {
        Side::Source => object_name(id),
        // What begins with the migration's name is found by `cleanup`.
        Side::Target => format!("{}_back", object_name(id)),
    }
}
