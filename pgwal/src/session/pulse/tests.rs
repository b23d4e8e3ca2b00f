//! The pulse against a model of the server's main loop.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// What the model server does with a message, drawn before the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Works,
    Fails,
    CopiesIn,
    CopiesInTwice,
    CopyFailsInside,
    /// Works, and then the statement's time is over.
    TimesOut,
    Begins,
    Commits,
}

impl Fate {
    fn copies(self) -> bool {
        matches!(
            self,
            Self::CopiesIn | Self::CopiesInTwice | Self::CopyFailsInside
        )
    }
}

/// PostgresMain and CopyGetData, as far as answers go.
#[derive(Debug)]
struct Model {
    inbox: VecDeque<(u8, Fate)>,
    status: u8,
    skipping: bool,
    copying: Option<Started>,
    copies_again: bool,
    unsynced: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Started {
    BySimple,
    ByExtended,
}

impl Model {
    fn new() -> Self {
        Self {
            inbox: VecDeque::new(),
            status: b'I',
            skipping: false,
            copying: None,
            copies_again: false,
            unsynced: false,
        }
    }

    fn is_idle(&self) -> bool {
        let matters = |(tag, _): &(u8, Fate)| !matches!(tag, b'd' | b'c' | b'f' | b'H');
        !self.inbox.iter().any(matters)
            && self.status == b'I'
            && !self.skipping
            && self.copying.is_none()
            && !self.unsynced
    }

    fn fail(&mut self, by: Started, out: &mut Vec<(u8, u8)>) {
        out.push((b'E', 0));
        self.copying = None;
        self.copies_again = false;
        if self.status == b'T' {
            self.status = b'E';
        }
        match by {
            Started::BySimple => self.ready(out),
            Started::ByExtended => self.skipping = true,
        }
    }

    fn ready(&mut self, out: &mut Vec<(u8, u8)>) {
        self.unsynced = false;
        out.push((b'Z', self.status));
    }

    fn effect(&mut self, fate: Fate) {
        match fate {
            Fate::Begins => self.status = b'T',
            Fate::Commits => self.status = b'I',
            Fate::Works
            | Fate::Fails
            | Fate::TimesOut
            | Fate::CopiesIn
            | Fate::CopiesInTwice
            | Fate::CopyFailsInside => {}
        }
    }

    /// Processes one message while data is read.
    fn step_copying(&mut self, by: Started, tag: u8, fate: Fate, out: &mut Vec<(u8, u8)>) {
        match tag {
            b'd' if fate == Fate::CopyFailsInside => self.fail(by, out),
            b'd' | b'H' | b'S' => {}
            b'c' if self.copies_again => {
                self.copies_again = false;
                out.extend([(b'C', 0), (b'G', 0)]);
            }
            b'c' => {
                self.copying = None;
                out.push((b'C', 0));
                if by == Started::BySimple {
                    self.ready(out);
                }
            }
            _other => self.fail(by, out),
        }
    }

    /// Processes one message; `false` when there is none.
    fn step(&mut self, out: &mut Vec<(u8, u8)>) -> bool {
        let Some((tag, fate)) = self.inbox.pop_front() else {
            return false;
        };
        if let Some(by) = self.copying {
            self.step_copying(by, tag, fate, out);
            return true;
        }
        match tag {
            b'S' => {
                if fate == Fate::Fails && !self.skipping {
                    self.status = b'I';
                    out.push((b'E', 0));
                }
                self.skipping = false;
                self.ready(out);
            }
            b'd' | b'c' | b'f' | b'H' => {}
            _skipped if self.skipping => {}
            b'Q' => match fate {
                Fate::Fails => self.fail(Started::BySimple, out),
                Fate::CopiesIn | Fate::CopiesInTwice | Fate::CopyFailsInside => {
                    self.copies_again = fate == Fate::CopiesInTwice;
                    self.copying = Some(Started::BySimple);
                    out.push((b'G', 0));
                }
                Fate::Works | Fate::TimesOut | Fate::Begins | Fate::Commits => {
                    self.effect(fate);
                    out.extend([(b'T', 0), (b'D', 0), (b'C', 0)]);
                    self.ready(out);
                }
            },
            b'E' => {
                self.unsynced = true;
                match fate {
                    Fate::Fails => self.fail(Started::ByExtended, out),
                    Fate::CopiesIn | Fate::CopiesInTwice | Fate::CopyFailsInside => {
                        self.copying = Some(Started::ByExtended);
                        out.push((b'G', 0));
                    }
                    Fate::Works | Fate::TimesOut | Fate::Begins | Fate::Commits => {
                        self.effect(fate);
                        out.extend([(b'D', 0), (b'C', 0)]);
                    }
                }
            }
            extended => {
                self.unsynced = true;
                if fate == Fate::Fails {
                    self.fail(Started::ByExtended, out);
                } else {
                    out.push(match extended {
                        b'P' => (b'1', 0),
                        b'B' => (b'2', 0),
                        b'C' => (b'3', 0),
                        _describe => (b'T', 0),
                    });
                }
            }
        }
        if fate == Fate::TimesOut && self.unsynced && !self.skipping && self.copying.is_none() {
            self.fail(Started::ByExtended, out);
        }
        true
    }
}

fn any_fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Works),
        2 => Just(Fate::Fails),
        1 => Just(Fate::CopiesIn),
        1 => Just(Fate::CopiesInTwice),
        1 => Just(Fate::CopyFailsInside),
        1 => Just(Fate::TimesOut),
        1 => Just(Fate::Begins),
        2 => Just(Fate::Commits),
    ]
}

