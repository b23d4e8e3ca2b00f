//! Types that each server numbers in its own way, in sessions that go from one to the other.

use bytes::{BufMut, Bytes, BytesMut};
use integration::python::Python;
use integration::server::PgServer;
use pgwal::wire::frame::Message;
use pgwal::wire::{Fields, frontend};
use router::Side;

use super::house::{House, PATIENCE, Raw, sync, tags};

/// Types, and a row with a value of each kind.
const TYPES: &str = "\
CREATE TYPE mood AS ENUM ('sad', 'fine'); CREATE DOMAIN word AS text; \
CREATE TYPE pair AS (a mood, b word, many mood[]); \
CREATE TYPE span AS RANGE (subtype = pair); \
CREATE DOMAIN words AS mood[]; CREATE TYPE deep AS (p pair, w words, s span); \
CREATE TABLE own (id int, m mood, ms mood[], p pair, ps pair[], s span, ss span[], w words, d deep); \
INSERT INTO own VALUES (1, 'fine', '{fine,NULL,sad}', '(sad,x,{fine})', '{\"(sad,x,{fine})\"}', \
  span('(sad,x,{})', '(fine,y,{sad})'), ARRAY[span('(sad,x,{})', NULL), 'empty'], '{fine}', \
  ROW(ROW('sad','x','{fine}')::pair, '{fine}', span('(sad,x,{})', '(fine,y,{sad})'))); \
CREATE TYPE couple AS (a mood, b text, many mood[]); \
CREATE TABLE couples AS SELECT 1 AS id, p::text::couple AS c, ARRAY[p::text::couple] AS cs FROM own;";

/// The columns of that row, and one that has no named type.
const VALUES: &str = "SELECT m, ms, p, ps, s, ss, w, d, ROW(m, ms, p), ARRAY[ROW(m, p)] FROM own";

/// The same, as parameters: what the row has besides is made of columns.
const COLUMNS: [&str; 8] = [
    "mood", "mood[]", "pair", "pair[]", "span", "span[]", "words", "deep",
];

/// The types on the target come behind others, so that they have other numbers there; the first of
/// those have the numbers of the source's types.
async fn house(from: u32, to: u32) -> House {
    let house = House::pair(from, to).await;
    set_up(&house.source, TYPES).await;
    let before: String = (0..6)
        .map(|one| format!("CREATE TYPE before{one} AS ENUM ('x'); "))
        .collect();
    let target = house.target.as_ref().unwrap();
    set_up(target, &format!("{before}{TYPES}")).await;
    house
}

async fn set_up(server: &PgServer, sql: &str) {
    server.execute("postgres", sql).await.unwrap();
}

/// Bind with everything in binary format, and Execute.
fn run(statement: &str, values: &[Option<Bytes>]) -> BytesMut {
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_slice(statement.as_bytes());
    body.put_slice(&[0, 0, 1, 0, 1]);
    body.put_u16(u16::try_from(values.len()).unwrap());
    for value in values {
        match value {
            None => body.put_i32(-1),
            Some(value) => {
                body.put_i32(i32::try_from(value.len()).unwrap());
                body.put_slice(value);
            }
        }
    }
    body.put_slice(&[0, 1, 0, 1]);
    let mut out = BytesMut::new();
    out.put_u8(b'B');
    out.put_i32(i32::try_from(body.len() + 4).unwrap());
    out.put_slice(&body);
    frontend::execute("", 0, &mut out).unwrap();
    out.unsplit(sync());
    out
}

/// Parse and Describe.
fn prepare(name: &str, sql: &str, types: &[u32]) -> BytesMut {
    let mut out = BytesMut::new();
    let types = types.iter().copied();
    frontend::parse(name, sql, types.collect::<Vec<_>>(), &mut out).unwrap();
    frontend::describe(b'S', name, &mut out).unwrap();
    out.unsplit(sync());
    out
}

/// The types in a `RowDescription`.
fn types(said: &[Message]) -> Vec<u32> {
    let described = said.iter().find(|message| message.tag == b'T').unwrap();
    let mut fields = Fields::new(&described.body);
    let count = fields.i16().unwrap();
    let column = |_column| {
        fields.string().unwrap();
        fields.bytes(6).unwrap();
        let of = fields.u32().unwrap();
        fields.bytes(8).unwrap();
        of
    };
    (0..count).map(column).collect()
}

fn row(said: &[Message]) -> Vec<Option<Bytes>> {
    let row = said.iter().find(|message| message.tag == b'D');
    let body = &row.unwrap_or_else(|| panic!("{said:?}")).body;
    pgwal::wire::backend::data_row(body).unwrap()
}

async fn say(raw: &mut Raw, messages: &[u8]) -> Vec<Message> {
    raw.send(messages).await;
    let mut said = raw.until_ready().await;
    said.retain(|message| message.tag != b'S');
    said
}

/// What the client knows when it comes to the next server.
struct Knowledge {
    types: Vec<u32>,
    values: Vec<Option<Bytes>>,
}

