//! The fence on real servers: who comes in, what stands in its way, and how it comes down again.

mod crashes;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pgwal::movement::fence::{self, Fence, FenceError, FenceOptions, FencePosition, FenceReport};
use pgwal::wire::{Conn, Credential, Endpoint, SqlConn};
use router::Epoch;
use tokio::task::JoinSet;

use crate::fence_fixture::{Acl, Shop, VERSIONS, patient, until};

const EVERYBODY: [&str; 5] = ["boss", "app", "clerk", "worker", "anyone"];
const SOON: Duration = Duration::from_secs(120);
const INSERT: &str = "INSERT INTO public.entry (who) VALUES (current_user)";

async fn raise(mover: &SqlConn, epoch: u64) -> Result<FenceReport, FenceError> {
    raise_with(mover, epoch, patient()).await
}

async fn raise_with(
    mover: &SqlConn,
    epoch: u64,
    options: FenceOptions,
) -> Result<FenceReport, FenceError> {
    Fence::prepare(mover, options)
        .await?
        .raise(mover, &[], Epoch(epoch))
        .await
}

fn whole(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", whole(source)),
        None => error.to_string(),
    }
}

#[tokio::test]
async fn nobody_comes_in_behind_the_fence_and_everybody_after_it() {
    for major in VERSIONS {
        for acl in [Acl::Default, Acl::Granted] {
            let shop = Shop::open(major, acl).await;
            let migrator = shop.connect("migrator").await;
            let before = shop.grants().await;
            let mut sessions = Vec::new();
            for user in EVERYBODY {
                sessions.push(shop.connect(user).await);
            }
            let report = raise(&migrator, 1).await.unwrap();
            assert_eq!(report.ended.len(), EVERYBODY.len(), "{:?}", report.ended);
            assert!(report.superusers.contains(&"postgres".to_owned()));
            for user in EVERYBODY {
                let error = shop.try_connect(user).await.unwrap_err();
                assert!(
                    whole(&error).contains("permission denied for database"),
                    "{error:?}"
                );
            }
            for session in &sessions {
                assert!(session.batch_execute(INSERT).await.is_err());
            }
            let state = fence::state(&migrator).await.unwrap();
            assert_eq!(state.row.unwrap().position, FencePosition::Up);
            assert_eq!(state.open_to, Vec::<String>::new());

            let report = fence::lower(&migrator, SOON).await.unwrap();
            assert_eq!(shop.grants().await.len(), before.len());
            if acl == Acl::Default {
                assert_eq!(report.not_exact, Vec::<String>::new());
                assert_eq!(shop.grants().await, before);
            } else {
                // The role may not become `app`, so `clerk` has its CONNECT from the owner now.
                assert!(report.not_exact[0].contains("clerk"), "{report:?}");
            }
            for user in EVERYBODY {
                shop.connect(user).await;
            }
            let state = fence::state(&migrator).await.unwrap();
            assert_eq!(state.row.unwrap().position, FencePosition::Down);
        }
    }
}

#[tokio::test]
async fn a_superuser_puts_the_acl_back_to_the_byte() {
    for major in VERSIONS {
        for acl in [Acl::Default, Acl::Granted] {
            let shop = Shop::open(major, acl).await;
            let before = shop.datacl().await;
            assert_eq!(before.is_none(), acl == Acl::Default);
            let dependencies = shop.acl_dependencies().await;
            let mover = shop.connect("postgres").await;
            raise(&mover, 1).await.unwrap();
            assert_ne!(shop.datacl().await, before);
            let report = fence::lower(&mover, SOON).await.unwrap();
            assert_eq!(report.not_exact, Vec::<String>::new());
            assert_eq!(shop.datacl().await, before, "{major}");
            assert_eq!(shop.acl_dependencies().await, dependencies);
        }
    }
}

/// Connects, writes one to three rows, and again.
async fn write_in_a_loop(
    shop: Arc<Shop>,
    user: &'static str,
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
) {
    while !stop.load(Ordering::SeqCst) {
        let Ok(session) = shop.try_connect(user).await else {
            continue;
        };
        while session.batch_execute(INSERT).await.is_ok() {
            if written.fetch_add(1, Ordering::SeqCst).is_multiple_of(3) {
                break;
            }
        }
    }
}

