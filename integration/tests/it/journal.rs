//! Marker, sequences, journal and who serves, on real servers.

use std::time::Duration;

use pgwal::movement::fence::{self, Fence};
use pgwal::movement::journal::{self, JournalError, MovementState, Outcome, Promote};
use pgwal::movement::marker::MarkerWriter;
use pgwal::movement::sequences::{SequenceError, SequenceValue, Sequences};
use pgwal::movement::standing::ask;
use pgwal::wire::SqlConn;
use router::cutover::standing::{Doubt, Standing};
use router::{Epoch, Lsn, Side};

use crate::fence_fixture::{Acl, Shop, VERSIONS, cut_after, patient, until};

const SOON: Duration = Duration::from_secs(120);

/// A source with `SOURCE_DDL` and a target with `TARGET_DDL`, two databases of one server.
async fn pair(major: u32) -> (Shop, Shop) {
    (
        Shop::open(major, Acl::Granted).await,
        Shop::open_target(major).await,
    )
}

fn value(target_oid: u32, last_value: i64) -> SequenceValue {
    SequenceValue {
        target_oid,
        last_value,
        is_called: true,
    }
}

async fn oid(client: &SqlConn, name: &str) -> u32 {
    client
        .query_one("SELECT to_regclass($1)::oid", &[&name])
        .await
        .unwrap()
        .get(0)
}

