//! The lines of a part file, as TextOutputFormat writes them.
//!
//! Key, separator, value: a pair whose value is empty still has its separator, which is why lines
//! without a tab come out of Hadoop with one at their end. Only a value that is nothing at all
//! (`keyonlytext`) goes without.

use super::{Kind, Kinds, key_number, typed_bytes};
use crate::sink::Sink;
use crate::streaming::java_text;

/// Writes pairs of these kinds.
#[derive(Debug, Clone)]
pub struct LineWriter {
    kinds: Kinds,
    separator: Vec<u8>,
    drops: bool,
}

impl LineWriter {
    /// A writer of lines with `separator` between key and value; one that `drops` writes nothing.
    pub fn new(kinds: Kinds, separator: &str, drops: bool) -> LineWriter {
        LineWriter { kinds, separator: separator.as_bytes().to_vec(), drops }
    }

    /// Writes a pair as a line.
    #[inline]
    pub fn write(&self, key: &[u8], value: &[u8], out: &mut Sink) {
        if self.drops {
            return;
        }
        let Kinds { key: key_kind, value: value_kind } = self.kinds;
        let both = key_kind != Kind::Nothing && value_kind != Kind::Nothing;
        write_half(key_kind, key, out);
        if both {
            out.bytes(&self.separator);
        }
        write_half(value_kind, value, out);
        out.end_record();
    }
}

#[inline]
fn write_half(kind: Kind, bytes: &[u8], out: &mut Sink) {
    match kind {
        Kind::Text => out.bytes(bytes),
        Kind::Nothing => {}
        _ => out.bytes(text(kind, bytes).as_bytes()),
    }
}

/// What Java's `toString` makes of a key or value.
pub fn text(kind: Kind, bytes: &[u8]) -> String {
    match kind {
        Kind::Text => java_text::decode(bytes),
        Kind::Nothing => "(null)".to_owned(),
        Kind::Number => key_number(bytes).to_string(),
        Kind::Typed => typed_bytes::text(bytes),
        Kind::Bytes => {
            let mut text = String::with_capacity(bytes.len() * 3);
            for (at, byte) in bytes.iter().enumerate() {
                if at > 0 {
                    text.push(' ');
                }
                text.push_str(&format!("{byte:02x}"));
            }
            text
        }
    }
}
