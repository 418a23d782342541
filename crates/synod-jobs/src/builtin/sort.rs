//! Sorts bytewise over all part files: reading `part-00000`, `part-00001`, .. in this order gives
//! every record of the input as it is, duplicates included.
//!
//! Records are lines, each ended by a line feed in the output, or with `record=N` have N bytes and
//! nothing between them. With `key=N` only the first N bytes of a record decide, and records with
//! equal keys keep the order of the input; TeraSort is `record=100`, `key=10`.

use crate::builtin::options::{JobOption, NamedJob, Options};
use crate::emit::Emitter;
use crate::error::JobError;
use crate::framing::Framing;
use crate::job::Job;
use crate::record::Record;
use crate::reduce_input::Values;
use crate::sink::Sink;
use crate::spec::JobSpec;

/// The job.
#[derive(Debug, Clone, Copy)]
pub struct Sort {
    /// How many bytes of a record decide.
    key: usize,
    /// Whether records are ended by a line feed.
    lines: bool,
}

impl Default for Sort {
    /// Whole lines.
    fn default() -> Self {
        Sort { key: usize::MAX, lines: true }
    }
}

impl NamedJob for Sort {
    const NAME: &'static str = "sort";
    const ABOUT: &'static str = "lines or records in bytewise order over all part files";
    const OPTIONS: &'static [JobOption] = &[
        JobOption::new("key", "N", "order by the first N bytes; default: the whole record"),
        JobOption::new("record", "N", "records of N bytes; default: lines"),
    ];

    fn from_options(options: &Options<'_>) -> Result<Self, JobError> {
        let key = options.number("key", 1..=usize::MAX)?.unwrap_or(usize::MAX);
        let record = options.number("record", 1..=u32::MAX)?;
        let framing = &options.spec().format.framing;
        match record {
            Some(bytes) if *framing != Framing::Fixed(bytes) => {
                Err(options.bad("record", "the length of the records of the input's format"))
            }
            _ => Ok(Sort { key, lines: !matches!(framing, Framing::Fixed(_)) }),
        }
    }

    fn prepare(spec: &mut JobSpec) -> Result<(), JobError> {
        let record = Options::of::<Sort>(spec)?.number("record", 1..=u32::MAX)?;
        if let Some(bytes) = record
            && spec.format.framing == Framing::Line
        {
            spec.format.framing = Framing::Fixed(bytes);
        }
        Ok(())
    }
}

impl Job for Sort {
    const TOTAL_ORDER: bool = true;

    #[inline]
    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        let (key, rest) = record.bytes.split_at(self.key.min(record.bytes.len()));
        out.emit(key, rest);
    }

    fn reduce(&self, key: &[u8], rests: &mut Values<'_, Self>, out: &mut Sink) {
        while let Some(rest) = rests.next() {
            out.bytes(key);
            out.bytes(rest);
            if self.lines {
                out.end_record();
            } else {
                out.end_bare_record();
            }
        }
    }
}
