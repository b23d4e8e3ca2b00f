//! Clients that people have: psql, and Python's psycopg, before, across and after the cutover.

use std::process::Stdio;
use std::time::Instant;

use integration::binaries;
use integration::python::Python;
use integration::server::psql;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

use super::stage::{DATABASE, PATIENCE, Stage};

/// A Python program that answers each line with one: it runs it as a query on one connection.
const PSYCOPG: &str = r#"
import sys, threading, psycopg
connection = psycopg.connect(sys.argv[1], autocommit=True, prepare_threshold=None)
for line in sys.stdin:
    command, _, rest = line.strip().partition(' ')
    try:
        if command == 'copy':
            with connection.cursor().copy('COPY (' + rest + ') TO STDOUT') as copy:
                print(sum(1 for row in copy.rows()))
        elif command == 'copyin':
            with connection.cursor().copy('COPY ' + rest + ' FROM STDIN') as copy:
                for number in range(1000):
                    copy.write_row(('copied', number))
            print('ok')
        elif command == 'notify':
            connection.execute('LISTEN news')
            connection.execute("NOTIFY news, '" + rest + "'")
            print(next(connection.notifies(timeout=120, stop_after=1)).payload)
            connection.execute('UNLISTEN news')
        elif command == 'cancelled':
            done = threading.Event()
            def cancel():
                while not done.wait(0.3):
                    connection.cancel()
            canceller = threading.Thread(target=cancel)
            canceller.start()
            try:
                connection.execute(rest)
                print('not cancelled')
            finally:
                done.set()
                canceller.join()
        elif command == 'transaction':
            with connection.transaction():
                connection.execute(rest)
                print('ok')
        else:
            print(connection.execute(rest, binary=(command == 'binary')).fetchone()[0])
    except Exception as error:
        print('ERROR', type(error).__name__, str(error).replace('\n', ' '))
    sys.stdout.flush()
"#;

async fn works(python: &mut Python) {
    assert_eq!(python.ask("text SELECT 40 + 2").await.unwrap(), "42");
    assert_eq!(python.ask("binary SELECT 40 + 2").await.unwrap(), "42");
    assert_eq!(
        python.ask("copy SELECT * FROM customer").await.unwrap(),
        "2000"
    );
    let insert = "INSERT INTO \"Odd schema\".\"No key\" VALUES ('python', 1)";
    assert_eq!(
        python.ask(&format!("transaction {insert}")).await.unwrap(),
        "ok"
    );
    let error = python.ask("text SELECT 1 / 0").await.unwrap();
    assert!(error.starts_with("ERROR DivisionByZero"), "{error}");
    let copy = "copyin \"Odd schema\".\"No key\"";
    assert_eq!(python.ask(copy).await.unwrap(), "ok");
    assert_eq!(python.ask("notify good news").await.unwrap(), "good news");
    // The request comes on a connection of its own and must find the session's present server.
    let error = python.ask("cancelled SELECT pg_sleep(60)").await.unwrap();
    assert!(error.starts_with("ERROR QueryCanceled"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn psycopg_works_before_and_after_the_cutover_on_one_connection() {
    let stage = Stage::new(14, 17).await;
    let mut python = Python::start(PSYCOPG, &[&stage.url()]).unwrap();
    works(&mut python).await;
    stage.stream().await;
    works(&mut python).await;
    stage.cutover().await;
    works(&mut python).await;
    assert!(
        python
            .ask("text SHOW server_version")
            .await
            .unwrap()
            .starts_with("17")
    );
    let counted = "SELECT count(*) FROM \"Odd schema\".\"No key\" WHERE \"a column\" = 'python'";
    assert_eq!(stage.target.psql(DATABASE, counted).unwrap(), "3");

    let mut newcomer = Python::start(PSYCOPG, &[&stage.url()]).unwrap();
    works(&mut newcomer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_works_before_and_after_the_cutover() {
    let stage = Stage::new(15, 16).await;
    let several = "BEGIN; UPDATE purchase SET state = 'paid' WHERE id = 1; COMMIT;
        SELECT state FROM purchase WHERE id = 1";
    assert_eq!(psql(&stage.url(), several).unwrap(), "paid");
    assert!(
        psql(&stage.url(), "\\d+ purchase")
            .unwrap()
            .contains("gross")
    );
    stage.stream().await;
    stage.cutover().await;
    assert_eq!(psql(&stage.url(), several).unwrap(), "paid");
    assert!(
        psql(&stage.url(), "\\d+ purchase")
            .unwrap()
            .contains("gross")
    );
    stage.assert_same_contents().await;
    copies_and_cancels(&stage).await;
}

/// `\copy` both ways, and Ctrl-C in the middle of a query.
async fn copies_and_cancels(stage: &Stage) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let out = format!(
        "\\copy (SELECT day, customer, net FROM purchase) TO '{}'",
        file.path().display()
    );
    psql(&stage.url(), &out).unwrap();
    let before = psql(&stage.url(), "SELECT count(*) FROM purchase").unwrap();
    let back = format!(
        "\\copy purchase (day, customer, net) FROM '{}'",
        file.path().display()
    );
    psql(&stage.url(), &back).unwrap();
    let after = psql(&stage.url(), "SELECT count(*) FROM purchase").unwrap();
    let (before, after): (u32, u32) = (before.parse().unwrap(), after.parse().unwrap());
    assert_eq!((before, after), (20_000, 40_000));

    let child = Command::new(binaries::client_program("psql").unwrap())
        .args(["-X", "-d", &stage.url(), "-c", "SELECT pg_sleep(60)"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'";
    let deadline = Instant::now() + PATIENCE;
    while stage.target.psql(DATABASE, sleeping).unwrap() != "1" {
        assert!(
            Instant::now() < deadline,
            "the query does not run on the target"
        );
    }
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::INT).unwrap();
    let output = child.wait_with_output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("canceling statement due to user request"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused_before_and_after_the_cutover() {
    let stage = Stage::new(14, 17).await;
    let wrong = stage.proxy.url("app:wrong", DATABASE);
    let refused = |error: anyhow::Error| error.to_string().contains("password authentication");
    assert!(psql(&wrong, "SELECT 1").is_err_and(refused));
    stage.stream().await;
    stage.cutover().await;
    assert!(psql(&wrong, "SELECT 1").is_err_and(refused));
    assert_eq!(stage.serving_major(), 17);
}
