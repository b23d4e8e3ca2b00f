use super::*;
use crate::apply::convert::{Conversion, SideOf};
use crate::apply::target_table::Generated;

fn column(from: FieldType, unsigned: bool, charset: Option<&str>) -> Column {
    let side = SideOf {
        field: from,
        unsigned: None,
        charset: None,
    };
    Column {
        name: "c".to_owned(),
        nullable: true,
        unsigned,
        charset: charset.map(str::to_owned),
        generated: Generated::No,
        target_charset: None,
        notation: Notation::Plain,
        from,
        conversion: Conversion::between(side, side).unwrap(),
    }
}

fn of(from: FieldType, field: &[u8]) -> String {
    literal(&column(from, false, None), field).unwrap()
}

#[test]
fn whole_numbers_have_their_sign() {
    assert_eq!(of(FieldType::Int(3), &[0xFE, 0xFF, 0xFF]), "-2");
    let unsigned = column(FieldType::Int(8), true, None);
    assert_eq!(
        literal(&unsigned, &[0xFF; 8]).unwrap(),
        u64::MAX.to_string()
    );
}

#[test]
fn floating_point_numbers_read_back_to_the_same_bits() {
    for value in [0.1_f64, -1e300, 5e-324, 123_456_789.123_456_79, -0.0] {
        let text = of(FieldType::Double, &value.to_le_bytes());
        assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits());
        assert!(text.contains('e'), "{text}");
    }
    let text = of(FieldType::Float, &0.1_f32.to_le_bytes());
    assert_eq!(text.parse::<f64>().unwrap(), f64::from(0.1_f32));
}

#[test]
fn decimals_keep_every_digit() {
    let decimal = FieldType::Decimal {
        precision: 14,
        scale: 4,
    };
    // 1234567890.1234 and its negative, from the server's own comment.
    let packed = [0x81, 0x0D, 0xFB, 0x38, 0xD2, 0x04, 0xD2];
    assert_eq!(of(decimal, &packed), "1234567890.1234");
    let negative = packed.map(|byte| byte ^ 0xFF);
    assert_eq!(of(decimal, &negative), "-1234567890.1234");
    let zero = FieldType::Decimal {
        precision: 2,
        scale: 2,
    };
    assert_eq!(of(zero, &[0x80 | 5]), "0.05");
}

#[test]
fn times_keep_every_digit_and_their_sign() {
    assert_eq!(of(FieldType::Date, &[0x76, 0xD3, 0x0F]), "'2025-11-22'");
    let time = FieldType::Time { fsp: 2 };
    assert_eq!(of(time, &[0x80, 0xA0, 0x83, 0x05]), "'10:02:03.05'");
    // -00:00:00.01: one hundredth below the zero point.
    assert_eq!(of(time, &[0x7F, 0xFF, 0xFF, 0xFF]), "'-00:00:00.01'");
    let datetime = FieldType::DateTime { fsp: 6 };
    let packed = [0x99, 0xB8, 0x2D, 0x41, 0x41, 0x01, 0xE2, 0x40];
    assert_eq!(of(datetime, &packed), "'2025-11-22 20:05:01.123456'");
    assert_eq!(
        of(FieldType::DateTime { fsp: 0 }, &[0x80, 0, 0, 0, 0]),
        "'0000-00-00 00:00:00'"
    );
    let timestamp = FieldType::Timestamp { fsp: 3 };
    assert_eq!(
        of(timestamp, &[0x65, 0xE0, 0x6F, 0xFF, 0x00, 0x0A]),
        "'2024-02-29 11:52:31.001'"
    );
    assert_eq!(
        of(timestamp, &[0, 0, 0, 0, 0, 0]),
        "'0000-00-00 00:00:00.000'"
    );
    assert_eq!(of(FieldType::Year, &[0]), "0");
    assert_eq!(of(FieldType::Year, &[125]), "2025");
}

#[test]
fn text_is_told_with_its_character_set_and_bytes_without() {
    let latin1 = column(FieldType::VarChar { octets: 9 }, false, Some("latin1"));
    assert_eq!(literal(&latin1, b"\x01\xe9").unwrap(), "_latin1 x'e9'");
    assert_eq!(of(FieldType::Blob { prefix: 1 }, b"\x00"), "x''");
    assert_eq!(of(FieldType::Bit { bits: 9 }, &[1, 0]), "256");
}
