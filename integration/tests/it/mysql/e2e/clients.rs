//! Clients that people have: the mysql and mariadb CLIs, Python's PyMySQL and Node's mysql2, before,
//! across and after the cutover.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;

use integration::binaries;
use integration::mysql::Version::{self, MariaDb118, MariaDb1011, MySql97};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::stage::{DATABASE, Stage};

/// Answers each line with one: it runs it as a statement on one connection, by text or prepared.
const PYMYSQL: &str = r#"
import sys, ssl, pymysql
port, user, password, database = sys.argv[1:5]
tls = {'ssl': {'check_hostname': False, 'verify_mode': False}} if sys.argv[5] == 'tls' else {}
connection = pymysql.connect(host='127.0.0.1', port=int(port), user=user, password=password,
                             database=database, autocommit=True, charset='utf8mb4', **tls)
for line in sys.stdin:
    command, _, rest = line.strip().partition(' ')
    try:
        cursor = connection.cursor()
        if command == 'transaction':
            connection.begin()
            cursor.execute(rest)
            connection.commit()
            print('ok', cursor.rowcount)
        elif command == 'undone':
            connection.begin()
            cursor.execute(rest)
            connection.rollback()
            print('ok')
        elif command == 'large':
            text = 'x' * int(rest)
            cursor.execute('SELECT LENGTH(%s), %s', (text, text))
            length, back = cursor.fetchone()
            print(length, back == text)
        elif command == 'ping':
            connection.ping(reconnect=False)
            print('ok')
        elif command == 'unbuffered':
            cursor = connection.cursor(pymysql.cursors.SSCursor)
            cursor.execute(rest)
            print(sum(1 for row in cursor))
            cursor.close()
        else:
            cursor.execute(rest)
            row = cursor.fetchone()
            print(row[0] if row else 'none')
    except Exception as error:
        print('ERROR', type(error).__name__, str(error).replace('\n', ' '))
    sys.stdout.flush()
"#;

/// The same with the two ways of mysql2, `query` and `execute`.
const MYSQL2: &str = r"
const mysql = require('mysql2/promise');
const lines = require('readline').createInterface({ input: process.stdin });
const [port, user, password, database, tls] = process.argv.slice(1);
(async () => {
    const connection = await mysql.createConnection({
        host: '127.0.0.1', port: Number(port), user, password, database,
        ...(tls === 'tls' ? { ssl: { rejectUnauthorized: false } } : {}),
    });
    for await (const line of lines) {
        const space = line.indexOf(' ');
        const command = line.slice(0, space < 0 ? undefined : space);
        const rest = space < 0 ? '' : line.slice(space + 1);
        try {
            if (command === 'transaction') {
                await connection.beginTransaction();
                const [done] = await connection.execute(rest);
                await connection.commit();
                console.log('ok ' + done.affectedRows);
            } else if (command === 'undone') {
                await connection.beginTransaction();
                await connection.query(rest);
                await connection.rollback();
                console.log('ok');
            } else if (command === 'large') {
                const text = 'x'.repeat(Number(rest));
                const [rows] = await connection.execute('SELECT LENGTH(?) AS n, ? AS t', [text, text]);
                console.log(rows[0].n + ' ' + (rows[0].t === text ? 'True' : 'False'));
            } else if (command === 'ping') {
                await connection.ping();
                console.log('ok');
            } else if (command === 'unbuffered') {
                const [rows] = await connection.query(rest);
                console.log(rows.length);
            } else {
                const [rows] = await connection.execute({ sql: rest, rowsAsArray: true });
                console.log(String(rows[0][0]));
            }
        } catch (error) {
            console.log('ERROR ' + error.errno + ' ' + error.message);
        }
    }
    await connection.end();
})().catch((error) => { console.error(error); process.exit(1); });
";

/// A program of a driver that reads statements and answers each with a line.
struct Driver {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

#[derive(Clone, Copy, Debug)]
enum Tls {
    Yes,
    No,
}

impl Driver {
    fn pymysql(port: u16, tls: Tls) -> Self {
        let python = std::env::var_os("POINTSMAN_PYTHON").map_or_else(
            || binaries::project_root().join(".cache/python/bin/python"),
            PathBuf::from,
        );
        Self::start(Command::new(python).args(["-c", PYMYSQL]), port, tls)
    }

    fn mysql2(port: u16, tls: Tls) -> Self {
        let modules = std::env::var_os("POINTSMAN_NODE_MODULES").unwrap_or_else(|| {
            let modules = binaries::project_root().join(".cache/node/node_modules");
            OsString::from(modules)
        });
        let mut node = Command::new("node");
        node.env("NODE_PATH", modules).args(["-e", MYSQL2, "--"]);
        Self::start(&mut node, port, tls)
    }

    fn start(command: &mut Command, port: u16, tls: Tls) -> Self {
        let tls = match tls {
            Tls::Yes => "tls",
            Tls::No => "clear",
        };
        let mut child = command
            .args([&port.to_string(), "app", "secret", DATABASE, tls])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{error}; run ./test.sh, which installs the drivers"));
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            _child: child,
            input,
            output,
        }
    }

