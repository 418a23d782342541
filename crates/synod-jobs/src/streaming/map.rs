//! Map tasks: a split goes through the mapper.

use super::child::pump::TakePair;
use super::child::{Command, Fed};
use super::classes::InputClass;
use super::job::{Former, Streaming};
use super::settings::{Marks, Settings, Worker};
use super::skip;
use super::stage::{HADOOP_BUFFER_BYTES, Stage};
use super::wire::number_key;
use super::wire::writer::PairWriter;
use crate::emit::Emitter;
use crate::error::JobError;
use crate::framing::Framing;
use crate::map_input::MapInput;
use crate::record::{Block, Record};
use crate::task::TaskContext;

/// Formatted input is handed over in pieces of this size.
const CHUNK_BYTES: usize = 256 << 10;

/// Maps a split.
pub fn run(
    job: &Streaming,
    task: &TaskContext<'_>,
    input: &mut MapInput<'_>,
    out: &mut Emitter<'_, Streaming>,
) -> Result<(), JobError> {
    let Worker::Command(arguments) = &job.settings.mapper else {
        return pass_on(job, task, input, out);
    };
    let command = ("mapper", arguments.as_slice(), &job.settings.map);
    let mut stage = Stage::new(job, task, command, Some(input.range()))?;
    let skipping = job.settings.skipping;
    // One failed attempt is enough to look for what it failed on.
    let mapped = match skipping.filter(|skipping| task.attempt >= skipping.from_attempt.min(1)) {
        Some(skipping) => skip::map(job, &mut stage, task, skipping, input, out),
        None => {
            let first = input.range().start;
            run_command(job, &mut stage, task, input, out).map_err(|error| match error {
                // The next attempt is to look for the record; here it is not known.
                JobError::Task { message, permanent: false, .. } if skipping.is_some() => {
                    JobError::Task { message, permanent: false, bad_record: Some(first) }
                }
                other => other,
            })
        }
    };
    mapped?;
    stage.count(&mut |name, amount| out.count(name, amount));
    Ok(())
}

/// Without a command: the pairs of the input are the pairs of the map.
fn pass_on(
    job: &Streaming,
    task: &TaskContext<'_>,
    input: &mut MapInput<'_>,
    out: &mut Emitter<'_, Streaming>,
) -> Result<(), JobError> {
    let mut former = Former::default();
    while let Some(block) = input.next_block()? {
        for record in complete(&job.settings, block) {
            with_pair(&job.settings, record, &mut |key, value| {
                former.emit(job, task.reduces, (key, value), out);
            });
        }
        out.check()?;
    }
    Ok(())
}

fn run_command(
    job: &Streaming,
    stage: &mut Stage<'_>,
    task: &TaskContext<'_>,
    input: &mut MapInput<'_>,
    out: &mut Emitter<'_, Streaming>,
) -> Result<(), JobError> {
    let mut former = Former::default();
    let mut taken = 0u64;
    let mut take = |key: &[u8], value: &[u8]| {
        former.emit(job, task.reduces, (key, value), out);
        taken += 1;
        if taken.is_multiple_of(1024) { out.check() } else { Ok(()) }
    };
    let mut feeder = Feeder::new(&job.settings);
    let mut command = stage.start()?;
    let (mut offered, mut closed) = (0, false);
    let fed = (|| {
        while let Some(block) = input.next_block()? {
            offered += block.bytes.len() as u64;
            if !closed && feeder.feed(block, &mut command, &mut take)? == Fed::Closed {
                closed = true;
            }
            if closed && offered > HADOOP_BUFFER_BYTES && job.settings.unread_is_failure {
                let enough = job.settings.enough_output;
                if enough.is_none_or(|enough| command.pairs() < enough) {
                    break;
                }
            }
        }
        Ok(())
    })();
    let ended = fed.and_then(|()| command.finish(&mut take));
    let outcome = ended.map_err(|error| stage.located(error))?;
    stage.judge(outcome, closed, offered)
}

/// Turns blocks of input into what a mapper reads.
pub struct Feeder<'s> {
    settings: &'s Settings,
    writer: PairWriter,
    chunk: Vec<u8>,
}

