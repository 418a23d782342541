//! One file of a virtual disk: its bytes now, and an undo log back to its last sync.
//!
//! The undo log makes the common case cheap (a write copies what it replaces, a sync forgets it) and
//! holds all that a crash needs: walking it backwards, each sector may stop at any version it ever had
//! since the sync.

use std::collections::BTreeSet;

use fastrand::Rng;

/// The unit that survives a crash whole or not at all.
pub(super) const SECTOR_BYTES: u64 = 512;

/// A file's content and how to take un-synced changes back.
#[derive(Default)]
pub(super) struct Inode {
    data: Vec<u8>,
    synced_len: u64,
    undo: Vec<Undo>,
    /// Replaced bytes of all `undo` records, one after the other.
    replaced: Vec<u8>,
    /// Open handles; the disk keeps an unnamed inode while there are some.
    pub(super) handles: u32,
}

/// Takes back one change: puts `replaced_bytes` bytes of the undo log back at `offset`.
struct Undo {
    offset: u64,
    /// How many bytes the change touched; those beyond `replaced_bytes` did not exist before it.
    changed_bytes: u64,
    replaced_bytes: u64,
}

impl Inode {
    pub(super) fn data(&self) -> &[u8] {
        &self.data
    }

    pub(super) fn len(&self) -> u64 {
        self.data.len() as u64
    }

    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        let start = offset.min(self.len()) as usize;
        let bytes = buf.len().min(self.data.len() - start);
        buf[..bytes].copy_from_slice(&self.data[start..start + bytes]);
        bytes
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        self.remember(offset, bytes.len() as u64);
        if self.data.len() < end {
            self.data.resize(end, 0);
        }
        self.data[start..end].copy_from_slice(bytes);
    }

    pub(super) fn set_len(&mut self, bytes: u64) {
        if bytes < self.len() {
            self.remember(bytes, self.len() - bytes);
        }
        self.data.resize(bytes as usize, 0);
    }

    pub(super) fn sync(&mut self) {
        self.synced_len = self.len();
        self.undo.clear();
        self.replaced.clear();
    }

    pub(super) fn lose_unsynced(&mut self) {
        self.roll_back(|_| true);
        self.data.resize(self.synced_len as usize, 0);
        self.sync();
    }

    pub(super) fn keep_random_subset(&mut self, rng: &mut Rng) {
        if self.undo.is_empty() && self.synced_len == self.len() {
            return;
        }
        let (low, high) = (self.synced_len.min(self.len()), self.synced_len.max(self.len()));
        let len = match rng.u8(..4) {
            0 => low,
            1 => high - (rng.u64(..=high - low) / SECTOR_BYTES * SECTOR_BYTES).min(high - low),
            _ => self.len(),
        };
        let mut kept = BTreeSet::new();
        self.roll_back(|sector| {
            if !kept.contains(&sector) && rng.bool() {
                kept.insert(sector);
            }
            !kept.contains(&sector)
        });
        self.data.resize(len as usize, 0);
        self.sync();
    }

    pub(super) fn flip_bit(&mut self, offset: u64) {
        if let Some(byte) = self.data.get_mut(offset as usize) {
            *byte ^= 1;
        }
    }

    pub(super) fn zero_range(&mut self, offset: u64, bytes: u64) {
        let start = offset.min(self.len()) as usize;
        let end = (offset + bytes).min(self.len()) as usize;
        self.data[start..end].fill(0);
    }

    pub(super) fn truncate_at_rest(&mut self, bytes: u64) {
        self.data.truncate(bytes as usize);
        self.sync();
    }

    pub(super) fn replace_at_rest(&mut self, bytes: &[u8]) {
        self.data = bytes.to_vec();
        self.sync();
    }

    fn remember(&mut self, offset: u64, changed_bytes: u64) {
        let start = offset.min(self.len()) as usize;
        let end = (offset + changed_bytes).min(self.len()) as usize;
        self.replaced.extend_from_slice(&self.data[start..end]);
        self.undo.push(Undo { offset, changed_bytes, replaced_bytes: (end - start) as u64 });
    }

    /// Takes changes back, newest first, in each sector for which `undo_sector` says so. The length is
    /// afterwards that of the longest version; the caller sets it.
    fn roll_back(&mut self, mut undo_sector: impl FnMut(u64) -> bool) {
        let longest = self.undo.iter().map(|undo| undo.offset + undo.changed_bytes).max();
        let longest = longest.unwrap_or(0).max(self.len()).max(self.synced_len);
        self.data.resize(longest as usize, 0);
        while let Some(undo) = self.undo.pop() {
            let replaced_at = self.replaced.len() - undo.replaced_bytes as usize;
            let end = undo.offset + undo.changed_bytes;
            let mut at = undo.offset;
            while at < end {
                let sector = at / SECTOR_BYTES;
                let next = ((sector + 1) * SECTOR_BYTES).min(end);
                if undo_sector(sector) {
                    let known = (undo.offset + undo.replaced_bytes).clamp(at, next);
                    let from = replaced_at + (at - undo.offset) as usize;
                    let replaced = &self.replaced[from.min(self.replaced.len())..];
                    self.data[at as usize..known as usize]
                        .copy_from_slice(&replaced[..(known - at) as usize]);
                    self.data[known as usize..next as usize].fill(0);
                }
                at = next;
            }
            self.replaced.truncate(replaced_at);
        }
    }
}
