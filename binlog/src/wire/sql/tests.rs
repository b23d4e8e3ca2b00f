use std::time::Duration;

use bytes::BytesMut;
use tokio::join;

use super::*;
use crate::wire::capabilities::StatusFlags;
use crate::wire::column::Column;
use crate::wire::lenenc;
use crate::wire::mock::{Mock, MockClient};
use crate::wire::response::{EOF, EofPacket, OkPacket};

async fn pair(without: Capabilities) -> (SqlConn, MockClient) {
    let (mock, endpoint) = Mock::listen().await;
    let (sql, client) = join!(
        Box::pin(endpoint.connect_sql("test")),
        mock.accept_sql(without)
    );
    (sql.unwrap(), client)
}

fn row(cells: &[&str]) -> BytesMut {
    let mut packet = BytesMut::new();
    for cell in cells {
        lenenc::put_bytes(cell.as_bytes(), &mut packet);
    }
    packet
}

impl MockClient {
    async fn columns(&mut self, names: &[&str]) {
        self.write(&[u8::try_from(names.len()).unwrap()]).await;
        for name in names {
            let mut packet = BytesMut::new();
            let column = Column {
                name: (*name).to_owned(),
                ..Column::default()
            };
            column.put(&mut packet);
            self.write(&packet).await;
        }
        if !self.capabilities.contains(Capabilities::DEPRECATE_EOF) {
            self.end(StatusFlags::AUTOCOMMIT).await;
        }
    }

    async fn end(&mut self, status: StatusFlags) {
        let mut packet = BytesMut::new();
        if self.capabilities.contains(Capabilities::DEPRECATE_EOF) {
            let ok = OkPacket {
                status,
                ..OkPacket::default()
            };
            ok.put(EOF, self.capabilities, &mut packet);
        } else {
            EofPacket {
                status,
                warnings: 0,
            }
            .put(&mut packet);
        }
        self.write(&packet).await;
    }
}

#[tokio::test]
async fn rows_are_read_with_and_without_eof_packets() {
    for without in [Capabilities::NONE, Capabilities::DEPRECATE_EOF] {
        let (sql, mut server) = pair(without).await;
        let (rows, ()) = join!(sql.query("SELECT 1"), async {
            assert_eq!(server.command().await[..], *b"\x03SELECT 1");
            server.columns(&["a", "b"]).await;
            server.write(&row(&["", "x"])).await;
            server.write(&row(&["1", "y"])).await;
            server.end(StatusFlags::AUTOCOMMIT).await;
        });
        let rows = rows.unwrap();
        assert_eq!((rows[0].text(0), rows[1].named("b")), (Some(""), Some("y")));
        assert!(!sql.is_closed());
    }
}

#[tokio::test]
async fn further_results_of_a_call_are_read_to_their_end() {
    let (sql, mut server) = pair(Capabilities::NONE).await;
    let more = StatusFlags::MORE_RESULTS_EXISTS;
    let (rows, ()) = join!(sql.query("CALL p()"), async {
        server.command().await;
        server.columns(&["a"]).await;
        server.write(&row(&["1"])).await;
        server.end(more).await;
        server.columns(&["b"]).await;
        server.write(&row(&["2"])).await;
        server.end(more).await;
        server.ok().await;
    });
    assert_eq!(rows.unwrap().len(), 1);
    let (done, ()) = join!(sql.execute("DO 1"), async {
        assert_eq!(server.command().await[..], *b"\x03DO 1");
        server.ok().await;
    });
    assert_eq!(done.unwrap(), Done::default());
}

#[tokio::test]
async fn an_error_among_the_rows_leaves_the_connection_in_step() {
    let (sql, mut server) = pair(Capabilities::NONE).await;
    let (rows, ()) = join!(sql.query("SELECT a FROM t"), async {
        server.command().await;
        server.columns(&["a"]).await;
        server.write(&row(&["1"])).await;
        server.write(b"\xff\xb5\x04#40001Deadlock found").await;
    });
    assert_eq!(rows.unwrap_err().code(), Some(1205));
    let (done, ()) = join!(sql.execute("DO 1"), async {
        server.command().await;
        server.ok().await;
    });
    done.unwrap();
}