impl<'s> Feeder<'s> {
    /// For a mapper with these settings.
    pub fn new(settings: &'s Settings) -> Feeder<'s> {
        let pipes = &settings.map;
        let writer = PairWriter::new(
            pipes.input,
            settings.input_kinds(),
            &pipes.input_separator,
            settings.without_keys,
        );
        Feeder { settings, writer, chunk: Vec::new() }
    }

    /// Hands over the records of a block.
    pub fn feed(
        &mut self,
        block: Block<'_>,
        command: &mut Command<'_>,
        take: &mut TakePair<'_>,
    ) -> Result<Fed, JobError> {
        if self.is_as_read(&block) {
            let fed = command.feed(block.bytes, take)?;
            if fed == Fed::Closed || block.bytes.ends_with(b"\n") {
                return Ok(fed);
            }
            return command.feed(b"\n", take);
        }
        self.chunk.clear();
        for record in complete(self.settings, block) {
            self.put(record);
            if self.chunk.len() >= CHUNK_BYTES {
                if command.feed(&self.chunk, take)? == Fed::Closed {
                    return Ok(Fed::Closed);
                }
                self.chunk.clear();
            }
        }
        command.feed(&self.chunk, take)
    }

    /// Whether the command reads the very bytes of the file.
    fn is_as_read(&self, block: &Block<'_>) -> bool {
        self.writer.writes_plain_lines()
            && self.settings.input == InputClass::Text
            && block.skips.is_none()
            && block.long.is_none()
            && *block.framing == Framing::Line
    }

    /// Appends what the command reads of a record.
    fn put(&mut self, record: Record<'_>) {
        let Feeder { settings, writer, chunk } = self;
        with_pair(settings, record, &mut |key, value| writer.put(key, value, chunk));
    }

    /// What the command reads of one record.
    pub fn bytes_of(&mut self, record: Record<'_>, out: &mut Vec<u8>) {
        with_pair(self.settings, record, &mut |key, value| self.writer.put(key, value, out));
    }
}

/// The records of a block, without one that its end mark is missing from.
pub fn complete<'b>(
    settings: &'b Settings,
    block: Block<'b>,
) -> impl Iterator<Item = Record<'b>> + 'b {
    block.records().filter(move |record| match &settings.marks {
        Some(marks) => {
            let at = (record.offset - block.offset) as usize + record.bytes.len();
            block.bytes.get(at..).is_some_and(|rest| rest.starts_with(&marks.end))
        }
        None => true,
    })
}

/// Key and value of a record, as the input format has them.
pub fn with_pair(settings: &Settings, record: Record<'_>, take: &mut dyn FnMut(&[u8], &[u8])) {
    match settings.input {
        InputClass::Text | InputClass::NLine => {
            take(&number_key(record.offset as i64), record.bytes);
        }
        InputClass::KeyValue => match memchr::memchr(settings.input_key_separator, record.bytes) {
            Some(at) => take(&record.bytes[..at], &record.bytes[at + 1..]),
            None => take(record.bytes, b""),
        },
        InputClass::Pairs => take(record.key, record.bytes),
        InputClass::Marked => {
            let Some(Marks { begin, end }) = &settings.marks else { return };
            if let Some(at) = memchr::memmem::find(record.bytes, begin) {
                let mut key = record.bytes[at..].to_vec();
                key.extend_from_slice(end);
                take(&key, b"");
            }
        }
    }
}

/// The key of a line as a mapper would print it.
pub fn key_of_line<'l>(line: &'l [u8], separator: &str, fields: usize) -> &'l [u8] {
    if separator.is_empty() {
        return line;
    }
    let mut found = memchr::memmem::find_iter(line, separator);
    match found.nth(fields.max(1) - 1) {
        Some(at) => &line[..at],
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_line_ends_at_the_nth_separator() {
        assert_eq!(key_of_line(b"a\tb\tc", "\t", 1), b"a");
        assert_eq!(key_of_line(b"a\tb\tc", "\t", 2), b"a\tb");
        assert_eq!(key_of_line(b"a\tb\tc", "\t", 3), b"a\tb\tc");
        assert_eq!(key_of_line(b"abc", "", 1), b"abc");
    }
}
