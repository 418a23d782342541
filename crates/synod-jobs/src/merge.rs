//! Merges sorted sources with a loser tree.
//!
//! Equal keys come out in the order of their sources, and sources are ordered by map task and emit
//! sequence. Each cursor caches the first eight bytes of its key, so most comparisons are between
//! two integers.

use crate::buffer::order::word_at;
use crate::error::JobError;
use crate::job::Job;
use crate::progress::Progress;
use crate::run::RunSource;
use crate::run::record::{self, Pair};
use crate::run::store::RunStore;
use crate::run::writer::RunWriter;
use std::io::Write;
use std::path::Path;

/// One source, standing on a pair or at its end.
struct Cursor {
    source: Box<dyn RunSource>,
    block: Vec<u8>,
    pair: Option<Pair>,
    /// First eight bytes of the key.
    word: u64,
}

impl Cursor {
    fn new(source: Box<dyn RunSource>) -> Result<Cursor, JobError> {
        let end = Pair { key: 0..0, value: 0..0 };
        let mut cursor = Cursor { source, block: Vec::new(), pair: Some(end), word: 0 };
        cursor.advance()?;
        Ok(cursor)
    }

    #[inline]
    fn advance(&mut self) -> Result<(), JobError> {
        let Some(pair) = &self.pair else { return Ok(()) };
        let mut next = pair.value.end;
        if next == self.block.len() {
            if !self.source.next_block(&mut self.block)? {
                self.pair = None;
                // What is exhausted gives its memory back while the others go on.
                self.block = Vec::new();
                self.source = Box::new(Exhausted);
                return Ok(());
            }
            next = 0;
        }
        let Some(pair) = record::read(&self.block, next) else {
            let what = "a block does not hold whole pairs";
            let error = JobError::DamagedRun { origin: "of a map task".to_owned(), what };
            self.source.is_useless(&error);
            return Err(error);
        };
        self.word = word_at(&self.block[pair.key.clone()], 0);
        self.pair = Some(pair);
        Ok(())
    }

    fn key(&self) -> &[u8] {
        self.pair.as_ref().map_or(&[], |pair| &self.block[pair.key.clone()])
    }
}

/// Stands in for a source that has been read to its end.
struct Exhausted;

impl RunSource for Exhausted {
    fn next_block(&mut self, block: &mut Vec<u8>) -> Result<bool, JobError> {
        block.clear();
        Ok(false)
    }
}

/// Several sorted sources as one.
pub(crate) struct Merge {
    cursors: Vec<Cursor>,
    /// `tree[0]` is the cursor with the smallest key, the others lost the match at their place.
    tree: Vec<usize>,
}

impl Merge {
    /// Stands on the first pair of all sources.
    pub(crate) fn new(sources: Vec<Box<dyn RunSource>>) -> Result<Merge, JobError> {
        let cursors = sources.into_iter().map(Cursor::new).collect::<Result<Vec<_>, _>>()?;
        let mut merge = Merge { tree: vec![0; cursors.len()], cursors };
        let count = merge.cursors.len();
        let mut winners = vec![0; count];
        winners.extend(0..count);
        for place in (1..count).rev() {
            let (left, right) = (winners[2 * place], winners[2 * place + 1]);
            let (winner, loser) =
                if merge.less(right, left) { (right, left) } else { (left, right) };
            winners[place] = winner;
            merge.tree[place] = loser;
        }
        if count > 0 {
            merge.tree[0] = winners[1];
        }
        Ok(merge)
    }

    /// The smallest pair, or `None` at the end.
    #[inline]
    pub(crate) fn head(&self) -> Option<(&[u8], &[u8])> {
        let cursor = &self.cursors[*self.tree.first()?];
        let pair = cursor.pair.as_ref()?;
        Some((&cursor.block[pair.key.clone()], &cursor.block[pair.value.clone()]))
    }

    /// Moves to the next pair.
    #[inline]
    pub(crate) fn advance(&mut self) -> Result<(), JobError> {
        let Some(&first) = self.tree.first() else { return Ok(()) };
        self.cursors[first].advance()?;
        let mut winner = first;
        let mut place = (self.cursors.len() + first) / 2;
        while place >= 1 {
            let rival = self.tree[place];
            if self.less(rival, winner) {
                self.tree[place] = winner;
                winner = rival;
            }
            place /= 2;
        }
        self.tree[0] = winner;
        Ok(())
    }

    #[inline]
    fn less(&self, a: usize, b: usize) -> bool {
        let (left, right) = (&self.cursors[a], &self.cursors[b]);
        match (&left.pair, &right.pair) {
            (None, _) => false,
            (_, None) => true,
            _ if left.word != right.word => left.word < right.word,
            _ => left.key().cmp(right.key()).then(a.cmp(&b)).is_lt(),
        }
    }
}

/// Writes everything that is left of `merge` into the writer's current partition, with adjacent
/// equal keys combined if the job has a combiner. `path` is named in errors. Each pair is a move.
pub(crate) fn write_merged<J: Job, W: Write>(
    job: &J,
    mut merge: Merge,
    writer: &mut RunWriter<W>,
    path: &Path,
    progress: &Progress,
) -> Result<(), JobError> {
    let write = |error| JobError::io("write", path, error);
    let mut held: Option<(Vec<u8>, Vec<u8>)> = None;
    while let Some((key, value)) = merge.head() {
        progress.small_step()?;
        if J::COMBINED_VALUE_BYTES.is_none() {
            writer.push(key, value).map_err(write)?;
        } else if let Some((held_key, total)) = &mut held
            && held_key == key
        {
            job.combine(total, value);
        } else {
            if let Some((held_key, total)) = &held {
                writer.push(held_key, total).map_err(write)?;
            }
            let (held_key, total) = held.get_or_insert_default();
            held_key.clear();
            held_key.extend_from_slice(key);
            total.clear();
            total.extend_from_slice(value);
        }
        merge.advance()?;
    }
    if let Some((key, total)) = held {
        writer.push(&key, &total).map_err(write)?;
    }
    Ok(())
}

/// Merges neighbours among `sources` into runs on disk until at most `fan_in` are left, so that a
/// merge never holds more than `fan_in` blocks.
pub(crate) fn limit_fan_in<J: Job>(
    job: &J,
    mut sources: Vec<Box<dyn RunSource>>,
    fan_in: usize,
    store: &RunStore,
    progress: &Progress,
) -> Result<Vec<Box<dyn RunSource>>, JobError> {
    let fan_in = fan_in.max(2);
    while sources.len() > fan_in {
        let mut merged = Vec::with_capacity(sources.len().div_ceil(fan_in));
        let mut rest = sources.into_iter();
        loop {
            let group: Vec<_> = rest.by_ref().take(fan_in).collect();
            if group.is_empty() {
                break;
            }
            let group = std::cell::Cell::new(group);
            let run = store.write(job, 1, progress, |_| Ok(group.take()))?;
            merged.push(run.source(0));
        }
        sources = merged;
    }
    Ok(sources)
}
