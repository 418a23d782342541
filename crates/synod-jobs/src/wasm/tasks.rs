//! Whole tasks of a module: batches in, pairs or records out, and the search for what it fails on.
//!
//! After a fault the batch is given once more to a new instance, record by record or group by group, so
//! that the error names the one that is to blame, and a bad record can be left out. What does not fail
//! then depended on what came before, and the error names the batch.

use super::Wasm;
use super::batch::{GroupBatch, Malformed, RecordBatch, pair, record};
use super::guest::{self, Cause, Entry, Fault, Guest};
use super::ticker::{now, ticks};
use crate::combine::PairSink;
use crate::emit::Emitter;
use crate::error::JobError;
use crate::job::Job;
use crate::map_input::{InputRange, MapInput};
use crate::reduce_input::ReduceInput;
use crate::sink::Sink;
use crate::task::TaskContext;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of a key that an error shows.
const SHOWN_KEY_BYTES: usize = 64;

/// What a task may give beyond its limit: so many times as much as it is handed.
const GIVEN_TIMES: u64 = 16;

/// Why a batch was not done.
enum Stop {
    /// The module is to blame.
    Fault(Fault),
    /// It is not.
    Failed(JobError),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        Stop::Fault(fault)
    }
}

impl From<Malformed> for Stop {
    fn from(what: Malformed) -> Stop {
        Stop::Fault(Fault::new(what))
    }
}

impl From<JobError> for Stop {
    fn from(error: JobError) -> Stop {
        Stop::Failed(error)
    }
}

/// An instance at work for a task.
struct Work<'w, const ADDS: bool> {
    job: &'w Wasm<ADDS>,
    task: &'w TaskContext<'w>,
    entry: Entry,
    settings: Arc<BTreeMap<String, String>>,
    guest: Guest,
    given: Given,
}

/// Bytes that went into an instance and came out of it.
#[derive(Default)]
struct Given {
    handed: u64,
    given: u64,
}

impl Given {
    /// Adds an answer, and fails if that makes it more than a task may give: the disk is not the module's.
    fn add<const ADDS: bool>(&mut self, job: &Wasm<ADDS>, bytes: usize) -> Result<(), Stop> {
        self.given += bytes as u64;
        let most = job.limits.given_bytes;
        if self.given <= most.max(self.handed.saturating_mul(GIVEN_TIMES)) {
            return Ok(());
        }
        let what = format!(
            "it has given {} bytes for the {} bytes that it was handed; a task may give {most}, or \
             {GIVEN_TIMES} times what it is handed",
            self.given, self.handed
        );
        Err(Stop::Failed(failed(job, &Fault::new(what), "", "raise given_mb if it should", None)))
    }
}

type Take<'t> = guest::Take<'t, Stop>;

impl<'w, const ADDS: bool> Work<'w, ADDS> {
    fn start(
        job: &'w Wasm<ADDS>,
        task: &'w TaskContext<'w>,
        entry: Entry,
        place: Option<InputRange<'_>>,
    ) -> Result<Work<'w, ADDS>, JobError> {
        let settings = Arc::new(settings(job, task, entry, place));
        let guest = new_guest(job, task, entry, &settings);
        let guest = guest.map_err(|fault| without_place(job, &fault))?;
        Ok(Work { job, task, entry, settings, guest, given: Given::default() })
    }

    /// Gives the instance a batch.
    fn run(&mut self, batch: &[u8], take: Take<'_>) -> Result<(), Stop> {
        let Work { job, guest, given, .. } = self;
        given.handed += batch.len() as u64;
        guest.run(batch, &mut |memory, gift| {
            given.add(job, gift.len())?;
            take(memory, gift)
        })
    }

    /// Passes on what the instance has logged and counted.
    fn pass_on(&mut self, count: &mut dyn FnMut(&str, u64)) {
        let (counters, log) = self.guest.said();
        for line in &log.lines {
            self.task.log.line(line);
        }
        if log.dropped > 0 {
            let line = format!("{} more lines were dropped: too many for a batch", log.dropped);
            self.task.log.line(line.as_bytes());
        }
        for (name, amount) in &counters.user {
            count(name, *amount);
        }
    }

    /// Gives the instance's last words to `take`.
    fn finish(&mut self, take: Take<'_>, count: &mut dyn FnMut(&str, u64)) -> Result<(), JobError> {
        let Work { job, guest, given, .. } = self;
        let finished = guest.finish(&mut |memory, gift| {
            given.add(job, gift.len())?;
            take(memory, gift)
        });
        self.pass_on(count);
        finished.map_err(|stop| match stop {
            Stop::Fault(fault) => without_place(self.job, &fault),
            Stop::Failed(error) => error,
        })
    }

    /// The first of these pieces of a batch that a new instance fails on.
    fn first_bad<'p, P>(
        &self,
        pieces: impl Iterator<Item = (P, &'p [u8])>,
        check: Take<'_>,
    ) -> Option<(P, Fault)> {
        let (began, limit) = (now(), 2 * ticks(self.job.limits.timeout_ms));
        let mut guest = new_guest(self.job, self.task, self.entry, &self.settings).ok()?;
        for (place, piece) in pieces {
            match guest.run(piece, check) {
                Err(Stop::Fault(fault)) if fault.cause == Cause::Cancelled => return None,
                Err(Stop::Fault(fault)) => return Some((place, fault)),
                _ if now() - began > limit => return None,
                _ => {}
            }
        }
        None
    }
}

