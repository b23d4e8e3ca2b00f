//! A server of very many small tables costs little for each of them.

use std::fmt::Write as _;

use integration::mysql::{MySqlOptions, MySqlServer, Version};

use super::Pair;

/// Two of three are empty.
const TABLES: u64 = 300;

fn tables() -> String {
    let mut script = "CREATE DATABASE shop; USE shop;\n".to_owned();
    for number in 0..TABLES {
        writeln!(
            script,
            "CREATE TABLE t{number} (id int PRIMARY KEY AUTO_INCREMENT, a varchar(20), KEY (a));"
        )
        .unwrap();
        if number % 3 == 0 {
            writeln!(
                script,
                "INSERT INTO t{number} (a) VALUES ('x'), ({number});"
            )
            .unwrap();
        }
    }
    script
}

fn status(server: &MySqlServer, name: &str) -> u64 {
    let shown = server.sql(&format!("SHOW GLOBAL STATUS LIKE '{name}'"));
    let shown = shown.unwrap();
    shown.split_whitespace().last().unwrap().parse().unwrap()
}

async fn each_costs_little(version: Version) {
    let local = MySqlOptions::default().set("local_infile", "1");
    let pair = Pair::start_with(version, version, MySqlOptions::default(), local).await;
    pair.source.script("", &tables()).unwrap();
    let servers = [&pair.source, &pair.target];
    let before = servers.map(|server| status(server, "Questions"));
    let finished = pair.copy().await;
    assert_eq!(u64::try_from(finished.watermarks.len()).unwrap(), TABLES);
    for (server, before) in servers.into_iter().zip(before) {
        let statements = status(server, "Questions") - before;
        assert!(statements < TABLES * 8 + 300, "{statements} statements");
        assert!(status(server, "Max_used_connections") < 20);
        assert_eq!(status(server, "Prepared_stmt_count"), 0);
    }
    let rows = "SELECT (SELECT COUNT(*) FROM shop.t0), (SELECT a FROM shop.t3 WHERE id = 2), (SELECT COUNT(*) FROM shop.t1)";
    assert_eq!(pair.target.sql(rows).unwrap().trim(), "2\t3\t0");
}

#[tokio::test]
async fn hundreds_of_tables_cost_little_on_mysql() {
    each_costs_little(Version::MySql97).await;
}

#[tokio::test]
async fn hundreds_of_tables_cost_little_on_mariadb() {
    each_costs_little(Version::MariaDb118).await;
}