    async fn ask(&mut self, line: &str) -> String {
        let line = format!("{line}\n");
        self.input.write_all(line.as_bytes()).await.unwrap();
        let answer = self.output.next_line().await.unwrap();
        answer.expect("the driver's program ended; its error is above")
    }

    /// Whatever a driver does all day.
    async fn works(&mut self) {
        assert_eq!(self.ask("text SELECT 40 + 2").await, "42");
        assert_eq!(self.ask("ping").await, "ok");
        let insert = "INSERT INTO by_year VALUES ('2025-03-04', 77, 1.5) \
            ON DUPLICATE KEY UPDATE total = total + 1";
        let said = self.ask(&format!("transaction {insert}")).await;
        assert!(said.starts_with("ok"), "{said}");
        let delete = "DELETE FROM by_year WHERE shop <> 77";
        assert_eq!(self.ask(&format!("undone {delete}")).await, "ok");
        let rows = "unbuffered SELECT * FROM purchase LIMIT 3000";
        assert_eq!(self.ask(rows).await, "3000");
        let said = self.ask("text SELECT no_such_column FROM purchase").await;
        assert!(
            said.starts_with("ERROR") && said.contains("no_such_column"),
            "{said}"
        );
        assert_eq!(self.ask("large 300000").await, "300000 True");
        assert_eq!(
            self.ask("text SELECT name FROM customer WHERE id = 5")
                .await,
            "Käufer 5"
        );
    }
}

async fn drivers_work_across_the_cutover(from: Version, to: Version) {
    let stage = Stage::new(from, to).await;
    let port = stage.proxy.port();
    let mut drivers = [
        Driver::pymysql(port, Tls::Yes),
        Driver::pymysql(port, Tls::No),
        Driver::mysql2(port, Tls::Yes),
        Driver::mysql2(port, Tls::No),
    ];
    for driver in &mut drivers {
        driver.works().await;
        // What the session remembers goes along.
        driver
            .ask("text SELECT @remembered := 'of the session'")
            .await;
        driver.ask("large 2000000").await;
    }
    stage.stream().await;
    for driver in &mut drivers {
        driver.works().await;
    }
    stage.cutover().await;
    let target = stage.target.server_id().to_string();
    for driver in &mut drivers {
        driver.works().await;
        assert_eq!(driver.ask("text SELECT @@server_id").await, target);
        assert_eq!(
            driver.ask("text SELECT @remembered").await,
            "of the session"
        );
    }
    let mut newcomer = Driver::pymysql(port, Tls::No);
    newcomer.works().await;
    let counted = "SELECT total FROM by_year WHERE shop = 77";
    // One INSERT makes 1.5, each of the twelve others adds one.
    let total = stage.target.sql_in(DATABASE, counted).unwrap();
    assert_eq!(total, "13.5");
}

#[tokio::test(flavor = "multi_thread")]
async fn pymysql_and_mysql2_work_across_a_cutover_of_mysql() {
    drivers_work_across_the_cutover(MySql97, MySql97).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pymysql_and_mysql2_work_across_a_cutover_of_mariadb() {
    drivers_work_across_the_cutover(MariaDb1011, MariaDb118).await;
}

/// Runs a CLI of a version through the proxy.
async fn cli(version: Version, port: u16, password: &str, sql: &str) -> Result<String, String> {
    let mut command = Command::new(version.cli().unwrap());
    command
        .args([
            "-h127.0.0.1",
            "-uapp",
            "--batch",
            "--raw",
            "--skip-column-names",
        ])
        .arg(format!("-P{port}"))
        .arg(format!("--database={DATABASE}"))
        .arg("--default-character-set=utf8mb4")
        .arg(format!("--password={password}"))
        .args(["-e", sql])
        .stdin(Stdio::null());
    let output = command.output().await.unwrap();
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

async fn clis_work(from: Version, to: Version, clis: &[Version]) {
    let stage = Stage::new(from, to).await;
    let port = stage.proxy.port();
    let several = "BEGIN; UPDATE purchase SET state = 'paid' WHERE id = 1; COMMIT;
        CALL pay(2); SELECT state, count(*) FROM purchase WHERE id IN (1, 2) GROUP BY state";
    let works = async |server_id: u32| {
        for &version in clis {
            let said = cli(version, port, "secret", several).await;
            assert_eq!(said.unwrap(), "paid\t2");
            let server = cli(version, port, "secret", "SELECT @@server_id").await;
            assert_eq!(server.unwrap(), server_id.to_string());
            let error = cli(version, port, "wrong", "SELECT 1").await.unwrap_err();
            assert!(error.contains("1045"), "{version}: {error}");
        }
    };
    works(stage.source.server_id()).await;
    stage.stream().await;
    stage.cutover().await;
    works(stage.target.server_id()).await;
    stage.assert_same_contents_but("purchase").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clis_of_both_flavours_work_across_a_cutover_of_mysql() {
    clis_work(MySql97, MySql97, &[MySql97, MariaDb1011, MariaDb118]).await;
}

/// MySQL's own CLI has lost the method by which accounts of MariaDB log in.
#[tokio::test(flavor = "multi_thread")]
async fn the_clis_of_mariadb_work_across_a_cutover_to_mysql() {
    clis_work(MariaDb1011, MySql97, &[MariaDb1011, MariaDb118]).await;
}
