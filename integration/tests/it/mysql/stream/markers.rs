//! The end of a fenced source's log is seen, whichever marker stands there.

use binlog::movement::marker::{Marker, MarkerWriter};
use binlog::position::{BinlogFile, Gtid, Gtids, Position};
use binlog::schema::bookkeeping;

use super::fixture::{Kind, Lines, Source, Step};

/// Reads until the marker was seen.
async fn see(lines: &mut Lines, marker: Marker, kind: Kind) {
    match marker {
        Marker::Gtid { gtid } => {
            let gtid: Gtid = gtid.parse().unwrap();
            let contains = |gtids: &Gtids| match gtids {
                Gtids::MySql(set) => set.contains(&gtid),
                Gtids::None | Gtids::MariaDb(_) => false,
            };
            let mut before = lines.stream.handle().acknowledged();
            while !contains(&before.gtids) {
                let position = idle(lines).await;
                assert!(position > before, "{kind:?}: {position} after {before}");
                before = position;
            }
            lines.stream.handle().acknowledge(before);
        }
        Marker::Row { token } => {
            let transaction = lines.transaction().await;
            let line = transaction.lines.concat();
            assert!(
                line.starts_with("+ marker") && line.contains(&token),
                "{line}"
            );
        }
        Marker::Rotated { file } => {
            let file = BinlogFile::new(file.as_str(), 4);
            while idle(lines).await.file < file {}
        }
    }
}

/// The next position, before which there is no transaction.
async fn idle(lines: &mut Lines) -> Position {
    match lines.step().await.unwrap() {
        Step::Idle(position) => position,
        Step::Transaction(transaction) => panic!("nothing was changed: {transaction:?}"),
    }
}

#[tokio::test]
async fn every_kind_of_marker_comes_through_an_idle_stream() {
    for kind in Kind::ALL {
        let source = Source::start(kind).await;
        source.run(bookkeeping::CREATE_SCHEMA).await;
        for table in bookkeeping::SOURCE_TABLES {
            source.run(table).await;
        }
        let start = source.position().await;
        let mut lines = source.open(&start).await;
        let writer = MarkerWriter::prepare(&source.sql).await.unwrap();
        for _round in 0..3 {
            let marker = writer.write(&source.sql).await.unwrap();
            see(&mut lines, marker, kind).await;
        }
        assert_eq!(lines.stream.handle().lag().transactions, 0);
    }
}

#[tokio::test]
async fn changes_of_other_databases_move_the_position() {
    for kind in Kind::ALL {
        let source = Source::start(kind).await;
        source.run("CREATE DATABASE other").await;
        source.run("CREATE TABLE other.t (id INT)").await;
        let start = source.position().await;
        let mut lines = source.open(&start).await;
        for id in 0..20 {
            source
                .run(&format!("INSERT INTO other.t VALUES ({id})"))
                .await;
        }
        let end = source.position().await;
        assert!(lines.until(&end).await.is_empty(), "{kind:?}");
    }
}
