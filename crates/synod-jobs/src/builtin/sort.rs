//! Sorts lines bytewise over all part files: reading `part-00000`, `part-00001`, .. in this order
//! gives every line of the input as it is, duplicates included, each ended by a line feed.

use crate::builtin::options::{BuiltIn, Options};
use crate::emit::Emitter;
use crate::error::JobError;
use crate::job::{Job, Record};
use crate::reduce_input::Values;
use crate::sink::Sink;

/// The job.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sort;

impl BuiltIn for Sort {
    const NAME: &'static str = "sort";
    const ABOUT: &'static str = "lines in bytewise order over all part files";

    fn from_options(_: &Options<'_>) -> Result<Self, JobError> {
        Ok(Sort)
    }
}

impl Job for Sort {
    const TOTAL_ORDER: bool = true;

    #[inline]
    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        out.emit(record.bytes, b"");
    }

    fn reduce(&self, line: &[u8], copies: &mut Values<'_, Self>, out: &mut Sink) {
        while copies.next().is_some() {
            out.bytes(line);
            out.end_record();
        }
    }
}
