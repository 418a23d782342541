//! What the engine and a module say to each other: records, groups and pairs, each behind its lengths.
//!
//! Integers are little-endian; nothing is aligned. The layouts are drawn in `docs/formats/wasm.md`.
//! What a module gives is read with every length checked against what is left.

use std::ops::Range;

/// A batch is handed over when it has reached this size.
pub(super) const BATCH_BYTES: usize = 64 << 10;
/// Bytes before the key of a record, of a group.
const RECORD_HEADER: usize = 16;
const GROUP_HEADER: usize = 12;
/// The group began in the batch before.
const BEGAN_BEFORE: u32 = 1;
/// The group goes on in the next batch.
const GOES_ON: u32 = 2;
/// A batch that was larger than this does not keep its memory.
const KEPT_BYTES: usize = 4 * BATCH_BYTES;

/// Records for `synod_map`.
#[derive(Default)]
pub(super) struct RecordBatch {
    bytes: Vec<u8>,
    /// Offset of its first record.
    pub first: u64,
    records: u64,
    /// Which of its records have another number than one more than the one before, and which number.
    jumps: Vec<(u64, u64)>,
}

impl RecordBatch {
    /// Whether a record would make it larger than it should be.
    pub fn is_full_for(&self, key: &[u8], record: &[u8]) -> bool {
        let needed = self.bytes.len() + RECORD_HEADER + key.len() + record.len();
        !self.bytes.is_empty() && needed > BATCH_BYTES
    }

    /// Adds a record. The engine's limit keeps every record below 4 GiB.
    pub fn push(&mut self, offset: u64, number: u64, key: &[u8], record: &[u8]) {
        if self.bytes.is_empty() {
            self.first = offset;
        }
        if self.jumps.last().is_none_or(|(at, was)| was + (self.records - at) != number) {
            self.jumps.push((self.records, number));
        }
        self.records += 1;
        let mut header = [0; RECORD_HEADER];
        header[..8].copy_from_slice(&offset.to_le_bytes());
        header[8..12].copy_from_slice(&(key.len() as u32).to_le_bytes());
        header[12..].copy_from_slice(&(record.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(record);
    }

    /// The batch as the module gets it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets the records.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.records = 0;
        self.jumps.clear();
    }

    /// The number within the split of one of its records.
    pub fn number(&self, record: u64) -> u64 {
        let before = self.jumps.partition_point(|(at, _)| *at <= record);
        let jump = before.checked_sub(1).and_then(|jump| self.jumps.get(jump));
        jump.map_or(record, |(at, number)| number + (record - at))
    }

    /// Where each record lies, with its offset.
    pub fn records(&self) -> impl Iterator<Item = (u64, Range<usize>)> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let header = self.bytes.get(at..at + RECORD_HEADER)?;
            let (offset, lengths) = header.split_at(8);
            let offset = u64::from_le_bytes(offset.try_into().expect("eight bytes"));
            let length = word(lengths, 0) + word(lengths, 4);
            let start = at;
            at = start + RECORD_HEADER + length;
            Some((offset, start..at))
        })
    }
}

/// Groups for `synod_reduce` and `synod_combine`.
#[derive(Default)]
pub(super) struct GroupBatch {
    bytes: Vec<u8>,
    /// Where the headers of its groups are.
    groups: Vec<usize>,
    /// Their numbers in the partition.
    numbers: Vec<u64>,
    values: u32,
}

impl GroupBatch {
    /// Whether a pair would make it larger than it should be. Every batch has room for values beside
    /// its key, or a long key would be handed over again for each of them.
    pub fn is_full_for(&self, key: &[u8], value: &[u8], same: bool) -> bool {
        let group = if same { 0 } else { GROUP_HEADER + key.len() };
        let needed = self.bytes.len() + group + 4 + value.len();
        !self.bytes.is_empty() && needed > BATCH_BYTES + if same { key.len() } else { 0 }
    }

    /// Begins a group, or goes on with one that the batch before ended in.
    pub fn begin(&mut self, key: &[u8], began_before: bool, number: u64) {
        self.end();
        self.groups.push(self.bytes.len());
        self.numbers.push(number);
        let flags = if began_before { BEGAN_BEFORE } else { 0 };
        self.bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(&flags.to_le_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(key);
    }

    /// Adds a value to the group.
    pub fn value(&mut self, value: &[u8]) {
        self.values += 1;
        self.bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(value);
    }

    /// Ends the batch; its last group may go on in the next one.
    pub fn close(&mut self, goes_on: bool) {
        let last = self.groups.last().copied();
        self.end();
        if let Some(last) = last.filter(|_| goes_on) {
            self.bytes[last + 4] |= GOES_ON as u8;
        }
    }

    fn end(&mut self) {
        if let Some(&last) = self.groups.last() {
            let values = std::mem::take(&mut self.values).to_le_bytes();
            self.bytes[last + 8..last + GROUP_HEADER].copy_from_slice(&values);
        }
    }

    /// The batch as the module gets it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets the groups.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.groups.clear();
        self.numbers.clear();
    }

