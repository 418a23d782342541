//! The byte codec of everything Synod stores or sends between its nodes.
//!
//! Little-endian fixed integers, LEB128 variable integers, length-prefixed bytes. Every type that is
//! stored or sent writes itself with an [`Encoder`] and reads itself with a [`Decoder`]; decoding
//! slices the frame (`Bytes` is reference counted), it never copies or allocates from a declared
//! length. Key order encodings live with the keys that need them.

use bytes::{Buf, Bytes};
use thiserror::Error;

/// Bytes that do not decode as what they should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The input ended inside a value.
    #[error("truncated while reading {0}")]
    Truncated(&'static str),
    /// A tag, flag or length outside what the format allows.
    #[error("invalid {what}: {value}")]
    Invalid {
        /// Which field.
        what: &'static str,
        /// What it held.
        value: u64,
    },
    /// Bytes were left over after the last field.
    #[error("{0} bytes left over after the value")]
    TrailingBytes(usize),
}

/// Appends values to a byte vector.
#[derive(Debug, Default)]
pub struct Encoder {
    out: Vec<u8>,
}

impl Encoder {
    /// An empty encoder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty encoder with room for `bytes`.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Encoder { out: Vec::with_capacity(bytes) }
    }

    /// An empty encoder that reuses a vector's allocation.
    #[must_use]
    pub fn reuse(mut out: Vec<u8>) -> Self {
        out.clear();
        Encoder { out }
    }

    /// One byte.
    pub fn u8(&mut self, v: u8) -> &mut Self {
        self.out.push(v);
        self
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self, v: u32) -> &mut Self {
        self.out.extend_from_slice(&v.to_le_bytes());
        self
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self, v: u64) -> &mut Self {
        self.out.extend_from_slice(&v.to_le_bytes());
        self
    }

    /// LEB128, one to ten bytes.
    pub fn var(&mut self, mut v: u64) -> &mut Self {
        while v >= 0x80 {
            self.out.push((v as u8) | 0x80);
            v >>= 7;
        }
        self.out.push(v as u8);
        self
    }

    /// A signed integer, zig-zag then LEB128.
    pub fn var_i64(&mut self, v: i64) -> &mut Self {
        self.var(((v << 1) ^ (v >> 63)) as u64)
    }

    /// A flag, one byte.
    pub fn bool(&mut self, v: bool) -> &mut Self {
        self.u8(u8::from(v))
    }

    /// A length and that many bytes.
    pub fn bytes(&mut self, v: &[u8]) -> &mut Self {
        self.var(v.len() as u64);
        self.out.extend_from_slice(v);
        self
    }

    /// A string, as its UTF-8 bytes.
    pub fn str(&mut self, v: &str) -> &mut Self {
        self.bytes(v.as_bytes())
    }

    /// Bytes without a length: only last in a value.
    pub fn raw(&mut self, v: &[u8]) -> &mut Self {
        self.out.extend_from_slice(v);
        self
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// What was written.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        self.out
    }

    /// What was written, as shared bytes.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        Bytes::from(self.out)
    }
}

/// Reads values off the front of a byte slice.
#[derive(Debug, Clone)]
pub struct Decoder {
    input: Bytes,
}

impl Decoder {
    /// Reads from `input`; slices of it are handed out without copying.
    #[must_use]
    pub fn new(input: Bytes) -> Self {
        Decoder { input }
    }

    /// One byte.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.need(1, what)?;
        Ok(self.input.get_u8())
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.need(4, what)?;
        Ok(self.input.get_u32_le())
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.need(8, what)?;
        Ok(self.input.get_u64_le())
    }

    /// LEB128.
    pub fn var(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(DecodeError::Invalid { what, value: bits });
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Invalid { what, value })
    }

    /// A zig-zag LEB128 integer.
    pub fn var_i64(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        let v = self.var(what)?;
        Ok(((v >> 1) as i64) ^ -((v & 1) as i64))
    }

    /// A LEB128 integer that must fit 32 bits.
    pub fn var_u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        let value = self.var(what)?;
        u32::try_from(value).map_err(|_| DecodeError::Invalid { what, value })
    }

    /// A flag: 0 or 1, nothing else.
    pub fn bool(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            v => Err(DecodeError::Invalid { what, value: u64::from(v) }),
        }
    }

    /// A length and that many bytes, as a slice of the input.
    pub fn bytes(&mut self, what: &'static str) -> Result<Bytes, DecodeError> {
        let len = self.var(what)?;
        let len = usize::try_from(len).map_err(|_| DecodeError::Truncated(what))?;
        self.need(len, what)?;
        Ok(self.input.split_to(len))
    }

    /// A UTF-8 string.
    pub fn str(&mut self, what: &'static str) -> Result<String, DecodeError> {
        let bytes = self.bytes(what)?;
        String::from_utf8(bytes.to_vec())
            .map_err(|e| DecodeError::Invalid { what, value: e.utf8_error().valid_up_to() as u64 })
    }

    /// A count of items that follow, each at least one byte long: a count larger than the bytes left
    /// is refused, so `Vec::with_capacity(count)` is bounded by the input.
    pub fn count(&mut self, what: &'static str) -> Result<usize, DecodeError> {
        let value = self.var(what)?;
        match usize::try_from(value) {
            Ok(n) if n <= self.input.len() => Ok(n),
            _ => Err(DecodeError::Invalid { what, value }),
        }
    }

    /// All bytes that are left.
    pub fn rest(&mut self) -> Bytes {
        self.input.split_to(self.input.len())
    }

    /// How many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.input.len()
    }

    /// Ends decoding; an error if bytes are left over.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.input.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::TrailingBytes(self.input.len()))
        }
    }

    fn need(&self, bytes: usize, what: &'static str) -> Result<(), DecodeError> {
        if self.input.len() < bytes { Err(DecodeError::Truncated(what)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_comes_back_as_it_went_in() {
        for v in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut e = Encoder::new();
            e.var(v).var_i64(v as i64).u64(v).u32(v as u32).bool(v == 1).bytes(b"key").str("é");
            let mut d = Decoder::new(e.into_bytes());
            assert_eq!(d.var("v"), Ok(v));
            assert_eq!(d.var_i64("v"), Ok(v as i64));
            assert_eq!(d.u64("v"), Ok(v));
            assert_eq!(d.u32("v"), Ok(v as u32));
            assert_eq!(d.bool("v"), Ok(v == 1));
            assert_eq!(d.bytes("v").unwrap(), "key");
            assert_eq!(d.str("v").unwrap(), "é");
            assert_eq!(d.finish(), Ok(()));
        }
    }

    #[test]
    fn a_declared_length_beyond_the_input_is_refused_without_allocating() {
        let mut e = Encoder::new();
        e.var(u64::MAX - 7).raw(b"short");
        let input = e.into_bytes();
        assert_eq!(Decoder::new(input.clone()).bytes("b"), Err(DecodeError::Truncated("b")));
        assert!(Decoder::new(input).count("n").is_err());
    }

    #[test]
    fn eleven_byte_varints_and_odd_flags_are_refused() {
        let long = Bytes::from_static(&[0xff; 11]);
        assert!(Decoder::new(long).var("v").is_err());
        let overflow =
            Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]);
        assert!(Decoder::new(overflow).var("v").is_err());
        assert!(Decoder::new(Bytes::from_static(&[2])).bool("f").is_err());
    }
}
