//! Takes the pairs that a map function emits.
//!
//! With a combiner pairs go to the combine table, unless the table turns out to absorb less than a
//! fifth of them: then they are appended like those of a job without one. When a buffer reaches
//! the task's share of the memory it is sorted and becomes a run, and is combined then if the job combines
//! whole runs (`combine.rs`). A failure to keep a run is remembered and ends the task after the current
//! block. Without reduce tasks pairs are not kept at all: the job writes them to a part file as they come.

use crate::buffer::pairs::Pairs;
use crate::buffer::table::{CombineTable, Upsert};
use crate::combine::{Sources, combine_runs};
use crate::counters::Counters;
use crate::error::JobError;
use crate::fan_in::of_memory;
use crate::hash::{Head, head_of, head_within};
use crate::job::Job;
use crate::progress::Progress;
use crate::run::RunSource;
use crate::run::memory::MemoryRun;
use crate::run::record;
use crate::run::store::{Run, RunStore};
use crate::sink::Sink;
use crate::survey::Survey;
use crate::task::TaskContext;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Pairs that a table must have seen before it is judged.
const BYPASS_AFTER_PAIRS: u64 = 1 << 16;

/// So many runs are worth another pass of the combiner, as in Hadoop (`combine.minspills`).
const AGAIN_FROM_RUNS: usize = 3;

const ONE_LENGTH: &str = "every value of a job with a combiner has its length";

/// Where a map function puts its pairs and counts.
pub struct Emitter<'t, J: Job> {
    job: &'t J,
    partitions: u32,
    cuts: &'t [Vec<u8>],
    mode: Mode,
    table: CombineTable,
    pairs: Pairs,
    limit_bytes: usize,
    /// Whether cut points decide the partition.
    total_order: bool,
    /// The attempt, and where its runs go; none while sampling.
    keeping: Option<(&'t TaskContext<'t>, &'t RunStore)>,
    /// Told that the task moves; none while sampling.
    progress: Option<&'t Progress>,
    runs: Vec<Run>,
    /// The part file, if there are no reduce tasks.
    sink: Option<Sink>,
    failure: Option<JobError>,
    /// Whether what is buffered is being made a run: of pairs of many records, not of the one at hand.
    sealing: bool,
    pub(crate) counters: Counters,
    /// Pairs that the table has seen since it was empty.
    table_pairs: u64,
    /// Offset and number of the record being mapped.
    pub(crate) position: (u64, u64),
    /// Of an attempt that goes on behind a record that the map function panics on.
    pub(crate) survey: Option<Survey>,
    samples: Vec<Vec<u8>>,
    /// Where a key of several parts is put together.
    joined: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Combine,
    Append,
    /// Pairs are written to the part file.
    Write,
    /// Only keys are kept, to find the cut points of a range partition.
    Sample,
    /// A run could not be kept; the task is about to fail.
    Discard,
}

/// Bytes kept of a sampled key: any byte string is a valid cut point.
const SAMPLED_KEY_BYTES: usize = 256;

impl<'t, J: Job> Emitter<'t, J> {
    /// For a map task: buffers hold at most `limit_bytes`, all together; runs go to `store`.
    pub(crate) fn new(
        job: &'t J,
        partitions: u32,
        cuts: &'t [Vec<u8>],
        table_seed: u64,
        limit_bytes: usize,
        keeping: (&'t TaskContext<'t>, &'t RunStore),
    ) -> Emitter<'t, J> {
        let mode = if J::COMBINED_VALUE_BYTES.is_some() { Mode::Combine } else { Mode::Append };
        // While one buffer is combined, what comes of it fills another one.
        let buffers = if job.combines_runs() { 2 } else { 1 };
        Emitter {
            job,
            partitions,
            cuts,
            mode,
            table: CombineTable::new(J::COMBINED_VALUE_BYTES.unwrap_or(0), table_seed),
            pairs: Pairs::new(partitions),
            limit_bytes: limit_bytes / buffers,
            total_order: job.total_order(),
            keeping: Some(keeping),
            progress: Some(keeping.0.progress),
            runs: Vec::new(),
            sink: None,
            failure: None,
            sealing: false,
            counters: Counters::default(),
            table_pairs: 0,
            position: (0, 0),
            survey: None,
            samples: Vec::new(),
            joined: Vec::new(),
        }
    }

