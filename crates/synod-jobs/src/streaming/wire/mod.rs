//! What goes through the pipes of a command: lines, raw bytes or typed bytes.
//!
//! [`Wire`] is the format of one direction of one stage (`-io`, or `stream.map.input` and its
//! siblings). [`writer`] turns pairs into the bytes a command reads, [`reader`] the bytes it printed
//! into pairs, [`output`] pairs into the lines of a part file. A pair's key and value are bytes; what
//! they are in Hadoop's classes, which decides how each format writes them, is their [`Kind`].

pub mod output;
pub mod reader;
pub mod typed_bytes;
pub mod writer;

use crate::error::JobError;

/// The format of a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wire {
    /// Lines of key, separator and value.
    #[default]
    Text,
    /// Lines that are a key.
    KeyOnly,
    /// Key and value, each behind four bytes of length, big-endian.
    RawBytes,
    /// Key and value, each a type code and what belongs to it.
    TypedBytes,
}

impl Wire {
    /// The format with this name, in any case; `property` is where it was asked for.
    pub fn named(property: &str, name: &str) -> Result<Wire, JobError> {
        match name.trim().to_ascii_lowercase().as_str() {
            "text" => Ok(Wire::Text),
            "keyonlytext" => Ok(Wire::KeyOnly),
            "rawbytes" => Ok(Wire::RawBytes),
            "typedbytes" => Ok(Wire::TypedBytes),
            _ => Err(JobError::BadSpec {
                what: format!(
                    "{property} {name}: text, keyonlytext, rawbytes and typedbytes are known"
                ),
            }),
        }
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Wire::Text => "text",
            Wire::KeyOnly => "keyonlytext",
            Wire::RawBytes => "rawbytes",
            Wire::TypedBytes => "typedbytes",
        }
    }

    /// The kinds of what a command printed in this format.
    pub fn kinds(self) -> Kinds {
        match self {
            Wire::Text => Kinds { key: Kind::Text, value: Kind::Text },
            Wire::KeyOnly => Kinds { key: Kind::Text, value: Kind::Nothing },
            Wire::RawBytes => Kinds { key: Kind::Bytes, value: Kind::Bytes },
            Wire::TypedBytes => Kinds { key: Kind::Typed, value: Kind::Typed },
        }
    }
}

/// What a key or value is in Hadoop's classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `Text`
    Text,
    /// `BytesWritable`
    Bytes,
    /// `TypedBytesWritable`: the bytes begin with a type code.
    Typed,
    /// `LongWritable`: the eight bytes of [`number_key`].
    Number,
    /// `NullWritable`
    Nothing,
}

/// The kinds of the two halves of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds {
    /// Of the key.
    pub key: Kind,
    /// Of the value.
    pub value: Kind,
}

/// A number as bytes that ascend as the number does.
pub fn number_key(number: i64) -> [u8; 8] {
    ((number as u64) ^ (1 << 63)).to_be_bytes()
}

/// The number that [`number_key`] made these bytes of.
pub fn key_number(bytes: &[u8]) -> i64 {
    let bytes = bytes.first_chunk().copied().unwrap_or_default();
    (u64::from_be_bytes(bytes) ^ (1 << 63)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_ascend_as_bytes() {
        let numbers = [i64::MIN, -1, 0, 1, 255, 256, i64::MAX];
        assert!(numbers.windows(2).all(|pair| number_key(pair[0]) < number_key(pair[1])));
        assert!(numbers.iter().all(|&number| key_number(&number_key(number)) == number));
    }
}
