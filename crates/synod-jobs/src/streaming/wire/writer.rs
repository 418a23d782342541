//! Writes pairs for a command to read.

use super::{Kind, Kinds, Wire, key_number};

/// Writes pairs of these kinds in one format.
#[derive(Debug, Clone)]
pub struct PairWriter {
    wire: Wire,
    kinds: Kinds,
    separator: Vec<u8>,
    /// Whether keys are left out: the lines of a text file go to a mapper alone.
    without_keys: bool,
}

const CODE_BYTES: u8 = 0;
const CODE_LONG: u8 = 4;
const CODE_STRING: u8 = 7;
const CODE_WRITABLE: u8 = 50;
const NULL_CLASS: &[u8] = b"org.apache.hadoop.io.NullWritable";

impl PairWriter {
    /// A writer whose lines have `separator` between key and value.
    pub fn new(wire: Wire, kinds: Kinds, separator: &str, without_keys: bool) -> PairWriter {
        let separator = separator.as_bytes().to_vec();
        // Only lines can do without keys.
        PairWriter { wire, kinds, separator, without_keys: without_keys && wire == Wire::Text }
    }

    /// Whether what is written is the value and a line feed.
    pub fn writes_plain_lines(&self) -> bool {
        self.without_keys && self.kinds.value == Kind::Text
    }

    /// Appends a pair.
    #[inline]
    pub fn put(&self, key: &[u8], value: &[u8], out: &mut Vec<u8>) {
        match self.wire {
            Wire::Text => {
                if !self.without_keys {
                    put_text(self.kinds.key, key, out);
                    out.extend_from_slice(&self.separator);
                }
                put_text(self.kinds.value, value, out);
                out.push(b'\n');
            }
            Wire::KeyOnly => {
                put_text(self.kinds.key, key, out);
                out.push(b'\n');
            }
            Wire::RawBytes => {
                put_raw(self.kinds.key, key, out);
                put_raw(self.kinds.value, value, out);
            }
            Wire::TypedBytes => {
                put_typed(self.kinds.key, key, out);
                put_typed(self.kinds.value, value, out);
            }
        }
    }
}

#[inline]
fn put_text(kind: Kind, bytes: &[u8], out: &mut Vec<u8>) {
    match kind {
        Kind::Text | Kind::Bytes | Kind::Typed => out.extend_from_slice(bytes),
        Kind::Number => out.extend_from_slice(key_number(bytes).to_string().as_bytes()),
        Kind::Nothing => out.extend_from_slice(b"(null)"),
    }
}

fn put_raw(kind: Kind, bytes: &[u8], out: &mut Vec<u8>) {
    match kind {
        Kind::Bytes | Kind::Typed => {
            put_length(bytes.len(), out);
            out.extend_from_slice(bytes);
        }
        Kind::Text => {
            let mut length = Vec::with_capacity(9);
            put_vint(bytes.len() as u64, &mut length);
            put_length(length.len() + bytes.len(), out);
            out.extend_from_slice(&length);
            out.extend_from_slice(bytes);
        }
        Kind::Number => {
            put_length(8, out);
            out.extend_from_slice(&key_number(bytes).to_be_bytes());
        }
        Kind::Nothing => put_length(0, out),
    }
}

fn put_typed(kind: Kind, bytes: &[u8], out: &mut Vec<u8>) {
    let mut coded = |code: u8, content: &[&[u8]]| {
        out.push(code);
        put_length(content.iter().map(|part| part.len()).sum(), out);
        content.iter().for_each(|part| out.extend_from_slice(part));
    };
    match kind {
        Kind::Typed => out.extend_from_slice(bytes),
        Kind::Bytes => coded(CODE_BYTES, &[bytes]),
        Kind::Text => coded(CODE_STRING, &[bytes]),
        Kind::Number => {
            out.push(CODE_LONG);
            out.extend_from_slice(&key_number(bytes).to_be_bytes());
        }
        Kind::Nothing => {
            let length = (NULL_CLASS.len() as u32).to_be_bytes();
            coded(CODE_WRITABLE, &[&length, NULL_CLASS]);
        }
    }
}

