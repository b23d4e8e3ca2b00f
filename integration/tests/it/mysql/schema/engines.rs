//! Engines other than InnoDB, and files that are kept elsewhere.

use binlog::check::{self, CheckOptions, Level};
use binlog::schema::catalog::TableFilter;
use binlog::schema::initial::InitialOptions;
use integration::mysql::{MySqlOptions, Version};
use integration::scratch;

use super::{Pair, done};

/// Statements that make a table of each engine that a server has, and the engines.
fn tables(version: Version) -> (Vec<&'static str>, Vec<&'static str>) {
    let mut script = vec![
        "CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci",
        "USE shop",
        "CREATE TABLE usual (a int PRIMARY KEY) ENGINE=InnoDB",
        "INSERT INTO usual VALUES (1)",
        "CREATE TABLE odd_myisam (a int NOT NULL, KEY (a)) ENGINE=MyISAM",
        "CREATE TABLE odd_memory (a int PRIMARY KEY) ENGINE=MEMORY",
        "CREATE TABLE odd_csv (a int NOT NULL) ENGINE=CSV",
        "CREATE TABLE odd_mrg_myisam (a int NOT NULL, KEY (a)) ENGINE=MRG_MYISAM UNION=(odd_myisam)",
    ];
    let mut engines = vec!["MyISAM", "MEMORY", "CSV", "MRG_MYISAM"];
    if version.is_mariadb() {
        script.push("CREATE TABLE odd_aria (a int PRIMARY KEY) ENGINE=Aria");
        engines.push("Aria");
    }
    if version != Version::MySql56 {
        script.push("CREATE TABLE odd_archive (a int AUTO_INCREMENT PRIMARY KEY) ENGINE=ARCHIVE");
        script.push("CREATE TABLE odd_blackhole (a int PRIMARY KEY) ENGINE=BLACKHOLE");
        engines.extend(["ARCHIVE", "BLACKHOLE"]);
    }
    if version == Version::MySql97 {
        // MariaDB looks at the other server when the table is made. Nobody listens there.
        script.push(
            "CREATE TABLE odd_federated (a int PRIMARY KEY) ENGINE=FEDERATED \
             CONNECTION='mysql://nobody@127.0.0.1:1/shop/usual'",
        );
        engines.push("FEDERATED");
    }
    (script, engines)
}

fn with_engines(version: Version) -> MySqlOptions {
    let options = MySqlOptions::default();
    match version {
        Version::MySql97 => options.set("federated", "ON"),
        Version::MySql56 => options,
        Version::MariaDb1011 | Version::MariaDb118 => options
            .set("plugin-load-add", "ha_archive")
            .set("plugin-load-add", "ha_blackhole"),
    }
}

#[tokio::test]
async fn tables_of_other_engines_are_refused_by_name_and_left_out_when_asked_to() {
    for version in Version::ALL {
        let options = with_engines(version);
        let pair = Pair::start_with(version, version, options.clone(), options).await;
        let (script, engines) = tables(version);
        pair.source.script("", &script.join(";\n")).unwrap();
        let (from, to) = pair.endpoints();
        let found = check::run(&from, &to, &CheckOptions::default()).await;
        let fails: Vec<String> = found
            .iter()
            .filter(|one| one.level == Level::Fail)
            .map(ToString::to_string)
            .collect();
        let fails = fails.join("\n");
        for engine in &engines {
            let named = format!("shop.odd_{engine} ({engine})").to_lowercase();
            assert!(
                fails.to_lowercase().contains(&named),
                "{version}: {named} is missing: {fails}"
            );
        }
        let error = pair.initial(InitialOptions::new("t1")).run().await;
        let error = router::words(&error.unwrap_err());
        assert!(error.contains("tables that are not InnoDB"), "{error}");
        assert!(error.contains("(CSV)"), "{error}");

        let mut options = InitialOptions::new("t1");
        options.filter = TableFilter::new(Vec::new(), vec!["shop.odd_*".to_owned()]);
        done(pair.initial(options).run().await);
        let rows = pair.target.sql("SELECT a FROM shop.usual").unwrap();
        assert_eq!(rows, "1", "{version}");
        let kept = "SELECT TABLE_NAME, ENGINE FROM information_schema.TABLES
                    WHERE TABLE_SCHEMA = 'shop' ORDER BY 1";
        let here = pair.source.sql(kept).unwrap();
        assert_eq!(pair.target.sql(kept).unwrap(), here, "{version}");
    }
}

