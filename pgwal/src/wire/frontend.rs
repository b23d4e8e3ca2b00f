//! Messages of the frontend: those that we write in that role. Bodies that `postgres-protocol`
//! writes are taken from there; what it does not know (protocol versions, long cancel keys) is here.

use bytes::{BufMut, BytesMut};

pub use postgres_protocol::message::frontend::{
    bind, close, copy_done, copy_fail, describe, execute, flush, parse, password_message, query,
    sasl_initial_response, sasl_response, ssl_request, sync, terminate,
};

use super::error::WireError;

/// Protocol 3.0.
pub const PROTOCOL_3_0: u32 = 0x0003_0000;
/// Protocol 3.2, whose cancel keys are longer (PostgreSQL 18).
pub const PROTOCOL_3_2: u32 = 0x0003_0002;
/// The code in place of a protocol version that asks for TLS.
pub const SSL_REQUEST: u32 = 80_877_103;
/// The code in place of a protocol version that asks for GSSAPI encryption.
pub const GSSENC_REQUEST: u32 = 80_877_104;
/// The code in place of a protocol version that cancels a query.
pub const CANCEL_REQUEST: u32 = 80_877_102;

/// Writes a `StartupMessage` from its parameters.
///
/// # Errors
/// A parameter holds a zero byte or the packet would be too long.
pub fn startup<'a>(
    protocol: u32,
    parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
    out: &mut BytesMut,
) -> Result<(), WireError> {
    let mut body = BytesMut::new();
    body.put_u32(protocol);
    for (name, value) in parameters {
        for text in [name, value] {
            if text.as_bytes().contains(&0) {
                return Err(WireError::Unwritable(
                    "a startup parameter holds a zero byte",
                ));
            }
            body.put_slice(text.as_bytes());
            body.put_u8(0);
        }
    }
    body.put_u8(0);
    put_with_length(&body, out)
}

/// Writes a `CancelRequest`.
///
/// # Errors
/// The key is too long for a message.
pub fn cancel_request(pid: i32, key: &[u8], out: &mut BytesMut) -> Result<(), WireError> {
    let mut body = BytesMut::with_capacity(8 + key.len());
    body.put_u32(CANCEL_REQUEST);
    body.put_i32(pid);
    body.put_slice(key);
    put_with_length(&body, out)
}

/// Writes a `CopyData` message.
///
/// # Errors
/// The data is too long for a message.
pub fn copy_data(data: &[u8], out: &mut BytesMut) -> Result<(), WireError> {
    out.put_u8(b'd');
    put_with_length(data, out)
}

fn put_with_length(body: &[u8], out: &mut BytesMut) -> Result<(), WireError> {
    let length = i32::try_from(body.len())
        .ok()
        .and_then(|length| length.checked_add(4))
        .ok_or(WireError::Unwritable("it is longer than a message may be"))?;
    out.put_i32(length);
    out.put_slice(body);
    Ok(())
}
