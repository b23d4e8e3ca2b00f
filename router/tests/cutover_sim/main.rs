//! Movements under failures: the real machine and the real switch against two servers in memory.
//!
//! Every seed is one life: applications write through the proxy and past it, movements go both
//! ways, connections break before or after the server has done what it was asked for, requests are
//! done long after nobody waits for them any more, servers are out of reach, and the proxy crashes
//! between any two actions and starts again from what the servers say. At every moment at most one
//! side takes applications' writes and neither side has a write that the other one lacks *and*
//! the other way round. Then everything heals, and the movement must come to an end: one side
//! serves, takes writes, and has every write that was ever committed, once.

#![expect(clippy::panic, reason = "that is how a simulation fails")]

mod events;
mod proxy;
mod world;

use self::proxy::Proxy;
use self::world::{Dice, World};

/// Troubles of a life.
#[derive(Clone, Copy)]
enum Troubles {
    /// Nothing breaks.
    None,
    /// Connections break, servers are out of reach.
    Network,
    /// The proxy crashes too.
    Crashes,
}

fn live(seed: u64, troubles: Troubles) -> Proxy {
    let mut dice = Dice(seed);
    let mut proxy = Proxy::new(World::new());
    for _ in 0..dice.below(400) + 100 {
        proxy.step(&mut dice);
        match troubles {
            Troubles::None => {}
            Troubles::Network => proxy.trouble_network(&mut dice),
            Troubles::Crashes => {
                proxy.trouble_network(&mut dice);
                if dice.percent(3) {
                    proxy.crash();
                }
            }
        }
        proxy.check();
    }
    proxy.heal(&mut dice);
    proxy
}

#[test]
fn without_troubles_every_movement_that_is_not_given_up_switches() {
    let lives = (0..500).map(|seed| live(seed, Troubles::None));
    let (switched, given_up) = lives.fold((0, 0), |(switched, given_up), proxy| {
        assert_eq!(proxy.refused_writes, 0, "an application saw an error");
        (switched + proxy.switched, given_up + proxy.given_up)
    });
    assert!(switched > 500, "{switched} switched, {given_up} given up");
}

#[test]
fn a_broken_network_never_leaves_two_sides_open_nor_loses_a_write() {
    let lives = (0..3000).map(|seed| live(seed, Troubles::Network));
    let (switched, given_up) = lives.fold((0, 0), |(switched, given_up), proxy| {
        assert_eq!(proxy.refused_writes, 0, "an application saw a fence");
        (switched + proxy.switched, given_up + proxy.given_up)
    });
    assert!(
        switched > 300 && given_up > 300,
        "{switched} switched, {given_up} given up"
    );
}

#[test]
fn after_crashes_anywhere_exactly_one_legal_state_is_reached() {
    let lives = (0..6000).map(|seed| live(seed, Troubles::Crashes));
    let (switched, restarts) = lives.fold((0, 0), |(switched, restarts), proxy| {
        (switched + proxy.switched, restarts + proxy.restarts)
    });
    assert!(
        switched > 300 && restarts > 6000,
        "{switched} switched, {restarts} restarts"
    );
}
