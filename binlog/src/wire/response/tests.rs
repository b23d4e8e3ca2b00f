use proptest::prelude::*;

use super::*;

fn flags() -> Capabilities {
    Capabilities::PROTOCOL_41 | Capabilities::SESSION_TRACK
}

#[test]
fn a_servers_ok_with_trackers_is_read() {
    // What MySQL 9 answers to `USE shop` with the schema tracker on.
    let packet = Bytes::from_static(b"\x00\x00\x00\x02\x40\x00\x00\x00\x07\x01\x05\x04shop");
    let ok = OkPacket::parse(&packet, flags()).unwrap();
    assert!(ok.status.contains(StatusFlags::AUTOCOMMIT));
    let changes: Vec<_> = ok.changes().collect();
    assert_eq!(changes, [Ok(StateChange::Schema(b"shop"))]);
}

#[test]
fn the_text_of_an_old_servers_ok_is_read_with_and_without_its_length() {
    // MySQL 5.6 after LOAD DATA, and what the manual says it should send.
    for packet in [
        &b"\x00\x01\x00\x02\x00\x00\x00\x0aRecords: 1"[..],
        b"\x00\x01\x00\x02\x00\x00\x00Records: 1",
    ] {
        let ok = OkPacket::parse(&Bytes::copy_from_slice(packet), Capabilities::PROTOCOL_41);
        assert_eq!(ok.unwrap().info, "Records: 1");
    }
}

#[test]
fn rows_that_begin_like_an_eof_are_rows() {
    let row = vec![EOF; 20];
    assert!(!ends_rows(&row, Capabilities::PROTOCOL_41));
    assert!(ends_rows(&[EOF, 0, 0, 2, 0], Capabilities::PROTOCOL_41));
    let deprecated = Capabilities::PROTOCOL_41 | Capabilities::DEPRECATE_EOF;
    assert!(ends_rows(&[EOF, 0, 0, 2, 0, 0, 0], deprecated));
    let long = vec![EOF; super::super::limits::FRAME_PAYLOAD_BYTES_MAX];
    assert!(!ends_rows(&long, deprecated));
}

proptest! {
    #[test]
    fn an_ok_that_is_written_is_read_again(
        affected_rows: u64, last_insert_id: u64, status: u16, warnings: u16,
        info: Vec<u8>, changes: Vec<u8>, track: bool,
    ) {
        let capabilities = flags().with(Capabilities::SESSION_TRACK, track);
        let status = StatusFlags(status);
        let changed = track && status.contains(StatusFlags::SESSION_STATE_CHANGED);
        let ok = OkPacket {
            affected_rows, last_insert_id, status, warnings,
            info: info.into(),
            state_changes: if changed { changes.into() } else { Bytes::new() },
        };
        let mut out = BytesMut::new();
        ok.put(OK, capabilities, &mut out);
        prop_assert_eq!(OkPacket::parse(&out.freeze(), capabilities), Ok(ok));
    }

    #[test]
    fn an_error_that_is_written_is_read_again(code: u16, message: String) {
        let error = ServerError::new(code, "42S02", message);
        let mut out = BytesMut::new();
        put_error(&error, flags(), &mut out);
        prop_assert_eq!(ServerError::parse(&out.freeze()), Ok(error));
    }

    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        let packet = Bytes::from(bytes);
        if let Ok(ok) = OkPacket::parse(&packet, flags()) {
            let _changes = ok.changes().count();
        }
        let _other = (EofPacket::parse(&packet), ServerError::parse(&packet));
    }
}
