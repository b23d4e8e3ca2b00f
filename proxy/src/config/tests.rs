//! Tests of the configuration.

use std::error::Error as _;

use super::known::known_keys;
use super::{Config, ConfigError};
use crate::engine::Kind;

const LEAST: &str = r#"
source = "postgres://migrator@10.0.0.1:5432/shop"
target = "postgres://migrator@10.0.0.2:5432/shop"
listen = "0.0.0.0:6432"
"#;

fn error_of(addition: &str) -> ConfigError {
    Config::parse(&format!("{LEAST}{addition}")).expect_err("must be refused")
}

#[test]
fn the_least_that_works_works() {
    let config = Config::parse(LEAST).unwrap();
    assert_eq!(config.copy.workers, 4);
    assert_eq!(config.cutover.max_pause.0.as_secs(), 2);
}

#[test]
fn an_unknown_key_is_named_together_with_the_nearest_known_one() {
    let text = error_of("[copy]\nworker = 2\n").to_string();
    assert!(
        text.contains("`copy.worker`") && text.contains("`copy.workers`"),
        "{text}"
    );
    let text = error_of("[cutover]\nmaxpause = \"2s\"\n").to_string();
    assert!(text.contains("`cutover.max_pause`"), "{text}");
    let text = Config::parse("sorce = \"x\"\n")
        .expect_err("refused")
        .to_string();
    assert!(
        text.contains("`sorce`") && text.contains("`source`"),
        "{text}"
    );
}

#[test]
fn units_are_read_and_wrong_ones_are_explained() {
    let config = Config::parse(&format!(
        "{LEAST}[cutover]\nmax_pause = \"1500ms\"\n[copy]\nbandwidth_limit = \"50MB/s\"\n"
    ))
    .unwrap();
    assert_eq!(config.cutover.max_pause.0.as_millis(), 1500);
    assert_eq!(config.copy.bandwidth_limit.unwrap().0, 50_000_000);
    let error = error_of("[cutover]\nmax_pause = \"fast\"\n");
    let text = error.source().unwrap().to_string();
    assert!(
        text.contains("max_pause") && text.contains("fast"),
        "{text}"
    );
}

#[test]
fn keys_of_a_section_within_a_section_are_known_too() {
    let config = Config::parse(&format!(
        "{LEAST}[copy.tables]\ninclude = [\"shop\"]\n[apply.window]\nrows = 10\n"
    ))
    .unwrap();
    assert_eq!(config.copy.tables.include, ["shop"]);
    assert_eq!(config.apply.window.rows, 10);
    let text = error_of("[copy.tables]\nincludes = [\"shop\"]\n").to_string();
    assert!(text.contains("`copy.tables.include`"), "{text}");
}

#[test]
fn what_is_not_in_this_version_is_refused_by_name() {
    for (addition, key) in [
        (
            "[cutover]\nreads_during_hold = true\n",
            "cutover.reads_during_hold",
        ),
        ("[admin]\nhttp = \"127.0.0.1:80\"\n", "admin.http"),
    ] {
        let text = error_of(addition).to_string();
        assert!(text.contains(key) && text.contains("version"), "{text}");
    }
}

#[test]
fn a_certificate_without_its_key_and_demands_without_a_certificate_are_refused() {
    for (addition, words) in [
        ("[tls]\ncertificate = \"x\"\n", "`tls.key`"),
        ("[tls]\nkey = \"x\"\n", "`tls.certificate`"),
        ("[tls]\nclients = \"require\"\n", "`tls.certificate`"),
        ("[tls]\ncertificate = \"/none\"\nkey = \"/none\"\n", "/none"),
    ] {
        let text = error_of(addition).to_string();
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn a_scheme_that_is_no_engine_is_refused_by_name() {
    let text = Config::parse("source = \"oracle://a/b\"\nlisten = \"0.0.0.0:1\"\n")
        .expect_err("refused")
        .to_string();
    assert!(
        text.contains("`source`") && text.contains("oracle"),
        "{text}"
    );
}

#[test]
fn both_servers_must_be_of_one_engine() {
    let parse = |target: &str| {
        let text =
            format!("source = \"mysql://me@a/b\"\ntarget = {target:?}\nlisten = \"0.0.0.0:1\"\n");
        Config::parse(&text).map_err(|error| error.to_string())
    };
    let config = parse("mariadb://me@c/b").unwrap();
    assert_eq!(config.engine().unwrap(), Kind::MySql);
    let error = parse("postgres://me@c/b").expect_err("refused");
    assert!(error.contains("`target`"), "{error}");
    assert!(error.contains("MySQL"), "{error}");
}

#[test]
fn the_reference_has_exactly_the_kinds_of_state_that_cannot_be_moved() {
    let documented = include_str!("../../../docs/config.md");
    let rows = documented
        .lines()
        .skip_while(|line| !line.starts_with("| kind |"));
    let mut rows: Vec<&str> = rows
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let engines = [Kind::Postgres, Kind::MySql];
    let mut kinds: Vec<&str> = engines
        .iter()
        .flat_map(|engine| engine.unmovable_kinds().iter().copied())
        .collect();
    rows.sort_unstable();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(rows, kinds);
}

#[test]
fn a_key_of_another_engine_is_refused_by_name() {
    let least = LEAST.replace("postgres://", "mysql://");
    for (key, value) in [
        ("copy.pg_dump_dir", "\"/usr/bin\""),
        ("auth.query", "\"SELECT 1\""),
        ("auth.users_file", "\"/etc/pointsman/users.txt\""),
        ("sessions.custom_settings", "[\"a.b\"]"),
    ] {
        Config::parse(&format!("{LEAST}{key} = {value}\n")).unwrap();
        let error = Config::parse(&format!("{least}{key} = {value}\n")).expect_err("refused");
        let text = error.to_string();
        assert!(text.contains(key) && text.contains("PostgreSQL"), "{text}");
    }
    let text = error_of("sessions.local_infile = true\n").to_string();
    assert!(text.contains("local_infile"), "{text}");
    assert!(text.contains("MySQL"), "{text}");
}

#[test]
fn values_out_of_range_are_refused_by_key() {
    assert!(
        error_of("[copy]\nworkers = 0\n")
            .to_string()
            .contains("copy.workers")
    );
    assert!(
        error_of("[apply]\nlanes = 9\n")
            .to_string()
            .contains("apply.lanes")
    );
}

#[test]
fn every_key_stands_in_the_reference() {
    let reference = include_str!("../../../docs/config.md");
    for key in known_keys() {
        assert!(
            reference.contains(&format!("`{key}`")),
            "docs/config.md lacks `{key}`"
        );
    }
}

#[test]
fn the_reference_names_no_key_that_does_not_exist() {
    let known = known_keys();
    let reference = include_str!("../../../docs/config.md");
    let mut is_of_keys = false;
    for line in reference.lines() {
        is_of_keys = line.starts_with("| key |") || (is_of_keys && line.starts_with('|'));
        if !is_of_keys || !line.starts_with("| `") {
            continue;
        }
        let key = line.split('`').nth(1).unwrap();
        assert!(
            known.iter().any(|known| known == key),
            "docs/config.md invents `{key}`"
        );
    }
}