    /// For the sampler: keeps the beginning of every key and nothing else.
    pub(crate) fn sampling(job: &'t J) -> Emitter<'t, J> {
        Emitter::keeping_nothing(job, Mode::Sample, None, None)
    }

    /// For a map task of a job without reduce tasks: pairs are written to `sink`.
    pub(crate) fn writing(job: &'t J, sink: Sink, progress: &'t Progress) -> Emitter<'t, J> {
        Emitter::keeping_nothing(job, Mode::Write, Some(sink), Some(progress))
    }

    fn keeping_nothing(
        job: &'t J,
        mode: Mode,
        sink: Option<Sink>,
        progress: Option<&'t Progress>,
    ) -> Emitter<'t, J> {
        Emitter {
            job,
            partitions: 1,
            cuts: &[],
            mode,
            table: CombineTable::new(0, 0),
            pairs: Pairs::new(1),
            limit_bytes: 0,
            total_order: false,
            keeping: None,
            progress,
            runs: Vec::new(),
            sink,
            failure: None,
            sealing: false,
            counters: Counters::default(),
            table_pairs: 0,
            position: (0, 0),
            survey: None,
            samples: Vec::new(),
            joined: Vec::new(),
        }
    }

    /// Emits a pair. With a combiner the value has the combiner's length.
    #[inline]
    pub fn emit(&mut self, key: &[u8], value: &[u8]) {
        self.emit_headed(head_of(key), key, value);
    }

    /// Emits a pair whose key is `buffer[key]`. The same as [`Emitter::emit`], only faster for
    /// short keys that lie in a larger buffer.
    #[inline]
    pub fn emit_within(&mut self, buffer: &[u8], key: Range<usize>, value: &[u8]) {
        let head = head_within(buffer, key.start, key.end);
        self.emit_headed(head, &buffer[key], value);
    }

    /// Emits pairs of one value whose keys are these ranges of `buffer`, start and end. The same as
    /// [`Emitter::emit_within`] for each of them, only faster for many.
    #[inline]
    pub fn emit_each(&mut self, buffer: &[u8], mut keys: &[[u32; 2]], value: &[u8]) {
        while !keys.is_empty() {
            if let Some(bytes) = J::COMBINED_VALUE_BYTES
                && self.mode == Mode::Combine
            {
                assert_eq!(value.len(), bytes, "{ONE_LENGTH}");
                let job = self.job;
                let combine = |total: &mut [u8], value: &[u8]| job.combine(total, value);
                let taken = self.table.upsert_each(buffer, keys, value, combine);
                self.table_pairs += taken as u64;
                keys = &keys[taken..];
            }
            // Makes room for the key that found the table full.
            let Some((&[start, end], rest)) = keys.split_first() else { return };
            self.emit_within(buffer, start as usize..end as usize, value);
            keys = rest;
        }
    }

    /// Emits a pair whose key is these parts, one after the other.
    pub fn emit_joined(&mut self, parts: &[&[u8]], value: &[u8]) {
        let mut key = std::mem::take(&mut self.joined);
        key.clear();
        for part in parts {
            key.extend_from_slice(part);
        }
        self.emit(&key, value);
        self.joined = key;
    }

    /// Says how many bytes will be mapped: those of pairs are not far from that.
    pub(crate) fn expect(&mut self, bytes: u64) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.pairs.expect(bytes.saturating_add(bytes / 8));
    }

    /// Adds to a counter of the job's own.
    pub fn count(&mut self, name: &str, amount: u64) {
        self.counters.count(name, amount);
    }

    /// Says which record is being mapped, for the report of a panic. That is a move of the task.
    #[inline]
    pub fn stand_at(&mut self, offset: u64, number: u64) {
        self.position = (offset, number);
        if let Some(progress) = self.progress {
            progress.note_small_move();
        }
    }

    /// Has one record mapped. While a survey is made a panic is noted, and from then on nothing is kept: the
    /// attempt has failed, and only looks what else there is. Without one a panic passes through.
    #[inline]
    pub(crate) fn map_record(&mut self, place: (u64, u64), map: impl FnOnce(&mut Self)) {
        self.stand_at(place.0, place.1);
        if self.survey.is_some() { self.map_surveyed(map) } else { map(self) }
    }

    fn map_surveyed(&mut self, map: impl FnOnce(&mut Self)) {
        if self.survey.as_ref().is_some_and(Survey::is_full) {
            return;
        }
        let Err(payload) = catch_unwind(AssertUnwindSafe(|| map(self))) else { return };
        if self.sealing {
            // The record at hand has only filled the buffer.
            resume_unwind(payload);
        }
        self.mode = Mode::Discard;
        if let Some(survey) = &mut self.survey {
            survey.note(self.position, &*payload);
        }
    }

    #[inline]
    fn emit_headed(&mut self, head: Head, key: &[u8], value: &[u8]) {
        if let Some(bytes) = J::COMBINED_VALUE_BYTES {
            assert_eq!(value.len(), bytes, "{ONE_LENGTH}");
            if self.mode == Mode::Combine {
                self.table_pairs += 1;
                let job = self.job;
                let combine = |total: &mut [u8], value: &[u8]| job.combine(total, value);
                if self.table.upsert(head, key, value, combine) == Upsert::Full {
                    self.table_pairs -= 1;
                    self.make_room_in_table(head, key, value);
                }
                return;
            }
        }
        match self.mode {
            Mode::Append => self.append(key, value),
            Mode::Write => {
                self.counters.map_pairs_out += 1;
                if let Some(sink) = &mut self.sink {
                    self.job.write_pair(key, value, sink);
                }
            }
            Mode::Sample => self.samples.push(key[..key.len().min(SAMPLED_KEY_BYTES)].to_vec()),
            Mode::Combine | Mode::Discard => {}
        }
    }

    /// The part file of a job without reduce tasks, for records that are no pairs.
    pub fn sink(&mut self) -> Option<&mut Sink> {
        self.sink.as_mut()
    }

    #[inline]
    fn append(&mut self, key: &[u8], value: &[u8]) {
        self.counters.map_pairs_out += 1;
        let partition = partition_in(self.job, self.total_order, self.cuts, key, self.partitions);
        if !self.pairs.push(partition, key, value) {
            let need = record::encoded_len(key.len(), value.len());
            if !self.pairs.grow(need, self.limit_bytes) {
                self.seal();
                assert!(self.pairs.grow(need, self.limit_bytes), "an empty buffer takes any pair");
            }
            assert!(self.pairs.push(partition, key, value), "room was made");
        }
    }

    #[cold]
    fn make_room_in_table(&mut self, head: Head, key: &[u8], value: &[u8]) {
        let useless = self.table_pairs >= BYPASS_AFTER_PAIRS
            && self.table.keys() as u64 * 5 > self.table_pairs * 4;
        if useless {
            self.seal();
            if self.mode == Mode::Combine {
                self.mode = Mode::Append;
            }
        } else if !self.table.grow(key.len(), self.limit_bytes) {
            self.seal();
            assert!(self.table.grow(key.len(), self.limit_bytes), "an empty table takes any key");
        }
        self.emit_headed(head, key, value);
    }

    /// Turns what is buffered into runs.
    fn seal(&mut self) {
        self.sealing = true;
        self.counters.map_pairs_out += std::mem::take(&mut self.table_pairs);
        let (job, cuts, partitions) = (self.job, self.cuts, self.partitions);
        let total_order = self.total_order;
        if self.table.keys() > 0 {
            let partition = |key: &[u8]| partition_in(job, total_order, cuts, key, partitions);
            let run = self.table.seal(partitions, partition);
            self.keep(run);
        }
        if self.pairs.count() > 0 {
            let run = self.pairs.seal();
            if job.combines_runs() {
                let run = Arc::new(run);
                let of = |partition| Box::new(run.source(partition)) as Box<dyn RunSource>;
                self.combine(|partition| {
                    (run.pairs(partition) > 0).then(|| of(partition)).into_iter().collect()
                });
            } else {
                self.keep(run);
            }
        }
        self.sealing = false;
    }

    /// Whether it has not come back from making a run.
    pub(crate) fn is_sealing(&self) -> bool {
        self.sealing
    }

    /// Has the job combine what these sources hold, and keeps what it gives.
    fn combine(&mut self, sources: impl Fn(u32) -> Sources) {
        let Some((task, _)) = self.keeping.filter(|_| self.mode != Mode::Discard) else { return };
        let (job, size) = (self.job, (self.partitions, self.limit_bytes));
        let mut counters = Counters::default();
        let combined =
            combine_runs(job, task, size, sources, &mut counters, &mut |run| self.try_keep(run));
        self.counters.add(&counters);
        if let Err(failure) = combined {
            self.fail(failure);
        }
    }

    /// At the end of a task whose output goes to other processes: combines neighbouring runs that were
    /// combined each for itself, so many at most at a time, if there are several of them and that has made
    /// less of their pairs.
    pub(crate) fn combine_again(&mut self, fan_in: usize) {
        if !self.job.combines_runs() {
            return;
        }
        self.seal();
        let pairs_out = self.pairs_in_runs();
        if self.runs.len() < AGAIN_FROM_RUNS || pairs_out * 5 > self.counters.map_pairs_out * 4 {
            return;
        }
        let mut runs = std::mem::take(&mut self.runs).into_iter();
        let fan_in = of_memory(self.limit_bytes as u64).min(fan_in);
        loop {
            let group: Vec<Run> = runs.by_ref().take(fan_in).collect();
            match group.len() {
                0 => break,
                1 => self.runs.extend(group),
                _ => self.combine(|partition| {
                    let runs = group.iter().filter(|run| run.pairs(partition) > 0);
                    runs.map(|run| run.source(partition)).collect()
                }),
            }
        }
    }

    fn pairs_in_runs(&self) -> u64 {
        let of_run =
            |run: &Run| (0..self.partitions).map(|partition| run.pairs(partition)).sum::<u64>();
        self.runs.iter().map(of_run).sum()
    }

    fn fail(&mut self, failure: JobError) {
        self.failure.get_or_insert(failure);
        self.mode = Mode::Discard;
    }

    fn keep(&mut self, run: MemoryRun) {
        if self.mode != Mode::Discard
            && let Err(failure) = self.try_keep(run)
        {
            self.fail(failure);
        }
    }

    fn try_keep(&mut self, run: MemoryRun) -> Result<(), JobError> {
        let Some((task, store)) = self.keeping else { return Ok(()) };
        let run = store.keep(self.job, run, task.progress)?;
        self.counters.runs_written += u64::from(run.disk_bytes() > 0);
        self.counters.run_bytes_written += run.disk_bytes();
        task.progress.bytes_spilled.fetch_add(run.disk_bytes(), Relaxed);
        self.runs.push(run);
        Ok(())
    }

    /// Fails if a run could not be kept.
    pub fn check(&mut self) -> Result<(), JobError> {
        if let Some(sink) = &mut self.sink {
            sink.check()?;
        }
        self.failure.take().map_or(Ok(()), Err)
    }

    /// The part file and the counts.
    pub(crate) fn into_sink(self) -> (Option<Sink>, Counters) {
        (self.sink, self.counters)
    }

    /// The runs, in emit order, and the counts.
    pub(crate) fn finish(mut self) -> Result<(Vec<Run>, Counters), JobError> {
        self.seal();
        self.check()?;
        self.counters.combined_pairs_out += self.pairs_in_runs();
        Ok((self.runs, self.counters))
    }

    /// The sampled keys.
    pub(crate) fn into_samples(self) -> Vec<Vec<u8>> {
        self.samples
    }
}

/// The partition of a key: by range if the job wants a total order, else as the job says.
#[inline]
fn partition_in<J: Job>(
    job: &J,
    total_order: bool,
    cuts: &[Vec<u8>],
    key: &[u8],
    partitions: u32,
) -> u32 {
    if total_order {
        cuts.partition_point(|cut| cut.as_slice() <= key) as u32
    } else {
        job.partition(key, partitions)
    }
}
