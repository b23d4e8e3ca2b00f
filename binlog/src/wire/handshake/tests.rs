use proptest::prelude::*;

use super::*;

fn any_name() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(1_u8.., 0..40).prop_map(Bytes::from)
}

#[test]
fn greetings_of_real_servers_are_read() {
    // MySQL 5.6.24.
    let packet = b"\x0a5.6.24-log\0\x01\0\0\0abcdefgh\0\xff\xf7\x08\x02\0\x7f\x80\x15\
        \0\0\0\0\0\0\0\0\0\0ijklmnopqrst\0mysql_native_password\0";
    let greeting = Greeting::parse(packet).unwrap();
    assert_eq!(greeting.version, "5.6.24-log");
    assert_eq!(&greeting.scramble, b"abcdefghijklmnopqrst");
    assert_eq!(greeting.auth_plugin, "mysql_native_password");
    assert!(greeting.capabilities.contains(Capabilities::LONG_PASSWORD));
    // MariaDB, with capabilities of its own in the last four reserved bytes.
    let packet = b"\x0a5.5.5-10.11.18-MariaDB\0\x01\0\0\0abcdefgh\0\xfe\xf7\x08\x02\0\xff\x81\x15\
        \0\0\0\0\0\0\x1d\0\0\0ijklmnopqrst\0mysql_native_password\0";
    let greeting = Greeting::parse(packet).unwrap();
    assert_eq!(greeting.capabilities.mariadb_word(), 0x1d);
}

#[test]
fn a_short_challenge_is_refused() {
    let packet =
        b"\x0a8.0.1\0\x01\0\0\0abcdefgh\0\xff\xf7\x08\x02\0\x7f\x80\x15\0\0\0\0\0\0\0\0\0\0ij";
    assert!(Greeting::parse(packet).is_err());
}

#[test]
fn the_method_before_4_1_is_named() {
    let switch = AuthSwitch::parse(&Bytes::from_static(&[0xfe])).unwrap();
    assert_eq!(switch.plugin, "mysql_old_password");
}

proptest! {
    #[test]
    fn a_greeting_that_is_written_is_read_again(
        thread_id: u32, scramble: [u8; 20], standard: u32, mariadb: u32,
        collation: u8, status: u16,
    ) {
        let own = if standard & 1 == 1 { 0 } else { mariadb };
        let greeting = Greeting {
            version: "9.7.4".to_owned(),
            thread_id,
            scramble,
            capabilities: Capabilities::from_words(standard, own) | Capabilities::PLUGIN_AUTH,
            collation,
            status: StatusFlags(status),
            auth_plugin: "caching_sha2_password".to_owned(),
        };
        let mut out = BytesMut::new();
        greeting.put(&mut out);
        prop_assert_eq!(Greeting::parse(&out), Ok(greeting));
    }

    #[test]
    fn a_response_that_is_written_is_read_again(
        user in any_name(), answer in prop::collection::vec(any::<u8>(), 0..255),
        database in prop::option::of(any_name()), plugin in any_name(),
        attributes in prop::collection::vec((any_name(), any_name()), 0..5),
        lenenc_data: bool,
    ) {
        let capabilities = Capabilities::PROTOCOL_41
            | Capabilities::LONG_PASSWORD
            | Capabilities::SECURE_CONNECTION
            | Capabilities::PLUGIN_AUTH
            | Capabilities::CONNECT_ATTRS;
        let response = HandshakeResponse {
            capabilities: capabilities
                .with(Capabilities::PLUGIN_AUTH_LENENC_DATA, lenenc_data)
                .with(Capabilities::CONNECT_WITH_DB, database.is_some()),
            packet_bytes_max: 7,
            collation: 45,
            user, auth_response: answer.into(), database,
            auth_plugin: Some(plugin), attributes, zstd_level: None,
        };
        let mut out = BytesMut::new();
        response.put(&mut out).unwrap();
        prop_assert!(!HandshakeResponse::is_tls_request(&out));
        prop_assert_eq!(HandshakeResponse::parse(&out.freeze()), Ok(response));
    }

    #[test]
    fn a_change_of_method_that_is_written_is_read_again(data in prop::collection::vec(any::<u8>(), 20)) {
        let switch = AuthSwitch { plugin: "x".to_owned(), data: data.into() };
        let mut out = BytesMut::new();
        switch.put(&mut out);
        prop_assert_eq!(AuthSwitch::parse(&out.freeze()), Ok(switch));
    }

    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>, capabilities: u32) {
        let packet = Bytes::from(bytes.clone());
        let _read = (Greeting::parse(&packet), AuthSwitch::parse(&packet));
        let mut lying = capabilities.to_le_bytes().to_vec();
        lying.extend_from_slice(&[0; 28]);
        lying.extend_from_slice(&bytes);
        let _response = HandshakeResponse::parse(&Bytes::from(lying));
    }
}
