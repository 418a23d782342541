//! The first sector of a segment file: whose log, which part of it, where it continues from.
//!
//! Written once, before the file gets its segment name, and never again: a header that does not check
//! out is damage, not a torn write.

use synod_base::checksum::crc32c;
use synod_base::{ClusterId, NodeId};

use super::error::WalError;

/// Whose log it is. Files of two logs never mix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WalIdentity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
}

impl WalIdentity {
    /// What every frame's checksum starts from.
    pub(super) fn checksum_seed(self) -> u32 {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.cluster.0.to_le_bytes());
        bytes[8..].copy_from_slice(&self.node.0.to_le_bytes());
        crc32c(&bytes)
    }
}

/// What a segment's header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SegmentHeader {
    pub(super) identity: WalIdentity,
    /// Counts segments from 1; also the file's name.
    pub(super) segment: u64,
    /// Number of the first frame in it.
    pub(super) first_frame: u64,
    /// Checksum of the frame before that one: the chain goes on over files.
    pub(super) previous: u32,
    /// Length the file had from the start, because it was filled beforehand; a shorter file has lost
    /// its end. 0 for a file that grows as it is written.
    pub(super) filled_bytes: u64,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.previous.to_le_bytes());
        out[16..24].copy_from_slice(&self.identity.cluster.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.identity.node.0.to_le_bytes());
        out[32..40].copy_from_slice(&self.segment.to_le_bytes());
        out[40..48].copy_from_slice(&self.first_frame.to_le_bytes());
        out[48..56].copy_from_slice(&self.filled_bytes.to_le_bytes());
        let crc = crc32c(&out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the header of the segment file `segment` of the log `identity`.
    pub(super) fn decode(
        bytes: &[u8],
        segment: u64,
        identity: WalIdentity,
    ) -> Result<Self, WalError> {
        let damaged = |reason| WalError::Damaged { segment, offset: 0, frame: 0, reason };
        let bytes = bytes.first_chunk().ok_or_else(|| damaged("the file ends in its header"))?;
        if bytes[..8] != MAGIC {
            return Err(damaged("the file does not begin like a segment"));
        }
        // The checksum stays in this place in every version, so that a flipped bit in the version is
        // not taken for a newer release.
        if u32_at(bytes, CRC_AT) != crc32c(&bytes[..CRC_AT]) {
            return Err(damaged("the segment header's checksum is wrong"));
        }
        let found = u32_at(bytes, 8);
        if found > FORMAT_VERSION {
            return Err(WalError::NewerFormat { found, known: FORMAT_VERSION });
        }
        let header = SegmentHeader {
            identity: WalIdentity {
                cluster: ClusterId(u64_at(bytes, 16)),
                node: NodeId(u64_at(bytes, 24)),
            },
            segment: u64_at(bytes, 32),
            first_frame: u64_at(bytes, 40),
            previous: u32_at(bytes, 12),
            filled_bytes: u64_at(bytes, 48),
        };
        if header.identity != identity {
            return Err(WalError::OtherIdentity {
                cluster: identity.cluster,
                node: identity.node,
                found_cluster: header.identity.cluster,
                found_node: header.identity.node,
            });
        }
        if header.segment != segment {
            return Err(damaged("the file's name is not that of its segment"));
        }
        Ok(header)
    }
}

fn u32_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Newest format this release writes and reads.
pub(super) const FORMAT_VERSION: u32 = 1;

/// Where frames begin. The header has its sector to itself: no later write touches it.
pub(super) const FIRST_FRAME_AT: u64 = 512;

const MAGIC: [u8; 8] = *b"SYNODWAL";
const HEADER_BYTES: usize = 64;
const CRC_AT: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: WalIdentity = WalIdentity { cluster: ClusterId(7), node: NodeId(1) };

    fn header() -> SegmentHeader {
        SegmentHeader {
            identity: IDENTITY,
            segment: 3,
            first_frame: 99,
            previous: 0xdead_beef,
            filled_bytes: 4096,
        }
    }

    #[test]
    fn a_header_comes_back_as_it_was_written() {
        let bytes = header().encode();
        assert_eq!(SegmentHeader::decode(&bytes, 3, IDENTITY).unwrap(), header());
    }

    #[test]
    fn every_flipped_bit_is_damage() {
        for at in 0..HEADER_BYTES {
            let mut bytes = header().encode();
            bytes[at] ^= 0x10;
            let result = SegmentHeader::decode(&bytes, 3, IDENTITY);
            assert!(matches!(result, Err(WalError::Damaged { .. })), "byte {at}");
        }
    }

    #[test]
    fn a_newer_format_another_owner_and_another_name_are_told_apart() {
        let mut newer = header().encode();
        newer[8..12].copy_from_slice(&2u32.to_le_bytes());
        let crc = crc32c(&newer[..CRC_AT]);
        newer[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(
            SegmentHeader::decode(&newer, 3, IDENTITY),
            Err(WalError::NewerFormat { found: 2, known: 1 })
        ));
        let other = WalIdentity { node: NodeId(2), ..IDENTITY };
        assert!(matches!(
            SegmentHeader::decode(&header().encode(), 3, other),
            Err(WalError::OtherIdentity { found_node: NodeId(1), .. })
        ));
        assert!(matches!(
            SegmentHeader::decode(&header().encode(), 4, IDENTITY),
            Err(WalError::Damaged { .. })
        ));
    }
}
