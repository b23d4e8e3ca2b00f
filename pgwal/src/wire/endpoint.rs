//! Where a server is and as whom we come: a `postgres://` URL.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use router::Secret;

use super::error::ConnectError;
use super::limits::CONNECT_TIMEOUT;
use super::socket::Socket;
use super::tls;

/// How much TLS a connection wants, in libpq's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    Disable,
    /// In clear. (In libpq: until the server insists on TLS.)
    Allow,
    /// When the server offers it.
    Prefer,
    /// Always, without looking at the certificate.
    Require,
    /// Always, with a certificate of a known authority.
    VerifyCa,
    /// Always, with a certificate of a known authority for this host.
    VerifyFull,
}

impl TlsMode {
    const ALL: [Self; 6] = [
        Self::Disable,
        Self::Allow,
        Self::Prefer,
        Self::Require,
        Self::VerifyCa,
        Self::VerifyFull,
    ];

    /// The word in the URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }

    /// Whether a connection in clear will do.
    #[must_use]
    pub fn allows_clear(self) -> bool {
        match self {
            Self::Disable | Self::Allow | Self::Prefer => true,
            Self::Require | Self::VerifyCa | Self::VerifyFull => false,
        }
    }
}

/// One server and the user and database there. `Display` never shows the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A host name, an address, or (when it begins with `/`) the directory of a unix socket.
    pub host: String,
    /// The port, also part of a unix socket's name.
    pub port: u16,
    /// The role.
    pub user: String,
    /// The database.
    pub database: String,
    /// The password, if one is known.
    pub password: Option<Secret>,
    /// How much TLS.
    pub tls: TlsMode,
    /// File with the certificates of the authorities (`sslrootcert`), or `system`.
    pub tls_roots: Option<String>,
    /// How long a connection attempt, log-in included, may take.
    pub connect_timeout: Duration,
}

/// A URL that is no endpoint. The text of the URL is not repeated: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is another kind of URL.
    #[error("a PostgreSQL URL begins with postgres:// or postgresql://")]
    Scheme,
    /// Part of it is missing.
    #[error("the URL names no {0}")]
    Missing(&'static str),
    /// Part of it cannot be read.
    #[error("the {0} in the URL cannot be read")]
    Malformed(&'static str),
    /// More than one host.
    #[error("the URL names several hosts; pointsman needs exactly one server")]
    SeveralHosts,
    /// A parameter that nobody knows.
    #[error(
        "unknown parameter \"{0}\" in the URL; known are sslmode, sslrootcert, host, port, user, password, dbname, connect_timeout"
    )]
    UnknownParameter(String),
}

impl Endpoint {
    /// The same endpoint with a password from elsewhere (a file, the environment).
    #[must_use]
    pub fn with_password(mut self, password: Secret) -> Self {
        self.password = Some(password);
        self
    }

    /// Opens a socket to the server, in TLS as far as the mode asks for it and the server offers it.
    ///
    /// # Errors
    /// None of the addresses answers, or the TLS that is demanded cannot be had.
    pub(crate) async fn connect_socket(&self) -> Result<Socket, ConnectError> {
        // Boxed: a handshake's state is large, and callers keep theirs for as long as they connect.
        let socket = Box::pin(tls::connect(self)).await;
        socket.map_err(|error| ConnectError::no_socket(self, error))
    }

    /// Whether the server is reached through a unix socket.
    #[must_use]
    pub fn is_unix(&self) -> bool {
        self.host.starts_with('/')
    }

    /// `host:port`, with brackets for IPv6.
    #[must_use]
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    fn set_authority(&mut self, authority: &str) -> Result<(), EndpointError> {
        let (user_info, host_port) = match authority.rsplit_once('@') {
            Some((user_info, host_port)) => (Some(user_info), host_port),
            None => (None, authority),
        };
        if let Some(user_info) = user_info {
            let (user, password) = match user_info.split_once(':') {
                Some((user, password)) => (user, Some(password)),
                None => (user_info, None),
            };
            self.user = decode(user, "user")?;
            if let Some(password) = password {
                self.password = Some(Secret::new(decode(password, "password")?));
            }
        }
        if host_port.contains(',') {
            return Err(EndpointError::SeveralHosts);
        }
        let (host, port) = split_port(host_port)?;
        self.host = decode(host, "host")?;
        if !port.is_empty() {
            self.port = port
                .parse()
                .map_err(|_bad| EndpointError::Malformed("port"))?;
        }
        Ok(())
    }

