//! Answers as servers give them, by both ways to mark their ends.

use proptest::prelude::*;

use super::super::command::Command;
use super::*;

const BOTH: [EofStyle; 2] = [EofStyle::Packets, EofStyle::Deprecated];
const IN_TRANSACTION: u16 = 0x0003;
const AUTOCOMMIT: u16 = 0x0002;

fn pulse(eof: EofStyle) -> Pulse {
    Pulse::new(eof, AUTOCOMMIT)
}

fn ask(pulse: &mut Pulse, command: Command) {
    pulse
        .client(command, Origin::Client, LocalFile::MustNotAsk)
        .unwrap();
}

fn say(pulse: &mut Pulse, payload: &[u8]) -> Seen {
    let length = u32::try_from(payload.len()).unwrap();
    // However it is cut, it is never judged by less than it takes.
    for cut in 0..payload.len() {
        let mut early = Pulse::new(pulse.eof, 0);
        early.queue = pulse.queue.clone();
        early.phase = pulse.phase;
        match early.server(length, &payload[..cut]) {
            Ok(Seen::More) => {}
            seen => {
                let mut whole = Pulse::new(pulse.eof, 0);
                whole.queue = pulse.queue.clone();
                whole.phase = pulse.phase;
                assert_eq!(seen, whole.server(length, payload), "cut at {cut}");
            }
        }
    }
    pulse.server(length, payload).unwrap()
}

fn ok(status: u16) -> Vec<u8> {
    let mut payload = vec![0, 0xfc, 1, 2, 0];
    payload.extend(status.to_le_bytes());
    payload.extend([0, 0]);
    payload
}

fn end(eof: EofStyle, status: u16) -> Vec<u8> {
    let [s0, s1] = status.to_le_bytes();
    match eof {
        EofStyle::Packets => vec![0xfe, 0, 0, s0, s1],
        EofStyle::Deprecated => vec![0xfe, 0, 0, s0, s1, 0, 0],
    }
}

fn error() -> Vec<u8> {
    b"\xff\x48\x04#42000oops".to_vec()
}

/// A result of two columns and some rows, among them rows that look like ends.
fn result(pulse: &mut Pulse, status: u16) {
    let eof = pulse.eof;
    say(pulse, &[2]);
    say(pulse, b"\x03def...");
    say(pulse, b"\x03def...");
    if eof == EofStyle::Packets {
        say(pulse, &end(eof, status | flag::MORE_RESULTS));
    }
    say(pulse, b"\x00\x05hello");
    say(pulse, b"\x01a\xfb");
    say(pulse, &end(eof, status));
}

#[test]
fn a_transaction_is_told_by_the_flags_of_the_last_packet() {
    for eof in BOTH {
        let mut pulse = pulse(eof);
        assert!(pulse.is_idle());
        ask(&mut pulse, Command::Query);
        assert!(!pulse.is_idle());
        say(&mut pulse, &ok(IN_TRANSACTION));
        assert!(pulse.is_answered() && !pulse.is_idle());
        ask(&mut pulse, Command::Query);
        result(&mut pulse, IN_TRANSACTION);
        assert!(pulse.is_answered() && !pulse.is_idle());
        ask(&mut pulse, Command::Query);
        say(&mut pulse, &ok(AUTOCOMMIT));
        assert!(pulse.is_idle());
    }
}

#[test]
fn with_autocommit_off_a_session_is_idle_between_transactions() {
    let mut pulse = Pulse::new(EofStyle::Deprecated, 0);
    assert!(pulse.is_idle());
    ask(&mut pulse, Command::Query);
    say(&mut pulse, &ok(0x0001));
    assert!(!pulse.is_idle());
    ask(&mut pulse, Command::Query);
    say(&mut pulse, &ok(0));
    assert!(pulse.is_idle());
}

#[test]
fn many_results_are_one_answer() {
    for eof in BOTH {
        let mut pulse = pulse(eof);
        ask(&mut pulse, Command::Query);
        result(&mut pulse, AUTOCOMMIT | flag::MORE_RESULTS);
        assert!(!pulse.is_answered());
        say(&mut pulse, &ok(AUTOCOMMIT | flag::MORE_RESULTS));
        assert!(!pulse.is_answered());
        result(&mut pulse, AUTOCOMMIT);
        assert!(pulse.is_idle());
    }
}

#[test]
fn an_error_leaves_the_transaction_in_doubt_until_we_asked() {
    for eof in BOTH {
        let mut pulse = pulse(eof);
        ask(&mut pulse, Command::Query);
        say(&mut pulse, &error());
        assert!(pulse.is_answered() && !pulse.is_idle() && pulse.wants_probe());
        pulse
            .client(Command::Simple, Origin::Own, LocalFile::MustNotAsk)
            .unwrap();
        // The client goes on meanwhile, and its answer is its own.
        ask(&mut pulse, Command::Query);
        assert!(!pulse.wants_probe());
        assert_eq!(say(&mut pulse, &end(eof, IN_TRANSACTION)), Seen::Swallow);
        assert_eq!(say(&mut pulse, &ok(AUTOCOMMIT)), Seen::Pass);
        assert!(pulse.is_idle());
    }
}