fn tell(pulse: &mut Pulse, answers: &mut VecDeque<(u8, u8)>) {
    if let Some((tag, status)) = answers.pop_front() {
        if tag == b'Z' {
            pulse.ready(status);
        } else {
            pulse.server(tag);
        }
    }
}

/// Runs a history; checks safety at every step and gives back whether both are idle at the end.
fn run(messages: &[(u8, Fate)], order: &[u8]) -> (bool, bool) {
    let (mut pulse, mut model) = (Pulse::new(), Model::new());
    let mut answers = VecDeque::new();
    let mut todo = messages.iter();
    let mut order = order.iter().copied().chain(std::iter::repeat(0));
    let mut out = Vec::new();
    let mut quiet = 0;
    while quiet < 3 {
        quiet += 1;
        match order.next().unwrap() % 3 {
            0 => {
                if let Some(message) = todo.next() {
                    pulse.client(message.0);
                    model.inbox.push_back(*message);
                    quiet = 0;
                } else if model.step(&mut out) || !answers.is_empty() {
                    tell(&mut pulse, &mut answers);
                    quiet = 0;
                }
            }
            1 => {
                if model.step(&mut out) {
                    quiet = 0;
                }
            }
            _two => tell(&mut pulse, &mut answers),
        }
        answers.extend(out.drain(..));
        assert!(
            !pulse.is_idle() || model.is_idle(),
            "taken for idle: {pulse:?} {model:?}"
        );
    }
    while model.step(&mut out) {}
    answers.extend(out.drain(..));
    while !answers.is_empty() {
        tell(&mut pulse, &mut answers);
        assert!(
            !pulse.is_idle() || model.is_idle(),
            "taken for idle: {pulse:?} {model:?}"
        );
    }
    assert_eq!(pulse.oddities(), 0, "{pulse:?} {model:?}");
    (pulse.is_idle(), model.is_idle())
}

/// One well-behaved round of a client: a list of messages that ends answered.
fn any_round() -> impl Strategy<Value = Vec<(u8, Fate)>> {
    let query = any_fate().prop_map(|fate| vec![(b'Q', fate)]);
    let batch = proptest::collection::vec(
        (
            prop_oneof![Just(b'P'), Just(b'B'), Just(b'D'), Just(b'E'), Just(b'C')],
            any_fate(),
        ),
        0..6,
    )
    .prop_map(|mut batch| {
        for (tag, fate) in &mut batch {
            let may_copy = *tag == b'E';
            if !may_copy && fate.copies() {
                *fate = Fate::Works;
            }
        }
        batch.push((b'S', Fate::Works));
        batch
    });
    prop_oneof![query, batch]
}

/// After each COPY a well-behaved client sends data and an end; pipelined without looking.
fn with_copy_data(rounds: Vec<Vec<(u8, Fate)>>) -> Vec<(u8, Fate)> {
    let mut messages = Vec::new();
    for (tag, fate) in rounds.into_iter().flatten() {
        messages.push((tag, fate));
        if fate.copies() {
            messages.extend([(b'd', fate), (b'd', Fate::Works), (b'c', Fate::Works)]);
        }
        if fate == Fate::CopiesInTwice && tag == b'Q' {
            messages.extend([(b'd', Fate::Works), (b'c', Fate::Works)]);
        }
    }
    messages
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6000))]

    #[test]
    fn a_busy_server_is_never_taken_for_idle(
        messages in proptest::collection::vec(
            (prop_oneof![
                3 => Just(b'Q'), 2 => Just(b'P'), 2 => Just(b'B'), 1 => Just(b'D'), 3 => Just(b'E'),
                1 => Just(b'C'), 4 => Just(b'S'), 1 => Just(b'H'), 2 => Just(b'd'), 2 => Just(b'c'),
            ], any_fate()),
            0..24,
        ),
        order in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        run(&messages, &order);
    }

    #[test]
    fn a_well_behaved_client_is_seen_idle_when_it_is(
        rounds in proptest::collection::vec(any_round(), 0..8),
        order in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        let (seen, really) = run(&with_copy_data(rounds), &order);
        prop_assert_eq!(seen, really);
    }
}