/// The parameters of a statement that gives them back.
fn back_sql() -> String {
    let parameter = |(place, of): (usize, &&str)| format!("${}::{of}", place + 1);
    let parameters: Vec<String> = COLUMNS.iter().enumerate().map(parameter).collect();
    format!("SELECT {}", parameters.join(", "))
}

/// Everything that the client knows is still so, byte for byte, and what it says by it is taken.
async fn knows(raw: &mut Raw, known: &Knowledge) {
    assert_eq!(row(&say(raw, &run("values", &[])).await), known.values);
    let parameters = &known.values[..COLUMNS.len()];
    let back = say(raw, &run("back", parameters)).await;
    assert_eq!(row(&back), parameters);

    // And so are statements that are prepared anew, without and with types of parameters.
    let described = say(raw, &prepare("", VALUES, &[])).await;
    assert_eq!(types(&described), known.types);
    assert_eq!(row(&say(raw, &run("", &[])).await), known.values);
    let untyped = (1..=COLUMNS.len()).map(|place| format!("${place}"));
    let sql = format!("SELECT {}", untyped.collect::<Vec<_>>().join(", "));
    let described = say(raw, &prepare("", &sql, &known.types[..COLUMNS.len()])).await;
    // Of a domain the server tells the type beneath in results.
    assert_eq!(types(&described)[..6], known.types[..6]);
    assert_eq!(row(&say(raw, &run("", parameters)).await), parameters);
}

