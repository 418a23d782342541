//! The two hashes of the engine, different on purpose.
//!
//! Partitions use CRC32C of the key, scaled to the number of partitions: fixed for ever, so that
//! every worker and every version agrees. Combine tables use a seeded multiply-fold hash: it may
//! change at any time, and keys that one partition has in common do not cluster in its table.

/// The partition of a key among `partitions`: `crc32c(key) * partitions >> 32`.
#[inline]
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    let hash = u64::from(crc32c::crc32c(key));
    ((hash * u64::from(partitions)) >> 32) as u32
}

/// The first sixteen bytes of a key, padded with zeros, as two little-endian words.
pub(crate) type Head = [u64; 2];

/// Bytes of a key that its head holds.
pub(crate) const HEAD_BYTES: usize = 16;

/// For each key length up to a head, the bits of a window that belong to the key.
const MASKS: [Head; HEAD_BYTES + 1] = {
    let mut masks = [[0; 2]; HEAD_BYTES + 1];
    let mut len = 1;
    while len <= HEAD_BYTES {
        masks[len] = if len <= 8 {
            [u64::MAX >> (64 - 8 * len), 0]
        } else {
            [u64::MAX, u64::MAX >> (128 - 8 * len)]
        };
        len += 1;
    }
    masks
};

/// The head of any key.
#[inline]
pub(crate) fn head_of(key: &[u8]) -> Head {
    if let Some(window) = key.first_chunk::<HEAD_BYTES>() {
        words(window)
    } else {
        let mut window = [0; HEAD_BYTES];
        window[..key.len()].copy_from_slice(key);
        words(&window)
    }
}

/// The head of `buffer[start..end]`, read as one window where the buffer reaches that far: this
/// has no branch on the key's length.
#[inline]
pub(crate) fn head_within(buffer: &[u8], start: usize, end: usize) -> Head {
    let Some(window) = buffer.get(start..).and_then(|rest| rest.first_chunk::<HEAD_BYTES>()) else {
        return head_of(&buffer[start..end]);
    };
    let [low, high] = words(window);
    let mask = MASKS[(end - start).min(HEAD_BYTES)];
    [low & mask[0], high & mask[1]]
}

/// A window as two little-endian words.
#[inline]
pub(crate) fn words(window: &[u8; HEAD_BYTES]) -> Head {
    let whole = u128::from_le_bytes(*window);
    [whole as u64, (whole >> 64) as u64]
}

/// The seeded hash of the combine tables.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableHash {
    seeds: [u64; 2],
}

impl TableHash {
    pub(crate) fn new(seed: u64) -> TableHash {
        // Digits of pi, so that seed 0 is as good as any other.
        let first = fold(seed ^ 0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7345);
        let second = fold(first ^ 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89);
        TableHash { seeds: [first, second | 1] }
    }

    /// Hash of a key that is no longer than its head.
    #[inline]
    pub(crate) fn hash_head(&self, head: Head) -> u64 {
        fold(head[0] ^ self.seeds[0], head[1] ^ self.seeds[1])
    }

    /// Hash of a key with the given head.
    #[inline]
    pub(crate) fn hash(&self, head: Head, key: &[u8]) -> u64 {
        let mut hash = self.hash_head(head);
        if key.len() > HEAD_BYTES {
            for piece in key[HEAD_BYTES..].chunks(HEAD_BYTES) {
                let [low, high] = head_of(piece);
                hash = fold(low ^ hash, high ^ self.seeds[1]);
            }
            hash = fold(hash ^ key.len() as u64, self.seeds[1]);
        }
        hash
    }
}

/// Multiplies to 128 bits and folds the halves.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_the_same_however_it_is_read() {
        let buffer: Vec<u8> = (1..=60).collect();
        for start in 0..buffer.len() {
            for end in start..=buffer.len() {
                let expected = head_of(&buffer[start..end]);
                assert_eq!(head_within(&buffer, start, end), expected, "{start}..{end}");
            }
        }
    }

    #[test]
    fn partitions_are_fixed_in_range_and_balanced() {
        // CRC32C of "123456789" is 0xe3069283: eight partitions use its top three bits.
        assert_eq!(partition_of(b"123456789", 8), 0b111);
        assert_eq!(partition_of(b"", 7), 0);
        let mut sizes = [0_u32; 7];
        for number in 0..70_000 {
            sizes[partition_of(format!("key{number}").as_bytes(), 7) as usize] += 1;
        }
        assert!(sizes.iter().all(|&size| (9_000..11_000).contains(&size)), "{sizes:?}");
    }
}
