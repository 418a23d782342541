//! What commands print: keys and values as they are, JSON lines, tables.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Map, Value, json};
use synod::kv::{EventKind, KeyValue};

/// A key and its value, a line each; the bytes as they are.
pub fn print_key_value(out: &mut impl Write, kv: &KeyValue, values: bool) -> io::Result<()> {
    out.write_all(&kv.key)?;
    out.write_all(b"\n")?;
    if values {
        out.write_all(&kv.value)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// A key as a JSON object on one line.
pub fn print_json(out: &mut impl Write, object: &Map<String, Value>) -> io::Result<()> {
    serde_json::to_writer(&mut *out, object)?;
    out.write_all(b"\n")
}

/// All of a key. Bytes that are not UTF-8 stand in base64 under `key_base64` and `value_base64`.
pub fn json_of(kv: &KeyValue) -> Map<String, Value> {
    let mut object = Map::new();
    insert_bytes(&mut object, "key", &kv.key);
    insert_bytes(&mut object, "value", &kv.value);
    object.insert("create_revision".into(), json!(kv.create_revision.0));
    object.insert("mod_revision".into(), json!(kv.mod_revision.0));
    object.insert("version".into(), json!(kv.version));
    if kv.lease.0 != 0 {
        object.insert("lease".into(), json!(kv.lease.to_string()));
    }
    object
}

/// A change's name.
pub fn event_name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Put => "PUT",
        EventKind::Delete => "DELETE",
    }
}

fn insert_bytes(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.into(), json!(text)),
        Err(_) => object.insert(format!("{name}_base64"), json!(base64(bytes))),
    };
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = (0..3).fold(0u32, |word, i| word << 8 | u32::from(*group.get(i).unwrap_or(&0)));
        for digit in 0..4 {
            if digit <= group.len() {
                text.push(char::from(DIGITS[(word >> (18 - 6 * digit) & 63) as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// Columns as wide as they must be. The first row is the heading.
pub fn print_table(out: &mut impl Write, rows: &[Vec<String>]) -> io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// `12.3 MiB`; for people.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut scaled = bytes as f64 / 1024.0;
    let mut unit = 0;
    while scaled >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS[unit])
}

/// `12,345`; for people.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How long something took: `340 ms`, `1.2 s`, `4 min 10 s`, `2 h 05 min`.
pub fn duration(took: Duration) -> String {
    match took.as_millis() {
        millis @ 0..1_000 => format!("{millis} ms"),
        // What would be rounded to 60.0 is a minute.
        1_000..59_950 => format!("{:.1} s", took.as_secs_f64()),
        millis => minutes(((millis + 500) / 1_000) as u64),
    }
}

/// How long something may take, in whole seconds at least.
pub fn about(time: Duration) -> String {
    match time.as_secs_f64().ceil() as u64 {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds => minutes(seconds),
    }
}

fn minutes(seconds: u64) -> String {
    match seconds {
        0..3_600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3_600, seconds / 60 % 60),
    }
}

/// A text from elsewhere, so that it cannot tell the terminal anything: control characters, and those that
/// turn the direction of writing, stand escaped.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || turns_writing(c) {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}

fn turns_writing(c: char) -> bool {
    matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text of at most this many characters; a cut is marked.
pub fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    kept + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_rfc_4648s() {
        let pairs =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, coded) in pairs {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn bytes_that_are_not_text_are_marked_in_json() {
        let kv = KeyValue {
            key: "k".into(),
            value: bytes::Bytes::from_static(&[0xff]),
            ..KeyValue::default()
        };
        let object = json_of(&kv);
        assert_eq!((&object["key"], &object["value_base64"]), (&json!("k"), &json!("/w==")));
    }

    #[test]
    fn sizes_are_for_people() {
        assert_eq!([size(1), size(1536), size(60 << 20)], ["1 B", "1.5 KiB", "60.0 MiB"]);
    }

    #[test]
    fn numbers_and_times_are_for_people() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        let taken = |millis| duration(Duration::from_millis(millis));
        assert_eq!(
            [999, 1_240, 59_949, 59_951].map(taken),
            ["999 ms", "1.2 s", "59.9 s", "1 min 00 s"]
        );
        assert_eq!([250_400, 7_500_000].map(taken), ["4 min 10 s", "2 h 05 min"]);
        let left = |millis| about(Duration::from_millis(millis));
        assert_eq!([1, 3_000, 59_500].map(left), ["1 s", "3 s", "1 min 00 s"]);
    }

    #[test]
    fn texts_from_elsewhere_do_not_reach_the_terminal_as_commands() {
        assert_eq!(plain("a\u{1b}[2J\u{202e}ü"), "a\\u{1b}[2J\\u{202e}ü");
        assert_eq!([cut("abcd", 4), cut("abcde", 4)], ["abcd", "abc…"]);
    }

    #[test]
    fn a_table_lines_up() {
        let rows = [["A", "B"], ["long", "x"]].map(|row| row.map(str::to_owned).to_vec());
        let mut out = Vec::new();
        print_table(&mut out, &rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "A     B\nlong  x\n");
    }
}
