//! Reduce tasks and combiners: a partition in its order goes through the reducer.

use super::aggregate::Aggregator;
use super::child::Fed;
use super::child::pump::TakePair;
use super::job::{Former, Streaming};
use super::settings::Worker;
use super::skip;
use super::stage::Stage;
use super::wire::writer::PairWriter;
use crate::combine::PairSink;
use crate::error::JobError;
use crate::reduce_input::ReduceInput;
use crate::sink::Sink;
use crate::task::TaskContext;

/// Formatted pairs are handed over in pieces of this size.
const CHUNK_BYTES: usize = 256 << 10;
/// Pairs between two looks at the sink.
const PAIRS_PER_CHECK: u64 = 1 << 10;

/// Reduces a partition.
pub fn run(
    job: &Streaming,
    task: &TaskContext<'_>,
    input: &mut ReduceInput<'_, Streaming>,
    out: &mut Sink,
) -> Result<(), JobError> {
    match &job.settings.reducer {
        Worker::Identity => pass_on(job, input, out),
        Worker::Aggregate => aggregate(job, input, &mut |key, _, aggregator| {
            let report = aggregator.report();
            job.reduce_lines.write(key, report.as_bytes(), out);
            out.check()
        }),
        Worker::Command(arguments) => {
            let command = ("reducer", arguments.as_slice(), &job.settings.reduce);
            let mut stage = Stage::new(job, task, command, None)?;
            let skipping = job.settings.skipping.filter(|skipping| {
                skipping.most_groups > 0 && task.attempt >= skipping.from_attempt.min(1)
            });
            match skipping {
                Some(skipping) => skip::reduce(job, &mut stage, task, skipping, input, out)?,
                None => run_command(job, &mut stage, input, out)?,
            }
            stage.count(&mut |name, amount| out.count(name, amount));
            Ok(())
        }
    }
}

fn pass_on(
    job: &Streaming,
    input: &mut ReduceInput<'_, Streaming>,
    out: &mut Sink,
) -> Result<(), JobError> {
    let mut pairs = 0u64;
    while let Some((key, value)) = input.next_pair()? {
        let (key, value) = job.real(key, value);
        job.reduce_lines.write(key, value, out);
        pairs += 1;
        if pairs.is_multiple_of(PAIRS_PER_CHECK) {
            out.check()?;
        }
    }
    Ok(())
}

fn run_command(
    job: &Streaming,
    stage: &mut Stage<'_>,
    input: &mut ReduceInput<'_, Streaming>,
    out: &mut Sink,
) -> Result<(), JobError> {
    let first = input.next_pair()?.map(|(key, value)| {
        let (key, value) = job.real(key, value);
        (key.to_vec(), value.to_vec())
    });
    // Hadoop starts a reducer that has no input, and drops what it prints.
    let drops = first.is_none() && job.settings.compatible;
    let mut taken = 0u64;
    let mut take = |key: &[u8], value: &[u8]| {
        if drops {
            return Ok(());
        }
        job.reduce_lines.write(key, value, out);
        taken += 1;
        if taken.is_multiple_of(PAIRS_PER_CHECK) { out.check() } else { Ok(()) }
    };
    feed_pairs(job, stage, first, input, &mut take)
}

/// Key and value.
type OwnedPair = (Vec<u8>, Vec<u8>);

/// Runs the stage's command over `first` and all the other pairs.
fn feed_pairs(
    job: &Streaming,
    stage: &mut Stage<'_>,
    first: Option<OwnedPair>,
    input: &mut ReduceInput<'_, Streaming>,
    take: &mut TakePair<'_>,
) -> Result<(), JobError> {
    let writer = writer_for(job);
    let mut chunk = Vec::with_capacity(CHUNK_BYTES * 2);
    if let Some((key, value)) = first {
        writer.put(&key, &value, &mut chunk);
    }
    let mut command = stage.start()?;
    let (mut offered, mut closed) = (0, false);
    let fed = (|| {
        loop {
            let pair = input.next_pair()?;
            if let Some((key, value)) = pair {
                let (key, value) = job.real(key, value);
                writer.put(key, value, &mut chunk);
            }
            if chunk.len() >= CHUNK_BYTES || pair.is_none() {
                offered += chunk.len() as u64;
                if command.feed(&chunk, take)? == Fed::Closed {
                    closed = true;
                }
                chunk.clear();
                // Nobody reads the rest; how much it is decides whether that is a failure.
                let known = offered > super::stage::HADOOP_BUFFER_BYTES;
                if pair.is_none() || (closed && known && job.settings.unread_is_failure) {
                    return Ok(());
                }
            }
        }
    })();
    let ended = fed.and_then(|()| command.finish(take));
    let outcome = ended.map_err(|error| stage.located(error))?;
    stage.judge(outcome, closed, offered)
}

