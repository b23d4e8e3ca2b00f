use std::time::Duration;

use bytes::BytesMut;
use tokio::join;

use super::*;
use crate::wire::auth::{AuthError, caching_sha2, native, rsa};
use crate::wire::endpoint::{Endpoint, TlsMode};
use crate::wire::error::ConnectError;
use crate::wire::handshake::AuthSwitch;
use crate::wire::login::Credential;
use crate::wire::mock::{Mock, MockClient, SCRAMBLE, greeting};
use crate::wire::packet::PacketError;
use crate::wire::tls::TlsError;

async fn connect(endpoint: &Endpoint) -> Result<Conn, ConnectError> {
    Box::pin(Conn::connect(endpoint, ConnectOptions::named("test"))).await
}

/// Lets a client connect to a server that does what `server` says, and gives how that went.
async fn against<F>(server: impl FnOnce(MockClient) -> F) -> Result<Conn, ConnectError>
where
    F: Future<Output = ()>,
{
    let (mock, endpoint) = Mock::listen().await;
    let (result, ()) = join!(connect(&endpoint), async {
        server(mock.accept().await).await;
    });
    result
}

fn wire_error(result: Result<Conn, ConnectError>) -> WireError {
    match result.unwrap_err() {
        ConnectError::Wire { source, .. } => source,
        other => panic!("{other:?}"),
    }
}