#[tokio::test]
async fn writers_that_reconnect_in_loops_write_nothing_once_the_fence_is_up() {
    for major in VERSIONS {
        let shop = Arc::new(Shop::open(major, Acl::Granted).await);
        let migrator = shop.connect("migrator").await;
        let fence = Fence::prepare(&migrator, patient()).await.unwrap();
        let (stop, written) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let mut writers = JoinSet::new();
        for writer in 0..12 {
            let user = EVERYBODY[writer % EVERYBODY.len()];
            let (stop, written) = (Arc::clone(&stop), Arc::clone(&written));
            writers.spawn(write_in_a_loop(Arc::clone(&shop), user, stop, written));
        }
        for epoch in 1..=5 {
            let before = written.load(Ordering::SeqCst);
            until("the writers write", || async {
                written.load(Ordering::SeqCst) > before
            })
            .await;
            fence.raise(&migrator, &[], Epoch(epoch)).await.unwrap();
            let count = || shop.entries_seen_by(&migrator);
            let fenced = count().await;
            for _look in 0..40 {
                assert_eq!(count().await, fenced, "written behind the fence on {major}");
            }
            fence::lower(&migrator, SOON).await.unwrap();
        }
        stop.store(true, Ordering::SeqCst);
        writers.join_all().await;
    }
}

#[tokio::test]
async fn a_session_that_is_still_logging_in_does_not_slip_in() {
    for major in VERSIONS {
        let shop = Shop::open(major, Acl::Granted).await;
        let migrator = shop.connect("migrator").await;
        let url: Endpoint = shop.url("app").parse().unwrap();
        let mut config = tokio_postgres::Config::new();
        config
            .host(&url.host)
            .port(url.port)
            .user("app")
            .dbname(&url.database);
        config.options("-c post_auth_delay=30");
        let mut late = JoinSet::new();
        late.spawn(async move {
            let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
            let mut driver = JoinSet::new();
            driver.spawn(connection);
            client.batch_execute(INSERT).await
        });
        until("the late session holds its lock", || async {
            let sql = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.objid
                WHERE l.classid = 'pg_database'::regclass AND l.mode = 'RowExclusiveLock'
                  AND d.datname = $1";
            let held = shop.admin.query_one(sql, &[&shop.database]).await.unwrap();
            held.get::<_, i64>(0) > 0
        })
        .await;
        let report = raise(&migrator, 1).await.unwrap();
        assert_eq!(report.ended.len(), 1, "{:?}", report.ended);
        assert!(late.join_next().await.unwrap().unwrap().is_err());
        assert_eq!(shop.entries().await, 0);
    }
}

#[tokio::test]
async fn a_superuser_session_refuses_the_fence_unless_it_is_provided_for() {
    let shop = Shop::open(17, Acl::Granted).await;
    let mover = shop.connect("postgres").await;
    let before = shop.datacl().await;
    let session = shop.connect("root2").await;
    let error = raise(&mover, 1).await.unwrap_err();
    assert!(matches!(error, FenceError::SuperuserSessions { .. }));
    assert!(
        error.to_string().contains("root2") && error.to_string().contains("NOLOGIN"),
        "{error}"
    );
    assert_eq!(shop.datacl().await, before);

    let trusted = FenceOptions {
        trusted_roles: vec!["root2".to_owned()],
        ..patient()
    };
    raise_with(&mover, 2, trusted).await.unwrap();
    session.batch_execute("SELECT 1").await.unwrap();
    fence::lower(&mover, SOON).await.unwrap();

    let nologin = FenceOptions {
        nologin: vec!["root2".to_owned()],
        ..patient()
    };
    let report = raise_with(&mover, 3, nologin).await.unwrap();
    assert!(!report.superusers.contains(&"root2".to_owned()));
    assert!(session.batch_execute("SELECT 1").await.is_err());
    assert!(
        whole(&shop.try_connect("root2").await.unwrap_err()).contains("not permitted to log in")
    );
    fence::lower(&mover, SOON).await.unwrap();
    shop.connect("root2").await;
    assert_eq!(shop.datacl().await, before);
}