/// Writes pairs as a reducer or combiner reads them.
pub fn writer_for(job: &Streaming) -> PairWriter {
    let pipes = &job.settings.reduce;
    PairWriter::new(pipes.input, job.settings.map_kinds(), &pipes.input_separator, false)
}

/// Combines one partition of a run.
pub fn combine(
    job: &Streaming,
    task: &TaskContext<'_>,
    input: &mut ReduceInput<'_, Streaming>,
    out: &mut PairSink<'_>,
) -> Result<(), JobError> {
    let mut former = Former::default();
    match &job.settings.combiner {
        Some(Worker::Command(arguments)) => {
            let command = ("combiner", arguments.as_slice(), &job.settings.reduce);
            let mut stage = Stage::new(job, task, command, None)?;
            let Some((stands, value)) = input.next_pair()? else { return Ok(()) };
            let stands = stands.to_vec();
            let (key, value) = job.real(&stands, value);
            let first = Some((key.to_vec(), value.to_vec()));
            let mut take = |key: &[u8], value: &[u8]| former.push(job, &stands, (key, value), out);
            feed_pairs(job, &mut stage, first, input, &mut take)?;
            stage.count(&mut |name, amount| out.count(name, amount));
            Ok(())
        }
        Some(Worker::Aggregate) => aggregate(job, input, &mut |_, (stands, key), aggregator| {
            let mut pushed = Ok(());
            aggregator.combined(&mut |value| {
                if pushed.is_ok() {
                    pushed = former.push(job, stands, (key, value), out);
                }
            });
            pushed
        }),
        Some(Worker::Identity) | None => {
            while let Some((key, value)) = input.next_pair()? {
                out.push(key, value)?;
            }
            Ok(())
        }
    }
}

/// What [`aggregate`] hands on of a group: the key without its prefix, the engine's key and the real
/// one, and the aggregator.
type TakeGroup<'t> = dyn FnMut(&[u8], (&[u8], &[u8]), &Aggregator) -> Result<(), JobError> + 't;

/// Aggregates group by group.
fn aggregate(
    job: &Streaming,
    input: &mut ReduceInput<'_, Streaming>,
    take: &mut TakeGroup<'_>,
) -> Result<(), JobError> {
    let bad = |message: String| JobError::Task {
        message: format!("-reducer aggregate: {message}"),
        permanent: true,
        bad_record: None,
    };
    let (mut stands, mut group) = (Vec::new(), Vec::new());
    let mut current: Option<Aggregator> = None;
    while let Some((engine_key, engine_value)) = input.next_pair()? {
        let (key, value) = job.real(engine_key, engine_value);
        // A comparator may call keys equal that are not; each has an aggregate of its own.
        if current.is_none() || key != group {
            if let Some(aggregator) = current.take() {
                take(name_of(&group), (&stands, &group), &aggregator)?;
            }
            let (aggregator, _) = Aggregator::of_key(key, job.settings.most_unique).map_err(bad)?;
            current = Some(aggregator);
            stands.clear();
            stands.extend_from_slice(engine_key);
            group.clear();
            group.extend_from_slice(key);
        }
        if let Some(aggregator) = &mut current {
            aggregator.add(value).map_err(bad)?;
        }
    }
    match current {
        Some(aggregator) => take(name_of(&group), (&stands, &group), &aggregator),
        None => Ok(()),
    }
}

/// The part of an aggregated key behind its prefix.
fn name_of(key: &[u8]) -> &[u8] {
    memchr::memchr(b':', key).map_or(key, |at| &key[at + 1..])
}