fn auth_error(result: Result<Conn, ConnectError>) -> AuthError {
    match result.unwrap_err() {
        ConnectError::Auth { source, .. } => source,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_greeting_of_16_mib_is_refused_before_it_is_waited_for() {
    let result = against(async |mut server| {
        server.write_raw(&[0xff, 0xff, 0xff, 0, 10]).await;
        server.closed().await;
    });
    let error = wire_error(result.await);
    assert!(
        matches!(error, WireError::Packet(PacketError::TooLarge { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_server_that_only_refuses_is_quoted() {
    let result = against(async |mut server| {
        server.write(b"\xff\x10\x04Too many connections").await;
    });
    let error = result.await.unwrap_err();
    assert_eq!(error.server().unwrap().code, 1040);
}

#[tokio::test]
async fn a_server_that_says_nothing_costs_the_timeout_and_no_more() {
    let (mock, mut endpoint) = Mock::listen().await;
    endpoint.connect_timeout = Duration::from_millis(50);
    let (result, _client) = join!(connect(&endpoint), mock.accept());
    assert!(matches!(result, Err(ConnectError::Timeout { .. })));
}

#[tokio::test]
async fn nobody_at_the_address_is_said_with_the_address() {
    let (mock, endpoint) = Mock::listen().await;
    drop(mock);
    let error = connect(&endpoint).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }));
    assert!(error.to_string().contains(&endpoint.address()));
}

#[tokio::test]
async fn a_server_that_is_no_mysql_inside_is_refused_by_name() {
    let result = against(async |mut server| {
        let mut payload = BytesMut::new();
        let mut greeting = greeting(native::PLUGIN, Capabilities::NONE);
        greeting.version = "8.0.11-TiDB-v7.5.0".to_owned();
        greeting.put(&mut payload);
        server.write(&payload).await;
    });
    assert!(matches!(result.await, Err(ConnectError::Version { .. })));
}

#[tokio::test]
async fn the_password_is_proven_by_the_native_method() {
    let result = against(async |mut server| {
        server.greet(native::PLUGIN, Capabilities::NONE).await;
        let response = server.response().await;
        let hash = native::NativeKey::from_password("secret").hash();
        assert!(hash.verify(&SCRAMBLE, &response.auth_response).is_some());
        assert_eq!(response.user, "me");
        assert_eq!(response.database, None);
        server.ok().await;
    });
    let conn = result.await.unwrap();
    assert_eq!((conn.thread_id(), conn.auth_plugin()), (7, native::PLUGIN));
    assert!(conn.status_flags().contains(StatusFlags::AUTOCOMMIT));
}

#[tokio::test]
async fn the_full_way_of_caching_sha2_goes_under_the_servers_key() {
    let result = against(async |mut server| {
        let pair = rsa::KeyPair::generate().unwrap();
        server.greet(caching_sha2::PLUGIN, Capabilities::NONE).await;
        let response = server.response().await;
        let hash = caching_sha2::Sha2Key::from_password("secret").hash();
        assert!(hash.verify(&SCRAMBLE, &response.auth_response).is_some());
        server.write(&[1, caching_sha2::FULL_AUTH]).await;
        assert_eq!(server.read().await[..], [caching_sha2::REQUEST_PUBLIC_KEY]);
        server
            .write(&[b"\x01", pair.public_pem().as_bytes()].concat())
            .await;
        let sealed = server.read().await;
        let password = pair.decrypt_password(&sealed, &SCRAMBLE);
        assert_eq!(password.unwrap(), b"secret");
        server.ok().await;
    });
    assert_eq!(result.await.unwrap().auth_plugin(), caching_sha2::PLUGIN);
}

#[tokio::test]
async fn a_method_we_do_not_know_is_named_and_a_clear_password_is_never_sent() {
    for (plugin, word) in [
        ("client_ed25519", "client_ed25519"),
        ("mysql_clear_password", "clear"),
    ] {
        let result = against(async |mut server| {
            server.greet(plugin, Capabilities::NONE).await;
            let response = server.response().await;
            assert!(response.auth_response.is_empty());
            let mut payload = BytesMut::new();
            let switch = AuthSwitch {
                plugin: plugin.to_owned(),
                data: Bytes::from_static(&SCRAMBLE),
            };
            switch.put(&mut payload);
            server.write(&payload).await;
            assert!(server.closed().await.is_empty());
        });
        let error = auth_error(result.await).to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_asks_without_end_is_left() {
    let result = against(async |mut server| {
        server.greet(native::PLUGIN, Capabilities::NONE).await;
        server.response().await;
        let mut payload = BytesMut::new();
        let switch = AuthSwitch {
            plugin: native::PLUGIN.to_owned(),
            data: Bytes::from_static(&SCRAMBLE),
        };
        switch.put(&mut payload);
        for _time in 0..100 {
            server.write(&payload).await;
            server.sequence = server.sequence.wrapping_add(1);
        }
        server.closed().await;
    });
    assert_eq!(auth_error(result.await), AuthError::Endless);
}

#[tokio::test]
async fn what_does_not_fit_the_method_is_said() {
    let (mock, endpoint) = Mock::listen().await;
    let options = ConnectOptions {
        credential: Some(Credential::NativeKey(native::NativeKey::from_password("x"))),
        ..ConnectOptions::default()
    };
    let (result, ()) = join!(Box::pin(Conn::connect(&endpoint, options)), async {
        let mut server = mock.accept().await;
        server.greet(caching_sha2::PLUGIN, Capabilities::NONE).await;
        server.response().await;
        let mut payload = BytesMut::new();
        let switch = AuthSwitch {
            plugin: caching_sha2::PLUGIN.to_owned(),
            data: Bytes::from_static(&SCRAMBLE),
        };
        switch.put(&mut payload);
        server.write(&payload).await;
    });
    let error = auth_error(result);
    assert!(
        matches!(error, AuthError::WrongMaterial { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn tls_that_is_demanded_and_not_offered_is_an_error() {
    let (mock, mut endpoint) = Mock::listen().await;
    endpoint.tls = TlsMode::Required;
    let (result, ()) = join!(connect(&endpoint), async {
        let mut server = mock.accept().await;
        server.greet(native::PLUGIN, Capabilities::NONE).await;
        assert!(server.closed().await.is_empty());
    });
    match result.unwrap_err() {
        ConnectError::Tls { source, .. } => assert!(matches!(source, TlsError::NotOffered(_))),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn bytes_in_clear_before_tls_are_not_taken_for_bytes_under_it() {
    let (mock, mut endpoint) = Mock::listen().await;
    endpoint.tls = TlsMode::Required;
    let (result, ()) = join!(connect(&endpoint), async {
        let mut server = mock.accept().await;
        let mut payload = BytesMut::new();
        let mut greeting = greeting(native::PLUGIN, Capabilities::NONE);
        greeting.capabilities = greeting.capabilities | Capabilities::SSL;
        greeting.put(&mut payload);
        let (mut out, mut sequence) = (BytesMut::new(), 0);
        packet::put_packet(&payload, &mut sequence, &mut out);
        out.extend_from_slice(&[7, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0]);
        server.write_raw(&out).await;
        server.closed().await;
    });
    match result.unwrap_err() {
        ConnectError::Tls { source, .. } => assert!(matches!(source, TlsError::ClearBytes)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn with_preferred_tls_that_fails_gives_way_to_a_connection_in_clear() {
    let (mock, mut endpoint) = Mock::listen().await;
    endpoint.tls = TlsMode::Preferred;
    let (result, ()) = join!(connect(&endpoint), async {
        let mut server = mock.accept().await;
        let mut payload = BytesMut::new();
        let mut greeting = greeting(native::PLUGIN, Capabilities::NONE);
        greeting.capabilities = greeting.capabilities | Capabilities::SSL;
        greeting.put(&mut payload);
        server.write(&payload).await;
        let wish = server.read().await;
        assert!(crate::wire::handshake::HandshakeResponse::is_tls_request(
            &wish
        ));
        server.write_raw(b"what is TLS?").await;
        server.closed().await;
        let mut server = mock.accept().await;
        server.write(&payload).await;
        let response = server.response().await;
        assert!(!response.capabilities.contains(Capabilities::SSL));
        server.ok().await;
    });
    assert!(!result.unwrap().is_private());
}

#[tokio::test]
async fn a_certificate_of_ours_that_cannot_be_read_is_an_error_and_no_reason_for_clear_text() {
    let (mock, mut endpoint) = Mock::listen().await;
    endpoint.tls = TlsMode::Preferred;
    endpoint.tls_cert = Some("/nowhere/cert.pem".into());
    endpoint.tls_key = Some("/nowhere/key.pem".into());
    let (result, ()) = join!(connect(&endpoint), async {
        let mut server = mock.accept().await;
        let mut payload = BytesMut::new();
        let mut greeting = greeting(native::PLUGIN, Capabilities::NONE);
        greeting.capabilities = greeting.capabilities | Capabilities::SSL;
        greeting.put(&mut payload);
        server.write(&payload).await;
        server.read().await;
        server.closed().await;
    });
    match result.unwrap_err() {
        ConnectError::Tls { source, .. } => assert!(source.to_string().contains("ssl-cert")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn packets_of_a_dump_are_read_with_their_numbers_running_over() {
    let (mock, endpoint) = Mock::listen().await;
    let (conn, mut server) = join!(connect(&endpoint), async {
        let mut server = mock.accept().await;
        server.greet(native::PLUGIN, Capabilities::NONE).await;
        server.response().await;
        server.ok().await;
        server
    });
    let mut conn = conn.unwrap();
    let (got, ()) = join!(
        async {
            conn.write_packet(&[0x12, 1, 2]).await.unwrap();
            let mut got = Vec::new();
            for _packet in 0..600 {
                got.push(conn.read_packet().await.unwrap());
            }
            got
        },
        async {
            assert_eq!(server.command().await[..], [0x12, 1, 2]);
            for number in 0..600_u32 {
                server.write(&number.to_le_bytes()).await;
            }
        }
    );
    let numbers = got
        .iter()
        .map(|packet| u32::from_le_bytes(packet[..].try_into().unwrap()));
    assert!(numbers.eq(0..600));
    assert!(conn.is_open());
    server.sequence = 9;
    server.write(&[0, 0]).await;
    let error = conn.read_packet().await.unwrap_err();
    assert!(matches!(
        error,
        WireError::Packet(PacketError::OutOfOrder { .. })
    ));
    drop(server);
    assert!(!conn.is_open());
}
