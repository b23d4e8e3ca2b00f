//! Events in any order, also such that no server would give: what must never be asked for.

use proptest::prelude::*;

use super::*;

fn events() -> impl Strategy<Value = Vec<(Happens, u64)>> {
    let event = prop_oneof![
        Just(Event::Begun),
        Just(Event::BeginRefused),
        Just(Event::BeginUnknown),
        Just(Event::Held),
        Just(Event::HoldRefused),
        Just(Event::Drained),
        Just(Event::Fenced),
        Just(Event::FenceFailed),
        Just(Event::Marked("marker")),
        Just(Event::MarkerFailed),
        Just(Event::CaughtUp),
        Just(Event::CatchUpFailed),
        Just(Event::Counters(7)),
        Just(Event::CountersFailed),
        Just(Event::Promoted),
        Just(Event::PromoteRefused),
        Just(Event::PromoteUnknown),
        Just(Event::Resolved(Resolution::Switched)),
        Just(Event::Resolved(Resolution::Aborted)),
        Just(Event::ResolveFailed),
        Just(Event::Lowered),
        Just(Event::LowerFailed),
        Just(Event::GiveUp),
        Just(Event::Tick),
    ];
    // Often the event that is waited for, so that some movements come far.
    let next = prop_oneof![3 => Just(None), 1 => event.prop_map(Some)];
    prop::collection::vec((next, 0..150_u64), 0..60).prop_map(|events| {
        let mut way = [
            Event::Begun,
            Event::Held,
            Event::Drained,
            Event::Fenced,
            Event::Counters(7),
            Event::Marked("marker"),
            Event::CaughtUp,
            Event::PromoteUnknown,
            Event::Lowered,
        ]
        .into_iter()
        .cycle();
        let events = events.into_iter();
        events
            .map(|(event, ms)| (event.or_else(|| way.next()).expect("endless"), ms))
            .collect()
    })
}

/// What was asked for and answered so far.
#[derive(Default)]
struct Seen {
    /// A fence may be up.
    fence: bool,
    promotion: bool,
    /// The journal's last word after the promotion.
    journal: Option<Resolution>,
    ways_out: usize,
}

impl Seen {
    fn event(&mut self, event: &Happens, step: Step) {
        match event {
            Event::Promoted if matches!(step, Step::Promoting | Step::Resolving) => {
                self.journal = Some(Resolution::Switched);
            }
            Event::Resolved(resolution) if step == Step::Resolving => {
                self.journal = Some(*resolution);
            }
            Event::Lowered if step == Step::Lowering => self.fence = false,
            _ => {}
        }
    }

    fn action(&mut self, action: &Doing, step: Step) {
        match action {
            Action::RaiseFence => self.fence = true,
            Action::Promote(_) => {
                assert!(!self.promotion, "a promotion is sent once");
                self.promotion = true;
            }
            Action::LowerFence(side) if *side == PLAN.from() && self.promotion => {
                assert_eq!(
                    self.journal,
                    Some(Resolution::Aborted),
                    "lowered on a guess"
                );
            }
            Action::SwitchAndRelease => {
                assert_eq!(
                    self.journal,
                    Some(Resolution::Switched),
                    "switched on a guess"
                );
                self.ways_out += 1;
            }
            Action::Release => {
                assert!(!self.fence, "released behind a fence");
                assert_ne!(
                    self.journal,
                    Some(Resolution::Switched),
                    "released after the switch"
                );
                self.ways_out += 1;
            }
            _ => {}
        }
        assert!(
            self.ways_out <= 1,
            "released twice, the second time in {}",
            step.as_str()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_order_of_events_leads_to_a_guess(events in events(), fenced in any::<bool>()) {
        let arrival = if fenced { Arrival::Fenced } else { Arrival::Open };
        let (mut movement, _begin) = Moving::new(Plan { arrival, ..PLAN });
        let (mut seen, mut now) = (Seen::default(), Duration::ZERO);
        for (event, passed) in events {
            now += ms(passed);
            seen.event(&event, movement.step());
            let actions;
            (movement, actions) = movement.handle(now, event);
            for action in &actions {
                seen.action(action, movement.step());
            }
        }
    }
}
