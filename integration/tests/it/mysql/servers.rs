//! The harness itself: every version starts, stops, crashes and comes back.

use integration::mysql::{MySqlOptions, MySqlServer, Version};

async fn starts_and_keeps_its_data(version: Version, number: &str) {
    let options = MySqlOptions::default().durable();
    let mut server = MySqlServer::start(version, options).await.unwrap();
    let found = server.sql("SELECT VERSION()").unwrap();
    assert!(found.starts_with(number), "{found}");
    assert_eq!(
        server.sql("SELECT @@binlog_format, @@log_bin").unwrap(),
        "ROW\t1"
    );
    let id = server.server_id().to_string();
    assert_eq!(server.sql("SELECT @@server_id").unwrap(), id);
    let gtids = if version.is_mariadb() {
        "SELECT @@gtid_binlog_pos <> ''"
    } else {
        "SELECT @@gtid_mode = 'ON'"
    };
    server
        .sql("CREATE DATABASE kept; CREATE TABLE kept.t (id int PRIMARY KEY); INSERT INTO kept.t VALUES (1)")
        .unwrap();
    assert_eq!(server.sql(gtids).unwrap(), "1");

    server.restart().await.unwrap();
    server.kill9().unwrap();
    server.restart().await.unwrap();
    assert_eq!(
        server.sql_in("kept", "SELECT count(*) FROM t").unwrap(),
        "1"
    );

    server.pause().unwrap();
    server.resume().unwrap();
    assert_eq!(server.sql("SELECT 'é'").unwrap(), "é");
}

macro_rules! starts {
    ($($name:ident: $version:ident $number:literal),* $(,)?) => {
        $(#[tokio::test]
        async fn $name() {
            starts_and_keeps_its_data(Version::$version, $number).await;
        })*
    };
}

starts! {
    mysql_9_7_starts_and_keeps_its_data: MySql97 "9.7.",
    mysql_5_6_starts_and_keeps_its_data: MySql56 "5.6.",
    mariadb_10_11_starts_and_keeps_its_data: MariaDb1011 "10.11.",
    mariadb_11_8_starts_and_keeps_its_data: MariaDb118 "11.8.",
}

#[tokio::test]
async fn two_servers_of_one_version_differ_in_their_ids() {
    let one = MySqlServer::start(Version::MySql97, MySqlOptions::default());
    let other = MySqlServer::start(Version::MySql97, MySqlOptions::default());
    let (one, other) = tokio::join!(one, other);
    let ask = "SELECT @@server_uuid, @@server_id";
    assert_ne!(
        one.unwrap().sql(ask).unwrap(),
        other.unwrap().sql(ask).unwrap()
    );
}

#[tokio::test]
async fn a_mysql_server_that_is_dropped_leaves_no_folder() {
    let server = MySqlServer::start(Version::MariaDb118, MySqlOptions::default())
        .await
        .unwrap();
    let dir = server.dir().to_path_buf();
    drop(server);
    assert!(!dir.exists());
}

#[tokio::test]
async fn scripts_and_users_with_passwords_work_on_all_versions() {
    for version in Version::ALL {
        let server = MySqlServer::start(version, MySqlOptions::default().without_gtids())
            .await
            .unwrap();
        server.sql("CREATE DATABASE shop").unwrap();
        server.create_user("app", "secret", "shop").unwrap();
        server
            .script(
                "shop",
                "DELIMITER //\nCREATE PROCEDURE one() BEGIN SELECT 1; END//\nDELIMITER ;\nCALL one();",
            )
            .unwrap();
        assert!(server.script("shop", "CALL two();").is_err());
        let accounts = server.sql("SELECT DISTINCT user FROM mysql.user WHERE user IN ('app', '')");
        assert_eq!(accounts.unwrap(), "app", "{version}");
    }
}
