//! An account that lacks one privilege: `check` names that one, with the statement that grants it.

use integration::mysql::{MySqlServer, Version};
use integration::proxy::Proxy;

use super::super::super::ground::{source_grants, target_grants};
use super::{DATABASE, configured, finding, pair, usual};

/// Every privilege on all databases of a list of GRANTs.
fn each(grants: &[&'static str]) -> Vec<&'static str> {
    let lists = grants.iter().map(|grant| {
        grant
            .strip_suffix(" ON *.*")
            .unwrap_or_else(|| panic!("{grant}"))
    });
    lists
        .flat_map(|list| list.split(", "))
        .map(str::trim)
        .collect()
}

fn run(server: &MySqlServer, sql: &str) {
    server
        .sql(sql)
        .unwrap_or_else(|error| panic!("{}: {sql}: {error:#}", server.version()));
}

async fn check(proxy: &Proxy) -> (i32, String) {
    let said = proxy.cli(&["check"]).await.unwrap();
    (said.code, said.to_string())
}

/// Takes each privilege away in turn; gives those that were only warned of.
async fn one_by_one(
    proxy: &Proxy,
    server: &MySqlServer,
    account: &str,
    privileges: &[&'static str],
) -> Vec<&'static str> {
    let mut optional = Vec::new();
    for privilege in privileges.iter().copied() {
        // SUPER contains it.
        if server.version() == Version::MySql56 && privilege == "REPLICATION CLIENT" {
            continue;
        }
        run(server, &format!("REVOKE {privilege} ON *.* FROM {account}"));
        let (code, said) = check(proxy).await;
        let about = format!("{account} lacks {privilege}");
        let found = finding(&said, &about);
        let grant = format!("fix: GRANT {privilege} ON *.* TO {account}");
        assert!(found.contains(&grant), "{found}");
        // Said always: to hand accounts their grants it needs those itself.
        let lacking = said
            .lines()
            .filter(|line| line.contains(" lacks ") && !line.ends_with("GRANT OPTION"));
        assert_eq!(lacking.count(), 1, "{privilege}: {said}");
        if found.starts_with("warn") {
            optional.push(privilege);
        } else {
            assert!(found.starts_with("FAIL"), "{found}");
            assert_eq!(code, 1, "{privilege}: {said}");
        }
        run(server, &format!("GRANT {privilege} ON *.* TO {account}"));
    }
    optional
}

async fn each_missing_privilege_is_named(version: Version) {
    let (source, target) = pair(version, usual()).await;
    let (ours, theirs) = (each(source_grants(version)), each(target_grants(version)));
    let mover = "'mover'@'%'";
    for (server, grants) in [(&source, &ours), (&target, &theirs)] {
        run(server, "CREATE USER mover@'%' IDENTIFIED BY 'm'");
        let list = grants.join(", ");
        run(server, &format!("GRANT {list} ON *.* TO mover@'%'"));
        run(server, "GRANT ALL ON pointsman.* TO mover@'%'");
    }
    run(
        &target,
        "GRANT ALL ON shop.* TO mover@'%' WITH GRANT OPTION",
    );
    let options = configured(&source, &target).urls(
        source.url_with_password("mover", "m", DATABASE),
        target.url_with_password("mover", "m", DATABASE),
    );
    let proxy = Proxy::start(options).await.unwrap();
    let (code, said) = check(&proxy).await;
    assert_eq!(code, 0, "{version}: {said}");

    let optional = one_by_one(&proxy, &source, mover, &ours).await;
    let better_with: &[&str] = match version {
        Version::MySql97 => &["BACKUP_ADMIN"],
        Version::MySql56 => &[],
        Version::MariaDb1011 | Version::MariaDb118 => &["BINLOG ADMIN", "SET USER"],
    };
    assert_eq!(optional, better_with, "{version}");
    let optional = one_by_one(&proxy, &target, mover, &theirs).await;
    let warned = match version {
        Version::MySql97 => vec![
            "REPLICATION_APPLIER",
            "ALLOW_NONEXISTENT_DEFINER",
            "ROLE_ADMIN",
        ],
        Version::MySql56 => vec![],
        Version::MariaDb1011 | Version::MariaDb118 => vec!["BINLOG REPLAY"],
    };
    for name in &optional {
        assert!(warned.contains(name), "{version}: {name} is only warned of");
    }

    // Those on single databases.
    run(&target, "REVOKE TRIGGER, EVENT ON shop.* FROM mover@'%'");
    let (code, said) = check(&proxy).await;
    assert_eq!(code, 1, "{said}");
    let found = finding(&said, "lacks TRIGGER, EVENT on `shop`.*");
    assert!(
        found.contains("fix: GRANT TRIGGER, EVENT ON `shop`.* TO"),
        "{found}"
    );
    run(&source, "REVOKE ALL ON pointsman.* FROM mover@'%'");
    let (_, said) = check(&proxy).await;
    let found = finding(&said, "on `pointsman`.*");
    assert!(found.contains("source: "), "{found}");
    let start = proxy.cli(&["start"]).await.unwrap();
    assert_eq!(start.code, 1, "{start}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_missing_privilege_is_named_on_mysql_9_7() {
    each_missing_privilege_is_named(Version::MySql97).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_missing_privilege_is_named_on_mysql_5_6() {
    each_missing_privilege_is_named(Version::MySql56).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_missing_privilege_is_named_on_mariadb_10_11() {
    each_missing_privilege_is_named(Version::MariaDb1011).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_missing_privilege_is_named_on_mariadb_11_8() {
    each_missing_privilege_is_named(Version::MariaDb118).await;
}
