//! Messages of the backend: those that we write to a client, and the bodies that we read from a
//! server.

use bytes::{BufMut, Bytes, BytesMut};

use super::fields::{FieldError, Fields};

/// An error of ours for a client.
#[derive(Debug, Clone, Copy)]
pub struct ErrorFields<'a> {
    /// `FATAL` or `ERROR`.
    pub severity: &'a str,
    /// Five characters: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
    pub sqlstate: &'a str,
    /// What failed.
    pub message: &'a str,
    /// More about it.
    pub detail: Option<&'a str>,
    /// What to do.
    pub hint: Option<&'a str>,
}

/// Writes an `ErrorResponse`.
pub fn error_response(error: ErrorFields<'_>, out: &mut BytesMut) {
    put(b'E', out, |out| {
        let optional = [(b'D', error.detail), (b'H', error.hint)];
        let fields = [
            (b'S', Some(error.severity)),
            (b'V', Some(error.severity)),
            (b'C', Some(error.sqlstate)),
            (b'M', Some(error.message)),
        ];
        for (kind, text) in fields.into_iter().chain(optional) {
            if let Some(text) = text {
                out.put_u8(kind);
                put_text(text, out);
            }
        }
        out.put_u8(0);
    });
}

/// Writes a message whose body is already there.
pub fn raw(tag: u8, body: &[u8], out: &mut BytesMut) {
    put(tag, out, |out| out.put_slice(body));
}

/// Writes `AuthenticationOk`.
pub fn authentication_ok(out: &mut BytesMut) {
    put(b'R', out, |out| out.put_i32(0));
}

/// Writes `AuthenticationMD5Password`.
pub fn authentication_md5(salt: [u8; 4], out: &mut BytesMut) {
    put(b'R', out, |out| {
        out.put_i32(5);
        out.put_slice(&salt);
    });
}

/// Writes `AuthenticationSASL` with one mechanism.
pub fn authentication_sasl(mechanisms: &[&str], out: &mut BytesMut) {
    put(b'R', out, |out| {
        out.put_i32(10);
        for mechanism in mechanisms {
            put_text(mechanism, out);
        }
        out.put_u8(0);
    });
}

/// Writes `AuthenticationSASLContinue`.
pub fn authentication_sasl_continue(data: &str, out: &mut BytesMut) {
    put(b'R', out, |out| {
        out.put_i32(11);
        out.put_slice(data.as_bytes());
    });
}

/// Writes `AuthenticationSASLFinal`.
pub fn authentication_sasl_final(data: &str, out: &mut BytesMut) {
    put(b'R', out, |out| {
        out.put_i32(12);
        out.put_slice(data.as_bytes());
    });
}

/// Writes `ParameterStatus`.
pub fn parameter_status(name: &str, value: &str, out: &mut BytesMut) {
    put(b'S', out, |out| {
        put_text(name, out);
        put_text(value, out);
    });
}

/// Writes `BackendKeyData`.
pub fn backend_key_data(pid: i32, key: &[u8], out: &mut BytesMut) {
    put(b'K', out, |out| {
        out.put_i32(pid);
        out.put_slice(key);
    });
}

/// Writes `NegotiateProtocolVersion`.
pub fn negotiate_protocol_version(protocol: u32, unknown: &[String], out: &mut BytesMut) {
    put(b'v', out, |out| {
        out.put_u32(protocol);
        out.put_i32(i32::try_from(unknown.len()).unwrap_or(i32::MAX));
        for option in unknown {
            put_text(option, out);
        }
    });
}

/// Writes `ReadyForQuery`.
pub fn ready_for_query(status: u8, out: &mut BytesMut) {
    put(b'Z', out, |out| out.put_u8(status));
}

/// Text up to its first zero byte: a zero byte would end the field early.
fn put_text(text: &str, out: &mut BytesMut) {
    out.put_slice(
        text.as_bytes()
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default(),
    );
    out.put_u8(0);
}

/// Writes tag, length and body. Bodies here are small: what we write ourselves, or a body that
/// came in a message.
fn put(tag: u8, out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    let start = out.len();
    out.put_i32(0);
    body(out);
    let length = i32::try_from(out.len() - start).unwrap_or(i32::MAX);
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// What an `Authentication*` message asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication {
    /// Let in.
    Ok,
    /// The password in clear.
    CleartextPassword,
    /// md5 with this salt.
    Md5Password([u8; 4]),
    /// One of these SASL mechanisms.
    Sasl(Vec<String>),
    /// The server's next SASL message.
    SaslContinue(Bytes),
    /// The server's last SASL message.
    SaslFinal(Bytes),
    /// Kerberos, GSSAPI, SSPI or something newer.
    Other(i32),
}

impl Authentication {
    /// Reads the body of an `Authentication*` message.
    ///
    /// # Errors
    /// The body is malformed.
    pub fn parse(body: &Bytes) -> Result<Self, FieldError> {
        let mut fields = Fields::new(body);
        let rest = |fields: Fields<'_>| body.slice_ref(fields.rest());
        Ok(match fields.i32()? {
            0 => Self::Ok,
            3 => Self::CleartextPassword,
            5 => {
                let salt = fields.bytes(4)?.try_into();
                Self::Md5Password(salt.map_err(|_short| FieldError("the md5 salt"))?)
            }
            10 => {
                let mut mechanisms = Vec::new();
                while let Some(name) = Some(fields.utf8()?).filter(|name| !name.is_empty()) {
                    mechanisms.push(name.to_owned());
                }
                Self::Sasl(mechanisms)
            }
            11 => Self::SaslContinue(rest(fields)),
            12 => Self::SaslFinal(rest(fields)),
            other => Self::Other(other),
        })
    }
}

/// Reads the columns of a `DataRow`.
///
/// # Errors
/// The body is malformed.
pub fn data_row(body: &Bytes) -> Result<Vec<Option<Bytes>>, FieldError> {
    let mut fields = Fields::new(body);
    let count = usize::try_from(fields.i16()?).map_err(|_neg| FieldError("the column count"))?;
    let mut columns = Vec::with_capacity(count);
    for _column in 0..count {
        let length = fields.i32()?;
        columns.push(match usize::try_from(length) {
            Ok(length) => Some(body.slice_ref(fields.bytes(length)?)),
            Err(_negative) if length == -1 => None,
            Err(_negative) => return Err(FieldError("a column's length")),
        });
    }
    Ok(columns)
}