#[tokio::test]
async fn a_table_that_is_left_out_says_that_the_target_lacks_its_engine() {
    let version = Version::MariaDb118;
    let options = with_engines(version);
    let pair = Pair::start_with(version, version, options, MySqlOptions::default()).await;
    let script = "CREATE DATABASE shop;
                  CREATE TABLE shop.odd_archive (a int) ENGINE=ARCHIVE;
                  CREATE TABLE shop.odd_aria (a int) ENGINE=Aria;";
    pair.source.script("", script).unwrap();
    let mut options = InitialOptions::new("t1");
    options.filter = TableFilter::new(Vec::new(), vec!["shop.odd_*".to_owned()]);
    let copy = pair.initial(options);
    done(copy.run().await);
    let warnings = copy.warnings().join("\n");
    let named = "table shop.odd_archive: the target does not have its engine ARCHIVE";
    assert!(warnings.contains(named), "{warnings}");
    assert!(!warnings.contains("odd_aria"), "{warnings}");
    let kept = "SELECT TABLE_NAME, ENGINE FROM information_schema.TABLES
                WHERE TABLE_SCHEMA = 'shop' ORDER BY 1";
    let there = pair.target.sql(kept).unwrap();
    assert_eq!(there, "odd_archive\tInnoDB\nodd_aria\tAria");
}

#[tokio::test]
async fn files_that_are_kept_elsewhere_are_kept_with_the_target_s_and_said() {
    for (from, to) in [
        (Version::MySql97, Version::MySql97),
        (Version::MySql56, Version::MySql97),
        (Version::MariaDb1011, Version::MariaDb118),
        (Version::MySql97, Version::MariaDb118),
        (Version::MariaDb118, Version::MySql97),
    ] {
        let folder = scratch::folder("elsewhere").unwrap();
        let place = folder.display();
        let mut options = MySqlOptions::default();
        if from == Version::MySql97 {
            options = options.set("innodb-directories", &place.to_string());
        }
        let pair = Pair::start_with(from, to, options, MySqlOptions::default()).await;
        let parted = format!(
            "CREATE TABLE parted (a int PRIMARY KEY) ENGINE=InnoDB PARTITION BY RANGE (a)
             (PARTITION p0 VALUES LESS THAN (5) DATA DIRECTORY = '{place}' ENGINE=InnoDB,
              PARTITION p1 VALUES LESS THAN MAXVALUE ENGINE=InnoDB)"
        );
        let script = format!(
            "CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci; USE shop;
             CREATE TABLE whole (a int PRIMARY KEY) ENGINE=InnoDB DATA DIRECTORY='{place}';
             INSERT INTO whole VALUES (1), (2);
             {parted};
             INSERT INTO parted VALUES (1), (7);"
        );
        pair.source.script("", &script).unwrap();
        let copy = pair.initial(InitialOptions::new("t1"));
        done(copy.run().await);
        let warnings = copy.warnings().join("\n");
        for table in ["whole", "parted"] {
            let named = format!("table shop.{table}: DATA DIRECTORY '{place}");
            assert!(
                warnings.contains(&named),
                "{from} to {to}: {named}: {warnings}"
            );
            let show = format!("SHOW CREATE TABLE shop.{table}");
            let shown = pair.target.sql(&show).unwrap();
            assert!(!shown.contains("DIRECTORY"), "{shown}");
            let rows = format!("SELECT a FROM shop.{table} ORDER BY 1");
            assert_eq!(
                pair.target.sql(&rows).unwrap(),
                pair.source.sql(&rows).unwrap()
            );
        }
        drop(pair);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
