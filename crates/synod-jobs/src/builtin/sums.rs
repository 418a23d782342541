//! Counts as values: eight bytes, little-endian; a sum beyond what they hold stays at the largest.

/// The count of one.
pub(crate) const ONE: [u8; 8] = 1_u64.to_le_bytes();

/// A count out of a value.
#[inline]
pub(crate) fn number(value: &[u8]) -> u64 {
    value.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// What combiners of counts do.
#[inline]
pub(crate) fn add(total: &mut [u8], value: &[u8]) {
    let sum = number(total).saturating_add(number(value));
    total.copy_from_slice(&sum.to_le_bytes());
}
