//! Finding and leaving out the records that a command fails on.
//!
//! Pipes hide how far a command had come when it failed. So an attempt that follows a failed one works
//! in windows: a fresh process per window, what it prints held back until it has ended well. A window
//! that fails is cut in two and each half tried, down to single records. A second half whose first half has
//! passed is taken to fail and cut at once; one whose first half has failed is tried with all that follows.
//! So a bad record costs about one process for each time that its window can be halved. A program that
//! counts what it has processed, in Hadoop's group `SkippingTaskCounters`, tells the place at once. Whatever
//! was taken to be: what is printed comes from processes that ended well, and what is left out has failed in
//! one that had nothing more than may go with it. It is kept beside the output (`quarantine.rs`; of a group
//! the first pair), and there is a limit.

use super::child::Fed;
use super::child::pump::TakePair;
use super::job::{Former, Streaming};
use super::map::{Feeder, complete};
use super::reduce::writer_for;
use super::report::CountersOf;
use super::settings::Skipping;
use super::stage::Stage;
use crate::emit::Emitter;
use crate::error::JobError;
use crate::map_input::MapInput;
use crate::quarantine::{BAD_GROUPS, Bad, Quarantine, reason};
use crate::reduce_input::ReduceInput;
use crate::sink::Sink;
use crate::task::TaskContext;
use std::path::Path;

/// Input of a window of groups, and the most that one group may have.
const WINDOW_BYTES: usize = 4 << 20;
const LARGEST_GROUP_BYTES: usize = 256 << 20;
/// What a command may print for one window.
const MAX_HELD_BYTES: usize = 256 << 20;

const GROUP: &str = "SkippingTaskCounters";

/// Input of a window: what a command reads, and where in it each record begins.
#[derive(Default)]
struct Window {
    bytes: Vec<u8>,
    starts: Vec<usize>,
    /// For the file of skipped records: an offset each.
    offsets: Vec<u64>,
}

impl Window {
    fn len(&self) -> usize {
        self.starts.len()
    }

    fn range(&self, from: usize, to: usize) -> &[u8] {
        let end = self.starts.get(to).copied().unwrap_or(self.bytes.len());
        &self.bytes[self.starts[from]..end]
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.starts.clear();
        self.offsets.clear();
    }
}

/// Pairs that were printed and not yet handed on.
#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    /// Ends of key and value in turn.
    ends: Vec<usize>,
}