    fn set_parameter(&mut self, name: &str, value: String) -> Result<(), EndpointError> {
        match name {
            "host" => self.host = value,
            "port" => {
                self.port = value
                    .parse()
                    .map_err(|_bad| EndpointError::Malformed("port"))?;
            }
            "user" => self.user = value,
            "password" => self.password = Some(Secret::new(value)),
            "dbname" => self.database = value,
            "sslmode" => {
                let mode = TlsMode::ALL.into_iter().find(|mode| mode.as_str() == value);
                self.tls = mode.ok_or(EndpointError::Malformed("sslmode"))?;
            }
            "sslrootcert" => self.tls_roots = Some(value.to_owned()),
            "connect_timeout" => {
                let seconds = value
                    .parse()
                    .map_err(|_bad| EndpointError::Malformed("connect_timeout"))?;
                self.connect_timeout = Duration::from_secs(seconds);
            }
            other => return Err(EndpointError::UnknownParameter(other.to_owned())),
        }
        Ok(())
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let rest = ["postgres://", "postgresql://"]
            .into_iter()
            .find_map(|scheme| url.strip_prefix(scheme))
            .ok_or(EndpointError::Scheme)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let mut endpoint = Self {
            host: String::new(),
            port: 5432,
            user: String::new(),
            database: decode(database, "database")?,
            password: None,
            tls_roots: None,
            tls: TlsMode::Prefer,
            connect_timeout: CONNECT_TIMEOUT,
        };
        endpoint.set_authority(authority)?;
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            endpoint.set_parameter(name, decode(value, "parameter")?)?;
        }
        if endpoint.host.is_empty() {
            return Err(EndpointError::Missing("host"));
        }
        if endpoint.user.is_empty() {
            return Err(EndpointError::Missing("user"));
        }
        if endpoint.database.is_empty() {
            endpoint.database.clone_from(&endpoint.user);
        }
        Ok(endpoint)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "postgres://{}@{}/{}",
            self.user,
            self.address(),
            self.database
        )
    }
}

fn decode(text: &str, what: &'static str) -> Result<String, EndpointError> {
    let decoded = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_bad| EndpointError::Malformed(what))?
        .into_owned();
    if decoded.contains('\0') {
        Err(EndpointError::Malformed(what))
    } else {
        Ok(decoded)
    }
}

fn split_port(host_port: &str) -> Result<(&str, &str), EndpointError> {
    if let Some(bracketed) = host_port.strip_prefix('[') {
        let (host, rest) = bracketed
            .split_once(']')
            .ok_or(EndpointError::Malformed("IPv6 address"))?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, port)),
            None if rest.is_empty() => Ok((host, "")),
            None => Err(EndpointError::Malformed("port")),
        };
    }
    Ok(host_port.rsplit_once(':').unwrap_or((host_port, "")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Endpoint, EndpointError> {
        url.parse()
    }

    #[test]
    fn a_full_url_is_read_and_shown_without_its_password() {
        let endpoint =
            parse("postgres://mig%40x:p%3Aw@10.0.0.1:6000/my%2Fdb?sslmode=verify-full").unwrap();
        assert_eq!(endpoint.user, "mig@x");
        assert_eq!(endpoint.password, Some(Secret::new("p:w")));
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("10.0.0.1", 6000));
        assert_eq!(endpoint.database, "my/db");
        assert_eq!(endpoint.tls, TlsMode::VerifyFull);
        assert_eq!(endpoint.to_string(), "postgres://mig@x@10.0.0.1:6000/my/db");
        assert!(!format!("{endpoint:?}").contains("p:w"));
    }

    #[test]
    fn defaults_ipv6_and_unix_sockets_are_understood() {
        let endpoint = parse("postgresql://me@[::1]").unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("::1", 5432));
        assert_eq!(endpoint.address(), "[::1]:5432");
        assert_eq!(endpoint.database, "me");
        let endpoint = parse("postgres://me@%2Fvar%2Frun/db").unwrap();
        assert!(endpoint.is_unix());
        let endpoint = parse("postgres://me@/db?host=/tmp&port=5433").unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("/tmp", 5433));
    }

    #[test]
    fn bad_urls_say_what_is_wrong_and_never_repeat_the_password() {
        for (url, word) in [
            ("mysql://a@b/c", "postgres://"),
            ("postgres://host/db", "user"),
            ("postgres://u:secret@/db", "host"),
            ("postgres://u:secret@h:99999/db", "port"),
            ("postgres://u:secret@a,b/db", "several"),
            ("postgres://u:secret@h/db?sslmod=off", "sslmod"),
            ("postgres://u:secret@h/db?sslmode=off", "sslmode"),
        ] {
            let text = parse(url).unwrap_err().to_string();
            assert!(text.contains(word), "{url}: {text}");
            assert!(!text.contains("secret"), "{text}");
        }
    }
}
