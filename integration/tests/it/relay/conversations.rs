//! What clients say to servers, for comparing what the servers say.

use bytes::{BufMut, BytesMut};
use pgwal::wire::frontend;

use super::house::{extended, query, run_prepared, sync};

/// A name and the messages, sent one after the other without waiting.
pub(super) type Conversation = (&'static str, Vec<BytesMut>);

/// Conversations of which every byte of the answer must be the server's.
pub(super) fn conversations() -> Vec<Conversation> {
    let mut all = vec![(
        "setup",
        vec![query("CREATE TEMP TABLE pairs (a int, b text)")],
    )];
    all.extend(simple());
    all.extend(copies());
    all.extend(pipelines());
    all
}

fn simple() -> Vec<Conversation> {
    vec![
        ("syntax", vec![query("SELEC 1")]),
        (
            "several",
            vec![query("SELECT 1; SELECT 1/0; SELECT 2"), query("SELECT 3")],
        ),
        (
            "notice",
            vec![query(
                "DO $$BEGIN RAISE NOTICE 'n'; RAISE WARNING 'w'; END$$",
            )],
        ),
        ("context", vec![query("DO $$BEGIN PERFORM 1/0; END$$")]),
        ("empty", vec![query(""), query(";")]),
        (
            "transaction",
            vec![
                query("BEGIN"),
                query("SELECT 1/0"),
                query("SELECT 1"),
                query("END"),
            ],
        ),
        (
            "copy out",
            vec![query("COPY (SELECT generate_series(1, 5000)) TO STDOUT")],
        ),
        (
            "many",
            (0..50)
                .map(|number| query(&format!("SELECT {number}")))
                .collect(),
        ),
    ]
}

fn copies() -> Vec<Conversation> {
    let mut copy = query("COPY pairs FROM STDIN");
    frontend::copy_data(b"1\tone\n", &mut copy).unwrap();
    frontend::copy_done(&mut copy);
    let mut bad_copy = query("COPY pairs FROM STDIN");
    frontend::copy_data(b"not a number\tx\n", &mut bad_copy).unwrap();
    frontend::copy_data(b"2\ttwo\n", &mut bad_copy).unwrap();
    frontend::copy_done(&mut bad_copy);
    let mut failed_copy = query("COPY pairs FROM STDIN");
    frontend::copy_fail("no more", &mut failed_copy).unwrap();
    let mut execute_copy = BytesMut::new();
    frontend::parse("", "COPY pairs FROM STDIN", [], &mut execute_copy).unwrap();
    execute_copy.extend_from_slice(&run_prepared(""));
    execute_copy.extend_from_slice(&sync());
    frontend::copy_data(b"3\tthree\n", &mut execute_copy).unwrap();
    frontend::copy_done(&mut execute_copy);
    execute_copy.extend_from_slice(&sync());
    vec![
        ("copy in", vec![copy, bad_copy, failed_copy]),
        (
            "copy by execute",
            vec![
                execute_copy,
                query("SELECT a + 0, b || '' FROM pairs ORDER BY 1"),
            ],
        ),
    ]
}

fn pipelines() -> Vec<Conversation> {
    let mut pipeline = BytesMut::new();
    for number in 0..200 {
        pipeline.extend_from_slice(&extended(
            "",
            &format!("SELECT {number} / (5 - {number} % 7)"),
        ));
        if number % 3 == 0 {
            pipeline.extend_from_slice(&sync());
        }
    }
    pipeline.extend_from_slice(&sync());
    let mut discarded = extended("", "SELECT nothing_like_this");
    discarded.extend_from_slice(&query("SELECT 'discarded'"));
    discarded.extend_from_slice(&sync());
    let mut call = BytesMut::new();
    call.put_u8(b'F');
    call.put_i32(4 + 4 + 2 + 2 + 4 + 1 + 2);
    call.put_u32(881); // trim, by its object id
    call.put_i16(0);
    call.put_i16(1);
    call.put_i32(1);
    call.put_u8(b'x');
    call.put_i16(0);
    vec![
        ("pipeline", vec![pipeline]),
        ("discarded", vec![discarded, query("SELECT 'kept'")]),
        ("function call", vec![call]),
    ]
}