    /// Number in the partition of each group.
    pub fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.numbers.iter().copied()
    }

    /// Where each group lies, and whether it is all there.
    pub fn groups(&self) -> impl Iterator<Item = (Range<usize>, bool)> + '_ {
        (0..self.groups.len()).map(|group| {
            let start = self.groups[group];
            let end = self.groups.get(group + 1).copied().unwrap_or(self.bytes.len());
            (start..end, word(&self.bytes, start + 4) == 0)
        })
    }

    /// The key of the group at a place.
    pub fn key(&self, group: &Range<usize>) -> &[u8] {
        let length = word(&self.bytes, group.start);
        &self.bytes[group.start + GROUP_HEADER..][..length]
    }
}

/// Where the parts of a pair lie.
pub(super) struct PairAt {
    pub key: Range<usize>,
    pub value: Range<usize>,
}

/// What is wrong with bytes that a module gave.
pub(super) type Malformed = String;

/// The pair that begins at `at`, which lies before the end of `bytes`.
#[inline]
pub(super) fn pair(bytes: &[u8], at: usize) -> Result<PairAt, Malformed> {
    if let Some(header) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let header = u64::from_le_bytes(*header);
        let (key, value) = (header as u32 as usize, (header >> 32) as usize);
        let start = at + 8;
        // Neither sum overflows: both lengths are below 2^32, and so is the memory of a module.
        if key + value <= bytes.len() - start {
            let key = start..start + key;
            return Ok(PairAt { value: key.end..key.end + value, key });
        }
    }
    Err(cut_off("pair", bytes, at))
}

/// The record that begins at `at`, which lies before the end of `bytes`.
#[inline]
pub(super) fn record(bytes: &[u8], at: usize) -> Result<Range<usize>, Malformed> {
    if let Some(length) = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        let start = at + 4;
        let length = u32::from_le_bytes(*length) as usize;
        if length <= bytes.len() - start {
            return Ok(start..start + length);
        }
    }
    Err(cut_off("record", bytes, at))
}

#[cold]
fn cut_off(what: &str, bytes: &[u8], at: usize) -> Malformed {
    let left = bytes.len() - at;
    format!("the {what} that it gave at address {at} is longer than the {left} bytes left there")
}

fn word(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u32::from_le_bytes(*word))
        as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_a_batch_are_found_again() {
        let mut batch = RecordBatch::default();
        let records = [(0, &b""[..], &b"one"[..]), (4, b"k", b""), (5, b"key", b"three")];
        for (number, (offset, key, record)) in records.into_iter().enumerate() {
            batch.push(offset, [7, 9, 10][number], key, record);
        }
        assert_eq!(batch.first, 0);
        assert_eq!([0, 1, 2].map(|record| batch.number(record)), [7, 9, 10]);
        let found: Vec<_> = batch.records().collect();
        let offsets: Vec<u64> = found.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(offsets, [0, 4, 5]);
        for ((_, range), (_, key, record)) in found.iter().zip(records) {
            assert_eq!(batch.bytes()[range.clone()][RECORD_HEADER..], [key, record].concat());
        }
        assert_eq!(found[2].1.end, batch.bytes().len());
    }

    #[test]
    fn a_long_key_does_not_keep_values_from_sharing_a_batch() {
        let mut batch = GroupBatch::default();
        let key = vec![b'k'; 10 * BATCH_BYTES];
        batch.begin(&key, false, 0);
        let mut values = 0;
        while !batch.is_full_for(&key, b"1234", true) {
            batch.value(b"1234");
            values += 1;
        }
        assert!(values > 8_000, "{values}");
        assert!(batch.is_full_for(b"other", b"", false));
    }

    #[test]
    fn groups_say_how_many_values_they_have_and_where_they_are_cut() {
        let mut batch = GroupBatch::default();
        batch.begin(b"a", true, 6);
        batch.value(b"1");
        batch.begin(b"b", false, 7);
        batch.value(b"22");
        batch.value(b"");
        batch.begin(b"c", false, 9);
        batch.value(b"3");
        batch.close(true);
        let groups: Vec<_> = batch.groups().collect();
        let headers: Vec<[usize; 3]> = groups
            .iter()
            .map(|(range, _)| [0, 4, 8].map(|at| word(batch.bytes(), range.start + at)))
            .collect();
        assert_eq!(headers, [[1, 1, 1], [1, 0, 2], [1, 2, 1]]);
        assert_eq!(groups.iter().map(|group| group.1).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(batch.key(&groups[1].0), b"b");
        assert!(batch.numbers().eq([6, 7, 9]));
        assert_eq!(groups[2].0.end, batch.bytes().len());
    }

    #[test]
    fn a_length_beyond_what_is_left_is_refused_wherever_it_stands() {
        let mut bytes = [3_u32.to_le_bytes(), 2_u32.to_le_bytes()].concat();
        bytes.extend_from_slice(b"keyvv");
        assert_eq!(pair(&bytes, 0).unwrap().value, 11..13);
        for cut in 0..bytes.len() {
            assert!(pair(&bytes[..cut], 0).is_err());
        }
        for lengths in [[u32::MAX, 0], [0, u32::MAX], [u32::MAX, u32::MAX], [1 << 31, 1 << 31]] {
            let bytes = lengths.map(u32::to_le_bytes).concat();
            assert!(pair(&bytes, 0).is_err());
            assert!(record(&bytes, 0).is_err() || lengths[0] == 0);
        }
    }
}