async fn a_session_goes_on_with_the_numbers_that_it_knows(from: u32, to: u32) {
    let house = house(from, to).await;
    let mut raw = house.raw().await;
    let described = say(&mut raw, &prepare("values", VALUES, &[])).await;
    assert_eq!(tags(&described), "1tTZ");
    let known = Knowledge {
        types: types(&described),
        values: row(&say(&mut raw, &run("values", &[])).await),
    };
    assert!(
        known.types[..6].iter().all(|of| *of >= 16_384),
        "{:?}",
        known.types
    );
    let described = say(&mut raw, &prepare("back", &back_sql(), &[])).await;
    assert_eq!(tags(&described), "1tTZ");
    knows(&mut raw, &known).await;
    let mut other = house.raw().await;
    let theirs = {
        let target = house.target.as_ref().unwrap();
        let direct = format!("127.0.0.1:{}", target.port());
        let mut direct = Raw::log_in(direct, frontend::PROTOCOL_3_0).await;
        types(&say(&mut direct, &prepare("", VALUES, &[])).await)
    };
    assert_ne!(theirs, known.types);

    for round in 0..2 {
        let report = house.relay.prepare_twins(PATIENCE).await;
        assert_eq!((report.ready, report.unmovable.len()), (2, 0), "{report:?}");
        house.move_to(Side::Target).await;
        knows(&mut raw, &known).await;

        // A type that the client never met, under a number that means another one to it.
        let met = types(&say(&mut raw, &prepare("", "SELECT 'x'::before0", &[])).await);
        assert!(!known.types.contains(&met[0]));
        let sql = "SELECT $1, pg_typeof($1)::text";
        let said = say(&mut raw, &prepare("", sql, &met)).await;
        assert_eq!(tags(&said), "1tTZ", "{said:?}");
        let said = say(&mut raw, &run("", &[Some(Bytes::from_static(b"x"))])).await;
        assert_eq!(row(&said)[1].as_deref(), Some(&b"before0"[..]));

        // Who knew nothing learns the server's own.
        if round == 0 {
            let told = types(&say(&mut other, &prepare("", VALUES, &[])).await);
            assert_eq!(told, theirs);
        }

        assert_eq!(house.relay.close_source_connections(PATIENCE).await, 0);
        assert_eq!(house.relay.prepare_twins(PATIENCE).await.ready, 2);
        house.move_to(Side::Source).await;
        knows(&mut raw, &known).await;
        let told = types(&say(&mut other, &prepare("", VALUES, &[])).await);
        assert_eq!(told, theirs);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_with_the_numbers_that_it_knows_from_12_to_18() {
    a_session_goes_on_with_the_numbers_that_it_knows(12, 18).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_with_the_numbers_that_it_knows_from_14_to_17() {
    a_session_goes_on_with_the_numbers_that_it_knows(14, 17).await;
}

/// A program that registers its types by name, and answers what it reads and writes of them.
const PSYCOPG: &str = r#"
import sys, enum, psycopg
from psycopg.types.enum import EnumInfo, register_enum
from psycopg.types.composite import CompositeInfo, register_composite
connection = psycopg.connect(sys.argv[1], autocommit=True, prepare_threshold=0)
class Mood(enum.Enum):
    sad = 'sad'
    fine = 'fine'
register_enum(EnumInfo.fetch(connection, 'mood'), connection, Mood)
info = CompositeInfo.fetch(connection, 'couple')
register_composite(info, connection)
Pair = info.python_type
def both(sql, parameters=()):
    rows = [connection.execute(sql, parameters, binary=binary).fetchone()[0] for binary in (False, True)]
    assert rows[0] == rows[1], rows
    return rows[0]
for line in sys.stdin:
    if line == 'hello\n':
        print('registered', flush=True)
        continue
    try:
        assert both('SELECT m FROM own') is Mood.fine
        assert both('SELECT ms FROM own') == [Mood.fine, None, Mood.sad]
        pair = Pair(Mood.sad, 'x', [Mood.fine])
        assert both('SELECT c FROM couples') == pair
        assert both('SELECT cs FROM couples') == [pair]
        assert both('SELECT id FROM own WHERE m = %s', (Mood.fine,)) == 1
        assert both('SELECT id FROM own WHERE ms = %b', ([Mood.fine, None, Mood.sad],)) == 1
        assert both('SELECT id FROM couples WHERE c = %b', (pair,)) == 1
        assert both('SELECT %b::couple[] = cs FROM couples', ([pair],)) is True
        print(connection.execute('SHOW server_version_num').fetchone()[0][:2])
    except Exception as error:
        print('ERROR', repr(error).replace('\n', ' '))
    sys.stdout.flush()
"#;

#[tokio::test(flavor = "multi_thread")]
async fn psycopg_goes_on_with_the_types_that_it_registered() {
    let house = house(14, 17).await;
    let mut python = Python::start(PSYCOPG, &[&house.url("postgres", "x")]).unwrap();
    // It registered its types, but met none of them yet in a statement.
    let mut late = Python::start(PSYCOPG, &[&house.url("postgres", "x")]).unwrap();
    assert_eq!(late.ask("hello").await.unwrap(), "registered");
    assert_eq!(python.ask("").await.unwrap(), "14");
    house
        .until("both are there", |relay| relay.sessions().len() == 2)
        .await;
    house
        .until("both are idle", |relay| {
            let idle = pgwal::session::SessionState::Idle;
            relay.sessions().iter().all(|session| session.state == idle)
        })
        .await;
    for (side, version) in [
        (Side::Target, "17"),
        (Side::Source, "14"),
        (Side::Target, "17"),
    ] {
        assert_eq!(house.relay.prepare_twins(PATIENCE).await.ready, 2);
        house.move_to(side).await;
        assert_eq!(python.ask("").await.unwrap(), version);
        assert_eq!(late.ask("").await.unwrap(), version);
        assert_eq!(house.relay.close_source_connections(PATIENCE).await, 0);
    }
}

/// A program that asks for types when it meets them, and gets and sends everything in binary format.
const ASYNCPG: &str = r#"
import sys, asyncio, asyncpg
async def main():
    connection = await asyncpg.connect(sys.argv[1])
    read = await connection.prepare('SELECT m, ms, w FROM own')
    await read.fetchrow()
    write = await connection.prepare('SELECT $1::mood, $2::mood[], $3::couple, $4::couple[]')
    couple = ('sad', 'x', ['fine'])
    async def both(prepared):
        row = await prepared.fetchrow('fine', ['sad', None], couple, [couple])
        assert row[0] == 'fine' and row[1] == ['sad', None], row
        assert tuple(row[2]) == couple and tuple(row[3][0]) == couple, row
    rounds = 0
    for line in iter(sys.stdin.readline, ''):
        try:
            assert tuple(await read.fetchrow()) == ('fine', ['fine', None, 'sad'], ['fine'])
            await both(write)
            await both(await connection.prepare('SELECT $1::mood, $2::mood[], $3::couple, $4::couple[], %d' % rounds))
            assert await connection.fetchval('SELECT id FROM own WHERE m = ANY($1::mood[])', ['fine']) == 1
            # Types that it meets the first time now.
            for of in line.split():
                assert await connection.fetchval("SELECT '{x}'::%s[]" % of) == ['x']
            print((await connection.fetchval('SHOW server_version_num'))[:2], flush=True)
        except Exception as error:
            print('ERROR', repr(error).replace('\n', ' '), flush=True)
        rounds += 1
asyncio.run(main())
"#;

#[tokio::test(flavor = "multi_thread")]
async fn asyncpg_goes_on_with_the_types_that_it_met() {
    let house = house(15, 17).await;
    let shared = "CREATE TYPE later AS ENUM ('x'); CREATE TYPE latest AS ENUM ('x')";
    for server in [&house.source, house.target.as_ref().unwrap()] {
        set_up(server, shared).await;
    }
    let mut python = Python::start(ASYNCPG, &[&house.url("postgres", "x")]).unwrap();
    assert_eq!(python.ask("").await.unwrap(), "15");
    let rounds = [
        (Side::Target, "later", "17"),
        (Side::Source, "later", "15"),
        (Side::Target, "latest later", "17"),
    ];
    for (side, types, version) in rounds {
        assert_eq!(house.relay.prepare_twins(PATIENCE).await.ready, 1);
        house.move_to(side).await;
        assert_eq!(python.ask(types).await.unwrap(), version);
        assert_eq!(house.relay.close_source_connections(PATIENCE).await, 0);
    }
}
