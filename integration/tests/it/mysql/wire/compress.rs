//! Compressed connections, and the dump of the binary log as the packets that it is.

use binlog::wire::command::{COM_BINLOG_DUMP, COM_QUERY};
use binlog::wire::{Capabilities, Compressor};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_ours_are_compressed_where_the_url_asks_for_it() {
    for version in Version::ALL {
        let options = MySqlOptions::default()
            .set("max-allowed-packet", "64M")
            .set("local-infile", "1");
        let server = start(version, options).await;
        let zstd = match version {
            Version::MySql97 => Some(Compressor::Zstd),
            Version::MySql56 | Version::MariaDb1011 | Version::MariaDb118 => None,
        };
        for (words, compressor) in [
            ("zlib", Some(Compressor::Zlib)),
            ("zstd", zstd),
            ("zstd,zlib", zstd.or(Some(Compressor::Zlib))),
            ("uncompressed", None),
        ] {
            for mode in ["DISABLED", "PREFERRED"] {
                let parameters = format!("compression-algorithms={words}&ssl-mode={mode}");
                let endpoint = endpoint(&server, "root", &parameters);
                let conn = log_in(&endpoint).await.unwrap();
                assert_eq!(conn.compressor(), compressor, "{version} {words}");
                let sql = SqlConn::new(conn, "test".to_owned());
                let on = cell_at(&sql, "SHOW SESSION STATUS LIKE 'Compression'", 1).await;
                assert_eq!(on == "ON", compressor.is_some(), "{version} {words}");
                echo(&sql, 1).await;
                echo(&sql, 1_000_000).await;
                sql.query("SELECT nothing").await.unwrap_err();
                assert_eq!(cell(&sql, "SELECT 4").await, "4", "{version}");
            }
        }
        let endpoint = endpoint(&server, "root", "compression-algorithms=zlib");
        let mut options = ConnectOptions::named("load");
        options.capabilities = options.capabilities | Capabilities::LOCAL_FILES;
        let conn = Box::pin(Conn::connect(&endpoint, options)).await.unwrap();
        let sql = SqlConn::new(conn, "test".to_owned());
        echo(&sql, 20_000_000).await;
        sql.execute("CREATE DATABASE w").await.unwrap();
        sql.execute("CREATE TABLE w.t (a INT PRIMARY KEY)")
            .await
            .unwrap();
        let data: String = (0..300_000).map(|i| format!("{i}\n")).collect();
        let pieces = stream::iter([Bytes::from(data)]);
        let done = sql.load_data("LOAD DATA LOCAL INFILE 'x' INTO TABLE w.t", pieces);
        assert_eq!(done.await.unwrap().affected_rows, 300_000, "{version}");
        let mut rows = sql.query_streamed("SELECT a FROM w.t").await.unwrap();
        let mut count = 0;
        while rows.next().await.unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count, 300_000, "{version}");
    }
}

/// All packets of the first binlog file, until the server says that there are no more.
async fn dump(server: &MySqlServer, parameters: &str) -> Vec<Bytes> {
    let endpoint = endpoint(server, "root", parameters);
    let mut conn = log_in(&endpoint).await.unwrap();
    // Without it the servers of 5.6 and later refuse to send events with checksums.
    let announce = "SET @master_binlog_checksum = 'NONE', @source_binlog_checksum = 'NONE'";
    conn.queue_command(&[COM_QUERY], announce.as_bytes());
    conn.flush().await.unwrap();
    conn.read_ok().await.unwrap();
    // Position 4, BINLOG_DUMP_NON_BLOCK, a server id of nobody.
    let mut command = vec![COM_BINLOG_DUMP, 4, 0, 0, 0, 1, 0, 9, 9, 0, 0];
    command.extend_from_slice(b"binlog.000001");
    conn.write_packet(&command).await.unwrap();
    let mut packets = Vec::new();
    loop {
        let packet = conn.read_packet().await.unwrap();
        match packet.first() {
            Some(0) => packets.push(packet),
            Some(0xfe) => return packets,
            first => panic!("{first:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dump_of_the_binary_log_is_the_same_packets_compressed_and_not() {
    for version in Version::ALL {
        let server = start(version, MySqlOptions::default()).await;
        let sql = root(&server).await;
        sql.execute("CREATE DATABASE w").await.unwrap();
        let create = "CREATE TABLE w.t (a INT PRIMARY KEY, b LONGBLOB) ENGINE=InnoDB";
        sql.execute(create).await.unwrap();
        for number in 0..300 {
            let insert = format!("INSERT INTO w.t VALUES ({number}, REPEAT('x', {number}))");
            sql.execute(&insert).await.unwrap();
        }
        let clear = dump(&server, "ssl-mode=DISABLED").await;
        assert!(clear.len() > 300, "{version}: {}", clear.len());
        for parameters in ["ssl-mode=PREFERRED", "compression-algorithms=zstd,zlib"] {
            let other = dump(&server, parameters).await;
            assert_eq!(clear.len(), other.len(), "{version} {parameters}");
            // The made-up events at the beginning may differ in their time.
            assert!(
                clear.iter().skip(2).eq(other.iter().skip(2)),
                "{version} {parameters}"
            );
        }
    }
}
