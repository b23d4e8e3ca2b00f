//! The fence of MySQL and MariaDB: what it stops, what it refuses, and that it comes down again.

use std::time::Duration;

use binlog::movement::fence::{
    self, Fence, FenceError, FenceOptions, FencePosition, Proof, Reasserted,
};
use binlog::wire::SqlConn;
use integration::mysql::{MySqlOptions, Version};
use router::Epoch;

use super::ground::{Ground, PATIENCE, write};

const READ_ONLY: u16 = 1290;

fn options() -> FenceOptions {
    FenceOptions {
        end_timeout: PATIENCE,
        // The fixture's own session.
        trusted_roles: vec!["root".to_owned()],
        ..FenceOptions::default()
    }
}

async fn raise(client: &SqlConn, epoch: u64) -> Result<fence::FenceReport, FenceError> {
    let fence = Fence::prepare(client, options()).await?;
    fence
        .raise(client, &[client.thread_id()], Epoch(epoch))
        .await
}

#[tokio::test]
async fn a_fence_stops_the_application_on_all_servers_and_comes_down_exactly() {
    for version in Version::ALL {
        let ground = Ground::open(version).await;
        ground
            .run("SET GLOBAL event_scheduler = OFF")
            .await
            .unwrap();
        let before = ground.settings().await;
        let app = ground.connect("app").await;
        let migrator = ground.connect("migrator").await;
        write(&app).await.unwrap();

        let report = raise(&migrator, 1).await.unwrap();
        match version {
            Version::MySql97 => assert_eq!(report.proof, Proof::OwnWrite),
            Version::MySql56 | Version::MariaDb1011 | Version::MariaDb118 => {
                assert_eq!(report.proof, Proof::AsAccount("'app'@'%'".to_owned()));
            }
        }
        let refused = write(&app).await.unwrap_err();
        assert_eq!(refused.code(), Some(READ_ONLY), "{version}");
        let newcomer = ground.connect("app").await;
        assert!(write(&newcomer).await.is_err(), "{version}");
        let state = fence::state(&migrator).await.unwrap();
        assert!(state.is_fenced() && !state.is_open(), "{version}");

        fence::lower_epoch(&migrator, Epoch(1), PATIENCE)
            .await
            .unwrap();
        write(&app).await.unwrap();
        assert_eq!(ground.settings().await, before, "{version}");
        let row = fence::state(&migrator).await.unwrap().row.unwrap();
        assert_eq!((row.epoch, row.position), (Epoch(1), FencePosition::Down));
        // It may be asked for again.
        fence::lower_epoch(&migrator, Epoch(1), PATIENCE)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn an_xa_transaction_that_has_written_cannot_be_prepared_behind_the_fence() {
    for version in Version::ALL {
        let ground = Ground::open(version).await;
        let app = ground.connect("app").await;
        for sql in [
            "XA START 'a'",
            "INSERT INTO shop.entry (who) VALUES ('xa')",
            "XA END 'a'",
        ] {
            app.execute(sql).await.unwrap();
        }
        let migrator = ground.connect("migrator").await;
        let report = raise(&migrator, 1).await.unwrap();
        let ended: Vec<_> = report.ended.iter().map(|session| session.id).collect();
        assert_eq!(ended, [app.thread_id()], "{version}");
        assert!(app.execute("XA PREPARE 'a'").await.is_err(), "{version}");
        let entries = ground.one("SELECT COUNT(*) FROM shop.entry").await;
        assert_eq!(entries, "0", "{version}");
    }
}

#[tokio::test]
async fn a_prepared_transaction_refuses_the_fence_by_name_and_changes_nothing() {
    for version in Version::ALL {
        let ground = Ground::open(version).await;
        let before = ground.settings().await;
        let app = ground.connect("app").await;
        for sql in [
            "XA START 'held'",
            "INSERT INTO shop.entry (who) VALUES ('xa')",
            "XA END 'held'",
            "XA PREPARE 'held'",
        ] {
            app.execute(sql).await.unwrap();
        }
        let migrator = ground.connect("migrator").await;
        let error = raise(&migrator, 1).await.unwrap_err();
        assert!(error.to_string().contains("held"), "{version}: {error}");
        assert_eq!(ground.settings().await, before, "{version}");
        app.execute("XA COMMIT 'held'").await.unwrap();
    }
}

#[tokio::test]
async fn sessions_that_pass_read_only_refuse_the_fence_by_name() {
    for version in [Version::MySql56, Version::MariaDb1011, Version::MariaDb118] {
        let ground = Ground::open(version).await;
        let chief = ground.connect("chief").await;
        let migrator = ground.connect("migrator").await;
        let error = raise(&migrator, 1).await.unwrap_err();
        assert!(
            matches!(error, FenceError::BypassingSessions { .. })
                && error.to_string().contains("chief"),
            "{version}: {error}"
        );
        // Those that are ours do not.
        let fence = Fence::prepare(&migrator, options()).await.unwrap();
        let ours = [migrator.thread_id(), chief.thread_id()];
        fence.raise(&migrator, &ours, Epoch(1)).await.unwrap();
        write(&chief).await.unwrap();
    }
}

#[tokio::test]
async fn accounts_that_pass_are_locked_and_ended_where_the_operator_says_so() {
    for version in [Version::MariaDb1011, Version::MariaDb118] {
        let ground = Ground::open(version).await;
        let chief = ground.connect("chief").await;
        let migrator = ground.connect("migrator").await;
        ground
            .run("GRANT CREATE USER ON *.* TO migrator@'%'")
            .await
            .unwrap();
        let migrator_now = ground.connect("migrator").await;
        drop(migrator);
        let options = FenceOptions {
            nologin: vec!["chief".to_owned()],
            ..options()
        };
        let fence = Fence::prepare(&migrator_now, options).await.unwrap();
        let file = ground.one("SHOW MASTER STATUS").await;
        fence
            .raise(&migrator_now, &[migrator_now.thread_id()], Epoch(1))
            .await
            .unwrap();
        assert!(write(&chief).await.is_err(), "{version}");
        assert!(ground.try_connect("chief").await.is_err(), "{version}");
        let rows = ground
            .root
            .query(&format!("SHOW BINLOG EVENTS IN '{file}'"))
            .await
            .unwrap();
        let carried = rows
            .iter()
            .any(|row| row.text(5).is_some_and(|text| text.contains("ALTER USER")));
        assert!(!carried, "{version}: the lock would reach the target");
        fence::lower(&migrator_now, PATIENCE).await.unwrap();
        write(&ground.connect("chief").await).await.unwrap();
    }
}

#[tokio::test]
async fn behind_super_read_only_root_is_stopped_too() {
    let ground = Ground::open(Version::MySql97).await;
    let chief = ground.connect("chief").await;
    let migrator = ground.connect("migrator").await;
    raise(&migrator, 1).await.unwrap();
    assert_eq!(write(&chief).await.unwrap_err().code(), Some(READ_ONLY));
    let file = std::fs::read_to_string(ground.server.data_dir().join("mysqld-auto.cnf")).unwrap();
    assert!(file.contains("super_read_only"), "a restart would open it");
    fence::lower(&migrator, PATIENCE).await.unwrap();
    let file = std::fs::read_to_string(ground.server.data_dir().join("mysqld-auto.cnf")).unwrap();
    assert!(!file.contains("super_read_only"), "{file}");
}

#[tokio::test]
async fn an_epoch_that_was_given_up_never_goes_up() {
    for version in Version::ALL {
        let ground = Ground::open(version).await;
        let migrator = ground.connect("migrator").await;
        let fence = Fence::prepare(&migrator, options()).await.unwrap();
        fence::lower_epoch(&migrator, Epoch(3), PATIENCE)
            .await
            .unwrap();
        for epoch in [2, 3] {
            let raised = fence.raise(&migrator, &[], Epoch(epoch)).await;
            assert!(
                matches!(raised, Err(FenceError::NotFromDown { .. })),
                "{version}"
            );
        }
        fence.raise(&migrator, &[], Epoch(4)).await.unwrap();
        // An earlier epoch does not open a later one's fence.
        fence::lower_epoch(&migrator, Epoch(3), PATIENCE)
            .await
            .unwrap();
        assert!(fence::state(&migrator).await.unwrap().is_fenced());
        assert!(write(&ground.connect("app").await).await.is_err());
        fence::lower_epoch(&migrator, Epoch(4), PATIENCE)
            .await
            .unwrap();
        write(&ground.connect("app").await).await.unwrap();
    }
}

#[tokio::test]
async fn who_lowers_ends_the_session_that_was_raising() {
    for version in Version::ALL {
        let ground = Ground::open(version).await;
        let lost = ground.connect("migrator").await;
        let fence = Fence::prepare(&lost, options()).await.unwrap();
        let recovery = ground.connect("migrator").await;
        fence::lower_epoch(&recovery, Epoch(1), PATIENCE)
            .await
            .unwrap();
        let raised = fence.raise(&lost, &[], Epoch(1)).await;
        assert!(raised.is_err(), "{version}");
        write(&ground.connect("app").await).await.unwrap();
    }
}

#[tokio::test]
async fn a_raise_that_is_cut_off_anywhere_is_undone() {
    for version in Version::ALL {
        let ground = Ground::open(version).await;
        let before = ground.settings().await;
        let mut epoch = 0;
        for wakes in 0.. {
            epoch += 1;
            let client = ground.connect("migrator").await;
            let fence = Fence::prepare(&client, options()).await.unwrap();
            let ours = [client.thread_id()];
            let done = cut_after(wakes, fence.raise(&client, &ours, Epoch(epoch))).await;
            drop(client);
            let recovery = ground.connect("migrator").await;
            fence::lower_epoch(&recovery, Epoch(epoch), PATIENCE)
                .await
                .unwrap();
            assert_eq!(ground.settings().await, before, "{version} after {wakes}");
            write(&ground.connect("app").await).await.unwrap();
            if done.is_some_and(|raised| raised.is_ok()) {
                break;
            }
            assert!(wakes < 200, "{version}: it never got through");
        }
    }
}

/// Drives `work` until it has been woken `wakes` times, then drops it where it is.
async fn cut_after<F: Future>(wakes: u32, work: F) -> Option<F::Output> {
    use std::task::Poll;
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

#[tokio::test]
async fn a_running_write_keeps_the_fence_down_and_goes_on() {
    for version in Version::ALL {
        let ground = Ground::open(version).await;
        let before = ground.settings().await;
        let app = ground.connect("app").await;
        let migrator = ground.connect("migrator").await;
        let fence = Fence::prepare(&migrator, options()).await.unwrap();
        // It ends when the test says so.
        let gate = ground.connect("root").await;
        gate.execute("DO GET_LOCK('gate', 0)").await.unwrap();
        let slow = "INSERT INTO shop.entry (who) SELECT GET_LOCK('gate', 600)";
        let (written, raised) = tokio::join!(app.execute(slow), async {
            let sql =
                "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'INSERT%'";
            while ground.one(sql).await == "0" {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let raised = fence.raise(&migrator, &[], Epoch(1)).await;
            gate.execute("DO RELEASE_LOCK('gate')").await.unwrap();
            raised
        });
        written.unwrap();
        assert!(
            matches!(raised, Err(FenceError::Busy { .. })),
            "{version}: {raised:?}"
        );
        fence::lower_epoch(&migrator, Epoch(1), PATIENCE)
            .await
            .unwrap();
        assert_eq!(ground.settings().await, before, "{version}");
    }
}

#[tokio::test]
async fn a_fenced_server_that_comes_up_open_is_seen_and_shut_again() {
    for version in Version::ALL {
        let options = MySqlOptions::default().durable();
        let mut ground = Ground::open_with(version, options).await;
        let migrator = ground.connect("migrator").await;
        raise(&migrator, 1).await.unwrap();
        // The harness starts servers without option files, so nothing is persisted.
        ground.crash().await;
        let migrator = ground.connect("migrator").await;
        let state = fence::state(&migrator).await.unwrap();
        assert!(state.is_open(), "{version}: {state:?}");
        let first = fence::reassert(&migrator, PATIENCE).await.unwrap();
        assert_eq!(first, Reasserted::ShutAgain, "{version}");
        assert!(
            write(&ground.connect("app").await).await.is_err(),
            "{version}"
        );
        let second = fence::reassert(&migrator, PATIENCE).await.unwrap();
        assert_eq!(second, Reasserted::Stood, "{version}");
        fence::lower(&migrator, PATIENCE).await.unwrap();
        write(&ground.connect("app").await).await.unwrap();
    }
}

#[tokio::test]
async fn missing_privileges_are_named() {
    for version in Version::ALL {
        let ground = Ground::open(version).await;
        ground.run("CREATE USER poor@'%'").await.unwrap();
        ground
            .run("GRANT ALL ON pointsman.* TO poor@'%'")
            .await
            .unwrap();
        let poor = ground.connect("poor").await;
        let error = Fence::prepare(&poor, options())
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("PROCESS") && error.contains("read_only"),
            "{version}: {error}"
        );
    }
}
