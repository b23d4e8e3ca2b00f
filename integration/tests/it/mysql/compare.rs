//! The comparisons themselves: they must see what differs, and nothing else.

use integration::mysql::{MySqlOptions, MySqlServer, Version};
use integration::{catalog, contents};

const TABLE: &str = "
    CREATE DATABASE shop;
    CREATE TABLE shop.thing (id int PRIMARY KEY, name varchar(20) CHARACTER SET latin1, f float,
        d decimal(20,5), b blob, bits bit(5), kind enum('a', 'ü') CHARACTER SET utf8mb4,
        at datetime, g geometry) ENGINE = InnoDB;
    INSERT INTO shop.thing VALUES (1, 'é', 1.1, -3.5, X'00ff', b'101', 'ü', '2026-01-02 03:04:05',
        POINT(1, 2)), (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)";

#[tokio::test]
async fn contents_are_equal_across_versions_until_a_value_differs() {
    let mut servers = Vec::new();
    for version in Version::ALL {
        let server = MySqlServer::start(version, MySqlOptions::default())
            .await
            .unwrap();
        server.sql(TABLE).unwrap();
        servers.push(server);
    }
    let first = servers[0].connect().await.unwrap();
    let expected = integration::mysql::contents::read(&first).await.unwrap();
    assert_eq!(expected["shop.thing"].rows, 2);
    for server in &servers {
        let client = server.connect().await.unwrap();
        let found = integration::mysql::contents::read(&client).await.unwrap();
        let differences = contents::differences(&expected, &found);
        assert_eq!(differences, Vec::<String>::new(), "{}", server.version());

        server.sql("UPDATE shop.thing SET b = X'00fe'").unwrap();
        let found = integration::mysql::contents::read(&client).await.unwrap();
        assert_eq!(contents::differences(&expected, &found).len(), 1);
    }
}

#[tokio::test]
async fn the_catalog_shows_a_new_account_a_grant_a_setting_and_a_table_and_no_more() {
    for version in Version::ALL {
        let server = MySqlServer::start(version, MySqlOptions::default())
            .await
            .unwrap();
        server.sql(TABLE).unwrap();
        let client = server.connect().await.unwrap();
        let before = integration::mysql::catalog::read(&client).await.unwrap();
        server
            .sql("INSERT INTO shop.thing (id) VALUES (3)")
            .unwrap();
        let after = integration::mysql::catalog::read(&client).await.unwrap();
        let none = catalog::differences(&before, &after);
        assert_eq!(none, Vec::<String>::new(), "{version}");

        server.create_user("app", "secret", "shop").unwrap();
        server
            .sql("SET GLOBAL read_only = 1; SET GLOBAL read_only = 0; SET GLOBAL net_read_timeout = 77; \
                  CREATE VIEW shop.v AS SELECT 1 AS one")
            .unwrap();
        let after = integration::mysql::catalog::read(&client).await.unwrap();
        let found = catalog::differences(&before, &after).join("\n");
        for word in [
            "account: app@%",
            "grant: app@%",
            "net_read_timeout 77",
            "views:",
        ] {
            assert!(found.contains(word), "{version}: no {word} in {found}");
        }
        assert!(!found.contains("read_only"), "{version}: {found}");
    }
}