#[tokio::test]
async fn impossible_answers_close_the_connection() {
    let too_many_columns = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    let lying_cell = [
        1, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, b'x',
    ];
    for (first, then) in [
        (&too_many_columns[..], None),
        (&[1][..], Some(&lying_cell[1..])),
    ] {
        let (sql, mut server) = pair(Capabilities::NONE).await;
        let (rows, ()) = join!(sql.query("SELECT 1"), async {
            server.command().await;
            match then {
                None => server.write(first).await,
                Some(lie) => {
                    server.columns(&["a"]).await;
                    // A row that begins with 0xfe would be its end; the lie comes second.
                    let mut packet = BytesMut::from(&[0xfd, 0xff, 0xff, 0xff][..]);
                    packet.extend_from_slice(lie);
                    server.write(&packet).await;
                }
            }
        });
        let error = rows.unwrap_err();
        assert!(
            matches!(
                error,
                SqlError::Wire {
                    source: WireError::Malformed(_),
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(sql.is_closed());
        let error = sql.execute("DO 1").await.unwrap_err();
        assert!(matches!(
            error,
            SqlError::Wire {
                source: WireError::Unusable,
                ..
            }
        ));
    }
}

#[tokio::test]
async fn a_server_that_asks_for_a_file_unasked_gets_nothing() {
    let (sql, mut server) = pair(Capabilities::NONE).await;
    let (rows, ()) = join!(sql.query("SELECT 1"), async {
        server.command().await;
        server.write(b"\xfb/etc/passwd").await;
    });
    let error = rows.unwrap_err();
    assert!(matches!(
        error,
        SqlError::Wire {
            source: WireError::LocalFileRefused,
            ..
        }
    ));
    assert!(sql.is_closed());
    assert!(server.closed().await.is_empty());
}

#[tokio::test]
async fn a_load_sends_its_bytes_and_no_file() {
    let (sql, mut server) = pair(Capabilities::NONE).await;
    let chunks = futures_util::stream::iter(["1\t2\n", "", "3\t4\n"].map(Bytes::from));
    let (done, ()) = join!(sql.load_data("LOAD DATA LOCAL", chunks), async {
        server.command().await;
        server.write(b"\xfb/etc/passwd").await;
        // An empty piece must not be sent: it would end the file.
        assert_eq!(server.read().await[..], *b"1\t2\n");
        assert_eq!(server.read().await[..], *b"3\t4\n");
        assert_eq!(server.read().await[..], *b"");
        server.ok().await;
    });
    done.unwrap();
    assert!(!sql.is_closed());
}

#[tokio::test]
async fn a_load_that_is_given_up_closes_the_connection_without_an_end() {
    let (sql, mut server) = pair(Capabilities::NONE).await;
    let (load, ()) = join!(sql.begin_load("LOAD DATA LOCAL"), async {
        server.command().await;
        server.write(b"\xfbx").await;
    });
    let mut load = load.unwrap();
    load.send(b"1\n").await.unwrap();
    drop(load);
    assert!(sql.is_closed());
    assert_eq!(server.closed().await, b"\x02\0\0\x021\n");
}

#[tokio::test]
async fn a_query_that_is_given_up_closes_the_connection() {
    let (sql, mut server) = pair(Capabilities::NONE).await;
    let given_up = timeout(Duration::from_millis(20), sql.query("SELECT SLEEP(9)"));
    assert!(given_up.await.is_err());
    assert!(sql.is_closed());
    server.command().await;
    let error = sql.query("SELECT 1").await.unwrap_err();
    assert!(matches!(
        error,
        SqlError::Wire {
            source: WireError::Unusable,
            ..
        }
    ));
    assert!(server.closed().await.is_empty());
}

#[tokio::test]
async fn callers_wait_for_one_another() {
    let (sql, mut server) = pair(Capabilities::NONE).await;
    let (first, second, ()) = join!(sql.query("SELECT 1"), sql.query("SELECT 2"), async {
        for number in ["1", "2"] {
            server.command().await;
            server.columns(&["a"]).await;
            server.write(&row(&[number])).await;
            server.end(StatusFlags::AUTOCOMMIT).await;
        }
    });
    assert_eq!(first.unwrap()[0].text(0), Some("1"));
    assert_eq!(second.unwrap()[0].text(0), Some("2"));
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_known_as_closed() {
    let (sql, server) = pair(Capabilities::NONE).await;
    assert!(!sql.is_closed());
    drop(server);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while !sql.is_closed() {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever a server answers, the client gives rows or an error: it neither panics nor waits
    /// for what can never come.
    #[test]
    fn random_answers_never_panic(packets in proptest::collection::vec(
        proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40), 0..8,
    )) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            let (sql, mut server) = pair(Capabilities::NONE).await;
            let (answer, ()) = join!(sql.query("SELECT 1"), async move {
                server.command().await;
                for packet in packets {
                    server.write(&packet).await;
                }
            });
            drop(answer);
        });
    }
}
