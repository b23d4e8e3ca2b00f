//! Tests of the switch: each step, and who waits and wakes.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake};

use super::*;

/// A waker that counts.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Woken {
    fn times(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>, woken: &Arc<Woken>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(woken))))
}

fn drained(mut held: Held) -> Drained {
    let woken = Arc::default();
    assert!(poll(pin!(held.drain()), &woken).is_ready());
    held.into_drained().unwrap()
}

#[test]
fn a_whole_movement_changes_the_side_and_the_epoch() {
    let switch = Switch::new(4, Side::Source);
    let mut gate = Gate::new(&switch, 17);
    assert_eq!(gate.try_enter(), Ok(Side::Source));
    gate.leave();
    let drained = drained(switch.hold(Side::Target).unwrap());
    assert_eq!(gate.try_enter(), Err(MustWait));
    let switched = drained.fenced().caught_up().switch();
    assert_eq!(switched.epoch(), Epoch(1));
    assert_eq!(gate.try_enter(), Err(MustWait), "still held");
    switched.release();
    assert_eq!(gate.try_enter(), Ok(Side::Target));
    assert_eq!(
        (switch.serving(), switch.epoch()),
        (Some(Side::Target), Epoch(1))
    );
}

#[test]
fn dropping_a_step_leaves_the_side_as_it_was() {
    let switch = Switch::new(1, Side::Source);
    let still_serves = || {
        assert!(!switch.is_held());
        assert_eq!(
            (switch.serving(), switch.epoch()),
            (Some(Side::Source), Epoch::FIRST)
        );
    };
    drop(switch.hold(Side::Target).unwrap());
    still_serves();
    drop(drained(switch.hold(Side::Target).unwrap()));
    still_serves();
    drop(drained(switch.hold(Side::Target).unwrap()).fenced());
    still_serves();
    drop(
        drained(switch.hold(Side::Target).unwrap())
            .fenced()
            .caught_up(),
    );
    still_serves();
    drop(
        drained(switch.hold(Side::Target).unwrap())
            .fenced()
            .caught_up()
            .switch(),
    );
    assert_eq!(switch.serving(), Some(Side::Target));
    assert!(!switch.is_held());
}

#[test]
fn only_one_movement_holds_and_only_to_the_other_side() {
    let switch = Switch::new(1, Side::Source);
    assert_eq!(
        switch.hold(Side::Source).unwrap_err(),
        HoldError::AlreadyServing(Side::Source)
    );
    let held = switch.hold(Side::Target).unwrap();
    assert_eq!(
        switch.hold(Side::Target).unwrap_err(),
        HoldError::AlreadyHeld
    );
    drop(held);
    assert!(switch.hold(Side::Target).is_ok());
}

#[test]
fn a_drain_ends_with_the_last_permit_and_not_before() {
    let switch = Switch::new(2, Side::Source);
    let mut gates = [Gate::new(&switch, 0), Gate::new(&switch, 1)];
    for gate in &mut gates {
        gate.try_enter().unwrap();
    }
    let mut held = switch.hold(Side::Target).unwrap();
    assert_eq!(held.running(), 2);
    let woken = Arc::default();
    let [first, second] = gates;
    {
        let mut drain = pin!(held.drain());
        assert!(poll(drain.as_mut(), &woken).is_pending());
        drop(first);
        assert!(poll(drain.as_mut(), &woken).is_pending());
    }
    held = held.into_drained().unwrap_err();
    let mut drain = pin!(held.drain());
    assert!(
        poll(drain.as_mut(), &woken).is_pending(),
        "a drain may be started again"
    );
    let before = woken.times();
    drop(second);
    assert_eq!(woken.times(), before + 1);
    assert!(poll(drain.as_mut(), &woken).is_ready());
}

