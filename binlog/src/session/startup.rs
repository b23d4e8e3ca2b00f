//! The first packets of a client: our greeting, its answer, TLS in between.

use bytes::{Bytes, BytesMut};

use super::face::Guest;
use super::fatal::Fatal;
use super::pulse::{EofStyle, LocalFile};
use super::relay::Relay;
use super::servers::{Common, Known};
use super::tls::{ListenerTls, TlsDemand};
use crate::version::Flavour;
use crate::wire::auth::{caching_sha2, native, new_scramble};
use crate::wire::handshake::{Greeting, HandshakeResponse, Scramble};
use crate::wire::{Capabilities, ConnectOptions, Credential, FieldError, Fields, StatusFlags};

/// Capabilities that change what servers send, or how; servers differ in them.
pub(super) const BY_VERSION: [Capabilities; 2] =
    [Capabilities::DEPRECATE_EOF, Capabilities::SESSION_TRACK];

/// What every server since 5.6 can do and we relay.
const RELAYED: [Capabilities; 14] = [
    Capabilities::FOUND_ROWS,
    Capabilities::LONG_FLAG,
    Capabilities::CONNECT_WITH_DB,
    Capabilities::NO_SCHEMA,
    Capabilities::ODBC,
    Capabilities::IGNORE_SPACE,
    Capabilities::INTERACTIVE,
    Capabilities::TRANSACTIONS,
    Capabilities::MULTI_STATEMENTS,
    Capabilities::MULTI_RESULTS,
    Capabilities::PS_MULTI_RESULTS,
    Capabilities::CONNECT_ATTRS,
    Capabilities::CAN_HANDLE_EXPIRED_PASSWORDS,
    Capabilities::LOCAL_FILES,
];

/// What the log-in itself needs.
const LOG_IN: [Capabilities; 4] = [
    Capabilities::PROTOCOL_41,
    Capabilities::SECURE_CONNECTION,
    Capabilities::PLUGIN_AUTH,
    Capabilities::PLUGIN_AUTH_LENENC_DATA,
];

/// What a client wants, and what is needed to log in again as the same.
#[derive(Debug, Clone)]
pub(super) struct Startup {
    pub(super) user: Bytes,
    pub(super) database: Option<Bytes>,
    pub(super) collation: u8,
    /// What both sides agreed on, for the way to the servers.
    pub(super) capabilities: Capabilities,
    pub(super) attributes: Vec<(Bytes, Bytes)>,
    /// The method that the client began with, and its answer to our challenge.
    pub(super) plugin: Option<String>,
    pub(super) answer: Bytes,
    pub(super) scramble: Scramble,
    pub(super) challenge: Challenge,
    /// The challenge that took the greeting's place when the log-in changed the method.
    pub(super) switched: Option<Scramble>,
}

/// What a client's first answer is to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Our greeting.
    Greeting,
    /// One of earlier.
    Old,
}

/// The set of some capabilities.
fn set_of(all: &[Capabilities]) -> Capabilities {
    all.iter().fold(Capabilities::NONE, |set, each| set | *each)
}

/// What clients are offered.
fn offered(relay: &Relay, common: &Common, tls: Option<&ListenerTls>) -> Capabilities {
    let mut offered = set_of(&RELAYED) | set_of(&LOG_IN);
    for (capability, wanted) in BY_VERSION
        .iter()
        .zip([common.deprecate_eof, common.session_track])
    {
        offered = offered.with(*capability, wanted == Known::Yes);
    }
    offered = offered.with(Capabilities::LOCAL_FILES, relay.relays_local_files());
    offered = offered.with(Capabilities::SSL, tls.is_some());
    // MariaDB leaves it out.
    offered.with(
        Capabilities::LONG_PASSWORD,
        common.version.flavour == Flavour::MySql,
    )
}

/// Greets a client and reads its answer, under TLS if it wishes.
///
/// # Cancel safety
/// None; a client that is cut off here has no session yet.
pub(super) async fn open(
    guest: &mut Guest,
    relay: &Relay,
    common: &Common,
    connection_id: u32,
) -> Result<Startup, Fatal> {
    let tls = relay.tls();
    let greeting = greeting(relay, common, connection_id, tls.as_deref())?;
    let mut payload = BytesMut::new();
    greeting.put(&mut payload);
    guest.face()?.send(&payload).await?;
    let mut answer = guest.face()?.receive().await?;
    if HandshakeResponse::is_tls_request(&answer) {
        guest.upgrade(tls.ok_or_else(Fatal::bad_handshake)?).await?;
        answer = guest.face()?.receive().await?;
    } else if tls.is_some_and(|tls| tls.demand() == TlsDemand::Require) {
        return Err(Fatal::only_with_tls());
    }
    parse(&answer, &greeting)
}

