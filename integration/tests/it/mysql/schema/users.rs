//! Accounts log in on the target with the password that they have on the source.

use integration::mysql::{MySqlServer, Version};

use super::{Pair, endpoint};

fn log_in(server: &MySqlServer, user: &str, password: &str) -> binlog::wire::Endpoint {
    let url = server.url_with_password(user, password, "");
    url.parse().unwrap()
}

async fn accounts_keep_their_passwords_and_rights(version: Version) {
    let pair = Pair::start(version, version).await;
    pair.source
        .script(
            "",
            "CREATE DATABASE shop; CREATE TABLE shop.t (id int PRIMARY KEY, a int); INSERT INTO shop.t VALUES (1, 2);
             CREATE ROLE reader; GRANT SELECT ON shop.* TO reader;
             CREATE USER app@'%' IDENTIFIED BY 'se$cret'; GRANT SELECT (id), UPDATE (a) ON shop.t TO app@'%' WITH GRANT OPTION;
             CREATE USER nobody@'%' IDENTIFIED BY 'second'; GRANT reader TO nobody@'%';
             CREATE USER open@'localhost';",
        )
        .unwrap();
    let default = if version.is_mariadb() {
        "SET DEFAULT ROLE reader FOR nobody@'%'"
    } else {
        "ALTER USER nobody@'%' DEFAULT ROLE reader"
    };
    pair.source.sql(default).unwrap();
    pair.copy().await;
    for account in ["app@'%'", "nobody@'%'", "reader", "open@localhost"] {
        let show = format!("SHOW GRANTS FOR {account}");
        assert_eq!(
            pair.source.sql(&show).unwrap(),
            pair.target.sql(&show).unwrap()
        );
    }
    let app = log_in(&pair.target, "app", "se$cret");
    let app = app.connect_sql("test").await.unwrap();
    app.query("SELECT id FROM shop.t").await.unwrap();
    assert!(app.query("SELECT a FROM shop.t").await.is_err());
    let nobody = log_in(&pair.target, "nobody", "second");
    let nobody = nobody.connect_sql("test").await.unwrap();
    nobody.query("SELECT a FROM shop.t").await.unwrap();
    assert!(
        log_in(&pair.target, "app", "wrong")
            .connect_sql("test")
            .await
            .is_err()
    );
    endpoint(&pair.target).connect_sql("test").await.unwrap();
}

#[tokio::test]
async fn accounts_keep_their_passwords_and_rights_on_mysql_9_7() {
    accounts_keep_their_passwords_and_rights(Version::MySql97).await;
}

#[tokio::test]
async fn accounts_keep_their_passwords_and_rights_on_mariadb_11_8() {
    accounts_keep_their_passwords_and_rights(Version::MariaDb118).await;
}

#[tokio::test]
async fn an_account_whose_method_the_target_lacks_is_made_locked_and_named() {
    let pair = Pair::start(Version::MySql56, Version::MySql97).await;
    pair.source
        .sql("CREATE DATABASE shop; CREATE USER app@'%' IDENTIFIED BY 'secret'; GRANT SELECT ON shop.* TO app@'%'")
        .unwrap();
    let copy = pair.initial(binlog::schema::initial::InitialOptions::new("t1"));
    super::done(copy.run().await);
    let warnings = copy.warnings().join("\n");
    assert!(
        warnings.contains("app@%") && warnings.contains("mysql_native_password"),
        "{warnings}"
    );
    let locked = "SELECT account_locked FROM mysql.user WHERE user = 'app'";
    assert_eq!(pair.target.sql(locked).unwrap(), "Y");
    let grants = pair.target.sql("SHOW GRANTS FOR app@'%'").unwrap();
    assert!(grants.contains("GRANT SELECT ON `shop`.*"), "{grants}");
}