/// An instance for a task, which ends with it.
fn new_guest<const ADDS: bool>(
    job: &Wasm<ADDS>,
    task: &TaskContext<'_>,
    entry: Entry,
    settings: &Arc<BTreeMap<String, String>>,
) -> Result<Guest, Fault> {
    let (settings, cancelled) = (Arc::clone(settings), task.progress.cancel_switch());
    Guest::start(&job.module, entry, job.limits, settings, cancelled)
}

/// What `config` tells an instance.
fn settings<const ADDS: bool>(
    job: &Wasm<ADDS>,
    task: &TaskContext<'_>,
    entry: Entry,
    place: Option<InputRange<'_>>,
) -> BTreeMap<String, String> {
    let mut settings = job.arguments.clone();
    let mut set = |name: &str, value: String| settings.insert(format!("synod.{name}"), value);
    set("maps", task.maps.to_string());
    set("reduces", task.reduces.to_string());
    if let Some(place) = place {
        set("file", place.file.display().to_string());
        set("split", place.split.to_string());
    }
    if entry == Entry::Reduce {
        set("partition", task.number.to_string());
    }
    settings
}

/// A fault that no record or group is to blame for.
fn without_place<const ADDS: bool>(job: &Wasm<ADDS>, fault: &Fault) -> JobError {
    failed(job, fault, "", "fix the module", None)
}

fn failed<const ADDS: bool>(
    job: &Wasm<ADDS>,
    fault: &Fault,
    place: &str,
    advice: &str,
    bad_record: Option<u64>,
) -> JobError {
    let (path, what) = (job.path.display(), &fault.what);
    let advice = match fault.cause {
        Cause::Module => advice,
        Cause::Time => "fix the module or raise timeout_ms",
        Cause::Host => "run it where there is more room",
        Cause::Cancelled => return JobError::Cancelled,
    };
    JobError::Task {
        message: format!("module {path}: {what}{place}; {advice}"),
        // What a module does with the same input is the same anywhere.
        permanent: bad_record.is_none() && fault.cause == Cause::Module,
        bad_record,
    }
}

/// Walks the pairs of an answer.
#[inline]
fn pairs<const ADDS: bool>(
    memory: &[u8],
    gift: Range<usize>,
    mut each: impl FnMut(Range<usize>, &[u8]) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let (mut at, given) = (gift.start, &memory[..gift.end]);
    while at < given.len() {
        let found = pair(given, at)?;
        at = found.value.end;
        let value = &given[found.value];
        if ADDS && value.len() != 8 {
            let what = format!("it gave a value of {} bytes; a count has 8", value.len());
            return Err(what.into());
        }
        each(found.key, value)?;
    }
    Ok(())
}

/// Walks the records of an answer.
fn records(memory: &[u8], gift: Range<usize>, mut each: impl FnMut(&[u8])) -> Result<(), Stop> {
    let (mut at, given) = (gift.start, &memory[..gift.end]);
    while at < given.len() {
        let found = record(given, at)?;
        at = found.end;
        each(&given[found]);
    }
    Ok(())
}

