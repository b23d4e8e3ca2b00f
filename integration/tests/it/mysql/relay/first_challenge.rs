//! A client of libmariadb answers the challenge of its log-in when it changes its user, whatever
//! challenge it is sent then.

use binlog::wire::auth::native::{self, NativeKey};
use binlog::wire::command::COM_CHANGE_USER;
use binlog::wire::handshake::{AUTH_SWITCH, AuthSwitch, Greeting, Scramble};
use bytes::{BufMut, Bytes, BytesMut};
use integration::mysql::Version;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::house::House;

/// `CLIENT_LONG_PASSWORD`, `CLIENT_PROTOCOL_41`, `CLIENT_SECURE_CONNECTION` and `CLIENT_PLUGIN_AUTH`.
const CAPABILITIES: u32 = 1 | 1 << 9 | 1 << 15 | 1 << 19;

/// A client on its own feet.
struct Client {
    stream: TcpStream,
    challenge: Scramble,
    sequence: u8,
}

impl Client {
    async fn log_in(house: &House, user: &str, password: &str) -> Self {
        let mut client = Self {
            stream: TcpStream::connect(house.address).await.unwrap(),
            challenge: Scramble::default(),
            sequence: 0,
        };
        let greeting = client.receive().await;
        client.challenge = Greeting::parse(&greeting).unwrap().scramble;
        let mut body = BytesMut::new();
        body.put_u32_le(CAPABILITIES);
        body.put_u32_le(1 << 24);
        body.put_u8(33);
        body.put_bytes(0, 23);
        body.put_slice(user.as_bytes());
        body.put_u8(0);
        let answer = client.answer(password);
        body.put_u8(u8::try_from(answer.len()).unwrap());
        body.put_slice(&answer);
        body.put_slice(native::PLUGIN.as_bytes());
        body.put_u8(0);
        client.send(&body).await;
        let mut came = client.receive().await;
        if came[0] == AUTH_SWITCH {
            client.challenge = AuthSwitch::parse(&came).unwrap().scramble().unwrap();
            let answer = client.answer(password);
            client.send(&answer).await;
            came = client.receive().await;
        }
        assert_eq!(came[0], 0, "{came:?}");
        client
    }

    fn answer(&self, password: &str) -> Vec<u8> {
        if password.is_empty() {
            return Vec::new();
        }
        NativeKey::from_password(password)
            .answer(&self.challenge)
            .to_vec()
    }

    /// The first byte of what came of it.
    async fn change_user(&mut self, user: &str, password: &str) -> u8 {
        let answer = self.answer(password);
        let mut body = BytesMut::new();
        body.put_u8(COM_CHANGE_USER);
        body.put_slice(user.as_bytes());
        body.put_u8(0);
        body.put_u8(u8::try_from(answer.len()).unwrap());
        body.put_slice(&answer);
        body.put_u8(0);
        body.put_u16_le(33);
        body.put_slice(native::PLUGIN.as_bytes());
        body.put_u8(0);
        self.sequence = 0;
        self.send(&body).await;
        let mut came = self.receive().await;
        if came[0] == AUTH_SWITCH {
            // The same again: this client does not look at the new challenge.
            self.send(&answer).await;
            came = self.receive().await;
        }
        came[0]
    }

    async fn send(&mut self, body: &[u8]) {
        let mut packet = BytesMut::new();
        packet.put_uint_le(u64::try_from(body.len()).unwrap(), 3);
        packet.put_u8(self.sequence);
        packet.put_slice(body);
        self.stream.write_all(&packet).await.unwrap();
    }

    async fn receive(&mut self) -> Bytes {
        let mut header = [0; 4];
        self.stream.read_exact(&mut header).await.unwrap();
        let length = u32::from_le_bytes([header[0], header[1], header[2], 0]);
        let mut body = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut body).await.unwrap();
        self.sequence = header[3].wrapping_add(1);
        body.into()
    }
}

async fn changes_its_user(version: Version) {
    let house = House::new(version).await;
    house.source.create_user("other", "word", "shop").unwrap();
    let mut client = Client::log_in(&house, "app", "secret").await;
    assert_eq!(client.change_user("other", "word").await, 0);
    assert_eq!(client.change_user("other", "wrong").await, 0xff);
    // MariaDB lets it go on as who it is.
    assert_eq!(client.change_user("app", "secret").await, 0);
}

#[tokio::test]
async fn a_client_of_mariadb_may_change_its_user_by_its_first_challenge() {
    changes_its_user(Version::MariaDb118).await;
}

#[tokio::test]
async fn a_client_of_mariadb_may_change_its_user_at_an_older_server() {
    changes_its_user(Version::MariaDb1011).await;
}
