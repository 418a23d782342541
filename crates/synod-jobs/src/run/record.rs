//! How a pair is stored: length of the key, length of the value, key, value.
//!
//! Lengths are little-endian base-128 numbers of at most five bytes that fit 32 bits.

use std::ops::Range;

/// Where a pair lies in its buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub key: Range<usize>,
    pub value: Range<usize>,
}

/// Appends a pair.
#[inline]
pub(crate) fn put(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    if key.len() < 0x80 && value.len() < 0x80 {
        out.extend_from_slice(&[key.len() as u8, value.len() as u8]);
    } else {
        put_length(out, key.len());
        put_length(out, value.len());
    }
    out.extend_from_slice(key);
    out.extend_from_slice(value);
}

/// Bytes that [`put`] appends.
#[inline]
pub(crate) fn encoded_len(key: usize, value: usize) -> usize {
    length_bytes(key) + length_bytes(value) + key + value
}

/// Finds the pair that starts at `at`, or `None` if the bytes there are not a pair.
#[inline]
pub(crate) fn read(bytes: &[u8], at: usize) -> Option<Pair> {
    let (key, at) = read_length(bytes, at)?;
    let (value, at) = read_length(bytes, at)?;
    let key_end = at.checked_add(key)?;
    let end = key_end.checked_add(value)?;
    (end <= bytes.len()).then_some(Pair { key: at..key_end, value: key_end..end })
}

fn put_length(out: &mut Vec<u8>, mut length: usize) {
    assert!(u32::try_from(length).is_ok(), "a key or value fits the record limit");
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

#[inline]
fn length_bytes(length: usize) -> usize {
    match length {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        0x20_0000..0x1000_0000 => 4,
        _ => 5,
    }
}

#[inline]
fn read_length(bytes: &[u8], mut at: usize) -> Option<(usize, usize)> {
    let first = *bytes.get(at)?;
    at += 1;
    if first < 0x80 {
        return Some((first.into(), at));
    }
    let mut length = u64::from(first & 0x7f);
    for shift in [7, 14, 21, 28] {
        let byte = *bytes.get(at)?;
        at += 1;
        length |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            let length = u32::try_from(length).ok()?;
            return Some((length as usize, at));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_all_length_classes_come_back_and_their_size_is_known() {
        for key in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 0x1f_ffff, 0x20_0000] {
            for value in [0, 1, 0x7f, 0x80, 0x4000] {
                let mut bytes = vec![0xff; 3];
                put(&mut bytes, &vec![b'k'; key], &vec![b'v'; value]);
                assert_eq!(bytes.len() - 3, encoded_len(key, value));
                let pair = read(&bytes, 3).unwrap();
                assert_eq!((pair.key.len(), pair.value.len()), (key, value));
                assert_eq!(pair.value.end, bytes.len());
            }
        }
    }

    #[test]
    fn bytes_that_are_no_pair_are_refused() {
        let mut bytes = Vec::new();
        put(&mut bytes, b"key", b"value");
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut], 0), None);
        }
        assert_eq!(read(&[0xff; 12], 0), None);
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x7f, 0], 0), None);
    }
}
