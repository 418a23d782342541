//! Text and numbers as Java has them: decoding, order of strings, and how floating-point numbers
//! print. What Hadoop does by way of a Java string, such as choosing a partition by the text of a
//! key, gives the same result here only with the same rules.

use std::cmp::Ordering;
use std::fmt::LowerExp;

/// Decodes UTF-8 the way Java does: what is malformed becomes U+FFFD, once per piece. The pieces are
/// those of the Unicode standard but for surrogates, of which Java takes all three bytes (or what
/// there is of them at the end of the input) as one.
pub fn decode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        let valid = match std::str::from_utf8(rest) {
            Ok(valid) => valid.len(),
            Err(error) => error.valid_up_to(),
        };
        if let Ok(good) = std::str::from_utf8(&rest[..valid]) {
            text.push_str(good);
        }
        rest = &rest[valid..];
        if rest.is_empty() {
            break;
        }
        text.push(char::REPLACEMENT_CHARACTER);
        rest = &rest[malformed_bytes(rest)..];
    }
    text
}

/// Length of the malformed piece that `bytes` begins with.
fn malformed_bytes(bytes: &[u8]) -> usize {
    if let [0xed, 0xa0..=0xbf, more @ ..] = bytes {
        return match more {
            [] => 2,
            [0x80..=0xbf, ..] => 3,
            _ => 2,
        };
    }
    match std::str::from_utf8(bytes) {
        Err(error) => error.error_len().unwrap_or(bytes.len()),
        // Not reached: the caller stands on a malformed piece.
        Ok(_) => bytes.len(),
    }
}

/// The order of two strings in Java: by UTF-16 units, in which U+1F600 comes before U+FF00.
pub fn compare(a: &str, b: &str) -> Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}

/// `Double.toString`.
pub fn double(number: f64) -> String {
    number_text(number, number.is_nan(), number.is_infinite(), number.is_sign_negative())
}

/// `Float.toString`.
pub fn float(number: f32) -> String {
    number_text(number, number.is_nan(), number.is_infinite(), number.is_sign_negative())
}

/// The shortest digits that read back as the number, with at least one behind the point; in
/// scientific form from 10^7 on and below 10^-3.
fn number_text(number: impl LowerExp, is_nan: bool, is_infinite: bool, negative: bool) -> String {
    let sign = if negative { "-" } else { "" };
    if is_nan {
        return "NaN".to_owned();
    }
    if is_infinite {
        return format!("{sign}Infinity");
    }
    let scientific = format!("{number:e}");
    let scientific = scientific.trim_start_matches('-');
    let (digits, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits = digits.replace('.', "");
    if digits == "0" {
        return format!("{sign}0.0");
    }
    let point = |at: usize| {
        let (whole, rest) = digits.split_at(at.min(digits.len()));
        let zeros = "0".repeat(at.saturating_sub(digits.len()));
        format!("{whole}{zeros}.{}", if rest.is_empty() { "0" } else { rest })
    };
    match exponent {
        0..7 => format!("{sign}{}", point(exponent as usize + 1)),
        -3..0 => format!("{sign}0.{}{digits}", "0".repeat((-exponent - 1) as usize)),
        _ => format!("{sign}{}E{exponent}", point(1)),
    }
}

/// `Long.parseLong`: a sign, then digits, nothing else.
pub fn parse_long(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `Double.parseDouble`: blanks around it, and a letter for the type behind it, do not matter.
pub fn parse_double(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?.trim_matches(|c: char| c <= ' ');
    let unsigned = text.trim_start_matches(['+', '-']);
    match unsigned {
        "NaN" => return Some(f64::NAN),
        "Infinity" => {
            return Some(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
        }
        _ if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') => return None,
        _ => {}
    }
    text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_bytes_become_one_replacement_per_piece() {
        for (bytes, text) in [
            (b"a\xffb" as &[u8], "a\u{fffd}b"),
            (b"\xe2\x82a", "\u{fffd}a"),
            (b"\xe2\x82", "\u{fffd}"),
            (b"\xed\xa0\x80", "\u{fffd}"),
            (b"\xed\xa0", "\u{fffd}"),
            (b"\xed\xa0a", "\u{fffd}a"),
            (b"\xf0\x80\x80\x80", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
            ("ü\u{1f600}".as_bytes(), "ü\u{1f600}"),
        ] {
            assert_eq!(decode(bytes), text, "{bytes:x?}");
        }
    }

    #[test]
    fn doubles_print_as_java_prints_them() {
        for (number, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (100.0, "100.0"),
            (0.1, "0.1"),
            (0.001, "0.001"),
            (0.000_123, "1.23E-4"),
            (9_999_999.5, "9999999.5"),
            (1e7, "1.0E7"),
            (-1.234_567_89e10, "-1.23456789E10"),
            (1.0 / 3.0, "0.3333333333333333"),
            (f64::MAX, "1.7976931348623157E308"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(double(number), text);
        }
        assert_eq!(float(0.1), "0.1");
        assert_eq!(float(16_777_216.0), "1.6777216E7");
    }

    #[test]
    fn strings_ascend_by_utf16_units() {
        assert_eq!(compare("\u{1f600}", "\u{ff00}"), Ordering::Less);
        assert_eq!(compare("a", "ab"), Ordering::Less);
    }

    #[test]
    fn numbers_are_read_strictly() {
        assert_eq!(parse_long(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_long(b"+5"), Some(5));
        for bad in ["", "-", " 1", "1 ", "9223372036854775808", "1.0", "x", "--1"] {
            assert_eq!(parse_long(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse_double(b" 1.5e3f "), Some(1500.0));
        assert_eq!(parse_double(b"-.5"), Some(-0.5));
        assert_eq!(parse_double(b"-Infinity"), Some(f64::NEG_INFINITY));
        for bad in ["", "inf", "nan", "infinity", "1,5", "x"] {
            assert_eq!(parse_double(bad.as_bytes()), None, "{bad}");
        }
    }
}