/// Maps a split.
pub(super) fn map<const ADDS: bool>(
    job: &Wasm<ADDS>,
    task: &TaskContext<'_>,
    input: &mut MapInput<'_>,
    out: &mut Emitter<'_, Wasm<ADDS>>,
) -> Result<(), JobError> {
    let place = input.range();
    let mut work = Work::start(job, task, Entry::Map, Some(place))?;
    let mut batch = RecordBatch::default();
    while let Some(block) = input.next_block()? {
        for record in block.records() {
            if batch.is_full_for(record.key, record.bytes) {
                map_batch(&mut work, place, &mut batch, out)?;
            }
            batch.push(record.offset, record.number, record.key, record.bytes);
        }
    }
    if !batch.bytes().is_empty() {
        map_batch(&mut work, place, &mut batch, out)?;
    }
    let mut counted = Vec::new();
    work.finish(
        &mut |memory, gift| pairs::<ADDS>(memory, gift, |key, value| emit(out, memory, key, value)),
        &mut |name, amount| counted.push((name.to_owned(), amount)),
    )?;
    for (name, amount) in counted {
        out.count(&name, amount);
    }
    out.check()
}

#[inline]
fn emit<const ADDS: bool>(
    out: &mut Emitter<'_, Wasm<ADDS>>,
    memory: &[u8],
    key: Range<usize>,
    value: &[u8],
) -> Result<(), Stop> {
    out.emit_within(memory, key, value);
    Ok(())
}

fn map_batch<const ADDS: bool>(
    work: &mut Work<'_, ADDS>,
    place: InputRange<'_>,
    batch: &mut RecordBatch,
    out: &mut Emitter<'_, Wasm<ADDS>>,
) -> Result<(), JobError> {
    out.stand_at(batch.first, batch.number(0));
    let ran = work.run(batch.bytes(), &mut |memory, gift| {
        pairs::<ADDS>(memory, gift, |key, value| emit(out, memory, key, value))
    });
    work.pass_on(&mut |name, amount| out.count(name, amount));
    match ran {
        Ok(()) => {}
        Err(Stop::Failed(error)) => return Err(error),
        Err(Stop::Fault(fault)) => return Err(blame_record(work, place, batch, fault)),
    }
    batch.clear();
    out.check()
}

/// What to do about a record or a group that a module fails on.
const ALLOW_SKIPS: &str = "fix the module or allow bad records to be skipped";

/// The error of a batch that failed, with the record that is to blame.
fn blame_record<const ADDS: bool>(
    work: &Work<'_, ADDS>,
    place: InputRange<'_>,
    batch: &RecordBatch,
    fault: Fault,
) -> JobError {
    if fault.cause == Cause::Cancelled {
        return JobError::Cancelled;
    }
    let numbered = (0..).map(|record| batch.number(record)).zip(batch.records());
    let pieces = numbered.map(|(at, (offset, range))| ((at, offset), &batch.bytes()[range]));
    let file = place.file.display();
    let split = place.split;
    let bad =
        work.first_bad(pieces, &mut |memory, gift| pairs::<ADDS>(memory, gift, |_, _| Ok(())));
    match bad {
        Some(((number, offset), fault)) => {
            let place =
                format!(", on record {number} of split {split}, input {file} offset {offset}");
            failed(work.job, &fault, &place, ALLOW_SKIPS, Some(offset))
        }
        None => {
            let last = batch.records().last().map_or(batch.first, |(offset, _)| offset);
            let place = format!(
                ", in the records at offsets {} to {last} of split {split}, input {file} (one by \
                 one they do not fail)",
                batch.first
            );
            failed(work.job, &fault, &place, "fix the module", None)
        }
    }
}

/// Cuts the pairs of a partition into batches of groups.
fn each_batch<J: Job>(
    input: &mut ReduceInput<'_, J>,
    run: &mut dyn FnMut(&GroupBatch) -> Result<(), JobError>,
) -> Result<(), JobError> {
    let mut batch = GroupBatch::default();
    let mut group: Option<Vec<u8>> = None;
    while let Some((number, (key, value))) = input.next_numbered()? {
        let same = group.as_deref() == Some(key);
        let full = batch.is_full_for(key, value, same);
        if full {
            batch.close(same);
            run(&batch)?;
            batch.clear();
        }
        if full || !same {
            batch.begin(key, same, number);
        }
        if !same {
            let group = group.get_or_insert_default();
            group.clear();
            group.extend_from_slice(key);
        }
        batch.value(value);
    }
    batch.close(false);
    if batch.bytes().is_empty() { Ok(()) } else { run(&batch) }
}

