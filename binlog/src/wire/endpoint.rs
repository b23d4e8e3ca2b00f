//! Where a server is and as whom we come: a `mysql://` or `mariadb://` URL. Both schemes mean the
//! same; the server says what it is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use router::Secret;

use super::compress::Compressor;
use super::limits::CONNECT_TIMEOUT;

/// The port when the URL names none.
const PORT: u16 = 3306;

/// How much TLS a connection wants, in the words of the mysql client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    Disabled,
    /// When the server offers it and it works, without looking at the certificate.
    Preferred,
    /// Always, without looking at the certificate.
    Required,
    /// Always, with a certificate of a known authority.
    VerifyCa,
    /// Always, with a certificate of a known authority for this host.
    VerifyIdentity,
}

impl TlsMode {
    const ALL: [Self; 5] = [
        Self::Disabled,
        Self::Preferred,
        Self::Required,
        Self::VerifyCa,
        Self::VerifyIdentity,
    ];

    /// The word in the URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "DISABLED",
            Self::Preferred => "PREFERRED",
            Self::Required => "REQUIRED",
            Self::VerifyCa => "VERIFY_CA",
            Self::VerifyIdentity => "VERIFY_IDENTITY",
        }
    }

    /// Whether a connection in clear will do.
    #[must_use]
    pub fn allows_clear(self) -> bool {
        match self {
            Self::Disabled | Self::Preferred => true,
            Self::Required | Self::VerifyCa | Self::VerifyIdentity => false,
        }
    }

    /// Whether the certificate is looked at.
    #[must_use]
    pub fn verifies(self) -> bool {
        match self {
            Self::Disabled | Self::Preferred | Self::Required => false,
            Self::VerifyCa | Self::VerifyIdentity => true,
        }
    }
}

/// One server and the user there. `Display` never shows the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A host name, an address, or (when it begins with `/`) the path of a unix socket.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The user.
    pub user: String,
    /// The database that moves; all of the users' databases when there is none.
    pub database: Option<String>,
    /// The password, if one is known.
    pub password: Option<Secret>,
    /// How much TLS.
    pub tls: TlsMode,
    /// A PEM file with the certificates of known authorities; without one the system's are known.
    pub tls_ca: Option<PathBuf>,
    /// A PEM file with a certificate of ours, for accounts that `REQUIRE X509`.
    pub tls_cert: Option<PathBuf>,
    /// A PEM file with the private key of that certificate.
    pub tls_key: Option<PathBuf>,
    /// How our own connections may be compressed, the best first; the clients' never are.
    pub compression: Vec<Compressor>,
    /// How long a connection attempt, log-in included, may take.
    pub connect_timeout: Duration,
}