#[tokio::test]
async fn a_session_that_we_may_not_end_is_named_when_the_deadline_passes() {
    let shop = Shop::open(14, Acl::Granted).await;
    let migrator = shop.connect("migrator").await;
    // The superuser takes the role of a plain one, so that the first look does not see it.
    let fence = Fence::prepare(
        &migrator,
        FenceOptions {
            end_timeout: Duration::from_millis(100),
            ..patient()
        },
    )
    .await
    .unwrap();
    let late = async {
        until("the fence is going up", || async {
            shop.datacl().await.is_some_and(|acl| !acl.contains("=Tc/"))
        })
        .await;
        shop.connect("root2").await
    };
    let foreign = shop.connect("app").await;
    let (raised, _root2) = tokio::join!(fence.raise(&migrator, &[], Epoch(1)), late);
    drop(foreign);
    match raised {
        // The superuser came after the last look: that is what the report says of superusers.
        Ok(report) => assert!(report.superusers.contains(&"root2".to_owned())),
        Err(error) => {
            // Whoever was there when the time was up: one that was asked to end may be slow to.
            let named = ["root2", "app"];
            let error = error.to_string();
            assert!(named.iter().any(|name| error.contains(name)), "{error}");
        }
    }
    fence::lower(&migrator, SOON).await.unwrap();
}

#[tokio::test]
async fn prepared_transactions_refuse_the_fence_by_name_and_change_nothing() {
    for major in VERSIONS {
        let shop = Shop::open(major, Acl::Granted).await;
        let migrator = shop.connect("migrator").await;
        let before = shop.datacl().await;
        let app = shop.connect("app").await;
        app.batch_execute(&format!(
            "BEGIN; {INSERT}; PREPARE TRANSACTION 'transfer 7'"
        ))
        .await
        .unwrap();
        let error = raise(&migrator, 1).await.unwrap_err();
        assert!(matches!(error, FenceError::PreparedTransactions { .. }));
        assert!(error.to_string().contains("transfer 7 of app"), "{error}");
        assert_eq!(shop.datacl().await, before);
        app.batch_execute("ROLLBACK PREPARED 'transfer 7'")
            .await
            .unwrap();
        raise(&migrator, 1).await.unwrap();
    }
}

