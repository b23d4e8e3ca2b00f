use super::halves::Changed;
use super::*;
use crate::position::{BinlogFile, Gtids};
use crate::version::ServerVersion;

fn wanted(sql: &str, copied: &[&str]) -> Result<Option<Statement>, ApplyError> {
    let ddl = Ddl {
        schema: "shop".to_owned(),
        sql: sql.to_owned(),
        ..Ddl::default()
    };
    let position = Position::new(BinlogFile::new("binlog.000001", 77), Gtids::None);
    let scope = Scope::Database("shop".to_owned());
    Statement::new(ddl, &position, 0).wanted(&scope, |table| copied.contains(&table.name.as_str()))
}

fn is_carried_out(sql: &str) -> bool {
    wanted(sql, &[]).unwrap().is_some()
}

#[test]
fn statements_about_other_databases_and_ours_are_left_out() {
    assert!(is_carried_out("CREATE TABLE t (id INT)"));
    assert!(!is_carried_out("CREATE TABLE other.t (id INT)"));
    assert!(!is_carried_out("CREATE TABLE pointsman.marker (id INT)"));
    assert!(!is_carried_out("ANALYZE TABLE t"));
    assert!(is_carried_out("GRANT SELECT ON shop.* TO u"));
    assert!(!is_carried_out("GRANT SELECT ON pointsman.* TO u"));
}

#[test]
fn a_statement_that_crosses_the_border_of_what_is_moved_stops() {
    let error = wanted("RENAME TABLE t TO other.t", &[]).unwrap_err();
    assert!(error.to_string().contains("RENAME TABLE shop.t"), "{error}");
    assert!(error.to_string().contains("binlog.000001:77"), "{error}");
    assert_eq!(error.statement(), Some("RENAME TABLE t TO other.t"));
    assert!(!error.is_transient());
}

#[test]
fn a_statement_that_copies_already_show_is_left_out() {
    assert!(wanted("ALTER TABLE t ADD a INT", &["t"]).unwrap().is_none());
    assert!(wanted("ALTER TABLE u ADD a INT", &["t"]).unwrap().is_some());
    let both = wanted("RENAME TABLE t TO u", &["t", "u"]).unwrap();
    assert!(both.is_none());
    assert!(wanted("RENAME TABLE t TO u", &["u"]).is_err());
    let exchange = "RENAME TABLE t TO x, u TO t, x TO u";
    assert!(wanted(exchange, &["t", "u"]).unwrap().is_none());
    assert!(wanted(exchange, &["t"]).is_err());
    assert!(wanted("DROP TABLE t, u", &["t"]).is_err());
}

#[test]
fn what_is_not_understood_stops_and_shows_no_values() {
    let error = wanted("CREATE SERVER s OPTIONS (PASSWORD 'secret')", &[]).unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
    assert!(!error.is_transient());
}

#[test]
fn what_a_crash_leaves_half_done_depends_on_the_server_and_the_statement() {
    let changed = |server: &str, sql: &str| {
        let version = ServerVersion::parse(server).unwrap();
        wanted(sql, &[]).unwrap().unwrap().changed(version)
    };
    let (old, mariadb, mysql) = ("5.6.24", "11.8.6-MariaDB", "9.7.4");
    for (sql, on_old, on_mariadb) in [
        ("ALTER TABLE a ADD b INT", Changed::Done, Changed::Done),
        ("RENAME TABLE a TO b", Changed::Done, Changed::Done),
        (
            "RENAME TABLE a TO b, c TO d",
            Changed::Unknown,
            Changed::Done,
        ),
        ("RENAME USER a TO b", Changed::Unknown, Changed::Unknown),
        (
            "GRANT SELECT ON shop.* TO a",
            Changed::Repeat(&[]),
            Changed::Repeat(&[]),
        ),
    ] {
        assert_eq!(changed(mysql, sql), Changed::Done, "{sql}");
        assert_eq!(changed(old, sql), on_old, "{sql}");
        assert_eq!(changed(mariadb, sql), on_mariadb, "{sql}");
    }
    for sql in [
        "DROP TABLE a, b",
        "DROP VIEW a, b",
        "DROP DATABASE shop",
        "CREATE OR REPLACE TABLE a (id INT)",
        "CREATE USER a, b",
        "REVOKE SELECT ON shop.* FROM a",
    ] {
        assert_eq!(changed(mysql, sql), Changed::Done, "{sql}");
        let repeats = matches!(changed(mariadb, sql), Changed::Repeat(_));
        assert!(repeats, "{sql}");
    }
    assert_eq!(changed(mariadb, "DROP TABLE a"), Changed::Done);
}

#[test]
fn a_table_with_rows_is_made_at_once() {
    for (sql, carried_out) in [
        (
            "CREATE TABLE `t` (\n  `a` int DEFAULT NULL\n) START TRANSACTION",
            "CREATE TABLE `t` (\n  `a` int DEFAULT NULL\n) ",
        ),
        (
            "CREATE TABLE `t` (\n  `a` int\n) START TRANSACTION ENGINE=InnoDB COMMENT='x'",
            "CREATE TABLE `t` (\n  `a` int\n)  ENGINE=InnoDB COMMENT='x'",
        ),
    ] {
        assert_eq!(wanted(sql, &[]).unwrap().unwrap().ddl.sql, carried_out);
    }
    for sql in [
        "CREATE TABLE t (a INT) COMMENT 'to START TRANSACTION'",
        "CREATE TABLE t (start transaction)",
        "CREATE TABLE t (a INT) /* START TRANSACTION */",
        "CREATE PROCEDURE p() START TRANSACTION",
    ] {
        assert_eq!(wanted(sql, &[]).unwrap().unwrap().ddl.sql, sql);
    }
}