/// What an account must fulfil holds on the target, in each direction.
async fn conditions_hold(from: Version, to: Version) {
    let pair = Pair::start(from, to).await;
    let limits = "REQUIRE SSL WITH MAX_QUERIES_PER_HOUR 50 MAX_USER_CONNECTIONS 3";
    let mut script = "CREATE DATABASE shop;\n".to_owned();
    if from == Version::MySql56 {
        script.push_str(&format!(
            "CREATE USER tied@'%'; GRANT USAGE ON *.* TO tied@'%' {limits};"
        ));
    } else {
        script.push_str(&format!(
            "CREATE USER tied@'%' {limits} PASSWORD EXPIRE NEVER;
             CREATE USER shut@'%' ACCOUNT LOCK; CREATE USER old@'%' PASSWORD EXPIRE;
             CREATE ROLE lonely;"
        ));
    }
    pair.source.script("", &script).unwrap();
    pair.copy().await;
    let shown = |account: &str| pair.target.sql(&format!("SHOW CREATE USER {account}"));
    let tied = shown("tied@'%'").unwrap();
    for words in [
        "REQUIRE SSL",
        "MAX_QUERIES_PER_HOUR 50",
        "MAX_USER_CONNECTIONS 3",
    ] {
        assert!(tied.contains(words), "{tied}");
    }
    if from == Version::MySql56 {
        return;
    }
    assert!(tied.contains("PASSWORD EXPIRE NEVER"), "{tied}");
    assert!(shown("shut@'%'").unwrap().contains("ACCOUNT LOCK"));
    let old = shown("old@'%'").unwrap();
    let expires = old.contains("PASSWORD EXPIRE") && !old.contains("PASSWORD EXPIRE DEFAULT");
    assert!(expires, "{old}");
    if !from.is_mariadb() {
        // MySQL tells roles from accounts by their being granted.
        assert!(shown("lonely@'%'").unwrap().contains("ACCOUNT LOCK"));
    }
}

#[tokio::test]
async fn conditions_of_accounts_hold_from_mysql_5_6_on_9_7() {
    conditions_hold(Version::MySql56, Version::MySql97).await;
}

#[tokio::test]
async fn conditions_of_accounts_hold_from_mysql_9_7_on_mariadb() {
    conditions_hold(Version::MySql97, Version::MariaDb118).await;
}

#[tokio::test]
async fn conditions_of_accounts_hold_from_mariadb_on_mysql_9_7() {
    conditions_hold(Version::MariaDb118, Version::MySql97).await;
}

#[tokio::test]
async fn conditions_of_accounts_hold_on_mysql_9_7() {
    conditions_hold(Version::MySql97, Version::MySql97).await;
}

/// What everybody may do, everybody may do on the target.
#[tokio::test]
async fn grants_to_public_are_carried_between_mariadbs_and_named_towards_mysql() {
    for to in [Version::MariaDb118, Version::MySql97] {
        let pair = Pair::start(Version::MariaDb1011, to).await;
        let script = "CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci; \
                      GRANT SELECT ON shop.* TO PUBLIC;";
        pair.source.script("", script).unwrap();
        let copy = pair.initial(binlog::schema::initial::InitialOptions::new("t1"));
        super::done(copy.run().await);
        if to.is_mariadb() {
            let show = "SHOW GRANTS FOR PUBLIC";
            assert_eq!(
                pair.source.sql(show).unwrap(),
                pair.target.sql(show).unwrap()
            );
        } else {
            let warnings = copy.warnings().join("\n");
            assert!(warnings.contains("granted to PUBLIC"), "{warnings}");
        }
    }
}

/// What is taken back in part must not come back.
#[tokio::test]
async fn partial_revokes_are_carried_or_named() {
    for (on, to) in [
        ("ON", Version::MySql97),
        ("OFF", Version::MySql97),
        ("OFF", Version::MariaDb118),
    ] {
        let pair = Pair::start(Version::MySql97, to).await;
        let script = "CREATE DATABASE shop; SET GLOBAL partial_revokes = ON; CREATE USER app@'%'; \
                      GRANT SELECT ON *.* TO app@'%'; REVOKE SELECT ON mysql.* FROM app@'%';";
        pair.source.script("", script).unwrap();
        if !to.is_mariadb() {
            let set = format!("SET GLOBAL partial_revokes = {on}");
            pair.target.sql(&set).unwrap();
        }
        let copy = pair.initial(binlog::schema::initial::InitialOptions::new("t1"));
        super::done(copy.run().await);
        let warnings = copy.warnings().join("\n");
        let show = "SHOW GRANTS FOR app@'%'";
        if on == "ON" {
            assert_eq!(
                pair.source.sql(show).unwrap(),
                pair.target.sql(show).unwrap()
            );
        } else {
            assert!(warnings.contains("app@% may do more"), "{warnings}");
        }
    }
}

