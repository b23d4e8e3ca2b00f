//! A database with the roles that a fence meets, for the tests of fence, journal and check.

use std::task::Poll;
use std::time::Duration;

use pgwal::movement::fence::FenceOptions;
use pgwal::schema::bookkeeping;
use pgwal::wire::{Endpoint, SqlConn};
use tokio::time::Instant;

use integration::server::{PgOptions, PgServer};

/// The database `shop` of owner `boss`, with our tables, and roles that come by every road.
///
/// * `app`: CONNECT granted with grant option; `clerk` has CONNECT from `app`.
/// * `worker`: CONNECT through the group `staff`.
/// * `anyone`: CONNECT from PUBLIC only.
/// * `root2`: a superuser of an application.
/// * `migrator`: no superuser; member of `boss`, `pg_monitor` and `pg_signal_backend`.
pub(crate) struct Shop {
    pub(crate) server: PgServer,
    /// As superuser `postgres`, in database `postgres`.
    pub(crate) admin: SqlConn,
    pub(crate) database: String,
}

/// A fence that a starved machine cannot make give up.
pub(crate) fn patient() -> FenceOptions {
    FenceOptions {
        end_timeout: Duration::from_secs(120),
        ..FenceOptions::default()
    }
}

/// How the ACL of the database looks before the fence.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Acl {
    /// NULL, the default.
    Default,
    /// Grants by name, of which one was made by a grantee.
    Granted,
}

pub(crate) const VERSIONS: [u32; 4] = [12, 14, 17, 18];

impl Shop {
    pub(crate) async fn open(major: u32, acl: Acl) -> Self {
        let shop = Self::create(major, bookkeeping::SOURCE_DDL).await;
        let inside = shop.connect("postgres").await;
        inside
            .batch_execute(
                "ALTER SCHEMA pointsman OWNER TO migrator;
                 ALTER TABLE pointsman.fence OWNER TO migrator;
                 ALTER TABLE pointsman.marker OWNER TO migrator",
            )
            .await
            .unwrap();
        if acl == Acl::Granted {
            let db = shop.quoted();
            inside
                .batch_execute(&format!(
                    "GRANT CONNECT ON DATABASE {db} TO app WITH GRANT OPTION;
                     GRANT CONNECT, TEMP ON DATABASE {db} TO staff;
                     SET ROLE app; GRANT CONNECT ON DATABASE {db} TO clerk; RESET ROLE;
                     GRANT CREATE ON DATABASE {db} TO app WITH GRANT OPTION"
                ))
                .await
                .unwrap();
        }
        shop.leave(inside).await;
        shop
    }

    /// A database like the source's, with the target's tables of ours.
    pub(crate) async fn open_target(major: u32) -> Self {
        Self::create(major, bookkeeping::TARGET_DDL).await
    }