fn talk(steps: &[(char, u8)]) -> Pulse {
    let mut pulse = Pulse::new();
    for (side, tag) in steps {
        match (side, tag) {
            ('c', tag) => pulse.client(*tag),
            ('s', b'Z') => pulse.ready(b'I'),
            (_, tag) => pulse.server(*tag),
        }
    }
    pulse
}

#[test]
fn the_syncs_sent_before_the_end_of_a_copy_by_execute_get_no_answer() {
    let early = [('c', b'P'), ('c', b'B'), ('c', b'E'), ('c', b'S')];
    let mut steps = early.to_vec();
    steps.extend([
        ('s', b'1'),
        ('s', b'2'),
        ('s', b'G'),
        ('c', b'd'),
        ('c', b'c'),
        ('c', b'S'),
    ]);
    assert!(!talk(&steps).is_idle());
    steps.extend([('s', b'C'), ('s', b'Z')]);
    assert!(talk(&steps).is_idle());
}

#[test]
fn a_query_behind_a_failed_extended_message_is_discarded_with_it() {
    let steps = [
        ('c', b'P'),
        ('c', b'Q'),
        ('s', b'E'),
        ('c', b'Q'),
        ('c', b'S'),
        ('s', b'Z'),
    ];
    assert!(talk(&steps).is_idle());
}

#[test]
fn a_query_that_fails_behind_completed_extended_messages_is_answered() {
    let steps = [
        ('c', b'P'),
        ('c', b'Q'),
        ('s', b'1'),
        ('s', b'E'),
        ('s', b'Z'),
    ];
    assert!(talk(&steps).is_idle());
}

#[test]
fn copy_data_that_arrives_after_the_copy_failed_changes_nothing() {
    let steps = [
        ('c', b'Q'),
        ('s', b'G'),
        ('c', b'd'),
        ('s', b'E'),
        ('s', b'Z'),
        ('c', b'd'),
        ('c', b'c'),
    ];
    assert!(talk(&steps).is_idle());
}

#[test]
fn after_an_answer_that_nobody_asked_for_the_session_counts_as_busy_for_good() {
    let mut pulse = talk(&[('s', b'Z')]);
    assert_eq!(pulse.oddities(), 1);
    pulse.client(b'Q');
    pulse.server(b'C');
    pulse.ready(b'I');
    assert!(!pulse.is_idle());
    assert!(!pulse.is_full());
}

#[test]
fn a_client_that_pipelines_behind_a_failure_is_read_until_its_sync() {
    let mut pulse = talk(&[('c', b'P'), ('s', b'E')]);
    for _message in 0..2 * TOKENS_MAX {
        pulse.client(b'P');
    }
    assert!(!pulse.is_full());
    pulse.client(b'S');
    assert!(!pulse.is_idle());
    pulse.ready(b'I');
    assert!(pulse.is_idle());
}

#[test]
fn a_timeout_between_two_messages_discards_up_to_the_sync() {
    let steps = [
        ('c', b'P'),
        ('s', b'1'),
        ('s', b'E'),
        ('c', b'B'),
        ('c', b'Q'),
        ('c', b'S'),
        ('s', b'Z'),
    ];
    assert!(talk(&steps).is_idle());
}

#[test]
fn a_commit_that_fails_at_its_sync_is_one_answer() {
    let steps = [
        ('c', b'E'),
        ('c', b'S'),
        ('c', b'Q'),
        ('s', b'C'),
        ('s', b'E'),
        ('s', b'Z'),
    ];
    assert!(!talk(&steps).is_idle());
    assert!(talk(&[&steps[..], &[('s', b'C'), ('s', b'Z')]].concat()).is_idle());
}

#[test]
fn a_query_may_copy_more_than_once() {
    let steps = [
        ('c', b'Q'),
        ('s', b'G'),
        ('c', b'c'),
        ('s', b'C'),
        ('s', b'G'),
    ];
    assert!(!talk(&steps).is_idle());
    let ends = [('c', b'f'), ('s', b'E'), ('s', b'Z')];
    assert!(talk(&[&steps[..], &ends].concat()).is_idle());
}

#[test]
fn syncs_without_number_into_a_copy_that_fails_keep_the_session_busy() {
    let mut steps = vec![('c', b'E'), ('s', b'G')];
    steps.extend([('c', b'S'); 2 * PLACES_MAX]);
    steps.push(('s', b'E'));
    let pulse = talk(&steps);
    assert_eq!(pulse.oddities(), 1);
    assert!(!pulse.is_idle());
}

#[test]
fn a_sync_that_may_have_been_ignored_keeps_the_session_busy_until_an_answer_settles_it() {
    let mut steps = vec![
        ('c', b'E'),
        ('s', b'G'),
        ('c', b'S'),
        ('s', b'E'),
        ('c', b'S'),
        ('s', b'Z'),
    ];
    assert!(!talk(&steps).is_idle());
    steps.extend([('c', b'Q'), ('s', b'C'), ('s', b'Z')]);
    assert!(talk(&steps).is_idle());
}