fn greeting(
    relay: &Relay,
    common: &Common,
    connection_id: u32,
    tls: Option<&ListenerTls>,
) -> Result<Greeting, Fatal> {
    let scramble = new_scramble().map_err(|error| Fatal::other(error.to_string()))?;
    Ok(Greeting {
        version: common.version_text.clone(),
        thread_id: connection_id,
        scramble,
        capabilities: offered(relay, common, tls),
        collation: common.collation,
        status: StatusFlags::AUTOCOMMIT,
        auth_plugin: default_plugin(common).to_owned(),
    })
}

/// The method that most accounts of a server have.
pub(super) fn default_plugin(common: &Common) -> &'static str {
    if common.version.is_mysql_at_least(8, 0, 4) {
        caching_sha2::PLUGIN
    } else {
        native::PLUGIN
    }
}

fn parse(answer: &Bytes, greeting: &Greeting) -> Result<Startup, Fatal> {
    let malformed = |error| {
        tracing::debug!(%error, "a client's answer to the greeting cannot be read");
        Fatal::bad_handshake()
    };
    let response = HandshakeResponse::parse(answer).map_err(malformed)?;
    let plugin = response.auth_plugin.as_ref();
    Ok(Startup {
        user: response.user,
        database: response.database.filter(|name| !name.is_empty()),
        collation: response.collation,
        capabilities: response.capabilities & greeting.capabilities,
        attributes: response.attributes,
        plugin: plugin.map(|name| String::from_utf8_lossy(name).into_owned()),
        answer: response.auth_response,
        scramble: greeting.scramble,
        challenge: Challenge::Greeting,
        switched: None,
    })
}

impl Startup {
    /// The same client as another user: the payload of a `COM_CHANGE_USER`.
    pub(super) fn change_user(&self, payload: &Bytes) -> Result<Self, FieldError> {
        let mut fields = Fields::new(payload);
        fields.u8()?;
        let user = payload.slice_ref(fields.string()?);
        let length = usize::from(fields.u8()?);
        let answer = payload.slice_ref(fields.bytes(length)?);
        let database = payload.slice_ref(fields.string_or_rest());
        let mut startup = Self {
            user,
            answer,
            database: Some(database).filter(|name| !name.is_empty()),
            attributes: Vec::new(),
            plugin: None,
            challenge: Challenge::Old,
            ..self.clone()
        };
        if let Ok(collation) = fields.u16() {
            // Only its low byte has a place in a log-in; 0 there means the server's default.
            startup.collation = u8::try_from(collation).unwrap_or_default();
        }
        if self.capabilities.contains(Capabilities::PLUGIN_AUTH) && !fields.is_empty() {
            let plugin = fields.string_or_rest();
            startup.plugin = Some(String::from_utf8_lossy(plugin).into_owned());
        }
        if self.capabilities.contains(Capabilities::CONNECT_ATTRS) && !fields.is_empty() {
            let mut attributes = Fields::new(fields.lenenc_bytes()?);
            while !attributes.is_empty() {
                let name = payload.slice_ref(attributes.lenenc_bytes()?);
                let value = payload.slice_ref(attributes.lenenc_bytes()?);
                startup.attributes.push((name, value));
            }
        }
        Ok(startup)
    }

    /// The user, for people.
    pub(super) fn user_name(&self) -> String {
        String::from_utf8_lossy(&self.user).into_owned()
    }

    /// The database at the log-in, for people.
    pub(super) fn database_name(&self) -> String {
        let name = self.database.as_deref().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    }

    /// The application's name, for the list of sessions.
    pub(super) fn application(&self) -> String {
        let named = |wanted: &str| {
            let mut all = self.attributes.iter();
            all.find(|(name, _)| name.as_ref() == wanted.as_bytes())
        };
        let found = named("program_name").or_else(|| named("_client_name"));
        let value = found.map_or(&b""[..], |(_, value)| value);
        String::from_utf8_lossy(value).into_owned()
    }

    /// How the ends of results are marked.
    pub(super) fn eof(&self) -> EofStyle {
        if self.capabilities.contains(Capabilities::DEPRECATE_EOF) {
            EofStyle::Deprecated
        } else {
            EofStyle::Packets
        }
    }

    /// Whether servers may be let ask for files.
    pub(super) fn local_file(&self) -> LocalFile {
        if self.capabilities.contains(Capabilities::LOCAL_FILES) {
            LocalFile::MayAsk
        } else {
            LocalFile::MustNotAsk
        }
    }

    /// What to log in to a server with, as this client.
    pub(super) fn connect_options(
        &self,
        database: Option<Bytes>,
        credential: Credential,
    ) -> ConnectOptions {
        ConnectOptions {
            user: Some(self.user.clone()),
            credential: Some(credential),
            database,
            capabilities: self.capabilities.without(Capabilities::SSL)
                | Capabilities::PLUGIN_AUTH_LENENC_DATA,
            collation: self.collation,
            attributes: self.attributes.clone(),
            ..ConnectOptions::default()
        }
    }
}