/// Reduces a partition.
pub(super) fn reduce<const ADDS: bool>(
    job: &Wasm<ADDS>,
    task: &TaskContext<'_>,
    input: &mut ReduceInput<'_, Wasm<ADDS>>,
    out: &mut Sink,
) -> Result<(), JobError> {
    let mut work = Work::start(job, task, Entry::Reduce, None)?;
    each_batch(input, &mut |batch| {
        let ran = work.run(batch.bytes(), &mut |memory, gift| write(job, out, memory, gift));
        work.pass_on(&mut |name, amount| out.count(name, amount));
        ran.map_err(|stop| blame_group(&work, batch, stop, &mut check_records))?;
        out.check()
    })?;
    let mut counted = Vec::new();
    work.finish(&mut |memory, gift| write(job, out, memory, gift), &mut |name, amount| {
        counted.push((name.to_owned(), amount))
    })?;
    for (name, amount) in counted {
        out.count(&name, amount);
    }
    out.check()
}

fn check_records(memory: &[u8], gift: Range<usize>) -> Result<(), Stop> {
    records(memory, gift, |_| {})
}

fn write<const ADDS: bool>(
    job: &Wasm<ADDS>,
    out: &mut Sink,
    memory: &[u8],
    gift: Range<usize>,
) -> Result<(), Stop> {
    records(memory, gift, |record| {
        out.bytes(record);
        if job.bare { out.end_bare_record() } else { out.end_record() }
    })
}

/// Combines a partition of a run. What the module counts there is dropped: how often it is asked depends
/// on the memory of the job.
pub(super) fn combine<const ADDS: bool>(
    job: &Wasm<ADDS>,
    task: &TaskContext<'_>,
    input: &mut ReduceInput<'_, Wasm<ADDS>>,
    out: &mut PairSink<'_>,
) -> Result<(), JobError> {
    let mut work = Work::start(job, task, Entry::Combine, None)?;
    let mut partition = None;
    let mut push = |partition: Option<u32>, memory: &[u8], gift| {
        pairs::<ADDS>(memory, gift, |key, value| {
            let key = &memory[key];
            if partition != Some(job.partition(key, task.reduces)) {
                let what = format!("the combiner gave key `{}` of another partition", shown(key));
                return Err(what.into());
            }
            out.push(key, value)?;
            Ok(())
        })
    };
    each_batch(input, &mut |batch| {
        if partition.is_none() {
            let first = batch.groups().next();
            partition = first.map(|(group, _)| job.partition(batch.key(&group), task.reduces));
        }
        let ran = work.run(batch.bytes(), &mut |memory, gift| push(partition, memory, gift));
        work.pass_on(&mut |_, _| {});
        ran.map_err(|stop| {
            let mut check = |memory: &[u8], gift| pairs::<ADDS>(memory, gift, |_, _| Ok(()));
            blame_group(&work, batch, stop, &mut check)
        })
    })?;
    work.finish(&mut |memory, gift| push(partition, memory, gift), &mut |_, _| {})
}

/// The error of a batch that failed, with the group that is to blame.
fn blame_group<const ADDS: bool>(
    work: &Work<'_, ADDS>,
    batch: &GroupBatch,
    stop: Stop,
    check: Take<'_>,
) -> JobError {
    let fault = match stop {
        Stop::Fault(fault) if fault.cause == Cause::Cancelled => return JobError::Cancelled,
        Stop::Fault(fault) => fault,
        Stop::Failed(error) => return error,
    };
    // A group that is not all there cannot be tried alone.
    let whole = batch.numbers().zip(batch.groups()).filter(|(_, (_, whole))| *whole);
    let pieces = whole.map(|(number, (group, _))| ((number, group.clone()), &batch.bytes()[group]));
    let bad = work.first_bad(pieces, check);
    let reduces = work.entry == Entry::Reduce;
    let kind = if reduces { "partition" } else { "map task" };
    let number = work.task.number;
    let (fault, place, number) = match bad {
        Some(((group_number, group), fault)) => {
            let key = shown(batch.key(&group));
            (fault, format!(", on key `{key}` in {kind} {number}"), Some(group_number))
        }
        None => {
            let mut keys = batch.groups().map(|(group, _)| shown(batch.key(&group)));
            let first = keys.next().unwrap_or_default();
            let last = keys.last().unwrap_or_else(|| first.clone());
            (fault, format!(", in the keys `{first}` to `{last}` of {kind} {number}"), None)
        }
    };
    match number.filter(|_| reduces) {
        Some(bad) => failed(work.job, &fault, &place, ALLOW_SKIPS, Some(bad)),
        None => failed(work.job, &fault, &place, "fix the module", None),
    }
}

/// A key for an error.
fn shown(key: &[u8]) -> String {
    key[..key.len().min(SHOWN_KEY_BYTES)].escape_ascii().to_string()
}