#[test]
fn who_waits_goes_on_after_the_release_on_the_new_side() {
    let switch = Switch::new(1, Side::Source);
    let mut gate = Gate::new(&switch, 0);
    let drained = drained(switch.hold(Side::Target).unwrap());
    let woken = Arc::default();
    let mut enter = pin!(gate.enter());
    assert!(poll(enter.as_mut(), &woken).is_pending());
    let switched = drained.fenced().caught_up().switch();
    assert_eq!(woken.times(), 0);
    switched.release();
    assert_eq!(woken.times(), 1);
    assert_eq!(poll(enter.as_mut(), &woken), Poll::Ready(Side::Target));
    assert_eq!(switch.running(), 1);
}

#[test]
fn a_waiter_that_gives_up_leaves_the_list_and_has_no_permit() {
    let switch = Switch::new(1, Side::Source);
    let held = switch.hold(Side::Target).unwrap();
    let mut gate = Gate::new(&switch, 0);
    let woken = Arc::default();
    {
        let mut enter = pin!(gate.enter());
        assert!(poll(enter.as_mut(), &woken).is_pending());
        assert!(
            poll(enter.as_mut(), &woken).is_pending(),
            "polled again, it is still one waiter"
        );
        assert_eq!(switch.waiters.len(), 1);
    }
    assert_eq!(switch.waiters.len(), 0);
    assert!(!gate.is_inside());
    assert_eq!(switch.running(), 0);
    drop(held);
    assert_eq!(woken.times(), 0);
}

#[test]
fn a_permit_goes_back_once_however_often_one_leaves() {
    let switch = Switch::new(1, Side::Source);
    let mut gate = Gate::new(&switch, 0);
    gate.try_enter().unwrap();
    assert_eq!(
        gate.try_enter(),
        Ok(Side::Source),
        "inside, it says so again"
    );
    assert_eq!(switch.running(), 1);
    gate.leave();
    gate.leave();
    drop(gate);
    assert_eq!(switch.running(), 0);
}

#[test]
fn an_undecided_switch_waits_for_its_decision() {
    let (switch, undecided) = Switch::undecided(1);
    assert_eq!(switch.serving(), None);
    assert_eq!(
        switch.hold(Side::Target).unwrap_err(),
        HoldError::AlreadyHeld
    );
    let mut gate = Gate::new(&switch, 0);
    let woken = Arc::default();
    let mut enter = pin!(gate.enter());
    assert!(poll(enter.as_mut(), &woken).is_pending());
    undecided.decide_at(Side::Target, Epoch(3));
    assert_eq!(woken.times(), 1);
    assert_eq!(poll(enter.as_mut(), &woken), Poll::Ready(Side::Target));
    assert_eq!(switch.epoch(), Epoch(3));
}

#[test]
fn an_idle_session_learns_of_a_new_epoch_at_the_release() {
    let switch = Switch::new(1, Side::Source);
    let woken = Arc::default();
    let mut after = pin!(switch.epoch_after(Epoch::FIRST));
    assert!(poll(after.as_mut(), &woken).is_pending());
    drop(switch.hold(Side::Target).unwrap());
    assert!(
        poll(after.as_mut(), &woken).is_pending(),
        "an abort is no new epoch"
    );
    let switched = drained(switch.hold(Side::Target).unwrap())
        .fenced()
        .caught_up()
        .switch();
    assert!(poll(after.as_mut(), &woken).is_pending());
    switched.release();
    assert_eq!(poll(after.as_mut(), &woken), Poll::Ready(Epoch(1)));
}

#[test]
fn gates_and_steps_may_go_to_other_threads() {
    fn is_send<T: Send>() {}
    is_send::<Gate>();
    is_send::<Held>();
    is_send::<Switched>();
    fn future_is_send<T: Send>(_: T) {}
    let switch = Switch::new(1, Side::Source);
    let mut gate = Gate::new(&switch, 0);
    future_is_send(gate.enter());
    future_is_send(switch.epoch_after(Epoch::FIRST));
    future_is_send(switch.hold(Side::Target).unwrap().drain());
}
