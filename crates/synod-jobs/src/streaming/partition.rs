//! Hadoop's hash partitioners: which reduce task gets a pair.
//!
//! Part files compare with Hadoop's byte for byte only if each pair goes to the same one, so the
//! arithmetic is Java's, 32 bits wide with wrap-around, and the text of a key is what Java's decoder
//! makes of its bytes.

use super::java_text::decode;
use super::key_fields::KeyFields;

/// The partition for a hash: its sign is dropped, as Java's is.
fn of_hash(hash: i32, partitions: u32) -> u32 {
    (hash as u32 & 0x7fff_ffff) % partitions
}

/// HashPartitioner, for keys that are text or bytes.
pub fn by_bytes(key: &[u8], partitions: u32) -> u32 {
    of_hash(hash_on(1, key), partitions)
}

/// HashPartitioner, for keys that are 64-bit numbers: their low half.
pub fn by_number(key: i64, partitions: u32) -> u32 {
    of_hash(key as i32, partitions)
}

fn hash_on(start: i32, bytes: &[u8]) -> i32 {
    bytes
        .iter()
        .fold(start, |hash, &byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte as i8)))
}

/// KeyFieldBasedPartitioner: the hash of the bytes that the specifications choose; the hash of the
/// whole key as a string if there are none.
pub fn by_fields(fields: &KeyFields, key: &[u8], lengths: &mut Vec<usize>, partitions: u32) -> u32 {
    if fields.specs().is_empty() {
        return of_hash(hash_of_string(key), partitions);
    }
    if key.is_empty() {
        return 0;
    }
    let replaced;
    let key = match std::str::from_utf8(key) {
        Ok(_) => key,
        Err(_) => {
            replaced = decode(key);
            replaced.as_bytes()
        }
    };
    fields.cut(key, lengths);
    let ranges = fields.specs().iter().filter_map(|spec| fields.range(spec, key, lengths));
    of_hash(ranges.fold(0, |hash, range| hash_on(hash, &key[range])), partitions)
}

/// `String.hashCode` of the text that these bytes are in UTF-8: over its UTF-16 units.
fn hash_of_string(bytes: &[u8]) -> i32 {
    let replaced;
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => {
            replaced = decode(bytes);
            &replaced
        }
    };
    text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

#[cfg(test)]
mod tests;
