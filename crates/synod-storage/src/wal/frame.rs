//! A frame: one append, whole or not at all.
//!
//! Its checksum covers header and payload, starts from the log's identity and includes the checksum
//! of the frame before: bytes of another log, of an earlier use of the file or of a cut-off tail never
//! read as the next frame. `synced_through` makes a later frame the witness of earlier ones.

use synod_base::checksum::crc32c_append;

/// A frame's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FrameHeader {
    /// Bytes of payload behind the header.
    pub(super) payload_bytes: u32,
    /// Counts frames from 1, over all segments, for ever.
    pub(super) number: u64,
    /// The newest frame known durable when this one was written.
    pub(super) synced_through: u64,
    /// Checksum of the frame before.
    pub(super) previous: u32,
    /// Checksum of this one.
    pub(super) crc: u32,
}

impl FrameHeader {
    /// Reads the header at the start of `bytes`, if it looks like one. Nothing is checked beyond the
    /// magic number; see [`FrameHeader::checks_out`].
    pub(super) fn peek(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; FRAME_HEADER_BYTES] = bytes.first_chunk()?;
        if bytes[..4] != MAGIC {
            return None;
        }
        Some(FrameHeader {
            payload_bytes: u32_at(bytes, 4),
            number: u64_at(bytes, 8),
            synced_through: u64_at(bytes, 16),
            previous: u32_at(bytes, 24),
            crc: u32_at(bytes, CRC_AT),
        })
    }

    /// Bytes the frame takes in the file, with the padding to the next frame.
    pub(super) fn total_bytes(&self) -> u64 {
        padded(FRAME_HEADER_BYTES as u64 + u64::from(self.payload_bytes))
    }

    /// The payload, if `bytes`, which begin with this header, hold it whole and it checks out.
    pub(super) fn checks_out<'a>(&self, bytes: &'a [u8], seed: u32) -> Option<&'a [u8]> {
        let end = FRAME_HEADER_BYTES.checked_add(self.payload_bytes as usize)?;
        let frame = bytes.get(..end)?;
        (checksum(frame, seed) == self.crc).then(|| &frame[FRAME_HEADER_BYTES..])
    }
}

/// Fills in the header of a frame whose payload lies behind [`FRAME_HEADER_BYTES`] placeholder bytes,
/// and pads it. Returns its checksum.
pub(super) fn seal(
    frame: &mut Vec<u8>,
    number: u64,
    synced_through: u64,
    previous: u32,
    seed: u32,
) -> u32 {
    let payload_bytes = u32::try_from(frame.len() - FRAME_HEADER_BYTES)
        .expect("the host appends less than 4 GiB at a time");
    frame[..4].copy_from_slice(&MAGIC);
    frame[4..8].copy_from_slice(&payload_bytes.to_le_bytes());
    frame[8..16].copy_from_slice(&number.to_le_bytes());
    frame[16..24].copy_from_slice(&synced_through.to_le_bytes());
    frame[24..28].copy_from_slice(&previous.to_le_bytes());
    let crc = checksum(frame, seed);
    frame[CRC_AT..FRAME_HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    frame.resize(padded(frame.len() as u64) as usize, 0);
    crc
}

/// Covers everything but the checksum itself.
fn checksum(frame: &[u8], seed: u32) -> u32 {
    crc32c_append(crc32c_append(seed, &frame[..CRC_AT]), &frame[FRAME_HEADER_BYTES..])
}

/// Rounds a length up to where the next frame may begin.
pub(super) fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGNMENT)
}

fn u32_at(bytes: &[u8; FRAME_HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8; FRAME_HEADER_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Bytes before a frame's payload.
pub(super) const FRAME_HEADER_BYTES: usize = 32;

/// Frames begin at multiples of this, so a search for them looks at one place in eight.
pub(super) const ALIGNMENT: u64 = 8;

const MAGIC: [u8; 4] = [0xa7, b'f', b'r', 0x1e];
const CRC_AT: usize = 28;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; FRAME_HEADER_BYTES];
        bytes.extend_from_slice(payload);
        seal(&mut bytes, 7, 5, 0x1234, 99);
        bytes
    }

    #[test]
    fn a_sealed_frame_checks_out_and_says_what_it_was_given() {
        let bytes = frame(b"hello");
        assert_eq!(bytes.len(), 40);
        let header = FrameHeader::peek(&bytes).unwrap();
        assert_eq!((header.number, header.synced_through, header.previous), (7, 5, 0x1234));
        assert_eq!(header.total_bytes(), 40);
        assert_eq!(header.checks_out(&bytes, 99), Some(&b"hello"[..]));
    }

    #[test]
    fn another_logs_frame_a_flipped_bit_and_a_missing_end_do_not_check_out() {
        let bytes = frame(b"hello");
        let header = FrameHeader::peek(&bytes).unwrap();
        assert_eq!(header.checks_out(&bytes, 98), None);
        assert_eq!(header.checks_out(&bytes[..36], 99), None);
        for at in 4..37 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            let header = FrameHeader::peek(&bytes).unwrap();
            assert_eq!(header.checks_out(&bytes, 99), None, "byte {at}");
        }
    }
}