    async fn create(major: u32, bookkeeping: &str) -> Self {
        let options = PgOptions::default()
            .without_fsync()
            .set("max_prepared_transactions", "10");
        let server = PgServer::start(major, options).await.unwrap();
        let admin = connect(&server.url("postgres", "postgres")).await;
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes).unwrap();
        let database = format!("shop \"{:x}", u32::from_ne_bytes(bytes));
        let shop = Self {
            server,
            admin,
            database,
        };
        shop.make_roles().await;
        let create = format!("CREATE DATABASE {} OWNER boss", shop.quoted());
        shop.admin.batch_execute(&create).await.unwrap();
        let inside = shop.connect("postgres").await;
        inside.batch_execute(bookkeeping).await.unwrap();
        inside
            .batch_execute(
                "CREATE TABLE public.entry (id bigserial PRIMARY KEY, who text);
                 GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;
                 GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO PUBLIC",
            )
            .await
            .unwrap();
        shop.leave(inside).await;
        shop
    }

    /// Closes a connection and waits until the server has noticed: a fence would meet it.
    pub(crate) async fn leave(&self, client: SqlConn) {
        let pid = client.backend_pid();
        drop(client);
        until("the closed connection's backend is gone", || async {
            let sql = "SELECT FROM pg_stat_activity WHERE pid = $1";
            self.admin.query_opt(sql, &[&pid]).await.unwrap().is_none()
        })
        .await;
    }

    async fn make_roles(&self) {
        let roles = [
            ("boss", "LOGIN"),
            ("app", "LOGIN"),
            ("clerk", "LOGIN"),
            ("staff", "NOLOGIN"),
            ("worker", "LOGIN IN ROLE staff"),
            ("anyone", "LOGIN"),
            ("root2", "LOGIN SUPERUSER"),
            (
                "migrator",
                "LOGIN REPLICATION IN ROLE boss, pg_monitor, pg_signal_backend",
            ),
        ];
        for (role, options) in roles {
            let exists = "SELECT FROM pg_roles WHERE rolname = $1";
            if self
                .admin
                .query_opt(exists, &[&role])
                .await
                .unwrap()
                .is_none()
            {
                self.admin
                    .batch_execute(&format!("CREATE ROLE {role} {options}"))
                    .await
                    .unwrap();
            }
        }
    }

    pub(crate) fn quoted(&self) -> String {
        format!("\"{}\"", self.database.replace('"', "\"\""))
    }

    pub(crate) fn url(&self, user: &str) -> String {
        self.server
            .url(user, &self.database.replace('"', "%22").replace(' ', "%20"))
    }

    pub(crate) async fn connect(&self, user: &str) -> SqlConn {
        connect(&self.url(user)).await
    }

    pub(crate) async fn try_connect(
        &self,
        user: &str,
    ) -> Result<SqlConn, pgwal::wire::ConnectError> {
        self.url(user)
            .parse::<Endpoint>()
            .unwrap()
            .connect_sql("test")
            .await
    }

    /// Kills the server and starts it again.
    pub(crate) async fn crash(&mut self) {
        self.server.kill9().unwrap();
        self.server.restart().await.unwrap();
        self.admin = connect(&self.server.url("postgres", "postgres")).await;
    }

    /// Drops a connection, waits until the server has noticed, and opens a new one.
    pub(crate) async fn reconnect(&self, old: SqlConn, user: &str) -> SqlConn {
        self.leave(old).await;
        self.connect(user).await
    }

    /// The ACL as text, NULL as `None`.
    pub(crate) async fn datacl(&self) -> Option<String> {
        let sql = "SELECT datacl::text FROM pg_database WHERE datname = $1";
        self.admin
            .query_one(sql, &[&self.database])
            .await
            .unwrap()
            .get(0)
    }

    /// The ACL's meaning: every grant, sorted.
    pub(crate) async fn grants(&self) -> Vec<String> {
        let sql = "SELECT e::text FROM pg_database d, aclexplode(coalesce(d.datacl,
                   acldefault('d', d.datdba))) e WHERE d.datname = $1 ORDER BY 1";
        let rows = self.admin.query(sql, &[&self.database]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// The roles that the ACL depends on, as `pg_shdepend` has them.
    pub(crate) async fn acl_dependencies(&self) -> Vec<String> {
        let sql =
            "SELECT s.refobjid::regrole::text || s.deptype::text FROM pg_shdepend s, pg_database d
                   WHERE s.classid = 'pg_database'::regclass AND s.objid = d.oid
                     AND d.datname = $1 ORDER BY 1";
        let rows = self.admin.query(sql, &[&self.database]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// A role of this test alone.
    pub(crate) async fn new_role(&self, options: &str) -> String {
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes).unwrap();
        let name = format!("guest_{:x}", u32::from_ne_bytes(bytes));
        self.admin
            .batch_execute(&format!("CREATE ROLE {name} {options}"))
            .await
            .unwrap();
        name
    }

    pub(crate) async fn entries_seen_by(&self, client: &SqlConn) -> i64 {
        client
            .query_one("SELECT count(*) FROM public.entry", &[])
            .await
            .unwrap()
            .get(0)
    }

    pub(crate) async fn entries(&self) -> i64 {
        let inside = self.connect("postgres").await;
        inside
            .query_one("SELECT count(*) FROM public.entry", &[])
            .await
            .unwrap()
            .get(0)
    }
}

pub(crate) async fn connect(url: &str) -> SqlConn {
    url.parse::<Endpoint>()
        .unwrap()
        .connect_sql("test")
        .await
        .unwrap()
}

/// Drives `work` until it has been woken `wakes` times, then drops it where it is.
///
/// Each wake is an answer of the server or a timer, so every number cuts at another step.
pub(crate) async fn cut_after<F: Future>(wakes: u32, work: F) -> Option<F::Output> {
    let mut work = std::pin::pin!(work);
    let mut left = wakes;
    std::future::poll_fn(move |context| match work.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

/// Asks until the answer is yes; fails after two minutes.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !ask().await {
        assert!(Instant::now() < deadline, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
