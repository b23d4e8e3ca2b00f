//! Settings of the two servers with which nothing can be moved.

use integration::mysql::MySqlServer;
use integration::mysql::Version::{self, MariaDb118, MySql56, MySql97};
use integration::proxy::Proxy;

use super::{assert_says, configured, finding, pair, refused_with, usual};

#[tokio::test(flavor = "multi_thread")]
async fn a_source_without_a_binary_log_is_refused_by_that_name() {
    for version in [MySql97, MariaDb118] {
        let (source, target) = pair(version, usual().without_binlog()).await;
        let said = refused_with(&source, &target, "log_bin is off").await;
        assert_says(&said, &["source: ", "start the source with log_bin"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_logs_statements_or_mixes_them_is_refused_by_the_format_s_name() {
    for version in Version::ALL {
        let (source, target) = pair(version, usual()).await;
        for format in ["STATEMENT", "MIXED"] {
            source
                .sql(&format!("SET GLOBAL binlog_format = '{format}'"))
                .unwrap();
            let words = format!("source: binlog_format is {format}");
            let said = refused_with(&source, &target, &words).await;
            assert_says(&said, &["SET GLOBAL binlog_format = 'ROW'"]);
        }
        // What the advice says is enough.
        source.sql("SET GLOBAL binlog_format = 'ROW'").unwrap();
        let proxy = Proxy::start(configured(&source, &target)).await.unwrap();
        let check = proxy.cli(&["check"]).await.unwrap();
        assert_eq!(check.code, 0, "{version}: {check}");
    }
}

/// Makes a replica of a server, or of one that is nowhere: that it is one is all that counts.
fn follow(server: &MySqlServer) {
    let sql = match server.version() {
        MySql97 => {
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = 1,
             SOURCE_USER = 'nobody'"
        }
        MySql56 | Version::MariaDb1011 | MariaDb118 => {
            "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = 1, MASTER_USER = 'nobody'"
        }
    };
    server.sql(sql).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_does_not_log_what_it_applies_is_refused() {
    for version in Version::ALL {
        let options = match version {
            MySql97 => usual().set("log-replica-updates", "OFF"),
            MySql56 => usual().without_gtids(),
            Version::MariaDb1011 | MariaDb118 => usual(),
        };
        let (source, target) = pair(version, options).await;
        follow(&source);
        let words = "the server is a replica and does not log what it applies";
        let said = refused_with(&source, &target, words).await;
        assert_says(
            &said,
            &["source: ", "log_slave_updates", "log_replica_updates"],
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_with_one_server_id_are_refused() {
    for version in [MySql97, MariaDb118] {
        let options = usual().set("server-id", "77");
        let (source, _) = pair(version, options.clone()).await;
        let target = MySqlServer::start(version, options).await.unwrap();
        let said = refused_with(&source, &target, "server_id is the same").await;
        assert_says(&said, &["target: ", "SET GLOBAL server_id"]);
    }
}

/// Whatever stands where the source's objects will be: a view and a procedure too.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_not_empty_is_refused_by_the_database_s_name() {
    for version in [MySql97, MariaDb118] {
        let (source, target) = pair(version, usual()).await;
        for (make, remove) in [
            ("CREATE TABLE shop.t (a INT)", "DROP TABLE shop.t"),
            ("CREATE VIEW shop.v AS SELECT 1", "DROP VIEW shop.v"),
            (
                "CREATE PROCEDURE shop.p() SELECT 1",
                "DROP PROCEDURE shop.p",
            ),
        ] {
            let sql = format!("CREATE DATABASE IF NOT EXISTS shop; {make}");
            target.sql(&sql).unwrap();
            let said = refused_with(&source, &target, "databases are not empty: shop").await;
            assert_says(&said, &["target: ", "drop these databases there"]);
            target.sql(remove).unwrap();
        }
        target.sql("CREATE DATABASE pointsman").unwrap();
        let words = "an earlier migration left database pointsman";
        let said = refused_with(&source, &target, words).await;
        assert_says(&said, &["target: ", "DROP DATABASE pointsman"]);
        target.sql("DROP DATABASE pointsman").unwrap();
        let proxy = Proxy::start(configured(&source, &target)).await.unwrap();
        let check = proxy.cli(&["check"]).await.unwrap();
        assert_eq!(check.code, 0, "an empty database is none: {check}");
        finding(&check.to_string(), "nothing is where the databases will be");
    }
}