/// A URL that is no endpoint. The text of the URL is not repeated: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is another kind of URL.
    #[error("a URL of MySQL or MariaDB begins with mysql:// or mariadb://")]
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
    /// A mode that does not exist.
    #[error(
        "ssl-mode in the URL is none of DISABLED, PREFERRED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY"
    )]
    UnknownTlsMode,
    /// A certificate is given and not to be looked at.
    #[error("ssl-ca in the URL means nothing with ssl-mode={0}; use VERIFY_CA or VERIFY_IDENTITY")]
    UselessCa(&'static str),
    /// Half of what proves us.
    #[error("ssl-cert and ssl-key in the URL need each other")]
    HalfCertificate,
    /// A parameter that nobody knows.
    #[error(
        "unknown parameter \"{0}\" in the URL; known are ssl-mode, ssl-ca, ssl-cert, ssl-key, compression-algorithms, socket, connect-timeout"
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

    /// Whether the server is reached through a unix socket.
    #[must_use]
    pub fn is_unix(&self) -> bool {
        self.host.starts_with('/')
    }

    /// `host:port`, with brackets for IPv6; the path of a unix socket.
    #[must_use]
    pub fn address(&self) -> String {
        if self.is_unix() {
            self.host.clone()
        } else if self.host.contains(':') {
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

    fn set_parameters(&mut self, query: &str) -> Result<(), EndpointError> {
        let mut mode = None;
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = decode(value, "parameter")?;
            // Drivers write these names with `-`, with `_` or in one; all are understood.
            match name.to_ascii_lowercase().replace(['-', '_'], "").as_str() {
                "sslmode" => {
                    let wanted = value.to_ascii_uppercase().replace('-', "_");
                    let known = TlsMode::ALL.into_iter().find(|m| m.as_str() == wanted);
                    mode = Some(known.ok_or(EndpointError::UnknownTlsMode)?);
                }
                "sslca" => self.tls_ca = Some(PathBuf::from(value)),
                "sslcert" => self.tls_cert = Some(PathBuf::from(value)),
                "sslkey" => self.tls_key = Some(PathBuf::from(value)),
                "socket" => self.host = value,
                "compressionalgorithms" => self.compression = compressors(&value)?,
                "connecttimeout" => {
                    let seconds = value
                        .parse()
                        .map_err(|_bad| EndpointError::Malformed("connect-timeout"))?;
                    self.connect_timeout = Duration::from_secs(seconds);
                }
                _unknown => return Err(EndpointError::UnknownParameter(name.to_owned())),
            }
        }
        // As the mysql client: who names an authority wants it asked.
        self.tls = match (mode, &self.tls_ca) {
            (Some(mode), _) => mode,
            (None, Some(_)) => TlsMode::VerifyCa,
            (None, None) => TlsMode::Preferred,
        };
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err(EndpointError::HalfCertificate);
        }
        match &self.tls_ca {
            Some(_) if !self.tls.verifies() => Err(EndpointError::UselessCa(self.tls.as_str())),
            Some(_) | None => Ok(()),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let rest = ["mysql://", "mariadb://"]
            .into_iter()
            .find_map(|scheme| url.strip_prefix(scheme))
            .ok_or(EndpointError::Scheme)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let database = decode(database, "database")?;
        let mut endpoint = Self {
            host: String::new(),
            port: PORT,
            user: String::new(),
            database: (!database.is_empty()).then_some(database),
            password: None,
            tls: TlsMode::Preferred,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            compression: Vec::new(),
            connect_timeout: CONNECT_TIMEOUT,
        };
        endpoint.set_authority(authority)?;
        endpoint.set_parameters(query)?;
        if endpoint.host.is_empty() {
            return Err(EndpointError::Missing("host"));
        }
        if endpoint.user.is_empty() {
            return Err(EndpointError::Missing("user"));
        }
        Ok(endpoint)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mysql://{}@{}", self.user, self.address())?;
        match &self.database {
            Some(database) => write!(f, "/{database}"),
            None => Ok(()),
        }
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

/// The words of the mysql client; `uncompressed` is always allowed.
fn compressors(words: &str) -> Result<Vec<Compressor>, EndpointError> {
    words
        .split(',')
        .filter(|word| *word != "uncompressed")
        .map(|word| {
            let known = Compressor::named(word);
            known.ok_or(EndpointError::Malformed("compression-algorithms"))
        })
        .collect()
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
        let url =
            "mysql://mig%40x:p%3Aw@10.0.0.1:6000/my%2Fdb?ssl-mode=VERIFY_IDENTITY&ssl-ca=/ca.pem";
        let endpoint = parse(url).unwrap();
        assert_eq!(endpoint.user, "mig@x");
        assert_eq!(endpoint.password, Some(Secret::new("p:w")));
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("10.0.0.1", 6000));
        assert_eq!(endpoint.database.as_deref(), Some("my/db"));
        assert_eq!(endpoint.tls, TlsMode::VerifyIdentity);
        assert_eq!(endpoint.to_string(), "mysql://mig@x@10.0.0.1:6000/my/db");
        assert!(!format!("{endpoint:?}").contains("p:w"));
    }

    #[test]
    fn defaults_ipv6_and_unix_sockets_are_understood() {
        let endpoint = parse("mariadb://me@[::1]").unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("::1", 3306));
        assert_eq!(endpoint.address(), "[::1]:3306");
        assert_eq!(
            (endpoint.database, endpoint.tls),
            (None, TlsMode::Preferred)
        );
        let endpoint = parse("mysql://me@%2Frun%2Fmysqld.sock/db").unwrap();
        assert!(endpoint.is_unix());
        let endpoint = parse("mysql://me@/db?socket=/tmp/s").unwrap();
        assert_eq!(endpoint.address(), "/tmp/s");
    }

    #[test]
    fn naming_an_authority_asks_for_its_check() {
        let endpoint = parse("mysql://me@h?ssl-ca=/ca.pem").unwrap();
        assert_eq!(endpoint.tls, TlsMode::VerifyCa);
        let endpoint = parse("mysql://me@h?sslmode=verify-ca&ssl_ca=/ca.pem").unwrap();
        assert_eq!(endpoint.tls, TlsMode::VerifyCa);
    }

    #[test]
    fn compression_is_a_list_in_order() {
        let url = "mysql://me@h?compression-algorithms=zstd,uncompressed,zlib";
        let endpoint = parse(url).unwrap();
        assert_eq!(endpoint.compression, [Compressor::Zstd, Compressor::Zlib]);
    }

    #[test]
    fn bad_urls_say_what_is_wrong_and_never_repeat_the_password() {
        for (url, word) in [
            ("postgres://a@b/c", "mysql://"),
            ("mysql://host/db", "user"),
            ("mysql://u:secret@/db", "host"),
            ("mysql://u:secret@h:99999/db", "port"),
            ("mysql://u:secret@a,b/db", "several"),
            ("mysql://u:secret@h/db?sslmod=off", "sslmod"),
            ("mysql://u:secret@h/db?ssl-mode=off", "ssl-mode"),
            ("mysql://u:secret@h/db?ssl-mode=REQUIRED&ssl-ca=x", "ssl-ca"),
            ("mysql://u:secret@h/db?ssl-cert=x", "ssl-key"),
            (
                "mysql://u:secret@h/?compression-algorithms=x",
                "compression",
            ),
        ] {
            let text = parse(url).unwrap_err().to_string();
            assert!(text.contains(word), "{url}: {text}");
            assert!(!text.contains("secret"), "{text}");
        }
    }
}
