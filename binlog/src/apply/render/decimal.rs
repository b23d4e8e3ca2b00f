//! `DECIMAL` as the server packs it: nine digits in four bytes, the highest bit turned, negative
//! numbers with all bits turned.

/// Bytes of so many digits that are no full nine.
const REST: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];

/// The number's text; `None` if the bytes are none.
pub(in crate::apply) fn text(packed: &[u8], precision: u8, scale: u8) -> Option<String> {
    let whole = usize::from(precision.checked_sub(scale)?);
    let scale = usize::from(scale);
    let mut bytes = packed.to_vec();
    let first = bytes.first_mut()?;
    let negative = *first & 0x80 == 0;
    *first ^= 0x80;
    if negative {
        for byte in &mut bytes {
            *byte ^= 0xFF;
        }
    }
    let mut rest = bytes.as_slice();
    let mut text = String::from(if negative { "-" } else { "" });
    let sign = text.len();
    group(&mut rest, whole % 9, &mut text)?;
    for _ in 0..whole / 9 {
        group(&mut rest, 9, &mut text)?;
    }
    let digits = text.split_off(sign);
    let digits = digits.trim_start_matches('0');
    text.push_str(if digits.is_empty() { "0" } else { digits });
    if scale > 0 {
        text.push('.');
        for _ in 0..scale / 9 {
            group(&mut rest, 9, &mut text)?;
        }
        group(&mut rest, scale % 9, &mut text)?;
    }
    rest.is_empty().then_some(text)
}

fn group(rest: &mut &[u8], digits: usize, text: &mut String) -> Option<()> {
    if digits == 0 {
        return Some(());
    }
    let (bytes, after) = rest.split_at_checked(*REST.get(digits)?)?;
    *rest = after;
    let number = bytes
        .iter()
        .fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    let group = format!("{number:0digits$}");
    (group.len() == digits).then(|| text.push_str(&group))
}