/// `last_value` and `is_called` of a sequence.
async fn state(client: &SqlConn, name: &str) -> (i64, bool) {
    let sql = format!("SELECT last_value, is_called FROM {name}");
    let row = client.query_one(&sql, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

#[tokio::test]
async fn a_marker_is_flushed_when_it_returns_and_unlike_any_other() {
    for major in VERSIONS {
        let shop = Shop::open(major, Acl::Default).await;
        let client = shop.connect("postgres").await;
        client
            .batch_execute("SET synchronous_commit = off")
            .await
            .unwrap();
        let writer = MarkerWriter::prepare(&client).await.unwrap();
        let first = writer.write(&client).await.unwrap();
        let second = writer.write(&client).await.unwrap();
        assert_ne!(first.token, second.token);
        assert!(second.end_lsn > first.end_lsn && first.end_lsn > Lsn::INVALID);
        let sql = "SELECT pg_current_wal_flush_lsn() >= $1::text::pg_lsn,
                          ARRAY(SELECT token FROM pointsman.marker ORDER BY id)";
        let row = client
            .query_one(sql, &[&second.end_lsn.to_string()])
            .await
            .unwrap();
        assert!(row.get::<_, bool>(0));
        assert_eq!(row.get::<_, Vec<String>>(1), [first.token, second.token]);
    }
}

#[tokio::test]
async fn five_hundred_sequences_come_over_with_value_and_is_called() {
    for major in VERSIONS {
        let (source, target) = pair(major).await;
        let (from, to) = (
            source.connect("postgres").await,
            target.connect("postgres").await,
        );
        let make = "DO $$ BEGIN
            CREATE SCHEMA \"odd \"\" schema\";
            FOR i IN 1..600 LOOP EXECUTE format('CREATE SEQUENCE %I.%I', 'odd \" schema',
                'S\" é;' || i); END LOOP;
            CREATE SEQUENCE public.down INCREMENT -5 MINVALUE -1000 MAXVALUE 0 CYCLE;
            CREATE SEQUENCE public.small AS smallint MAXVALUE 7 CACHE 3;
            CREATE TABLE public.t (id int GENERATED ALWAYS AS IDENTITY);
            END $$";
        from.batch_execute(make).await.unwrap();
        to.batch_execute(make).await.unwrap();
        to.batch_execute("CREATE SEQUENCE public.only_here")
            .await
            .unwrap();
        from.batch_execute(
            "DO $$ BEGIN FOR i IN 1..600 LOOP PERFORM setval(
                format('%I.%I', 'odd \" schema', 'S\" é;' || i)::regclass, 10000000000 + i, i % 2 = 0);
                END LOOP; END $$;
             SELECT nextval('public.down'), nextval('public.down'), nextval('public.small');
             INSERT INTO public.t DEFAULT VALUES",
        )
        .await
        .unwrap();
        let sequences = Sequences::prepare(&from, &to, |_, _| true).await.unwrap();
        assert_eq!(sequences.list().len(), 604);
        let values = sequences.read(&from).await.unwrap();
        journal::begin(&to, Epoch(1), Side::Target).await.unwrap();
        journal::promote(&to, Epoch(1), &values).await.unwrap();
        let names = [
            "\"odd \"\" schema\".\"S\"\" é;1\"",
            "\"odd \"\" schema\".\"S\"\" é;600\"",
        ];
        for name in [
            "public.down",
            "public.small",
            "public.t_id_seq",
            names[0],
            names[1],
        ] {
            assert_eq!(state(&to, name).await, state(&from, name).await, "{name}");
        }
        assert_eq!(state(&to, names[0]).await, (10_000_000_001, false));
        assert_eq!(state(&to, names[1]).await, (10_000_000_600, true));
        assert_eq!(state(&to, "public.entry_id_seq").await, (1, false));
    }
}

#[tokio::test]
async fn a_sequence_that_is_missing_or_other_on_the_target_is_refused_by_name() {
    let (source, target) = pair(14).await;
    let (from, to) = (
        source.connect("postgres").await,
        target.connect("postgres").await,
    );
    from.batch_execute("CREATE SEQUENCE public.lost; CREATE SEQUENCE public.left_out")
        .await
        .unwrap();
    let wanted = |_: &str, name: &str| name != "left_out";
    let error = Sequences::prepare(&from, &to, wanted).await.unwrap_err();
    assert!(matches!(error, SequenceError::Missing { .. }));
    assert!(error.to_string().contains("\"lost\"") && !error.to_string().contains("left_out"));
    to.batch_execute("CREATE SEQUENCE public.lost INCREMENT 2")
        .await
        .unwrap();
    let error = Sequences::prepare(&from, &to, wanted).await.unwrap_err();
    assert!(matches!(error, SequenceError::Different { .. }), "{error}");
    to.batch_execute("ALTER SEQUENCE public.lost INCREMENT 1")
        .await
        .unwrap();
    let migrator = source.connect("migrator").await;
    let error = Sequences::prepare(&migrator, &to, wanted)
        .await
        .unwrap_err();
    assert!(matches!(error, SequenceError::Unreadable { .. }), "{error}");
    let sequences = Sequences::prepare(&from, &to, wanted).await.unwrap();
    from.batch_execute("DROP SEQUENCE public.lost")
        .await
        .unwrap();
    assert!(sequences.read(&from).await.is_err());
}

#[tokio::test]
async fn a_promote_after_a_resolve_fails_and_sets_no_sequence() {
    for major in VERSIONS {
        let (_source, target) = pair(major).await;
        let to = target.connect("postgres").await;
        let sequence = value(oid(&to, "public.entry_id_seq").await, 77);
        journal::begin(&to, Epoch(1), Side::Target).await.unwrap();
        assert_eq!(
            journal::resolve(&to, Epoch(1)).await.unwrap(),
            Outcome::Aborted
        );
        let error = journal::promote(&to, Epoch(1), &[sequence])
            .await
            .unwrap_err();
        assert!(
            matches!(error, JournalError::NotPending { epoch: 1 }),
            "{error}"
        );
        assert_eq!(state(&to, "public.entry_id_seq").await, (1, false));
        assert_eq!(
            journal::resolve(&to, Epoch(1)).await.unwrap(),
            Outcome::Aborted
        );

        journal::begin(&to, Epoch(2), Side::Target).await.unwrap();
        journal::promote(&to, Epoch(2), &[sequence]).await.unwrap();
        assert_eq!(
            journal::resolve(&to, Epoch(2)).await.unwrap(),
            Outcome::Switched
        );
        assert_eq!(state(&to, "public.entry_id_seq").await, (77, true));
        assert!(journal::promote(&to, Epoch(2), &[sequence]).await.is_err());
    }
}

#[tokio::test]
async fn of_a_promote_and_a_resolve_at_the_same_time_exactly_one_wins() {
    let (_source, target) = pair(17).await;
    let (one, other) = (
        target.connect("postgres").await,
        target.connect("postgres").await,
    );
    let promote = Promote::prepare(&one).await.unwrap();
    for round in 1..=60 {
        let epoch = Epoch(round);
        journal::begin(&one, epoch, Side::Target).await.unwrap();
        let promoted = promote.run(&one, epoch, &[]);
        let resolved = journal::resolve(&other, epoch);
        // Which request is written first alternates.
        let (promoted, resolved) = match round % 2 {
            0 => tokio::join!(biased; promoted, resolved),
            _ => {
                let (resolved, promoted) = tokio::join!(biased; resolved, promoted);
                (promoted, resolved)
            }
        };
        let outcome = resolved.unwrap();
        assert_eq!(outcome == Outcome::Switched, promoted.is_ok());
        assert_eq!(journal::resolve(&other, epoch).await.unwrap(), outcome);
    }
}

#[tokio::test]
async fn a_promote_that_waits_for_a_resolve_to_commit_is_refused() {
    let (_source, target) = pair(12).await;
    let (one, other) = (
        target.connect("postgres").await,
        target.connect("postgres").await,
    );
    journal::begin(&one, Epoch(1), Side::Target).await.unwrap();
    for (commit, switched) in [("ROLLBACK", true), ("COMMIT", false)] {
        let epoch = journal::movements(&one)
            .await
            .unwrap()
            .last()
            .unwrap()
            .epoch;
        other.batch_execute("BEGIN").await.unwrap();
        journal::resolve(&other, epoch).await.unwrap();
        let end = async {
            until("the promote waits", || async {
                let sql = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = $1";
                let waits = other.query_one(sql, &[&one.backend_pid()]).await.unwrap();
                waits.get::<_, i64>(0) > 0
            })
            .await;
            other.batch_execute(commit).await.unwrap();
        };
        let (promoted, ()) = tokio::join!(journal::promote(&one, epoch, &[]), end);
        assert_eq!(promoted.is_ok(), switched, "{promoted:?}");
        journal::begin(&one, epoch.next(), Side::Target)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn an_epoch_begins_once_and_only_when_none_is_pending() {
    let (_source, target) = pair(18).await;
    let to = target.connect("postgres").await;
    assert_eq!(journal::next_epoch(&to).await.unwrap(), Epoch(1));
    journal::begin(&to, Epoch(3), Side::Target).await.unwrap();
    for epoch in [2, 3, 4] {
        let error = journal::begin(&to, Epoch(epoch), Side::Target)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("epoch 3 as Pending"), "{error}");
    }
    journal::resolve(&to, Epoch(3)).await.unwrap();
    assert_eq!(journal::next_epoch(&to).await.unwrap(), Epoch(4));
    // One that never began is kept from beginning late.
    assert_eq!(
        journal::resolve(&to, Epoch(5)).await.unwrap(),
        Outcome::Aborted
    );
    for epoch in [3, 4, 5] {
        assert!(
            journal::begin(&to, Epoch(epoch), Side::Target)
                .await
                .is_err()
        );
    }
    let states: Vec<_> = journal::movements(&to)
        .await
        .unwrap()
        .iter()
        .map(|one| one.state)
        .collect();
    assert_eq!(states, [MovementState::Aborted; 2]);
}

/// One whole movement as the coordinator does it.
async fn movement(from: &SqlConn, to: &SqlConn, epoch: Epoch) {
    let fence = Fence::prepare(from, patient()).await.unwrap();
    let marker = MarkerWriter::prepare(from).await.unwrap();
    let sequences = Sequences::prepare(from, to, |_, _| true).await.unwrap();
    let promote = Promote::prepare(to).await.unwrap();
    journal::begin(to, epoch, Side::Target).await.unwrap();
    fence.raise(from, &[], epoch).await.unwrap();
    marker.write(from).await.unwrap();
    let values = sequences.read(from).await.unwrap();
    promote.run(to, epoch, &values).await.unwrap();
}

/// P5: who serves is in the servers.
#[tokio::test]
async fn a_crash_at_any_step_of_a_movement_leads_to_exactly_one_side() {
    for major in VERSIONS {
        let (source, target) = pair(major).await;
        let before = source.datacl().await;
        let mut sides = Vec::new();
        for wakes in 0..400 {
            let (from, to) = (
                source.connect("postgres").await,
                target.connect("postgres").await,
            );
            let epoch = journal::next_epoch(&to).await.unwrap();
            let done = cut_after(wakes, movement(&from, &to, epoch))
                .await
                .is_some();
            let from = source.reconnect(from, "postgres").await;
            let to = target.reconnect(to, "postgres").await;
            let side = recover(&from, &to, epoch).await;
            // Asked again, it is the same.
            let (_, again) = ask(Ok(&from), Ok(&to)).await;
            assert!(
                matches!(again, Standing::Serves(again, _) if again == side),
                "{again:?}"
            );
            let writable = source.try_connect("app").await.is_ok();
            assert_eq!(writable, side == Side::Source, "exactly one side is open");
            sides.push(side);
            if done {
                assert_eq!(side, Side::Target);
                break;
            }
            if side == Side::Target {
                break;
            }
            assert_eq!(source.datacl().await, before);
        }
        assert!(
            sides.len() > 10 && sides.contains(&Side::Target),
            "{sides:?}"
        );
        assert!(sides.contains(&Side::Source), "{sides:?}");
    }
}

async fn recover(from: &SqlConn, to: &SqlConn, begun: Epoch) -> Side {
    for _step in 0..5 {
        match ask(Ok(from), Ok(to)).await.1 {
            Standing::Serves(side, _) => return side,
            Standing::Resolve(epoch) => {
                assert_eq!(epoch, begun);
                journal::resolve(to, epoch).await.unwrap();
            }
            Standing::LowerFence(side, epoch) => {
                assert_eq!(side, Side::Source);
                fence::lower_epoch(from, epoch, SOON).await.unwrap();
            }
            Standing::Hold(doubt) => unreachable!("{doubt:?}"),
        }
    }
    unreachable!("recovery does not come to an end");
}

#[tokio::test]
async fn a_fenced_source_holds_while_the_target_is_out_of_reach() {
    let (source, target) = pair(17).await;
    let (from, to) = (
        source.connect("postgres").await,
        target.connect("postgres").await,
    );
    let unreachable = || Err("connection refused".to_owned());
    let (_, standing_now) = ask(Ok(&from), unreachable()).await;
    assert_eq!(standing_now, Standing::Serves(Side::Source, Epoch::FIRST));
    Fence::prepare(&from, patient())
        .await
        .unwrap()
        .raise(&from, &[], Epoch(1))
        .await
        .unwrap();
    let (_, standing_now) = ask(Ok(&from), unreachable()).await;
    assert_eq!(standing_now, Standing::Hold(Doubt::TargetUnreachable));
    // A connection that has broken is out of reach too.
    let killer = target.connect("postgres").await;
    let sql = "SELECT pg_terminate_backend($1)";
    killer.execute(sql, &[&to.backend_pid()]).await.unwrap();
    until("the connection is broken", || async { to.is_closed() }).await;
    let (_, standing_now) = ask(Ok(&from), Ok(&to)).await;
    assert_eq!(standing_now, Standing::Hold(Doubt::TargetUnreachable));
    let (_, standing_now) = ask(Ok(&from), Ok(&killer)).await;
    assert_eq!(standing_now, Standing::Resolve(Epoch(1)));
}