/// Four bytes, big-endian. Records are far below that.
fn put_length(length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(length as u32).to_be_bytes());
}

/// Hadoop's integer of variable length, for numbers that are not negative.
fn put_vint(number: u64, out: &mut Vec<u8>) {
    if number <= 127 {
        out.push(number as u8);
        return;
    }
    let bytes = 8 - number.leading_zeros() as usize / 8;
    out.push((-112 - bytes as i8) as u8);
    out.extend_from_slice(&number.to_be_bytes()[8 - bytes..]);
}

#[cfg(test)]
mod tests {
    use super::super::number_key;
    use super::*;

    fn written(wire: Wire, key: (Kind, &[u8]), value: (Kind, &[u8])) -> Vec<u8> {
        let kinds = Kinds { key: key.0, value: value.0 };
        let mut out = Vec::new();
        PairWriter::new(wire, kinds, "|", false).put(key.1, value.1, &mut out);
        out
    }

    #[test]
    fn lines_hold_key_separator_and_value() {
        let text = |key, value| written(Wire::Text, key, value);
        assert_eq!(text((Kind::Text, b"k"), (Kind::Text, b"v")), b"k|v\n");
        let number = number_key(-12);
        assert_eq!(text((Kind::Number, &number), (Kind::Text, b"v")), b"-12|v\n");
        assert_eq!(text((Kind::Text, b"k"), (Kind::Nothing, b"")), b"k|(null)\n");
        assert_eq!(written(Wire::KeyOnly, (Kind::Text, b"k"), (Kind::Text, b"v")), b"k\n");
        let kinds = Wire::Text.kinds();
        let mut out = Vec::new();
        PairWriter::new(Wire::Text, kinds, "\t", true).put(b"ignored", b"v", &mut out);
        assert_eq!(out, b"v\n");
    }

    #[test]
    fn raw_bytes_are_what_hadoops_classes_serialize() {
        let long = [b'x'; 300];
        for (kind, bytes, expected) in [
            (Kind::Bytes, b"ab" as &[u8], b"\0\0\0\x02ab".to_vec()),
            (Kind::Text, b"ab", b"\0\0\0\x03\x02ab".to_vec()),
            (Kind::Number, &number_key(258), b"\0\0\0\x08\0\0\0\0\0\0\x01\x02".to_vec()),
            (Kind::Nothing, b"", b"\0\0\0\0".to_vec()),
            // A length over 127 is a count of bytes and the bytes.
            (Kind::Text, &long, [b"\0\0\x01\x2f\x8e\x01\x2c" as &[u8], &long].concat()),
        ] {
            let out = written(Wire::RawBytes, (kind, bytes), (Kind::Bytes, b""));
            assert_eq!(out, [&expected as &[u8], b"\0\0\0\0"].concat(), "{kind:?}");
        }
    }

    #[test]
    fn typed_bytes_say_what_they_are() {
        for (kind, bytes, expected) in [
            (Kind::Typed, b"\x02\x01" as &[u8], b"\x02\x01".to_vec()),
            (Kind::Bytes, b"ab", b"\x00\0\0\0\x02ab".to_vec()),
            (Kind::Text, b"ab", b"\x07\0\0\0\x02ab".to_vec()),
            (Kind::Number, &number_key(1), b"\x04\0\0\0\0\0\0\0\x01".to_vec()),
            (Kind::Nothing, b"", [b"\x32\0\0\0\x25\0\0\0\x21", NULL_CLASS].concat()),
        ] {
            let out = written(Wire::TypedBytes, (kind, bytes), (Kind::Typed, b""));
            assert_eq!(out, expected, "{kind:?}");
        }
    }
}
