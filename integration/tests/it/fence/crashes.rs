//! Fences that are cut at any step, raised or lowered late, or left by a crash.

use pgwal::movement::fence::{self, Fence, FenceError, FencePosition};
use router::Epoch;

use super::{SOON, raise};
use crate::fence_fixture::{Acl, Shop, VERSIONS, cut_after, patient};

#[tokio::test]
async fn a_raise_that_dies_at_any_instant_is_lowered_from_a_new_connection() {
    for major in VERSIONS {
        let shop = Shop::open(major, Acl::Granted).await;
        let before = shop.datacl().await;
        let mut seen = Vec::new();
        for wakes in 0..200 {
            let _app = shop.connect("app").await;
            let mover = shop.connect("postgres").await;
            let fence = Fence::prepare(&mover, patient()).await.unwrap();
            let epoch = Epoch(u64::from(wakes) + 1);
            let raised = cut_after(wakes, fence.raise(&mover, &[], epoch)).await;
            let mover = shop.reconnect(mover, "postgres").await;
            let state = fence::state(&mover).await.unwrap();
            let position = state.row.map_or(FencePosition::Down, |row| row.position);
            assert_eq!(
                position.is_fenced(),
                state.open_to.is_empty(),
                "row and ACL agree"
            );
            fence::lower(&mover, SOON).await.unwrap();
            assert_eq!(shop.datacl().await, before);
            shop.connect("anyone").await;
            seen.push(position);
            if raised.is_some() {
                break;
            }
        }
        for position in [
            FencePosition::Down,
            FencePosition::Raising,
            FencePosition::Up,
        ] {
            assert!(seen.contains(&position), "{seen:?}");
        }
    }
}

#[tokio::test]
async fn a_lower_that_dies_at_any_instant_is_finished_by_the_next() {
    let shop = Shop::open(18, Acl::Granted).await;
    let before = shop.datacl().await;
    for wakes in 0..20 {
        let mover = shop.connect("postgres").await;
        raise(&mover, u64::from(wakes) + 1).await.unwrap();
        let word = ["raising", "up", "lowering"][usize::try_from(wakes % 3).unwrap()];
        mover
            .batch_execute(&format!("UPDATE pointsman.fence SET state = '{word}'"))
            .await
            .unwrap();
        let lowered = cut_after(wakes, fence::lower(&mover, SOON)).await.is_some();
        let mover = shop.reconnect(mover, "postgres").await;
        fence::lower(&mover, SOON).await.unwrap();
        assert_eq!(
            fence::lower(&mover, SOON).await.unwrap(),
            fence::LowerReport::default()
        );
        assert_eq!(shop.datacl().await, before);
        assert!(lowered || wakes < 19, "it never came to its end");
    }
}

#[tokio::test]
async fn a_fence_is_raised_once_an_epoch_and_from_down_only() {
    let shop = Shop::open(12, Acl::Granted).await;
    let mover = shop.connect("postgres").await;
    raise(&mover, 7).await.unwrap();
    let saved = fence::state(&mover).await.unwrap().row.unwrap().datacl;
    for epoch in [6, 7, 8] {
        let error = raise(&mover, epoch).await.unwrap_err();
        assert!(matches!(error, FenceError::NotFromDown { .. }), "{error}");
        assert!(error.to_string().contains("up of epoch 7"), "{error}");
    }
    assert_eq!(
        fence::state(&mover).await.unwrap().row.unwrap().datacl,
        saved
    );
    fence::lower(&mover, SOON).await.unwrap();
    for epoch in [6, 7] {
        assert!(matches!(
            raise(&mover, epoch).await,
            Err(FenceError::NotFromDown { .. })
        ));
    }
    raise(&mover, 8).await.unwrap();
    fence::lower(&mover, SOON).await.unwrap();
}

#[tokio::test]
async fn a_source_that_crashes_behind_its_fence_comes_back_fenced() {
    for major in VERSIONS {
        let mut shop = Shop::open(major, Acl::Granted).await;
        let before = shop.datacl().await;
        let mover = shop.connect("postgres").await;
        raise(&mover, 1).await.unwrap();
        pgwal::movement::marker::write(&mover).await.unwrap();
        shop.crash().await;
        assert!(shop.try_connect("app").await.is_err());
        let mover = shop.connect("postgres").await;
        let row = fence::state(&mover).await.unwrap().row.unwrap();
        assert_eq!((row.epoch, row.position), (Epoch(1), FencePosition::Up));
        fence::lower(&mover, SOON).await.unwrap();
        shop.crash().await;
        assert_eq!(shop.datacl().await, before);
        shop.connect("app").await;
    }
}

#[tokio::test]
async fn a_fence_that_was_given_up_cannot_go_up_later_nor_its_lowering_open_the_next() {
    for major in VERSIONS {
        let shop = Shop::open(major, Acl::Granted).await;
        let mover = shop.connect("postgres").await;
        let before = shop.datacl().await;
        // Given up before it ever reached the server.
        fence::lower_epoch(&mover, Epoch(3), SOON).await.unwrap();
        for epoch in [2, 3] {
            let late = raise(&mover, epoch).await.unwrap_err();
            assert!(matches!(late, FenceError::NotFromDown { .. }), "{late}");
        }
        assert_eq!(shop.datacl().await, before);
        raise(&mover, 4).await.unwrap();
        fence::lower_epoch(&mover, Epoch(3), SOON).await.unwrap();
        assert!(
            fence::state(&mover).await.unwrap().is_fenced(),
            "a later fence is left alone"
        );
        fence::lower_epoch(&mover, Epoch(6), SOON).await.unwrap();
        let row = fence::state(&mover).await.unwrap().row.unwrap();
        assert_eq!((row.epoch, row.position), (Epoch(6), FencePosition::Down));
        assert!(raise(&mover, 5).await.is_err());
        assert_eq!(shop.datacl().await, before);
    }
}

#[tokio::test]
async fn of_a_raise_and_a_lower_of_one_epoch_at_the_same_time_the_fence_ends_down() {
    let shop = Shop::open(16, Acl::Granted).await;
    let (one, other) = (
        shop.connect("postgres").await,
        shop.connect("migrator").await,
    );
    let ours = [other.backend_pid()];
    let fence = Fence::prepare(&one, patient()).await.unwrap();
    for round in 1..=30 {
        let epoch = Epoch(round);
        let raised = async { fence.raise(&one, &ours, epoch).await.is_ok() };
        let lowered = fence::lower_epoch(&other, epoch, SOON);
        let (_raised, lowered) = tokio::join!(raised, lowered);
        lowered.unwrap();
        fence::lower_epoch(&other, epoch, SOON).await.unwrap();
        let state = fence::state(&one).await.unwrap();
        assert!(
            !state.is_fenced() && state.open_to.contains(&"app".to_owned()),
            "{state:?}"
        );
    }
}