#[test]
fn an_error_in_the_middle_of_rows_ends_the_answer() {
    for eof in BOTH {
        let mut pulse = pulse(eof);
        ask(&mut pulse, Command::Query);
        say(&mut pulse, &[1]);
        say(&mut pulse, b"\x03def...");
        if eof == EofStyle::Packets {
            say(&mut pulse, &end(eof, 0));
        }
        say(&mut pulse, b"\x01a");
        say(&mut pulse, &error());
        assert!(pulse.wants_probe());
    }
}

#[test]
fn a_row_that_begins_like_an_end_is_told_by_its_length() {
    for eof in BOTH {
        let mut pulse = pulse(eof);
        ask(&mut pulse, Command::Query);
        say(&mut pulse, &[1]);
        say(&mut pulse, b"\x03def...");
        if eof == EofStyle::Packets {
            say(&mut pulse, &end(eof, 0));
        }
        // A value of 2^24 bytes: its packet is full.
        let seen = pulse.server(0x00ff_ffff, &[0xfe, 0, 0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(seen, Ok(Seen::Pass));
        assert!(!pulse.is_answered());
        say(&mut pulse, &end(eof, AUTOCOMMIT));
        assert!(pulse.is_idle());
    }
}

#[test]
fn a_prepared_statement_is_counted_out_and_its_id_told() {
    for eof in BOTH {
        let mut pulse = pulse(eof);
        ask(&mut pulse, Command::Prepare);
        let seen = say(&mut pulse, &[0, 7, 0, 0, 0, 2, 0, 1, 0, 0, 0, 0]);
        let expected = Prepared {
            statement: 7,
            params: 1,
        };
        assert_eq!(seen, Seen::Prepared(expected));
        let packets = match eof {
            EofStyle::Packets => 5,
            EofStyle::Deprecated => 3,
        };
        for packet in 0..packets {
            assert!(!pulse.is_answered(), "{packet}");
            say(&mut pulse, b"\x03def...");
        }
        assert!(pulse.is_idle());
        ask(&mut pulse, Command::Prepare);
        say(&mut pulse, &[0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert!(pulse.is_idle());
    }
}

#[test]
fn an_open_cursor_keeps_its_session_busy() {
    for eof in BOTH {
        let mut pulse = pulse(eof);
        let statement = 3;
        ask(
            &mut pulse,
            Command::Execute {
                statement,
                cursor: true,
            },
        );
        say(&mut pulse, &[1]);
        say(&mut pulse, b"\x03def...");
        say(&mut pulse, &end(eof, AUTOCOMMIT | flag::CURSOR_EXISTS));
        assert!(pulse.is_answered() && !pulse.is_idle());
        ask(&mut pulse, Command::Fetch { statement });
        say(&mut pulse, b"\x00\x00row");
        say(&mut pulse, &end(eof, AUTOCOMMIT | flag::CURSOR_EXISTS));
        assert!(!pulse.is_idle());
        ask(&mut pulse, Command::Fetch { statement });
        let last = AUTOCOMMIT | flag::CURSOR_EXISTS | flag::LAST_ROW_SENT;
        say(&mut pulse, &end(eof, last));
        assert!(pulse.is_idle());
    }
}

/// MariaDB's flags tell of cursors inside a routine too.
#[test]
fn rows_follow_where_no_cursor_was_asked_for() {
    let statement = 3;
    for command in [
        Command::Query,
        Command::Execute {
            statement,
            cursor: false,
        },
    ] {
        for eof in BOTH {
            let mut pulse = pulse(eof);
            ask(&mut pulse, command);
            say(&mut pulse, &[1]);
            say(&mut pulse, b"\x03def...");
            if eof == EofStyle::Packets {
                say(&mut pulse, &end(eof, AUTOCOMMIT | flag::CURSOR_EXISTS));
            }
            // A row that begins with NULL.
            say(&mut pulse, b"\xfb");
            assert!(!pulse.is_answered());
            say(&mut pulse, &end(eof, AUTOCOMMIT | flag::CURSOR_EXISTS));
            assert!(pulse.is_answered() && pulse.is_idle(), "{command:?}");
        }
    }
}

#[test]
fn a_cursor_that_is_closed_behind_its_own_fetch_is_closed() {
    let mut pulse = pulse(EofStyle::Packets);
    let statement = 3;
    ask(&mut pulse, Command::Fetch { statement });
    ask(&mut pulse, Command::Close { statement });
    say(&mut pulse, &end(EofStyle::Packets, flag::CURSOR_EXISTS));
    assert!(pulse.is_idle());
}

#[test]
fn a_piece_of_a_parameter_keeps_its_session_busy_until_it_is_used() {
    let mut pulse = pulse(EofStyle::Deprecated);
    ask(&mut pulse, Command::LongData { statement: 1 });
    assert!(pulse.is_answered() && !pulse.is_idle());
    ask(
        &mut pulse,
        Command::Execute {
            statement: 1,
            cursor: false,
        },
    );
    say(&mut pulse, &ok(AUTOCOMMIT));
    assert!(pulse.is_idle());
    ask(&mut pulse, Command::LongData { statement: 2 });
    ask(&mut pulse, Command::Close { statement: 2 });
    assert!(pulse.is_idle());
}

#[test]
fn what_holds_for_the_next_transaction_keeps_the_session_until_that_is_over() {
    let mut pulse = pulse(EofStyle::Deprecated);
    pulse.one_shot();
    ask(&mut pulse, Command::Query);
    say(&mut pulse, &ok(AUTOCOMMIT));
    assert!(pulse.is_answered() && !pulse.is_idle());
    ask(&mut pulse, Command::Query);
    say(&mut pulse, &ok(IN_TRANSACTION));
    ask(&mut pulse, Command::Query);
    say(&mut pulse, &ok(AUTOCOMMIT));
    assert!(pulse.is_idle());
}

#[test]
fn a_server_that_asks_for_a_file_unasked_is_not_obeyed() {
    let mut pulse = pulse(EofStyle::Deprecated);
    ask(&mut pulse, Command::Query);
    assert_eq!(
        pulse.server(12, b"\xfb/etc/passwd"),
        Err(Oddity::UnaskedFile)
    );
}

#[test]
fn a_file_that_was_offered_is_read_and_then_answered() {
    let mut pulse = pulse(EofStyle::Deprecated);
    pulse
        .client(Command::Query, Origin::Client, LocalFile::MayAsk)
        .unwrap();
    say(&mut pulse, b"\xfbfile.csv");
    assert!(pulse.reads_file() && !pulse.is_answered());
    pulse.file_ended();
    assert!(!pulse.reads_file());
    say(&mut pulse, &ok(AUTOCOMMIT));
    assert!(pulse.is_idle());
}

#[test]
fn a_file_with_commands_behind_its_statement_is_refused() {
    let mut pulse = pulse(EofStyle::Deprecated);
    pulse
        .client(Command::Query, Origin::Client, LocalFile::MayAsk)
        .unwrap();
    ask(&mut pulse, Command::Query);
    assert_eq!(pulse.server(2, b"\xfbf"), Err(Oddity::UnaskedFile));
}

#[test]
fn statistics_and_field_lists_have_their_own_ends() {
    for eof in BOTH {
        let mut pulse = pulse(eof);
        ask(&mut pulse, Command::Statistics);
        say(&mut pulse, b"Uptime: 5");
        assert!(pulse.is_idle());
        ask(&mut pulse, Command::FieldList);
        say(&mut pulse, b"\x03def...");
        say(&mut pulse, b"\x03def...");
        assert!(!pulse.is_answered());
        say(&mut pulse, &end(eof, AUTOCOMMIT));
        assert!(pulse.is_idle());
    }
}

#[test]
fn a_reset_connection_forgets_what_kept_the_session_busy() {
    let mut pulse = pulse(EofStyle::Deprecated);
    ask(&mut pulse, Command::LongData { statement: 1 });
    ask(&mut pulse, Command::ResetConnection);
    assert_eq!(say(&mut pulse, &ok(AUTOCOMMIT)), Seen::Reset);
    assert!(pulse.is_idle());
}

#[test]
fn nonsense_of_a_server_is_an_error_and_no_panic() {
    let mut pulse = pulse(EofStyle::Packets);
    ask(&mut pulse, Command::Query);
    assert_eq!(pulse.server(0, b""), Err(Oddity::Malformed));
    assert_eq!(pulse.server(1, b"\x00"), Err(Oddity::Malformed));
    assert_eq!(
        pulse.server(9, &[0xfe, 255, 255, 255, 255, 255, 255, 255, 255]),
        Err(Oddity::Malformed)
    );
}

fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        Just(Command::Query),
        Just(Command::Prepare),
        Just(Command::Execute {
            statement: 1,
            cursor: false
        }),
        Just(Command::Fetch { statement: 1 }),
        Just(Command::FieldList),
        Just(Command::Simple),
    ]
}

proptest! {
    #[test]
    fn no_packet_makes_it_panic_and_no_open_transaction_is_taken_for_idle(
        command in any_command(),
        packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..24), 1..20),
        deprecated in any::<bool>(),
    ) {
        let eof = if deprecated { EofStyle::Deprecated } else { EofStyle::Packets };
        let mut pulse = Pulse::new(eof, IN_TRANSACTION);
        ask(&mut pulse, command);
        for payload in packets {
            let length = u32::try_from(payload.len()).unwrap();
            if pulse.server(length, &payload).is_err() {
                break;
            }
            prop_assert!(!pulse.is_idle() || pulse.is_answered());
        }
    }
}