#[tokio::test]
async fn a_subscription_that_writes_into_the_database_refuses_the_fence() {
    for major in VERSIONS {
        let shop = Shop::open(major, Acl::Default).await;
        let migrator = shop.connect("migrator").await;
        let inside = shop.connect("postgres").await;
        inside
            .batch_execute(
                "CREATE SUBSCRIPTION feed CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p
                     WITH (connect = false, slot_name = 'x')",
            )
            .await
            .unwrap();
        inside
            .batch_execute("ALTER SUBSCRIPTION feed ENABLE")
            .await
            .unwrap();
        shop.leave(inside).await;
        let error = raise(&migrator, 1).await.unwrap_err();
        assert!(error.to_string().contains("feed") && error.to_string().contains("DISABLE"));
        let inside = shop.connect("postgres").await;
        inside
            .batch_execute("ALTER SUBSCRIPTION feed DISABLE")
            .await
            .unwrap();
        inside
            .batch_execute("ALTER SUBSCRIPTION feed SET (slot_name = NONE)")
            .await
            .unwrap();
        inside
            .batch_execute("DROP SUBSCRIPTION feed")
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn an_open_change_of_privileges_makes_it_give_up_in_time_with_nothing_changed() {
    for major in VERSIONS {
        let shop = Shop::open(major, Acl::Granted).await;
        let migrator = shop.connect("migrator").await;
        let before = shop.datacl().await;
        let db = shop.quoted();
        shop.admin
            .batch_execute(&format!("BEGIN; GRANT TEMP ON DATABASE {db} TO app"))
            .await
            .unwrap();
        let error = raise(&migrator, 1).await.unwrap_err();
        assert!(
            matches!(error, FenceError::Locked { .. }),
            "{}",
            whole(&error)
        );
        shop.admin.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(shop.datacl().await, before);
        assert_eq!(fence::state(&migrator).await.unwrap().row, None);
        raise(&migrator, 1).await.unwrap();
        shop.admin
            .batch_execute(&format!("BEGIN; GRANT TEMP ON DATABASE {db} TO app"))
            .await
            .unwrap();
        let error = fence::lower(&migrator, Duration::from_millis(700))
            .await
            .unwrap_err();
        assert!(
            matches!(error, FenceError::Locked { .. }),
            "{}",
            whole(&error)
        );
        shop.admin.batch_execute("ROLLBACK").await.unwrap();
        fence::lower(&migrator, SOON).await.unwrap();
        shop.connect("anyone").await;
    }
}

#[tokio::test]
async fn a_role_that_inherits_our_connect_is_named() {
    for major in VERSIONS {
        let shop = Shop::open(major, Acl::Granted).await;
        let migrator = shop.connect("migrator").await;
        let name = shop.new_role("LOGIN IN ROLE migrator").await;
        let error = raise(&migrator, 1).await.unwrap_err();
        assert!(matches!(error, FenceError::StillOpen { .. }), "{error}");
        assert!(error.to_string().contains(&name), "{error}");
        fence::lower(&migrator, SOON).await.unwrap();
        shop.admin
            .batch_execute(&format!("DROP ROLE {name}"))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn what_changed_behind_the_fence_is_kept_and_told() {
    let shop = Shop::open(17, Acl::Granted).await;
    let mover = shop.connect("postgres").await;
    let guest = shop.new_role("LOGIN").await;
    let db = shop.quoted();
    shop.admin
        .batch_execute(&format!("GRANT CONNECT ON DATABASE {db} TO {guest}"))
        .await
        .unwrap();
    raise(&mover, 1).await.unwrap();
    shop.admin
        .batch_execute(&format!(
            "GRANT CREATE ON DATABASE {db} TO clerk; DROP ROLE {guest}"
        ))
        .await
        .unwrap();
    let report = fence::lower(&mover, SOON).await.unwrap();
    assert!(
        report.not_exact.iter().any(|what| what.contains(&guest)),
        "{report:?}"
    );
    let acl = shop.datacl().await.unwrap();
    assert!(
        acl.contains("clerk=Cc/") || acl.contains("clerk=C/"),
        "{acl}"
    );
    shop.connect("anyone").await;
}

#[tokio::test]
async fn a_role_without_the_privileges_is_told_which_it_lacks() {
    let shop = Shop::open(18, Acl::Granted).await;
    let app = shop.connect("app").await;
    let error = raise(&app, 1).await.unwrap_err().to_string();
    for word in ["app", "pg_monitor", "pg_signal_backend", "owner"] {
        assert!(error.contains(word), "{error}");
    }
    let empty = crate::fence_fixture::connect(&shop.server.url("postgres", "postgres")).await;
    assert!(matches!(
        raise(&empty, 1).await,
        Err(FenceError::NoBookkeeping)
    ));
    assert_eq!(fence::state(&empty).await.unwrap().row, None);
    assert_eq!(
        fence::lower(&empty, SOON).await.unwrap(),
        fence::LowerReport::default()
    );
}

#[tokio::test]
async fn our_own_sessions_stay_and_foreign_walsenders_go() {
    for major in VERSIONS {
        let shop = Shop::open(major, Acl::Granted).await;
        let migrator = shop.connect("migrator").await;
        let ours = shop.connect("app").await;
        let endpoint: Endpoint = shop.url("migrator").parse().unwrap();
        let replication = [("replication".to_owned(), "database".to_owned())];
        let mut stream = Conn::connect(&endpoint, &replication, Credential::None)
            .await
            .unwrap();
        let mut foreign = Conn::connect(&endpoint, &replication, Credential::None)
            .await
            .unwrap();
        let fence = Fence::prepare(&migrator, patient()).await.unwrap();
        let pids = [ours.backend_pid(), stream.backend_pid()];
        let report = fence.raise(&migrator, &pids, Epoch(1)).await.unwrap();
        let ended: Vec<_> = report
            .ended
            .iter()
            .map(|one| (one.pid, one.kind.as_str()))
            .collect();
        assert_eq!(ended, [(foreign.backend_pid(), "walsender")]);
        ours.batch_execute(INSERT).await.unwrap();
        stream.query("SELECT 1").await.unwrap();
        assert!(foreign.query("SELECT 1").await.is_err());
    }
}