impl Held {
    fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), JobError> {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
        self.bytes.extend_from_slice(value);
        self.ends.push(self.bytes.len());
        if self.bytes.len() > MAX_HELD_BYTES {
            return Err(JobError::Task {
                message: format!(
                    "more than {MAX_HELD_BYTES} bytes of output for one window: bad records \
                     cannot be skipped here"
                ),
                permanent: true,
                bad_record: None,
            });
        }
        Ok(())
    }

    fn hand_on(&mut self, take: &mut TakePair<'_>) -> Result<(), JobError> {
        let mut start = 0;
        for ends in self.ends.chunks_exact(2) {
            take(&self.bytes[start..ends[0]], &self.bytes[ends[0]..ends[1]])?;
            start = ends[1];
        }
        self.clear();
        Ok(())
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// Records of a window that are given to one process.
struct Part {
    from: usize,
    to: usize,
    /// Whether it is the first half of a part that has failed, and the second one is what comes next.
    is_first: bool,
    /// Whether nothing else of a part that has failed is left to have made it fail.
    must_fail: bool,
}

impl Part {
    fn new(from: usize, to: usize) -> Part {
        Part { from, to, is_first: false, must_fail: false }
    }

    fn len(&self) -> usize {
        self.to - self.from
    }

    /// The second half and the first, which is to be done before.
    fn halves(&self) -> [Part; 2] {
        let middle = self.from + self.len() / 2;
        let first = Part { is_first: true, ..Part::new(self.from, middle) };
        [Part::new(middle, self.to), first]
    }

    /// What comes behind the record that it failed on, that record, and what comes before.
    fn around(&self, record: usize) -> [Part; 3] {
        let bad = self.from + record;
        let alone = Part { must_fail: true, ..Part::new(bad, bad + 1) };
        [Part::new(bad + 1, self.to), alone, Part::new(self.from, bad)]
    }
}

/// A first half has failed by itself: of the second one no more is known than of what follows it, so they are
/// tried as one.
fn join_rest(parts: &mut Vec<Part>) {
    if let [.., next, second] = &mut parts[..]
        && !next.must_fail
    {
        next.from = second.from;
        parts.pop();
    }
}

/// Runs windows and keeps account of what was left out.
struct Search<'s, 'a> {
    stage: &'s mut Stage<'a>,
    task: &'s TaskContext<'s>,
    counted_by: &'static str,
    /// Records that may go with a bad one.
    most_around: u64,
    limit: u64,
    skipped: u64,
    counters: CountersOf,
    /// The input, if there is one.
    file: Option<&'s Path>,
    quarantine: Quarantine<'s>,
}

/// Maps a split, leaving out what the mapper fails on.
pub fn map(
    job: &Streaming,
    stage: &mut Stage<'_>,
    task: &TaskContext<'_>,
    skipping: Skipping,
    input: &mut MapInput<'_>,
    out: &mut Emitter<'_, Streaming>,
) -> Result<(), JobError> {
    let file = input.range().file;
    let mut search =
        Search::new(stage, task, "MapProcessedRecords", &skipping, skipping.most_records);
    search.file = Some(file);
    let mut feeder = Feeder::new(&job.settings);
    let mut former = Former::default();
    let mut window = Window::default();
    while let Some(block) = input.next_block()? {
        window.clear();
        for record in complete(&job.settings, block) {
            window.starts.push(window.bytes.len());
            window.offsets.push(record.offset);
            feeder.bytes_of(record, &mut window.bytes);
        }
        let mut take = |key: &[u8], value: &[u8]| {
            former.emit(job, task.reduces, (key, value), out);
            Ok(())
        };
        search.work(&window, &mut take)?;
        out.check()?;
    }
    let (skipped, counters) = (search.skipped, std::mem::take(&mut search.counters));
    count(&counters, &mut |name, amount| out.count(name, amount));
    if skipped > 0 {
        out.count("bad_records_skipped", skipped);
    }
    Ok(())
}

/// Reduces a partition, leaving out the groups that the reducer fails on.
pub fn reduce(
    job: &Streaming,
    stage: &mut Stage<'_>,
    task: &TaskContext<'_>,
    skipping: Skipping,
    input: &mut ReduceInput<'_, Streaming>,
    out: &mut Sink,
) -> Result<(), JobError> {
    let mut search =
        Search::new(stage, task, "ReduceProcessedGroups", &skipping, skipping.most_groups);
    let writer = writer_for(job);
    let mut window = Window::default();
    let mut group = Vec::new();
    let mut groups = 0;
    loop {
        let pair = input.next_pair()?;
        let is_new = pair.is_some_and(|(key, _)| groups == 0 || key != group);
        if pair.is_none() || (is_new && window.bytes.len() >= WINDOW_BYTES) {
            let mut take = |key: &[u8], value: &[u8]| {
                job.reduce_lines.write(key, value, out);
                Ok(())
            };
            search.work(&window, &mut take)?;
            out.check()?;
            window.clear();
        }
        let Some((key, value)) = pair else { break };
        if is_new {
            window.starts.push(window.bytes.len());
            window.offsets.push(groups);
            group.clear();
            group.extend_from_slice(key);
            groups += 1;
        }
        let (key, value) = job.real(key, value);
        writer.put(key, value, &mut window.bytes);
        if window.bytes.len() > LARGEST_GROUP_BYTES {
            return Err(stage.located(JobError::Task {
                message: "a group is too large for bad groups to be skipped".to_owned(),
                permanent: true,
                bad_record: None,
            }));
        }
    }
    let (skipped, counters) = (search.skipped, std::mem::take(&mut search.counters));
    count(&counters, &mut |name, amount| out.count(name, amount));
    if skipped > 0 {
        out.count(BAD_GROUPS, skipped);
    }
    Ok(())
}

fn count(counters: &CountersOf, count: &mut dyn FnMut(&str, u64)) {
    for ((group, name), amount) in counters {
        let sign = if *amount < 0 { ",-" } else { "" };
        count(&format!("{group},{name}{sign}"), amount.unsigned_abs());
    }
}

impl<'s, 'a> Search<'s, 'a> {
    fn new(
        stage: &'s mut Stage<'a>,
        task: &'s TaskContext<'s>,
        counted_by: &'static str,
        skipping: &Skipping,
        most_around: u64,
    ) -> Search<'s, 'a> {
        Search {
            stage,
            task,
            counted_by,
            most_around,
            limit: skipping.limit,
            skipped: 0,
            counters: CountersOf::new(),
            file: None,
            quarantine: Quarantine::new(task, task.number),
        }
    }

    /// Runs the command over a window, and over parts of it if it fails.
    fn work(&mut self, window: &Window, take: &mut TakePair<'_>) -> Result<(), JobError> {
        // Parts that are still to be done, the first on top.
        let mut parts = vec![Part::new(0, window.len())];
        while let Some(part) = parts.pop() {
            self.task.progress.check_cancelled()?;
            if part.must_fail && !self.is_small(&part) {
                parts.extend(part.halves());
                continue;
            }
            let mut held = Held::default();
            let ran = match part.len() {
                0 => Ok(CountersOf::new()),
                _ => self.run(window.range(part.from, part.to), &mut held),
            };
            match ran {
                Ok(counters) => {
                    held.hand_on(take)?;
                    self.add(counters);
                    // What it was cut from has failed, so the rest of that should.
                    if let Some(rest) = parts.last_mut().filter(|_| part.is_first) {
                        rest.must_fail = true;
                    }
                }
                Err((failure, _)) if failure.is_permanent() => return Err(failure),
                // No record has done that.
                Err((failure @ JobError::NotStarted { .. }, _)) => return Err(failure),
                Err((failure, counters)) => {
                    if part.is_first {
                        join_rest(&mut parts);
                    }
                    if self.is_small(&part) {
                        self.leave_out(window, (part.from, part.to), &failure)?;
                        continue;
                    }
                    match self.processed(&counters, &part) {
                        Some(count) => parts.extend(part.around(count)),
                        None => parts.extend(part.halves()),
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a part is left out as it is if it fails.
    fn is_small(&self, part: &Part) -> bool {
        part.len() as u64 <= self.most_around.max(1)
    }

    fn add(&mut self, counters: CountersOf) {
        for (name, amount) in counters {
            let sum = self.counters.entry(name).or_insert(0);
            *sum = sum.saturating_add(amount);
        }
    }

    /// How many records of a part a program says that it has processed before it failed.
    fn processed(&self, counters: &CountersOf, part: &Part) -> Option<usize> {
        let processed = counters.get(&(GROUP.to_owned(), self.counted_by.to_owned()))?;
        usize::try_from(*processed).ok().filter(|&count| count < part.len())
    }

    /// Runs a fresh process over some records. What it counted is for the caller, in either case.
    fn run(&mut self, bytes: &[u8], held: &mut Held) -> Result<CountersOf, (JobError, CountersOf)> {
        let mut closed = false;
        let mut take = |key: &[u8], value: &[u8]| held.push(key, value);
        let ended = self.stage.start().and_then(|mut command| {
            closed = command.feed(bytes, &mut take)? == Fed::Closed;
            command.finish(&mut take)
        });
        let judged = ended
            .map_err(|error| self.stage.located(error))
            .and_then(|outcome| self.stage.judge(outcome, closed, bytes.len() as u64));
        let counters = self.stage.reports.take_counters();
        match judged {
            Ok(()) => Ok(counters),
            Err(error) => Err((error, counters)),
        }
    }

    fn leave_out(
        &mut self,
        window: &Window,
        (from, to): (usize, usize),
        failure: &JobError,
    ) -> Result<(), JobError> {
        self.skipped += (to - from) as u64;
        self.task.log.line(format!("[left out after: {failure}]").as_bytes());
        if self.skipped > self.limit {
            return Err(JobError::Task {
                message: format!(
                    "more than {} bad records in one task; the last: {failure}",
                    self.limit
                ),
                permanent: true,
                bad_record: None,
            });
        }
        let error = reason(&failure.to_string());
        for record in from..to {
            let line = window.range(record, record + 1);
            let first = line.split(|&byte| byte == b'\n').next().unwrap_or(line);
            let (file, place) = (self.file, window.offsets[record]);
            self.quarantine.keep(&Bad { file, place, error: &error, bytes: &[first] })?;
        }
        Ok(())
    }
}
