use super::*;
use crate::position::{BinlogFile, Gtids};

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
    assert!(wanted("RENAME TABLE t TO u", &["u"]).unwrap().is_none());
    assert!(wanted("DROP TABLE t, u", &["t"]).is_err());
}

#[test]
fn what_is_not_understood_stops_and_shows_no_values() {
    let error = wanted("CREATE SERVER s OPTIONS (PASSWORD 'secret')", &[]).unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
    assert!(!error.is_transient());
}
