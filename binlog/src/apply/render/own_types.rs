//! MariaDB's `UUID`, `INET4` and `INET6` as text: what row events have of them is the form in which
//! they are stored.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::apply::field::BadField;

/// A UUID. Those of versions 1 to 5 are stored with their parts turned around, so that the times of
/// version 1 sort.
pub(super) fn uuid(stored: &[u8]) -> Result<String, BadField> {
    let stored: [u8; 16] = stored.try_into().map_err(|_length| BadField)?;
    let is_turned = (1..0x60).contains(&stored[8]) && stored[6] & 0x80 != 0;
    let value = if is_turned {
        let [node @ .., _, _, _, _, _, _, _, _, _, _] = stored;
        let [_, _, _, _, _, _, s0, s1, v0, v1, m0, m1, l0, l1, l2, l3] = stored;
        let mut value = [0; 16];
        value[..10].copy_from_slice(&[l0, l1, l2, l3, m0, m1, v0, v1, s0, s1]);
        value[10..].copy_from_slice(&node);
        value
    } else {
        stored
    };
    let mut text = String::with_capacity(36);
    for (place, byte) in value.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    Ok(text)
}

/// An IPv4 address.
pub(super) fn inet4(stored: &[u8]) -> Result<String, BadField> {
    let stored: [u8; 4] = stored.try_into().map_err(|_length| BadField)?;
    Ok(Ipv4Addr::from(stored).to_string())
}

/// An IPv6 address.
pub(super) fn inet6(stored: &[u8]) -> Result<String, BadField> {
    let stored: [u8; 16] = stored.try_into().map_err(|_length| BadField)?;
    Ok(Ipv6Addr::from(stored).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_turned_back_only_where_it_was_turned() {
        let turned = *b"\x42\x66\x55\x44\x00\x00\xa4\x56\x12\xd3\xe8\x9b\x12\x3e\x45\x67";
        assert_eq!(
            uuid(&turned).unwrap(),
            "123e4567-e89b-12d3-a456-426655440000"
        );
        let sorted = *b"\x01\x8f\x2d\x9e\x7c\x11\x7a\xbc\x9d\xef\x01\x23\x45\x67\x89\xab";
        assert_eq!(
            uuid(&sorted).unwrap(),
            "018f2d9e-7c11-7abc-9def-0123456789ab"
        );
        assert_eq!(
            uuid(&[0; 16]).unwrap(),
            "00000000-0000-0000-0000-000000000000"
        );
        assert_eq!(uuid(&[0; 15]), Err(BadField));
    }
}
