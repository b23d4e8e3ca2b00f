//! Dates and times as text, with exactly the digits that they are stored with.

/// `DATE`: three bytes, little-endian.
pub(super) fn date(packed: u64) -> String {
    format!(
        "{:04}-{:02}-{:02}",
        packed >> 9,
        packed >> 5 & 15,
        packed & 31
    )
}

/// `TIME(fsp)`.
pub(super) fn time(value: &[u8], fsp: u8) -> Option<String> {
    let bits = 8 * u32::from(fsp.div_ceil(2));
    let packed = i64::try_from(big_endian(value)?).ok()? - (0x80_0000 << bits);
    let sign = if packed < 0 { "-" } else { "" };
    let packed = packed.unsigned_abs();
    let (whole, part) = (packed >> bits, packed & ((1 << bits) - 1));
    let fraction = fraction(part, fsp)?;
    Some(format!(
        "{sign}{:02}:{:02}:{:02}{fraction}",
        whole >> 12 & 0x3FF,
        whole >> 6 & 63,
        whole & 63
    ))
}

/// `DATETIME(fsp)`.
pub(super) fn date_time(value: &[u8], fsp: u8) -> Option<String> {
    let (whole, part) = value.split_at_checked(5)?;
    let packed = big_endian(whole)?.checked_sub(0x80_0000_0000)?;
    let month = packed >> 22;
    let fraction = fraction(big_endian(part)?, fsp)?;
    Some(format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}{fraction}",
        month / 13,
        month % 13,
        packed >> 17 & 31,
        packed >> 12 & 31,
        packed >> 6 & 63,
        packed & 63
    ))
}

/// `TIMESTAMP(fsp)`, in UTC.
pub(super) fn timestamp(value: &[u8], fsp: u8) -> Option<String> {
    let (seconds, part) = value.split_at_checked(4)?;
    let fraction = fraction(big_endian(part)?, fsp)?;
    Some(of_unix_time(big_endian(seconds)?, &fraction))
}

/// `DATETIME` as before fractions: `YYYYMMDDhhmmss` as a number.
pub(super) fn old_date_time(number: u64) -> String {
    let (date, time) = (number / 1_000_000, number % 1_000_000);
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        date / 10_000,
        date / 100 % 100,
        date % 100,
        time / 10_000,
        time / 100 % 100,
        time % 100
    )
}

/// `TIME` as before fractions: `hhmmss` as a signed number of three bytes.
pub(super) fn old_time(number: u64) -> String {
    let (sign, time) = if number & 0x80_0000 == 0 {
        ("", number)
    } else {
        ("-", 0x100_0000 - number)
    };
    format!(
        "{sign}{:02}:{:02}:{:02}",
        time / 10_000,
        time / 100 % 100,
        time % 100
    )
}

/// Seconds since 1970 as a date and time in UTC; 0 is the zero date.
pub(super) fn of_unix_time(seconds: u64, fraction: &str) -> String {
    if seconds == 0 {
        return format!("0000-00-00 00:00:00{fraction}");
    }
    let (year, month, day) = civil(seconds / 86_400);
    let second = seconds % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}{fraction}",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// The date of a day since 1970. Years are counted from March on, so that the leap day is the
/// last; 400 years have 146,097 days.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year + u64::from(month <= 2);
    (year, month, day)
}

/// `.123` of a stored fraction: two digits a byte.
fn fraction(part: u64, fsp: u8) -> Option<String> {
    if fsp == 0 {
        return Some(String::new());
    }
    let width = usize::from(fsp.div_ceil(2)) * 2;
    let mut digits = format!("{part:0width$}");
    if digits.len() != width {
        return None;
    }
    digits.truncate(usize::from(fsp));
    Some(format!(".{digits}"))
}

/// A date and time of the server's memory: as [`date_time`] has it, shifted by 24 bits of
/// microseconds, with a sign.
pub(in crate::apply) fn packed_date_time(packed: i64) -> String {
    let packed = packed.unsigned_abs();
    let (whole, micros) = (packed >> 24, packed & 0xFF_FFFF);
    let month = whole >> 22;
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{micros:06}",
        month / 13,
        month % 13,
        whole >> 17 & 31,
        whole >> 12 & 31,
        whole >> 6 & 63,
        whole & 63
    )
}

/// The date of the same.
pub(in crate::apply) fn packed_date(packed: i64) -> String {
    let mut shown = packed_date_time(packed);
    shown.truncate("YYYY-MM-DD".len());
    shown
}

/// A time of the server's memory.
pub(in crate::apply) fn packed_time(packed: i64) -> String {
    let sign = if packed < 0 { "-" } else { "" };
    let packed = packed.unsigned_abs();
    let (whole, micros) = (packed >> 24, packed & 0xFF_FFFF);
    format!(
        "{sign}{:02}:{:02}:{:02}.{micros:06}",
        whole >> 12 & 0x3FF,
        whole >> 6 & 63,
        whole & 63
    )
}

fn big_endian(bytes: &[u8]) -> Option<u64> {
    (bytes.len() <= 8).then(|| {
        bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    })
}
