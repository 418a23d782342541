//! A sorted, partitioned run in memory: what a map task hands to a reducer in the same process.

use crate::error::JobError;
use crate::run::{BLOCK_BYTES, RunSource, record};
use std::sync::Arc;

/// Pairs that are fetched at once: about as many cache misses as a processor has under way.
const AHEAD_PAIRS: usize = 32;

/// Sorted pairs of all partitions of one buffer.
#[derive(Debug)]
pub struct MemoryRun {
    arena: Vec<u8>,
    order: Order,
}

#[derive(Debug)]
enum Order {
    /// The arena is sorted; per partition the end of its bytes and its number of pairs.
    InPlace(Vec<(usize, u64)>),
    /// Per partition the positions of its pairs in sorted order.
    Positions(Vec<Vec<u32>>),
}

impl MemoryRun {
    pub(crate) fn in_order(arena: Vec<u8>, ends: Vec<(usize, u64)>) -> MemoryRun {
        MemoryRun { arena, order: Order::InPlace(ends) }
    }

    pub(crate) fn by_position(arena: Vec<u8>, positions: Vec<Vec<u32>>) -> MemoryRun {
        MemoryRun { arena, order: Order::Positions(positions) }
    }

    /// Memory it occupies. What was set aside and never written to is not counted: it is not there.
    pub fn bytes(&self) -> u64 {
        let order = match &self.order {
            Order::InPlace(ends) => size_of_val(ends.as_slice()),
            Order::Positions(lists) => lists.iter().map(|list| list.len() * 4).sum(),
        };
        (self.arena.len() + order) as u64
    }

    /// Number of partitions.
    pub fn partitions(&self) -> u32 {
        match &self.order {
            Order::InPlace(ends) => ends.len() as u32,
            Order::Positions(lists) => lists.len() as u32,
        }
    }

    /// Pairs of one partition.
    pub fn pairs(&self, partition: u32) -> u64 {
        match &self.order {
            Order::InPlace(ends) => ends[partition as usize].1,
            Order::Positions(lists) => lists[partition as usize].len() as u64,
        }
    }

    /// Reads one partition.
    pub fn source(self: &Arc<Self>, partition: u32) -> MemorySource {
        let next = match &self.order {
            Order::InPlace(ends) => partition.checked_sub(1).map_or(0, |p| ends[p as usize].0),
            Order::Positions(_) => 0,
        };
        MemorySource { run: Arc::clone(self), partition: partition as usize, next }
    }
}

/// One partition of a run in memory.
#[derive(Debug)]
pub struct MemorySource {
    run: Arc<MemoryRun>,
    partition: usize,
    /// Next arena position or next index into the list of positions.
    next: usize,
}

impl RunSource for MemorySource {
    fn next_block(&mut self, block: &mut Vec<u8>) -> Result<bool, JobError> {
        block.clear();
        let run = &*self.run;
        match &run.order {
            Order::InPlace(ends) => {
                let end = ends[self.partition].0;
                let from = self.next;
                while self.next < end && self.next - from < BLOCK_BYTES {
                    self.next = pair_end(&run.arena, self.next);
                }
                block.extend_from_slice(&run.arena[from..self.next]);
            }
            Order::Positions(lists) => {
                let list = &lists[self.partition];
                while self.next < list.len() && block.len() < BLOCK_BYTES {
                    let ahead = &list[self.next..list.len().min(self.next + AHEAD_PAIRS)];
                    load(&run.arena, ahead.iter().map(|&at| at as usize));
                    for &at in ahead {
                        let at = at as usize;
                        block.extend_from_slice(&run.arena[at..pair_end(&run.arena, at)]);
                        self.next += 1;
                        if block.len() >= BLOCK_BYTES {
                            break;
                        }
                    }
                }
            }
        }
        Ok(!block.is_empty())
    }
}

/// Has the processor fetch these places of a large memory at once. Pairs that are read one by one in sorted
/// order are a cache miss each, and what is done with one of them is too long for the next miss to
/// begin meanwhile.
fn load(arena: &[u8], places: impl Iterator<Item = usize>) {
    std::hint::black_box(places.fold(0, |sum, at| sum ^ arena[at]));
}

fn pair_end(arena: &[u8], at: usize) -> usize {
    record::read(arena, at).expect("the arena holds what was put there").value.end
}
