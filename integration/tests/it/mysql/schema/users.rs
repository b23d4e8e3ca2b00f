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
