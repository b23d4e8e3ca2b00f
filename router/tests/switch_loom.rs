//! loom models of the switch: every interleaving of a few threads.
//!
//! Run by `RUSTFLAGS="--cfg router_loom" CARGO_TARGET_DIR=target/loom cargo test -p router --test
//! switch_loom --release`. Who must not meet shares a cell that loom watches: two accesses that no
//! order keeps apart fail the model.
#![cfg(router_loom)]

use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;
use router::{Drained, Gate, Side, Switch};

/// Something on a server that must be touched by one at a time.
struct Data(UnsafeCell<u32>);

impl Data {
    fn new() -> Arc<Self> {
        Arc::new(Self(UnsafeCell::new(0)))
    }

    fn write(&self) {
        self.0.with_mut(|data| {
            // SAFETY: loom itself fails the model if another access may run at the same time.
            #[allow(unsafe_code, reason = "loom's cells have no safe access")]
            unsafe {
                *data += 1;
            }
        });
    }
}

fn drained(switch: &std::sync::Arc<Switch>) -> Drained {
    let mut held = switch.hold(Side::Target).expect("nobody else holds");
    block_on(held.drain());
    held.into_drained().expect("drained")
}

/// All interleavings in which threads are interrupted at most three times in all: without a bound
/// three threads take minutes.
fn three_threads(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// Each session has its own part of the source; the mover touches all of them once they are
/// drained, and readies the target for them before the switch.
fn sessions_meet_a_movement(sessions: usize, shards: usize) {
    let switch = Switch::new(shards, Side::Source);
    let parts: Vec<_> = (0..sessions).map(|_| (Data::new(), Data::new())).collect();
    let threads: Vec<_> = parts
        .iter()
        .enumerate()
        .map(|(number, (source, target))| {
            let mut gate = Gate::new(&switch, number);
            let (source, target) = (source.clone(), target.clone());
            thread::spawn(move || {
                if let Ok(side) = gate.try_enter() {
                    match side {
                        Side::Source => source.write(),
                        Side::Target => target.write(),
                    }
                    gate.leave();
                }
            })
        })
        .collect();
    let drained = drained(&switch);
    for (source, target) in &parts {
        source.write();
        target.write();
    }
    drained.fenced().caught_up().switch().release();
    for thread in threads {
        thread.join().expect("no panic");
    }
}

#[test]
fn after_drained_no_permit_for_the_old_side_is_left_or_given() {
    loom::model(|| sessions_meet_a_movement(1, 1));
}

#[test]
fn after_drained_no_permit_is_left_on_any_shard() {
    three_threads(|| sessions_meet_a_movement(2, 2));
}

#[test]
fn two_sessions_on_one_shard_are_both_drained() {
    three_threads(|| sessions_meet_a_movement(2, 1));
}

#[test]
fn a_session_that_waits_enters_on_the_new_side_after_the_release() {
    loom::model(|| {
        let switch = Switch::new(1, Side::Source);
        let (source, target) = (Data::new(), Data::new());
        let mut gate = Gate::new(&switch, 0);
        let session = {
            let (source, target) = (source.clone(), target.clone());
            thread::spawn(move || {
                // Never woken, this is a deadlock, and loom says so.
                match block_on(gate.enter()) {
                    Side::Source => source.write(),
                    Side::Target => target.write(),
                }
            })
        };
        let drained = drained(&switch);
        source.write();
        target.write();
        drained.fenced().caught_up().switch().release();
        session.join().expect("no panic");
    });
}

#[test]
fn every_waiter_is_woken_by_an_abort() {
    three_threads(|| {
        let switch = Switch::new(1, Side::Source);
        let held = switch.hold(Side::Target).expect("nobody else holds");
        let sessions = [(); 2].map(|()| {
            let mut gate = Gate::new(&switch, 0);
            thread::spawn(move || assert_eq!(block_on(gate.enter()), Side::Source))
        });
        drop(held);
        for session in sessions {
            session.join().expect("no panic");
        }
    });
}

#[test]
fn a_drain_is_woken_by_the_last_permit() {
    three_threads(|| {
        let switch = Switch::new(2, Side::Source);
        let sessions = [0, 1].map(|number| {
            let mut gate = Gate::new(&switch, number);
            gate.try_enter().expect("the switch is open");
            thread::spawn(move || gate.leave())
        });
        drop(drained(&switch));
        for session in sessions {
            session.join().expect("no panic");
        }
    });
}

#[test]
fn a_session_that_turns_back_wakes_the_drain() {
    loom::model(|| {
        let switch = Switch::new(1, Side::Source);
        let mut gate = Gate::new(&switch, 0);
        let session = thread::spawn(move || {
            assert_ne!(gate.try_enter(), Ok(Side::Target));
            gate.leave();
        });
        drop(drained(&switch));
        session.join().expect("no panic");
    });
}

#[test]
fn the_epoch_never_goes_back_and_belongs_to_its_side() {
    loom::model(|| {
        let switch = Switch::new(1, Side::Source);
        let watched = std::sync::Arc::clone(&switch);
        let watcher = thread::spawn(move || {
            let first = watched.epoch();
            let serving = watched.serving();
            let second = watched.epoch();
            assert!(first <= second);
            if serving == Some(Side::Target) {
                assert_eq!(second.0, 1);
            }
        });
        drained(&switch).fenced().caught_up().switch().release();
        assert_eq!(switch.epoch().0, 1);
        watcher.join().expect("no panic");
    });
}