/// Whoever may act as another may do so on the target.
#[tokio::test]
async fn proxy_grants_are_carried_or_named() {
    for (from, to, may) in [
        (Version::MySql97, Version::MySql97, true),
        (Version::MySql97, Version::MySql97, false),
        (Version::MySql56, Version::MySql97, true),
        (Version::MySql97, Version::MariaDb118, true),
        (Version::MariaDb118, Version::MySql97, true),
        (Version::MariaDb1011, Version::MariaDb118, true),
    ] {
        let pair = Pair::start(from, to).await;
        let script = "CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
                      CREATE USER a_first@'%', employee@'%', last_one@'%';
                      GRANT PROXY ON employee@'%' TO a_first@'%';
                      GRANT PROXY ON employee@'%' TO last_one@'%' WITH GRANT OPTION;";
        pair.source.script("", script).unwrap();
        // Only who may act as everybody can hand it on, and a server's first account alone may.
        let root = "INSERT INTO mysql.proxies_priv
                    (Host, User, Proxied_host, Proxied_user, With_grant, Grantor)
                    VALUES ('%', 'root', '', '', 1, '');
                    FLUSH PRIVILEGES";
        if may {
            pair.target.script("", root).unwrap();
        }
        let copy = pair.initial(binlog::schema::initial::InitialOptions::new("t1"));
        super::done(copy.run().await);
        let proxies = "SELECT User, Proxied_user, Proxied_host, With_grant FROM mysql.proxies_priv
                       WHERE Proxied_user <> '' ORDER BY 1";
        let here = pair.source.sql(proxies).unwrap();
        assert_eq!(here.lines().count(), 2, "{here}");
        let warnings = copy.warnings().join("\n");
        if !may {
            let named = "GRANT PROXY ON `employee`@`%` TO `a_first`@`%`";
            assert!(warnings.contains(named), "{warnings}");
            continue;
        }
        let there = pair.target.sql(proxies).unwrap();
        assert_eq!(there, here, "{from} to {to}: {warnings}");
        assert!(!warnings.contains("PROXY"), "{warnings}");
    }
}

/// A privilege that comes with a plugin or component is only known where that is.
#[tokio::test]
async fn privileges_that_the_target_does_not_know_are_named() {
    for to in [Version::MySql97, Version::MariaDb118] {
        let pair = Pair::start(Version::MySql97, to).await;
        let script = "CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
                      INSTALL PLUGIN rewriter SONAME 'rewriter.so';
                      CREATE USER app@'%';
                      GRANT SKIP_QUERY_REWRITE, CONNECTION_ADMIN, SHOW_ROUTINE ON *.* TO app@'%'
                      WITH GRANT OPTION;";
        pair.source.script("", script).unwrap();
        let copy = pair.initial(binlog::schema::initial::InitialOptions::new("t1"));
        super::done(copy.run().await);
        let warnings = copy.warnings().join("\n");
        let named = "app@% has privileges that the target does not know: SKIP_QUERY_REWRITE";
        assert!(warnings.contains(named), "{warnings}");
        let grants = pair.target.sql("SHOW GRANTS FOR app@'%'").unwrap();
        let grants = grants.replace('_', " ");
        assert!(!grants.contains("REWRITE"), "{grants}");
        for known in ["CONNECTION ADMIN", "WITH GRANT OPTION"] {
            assert!(grants.contains(known), "{known}: {grants}");
        }
    }
}
