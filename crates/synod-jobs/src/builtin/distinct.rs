//! The different lines of the input, or the different values of a field, each once.
//!
//! An output line is the line or the value; within a part file they ascend bytewise. With a field,
//! lines without it are not in the output but in the counter `lines_without_field`.

use crate::builtin::field::{Field, SEPARATOR, WITHOUT_FIELD};
use crate::builtin::options::{JobOption, NamedJob, Options};
use crate::emit::Emitter;
use crate::error::JobError;
use crate::job::Job;
use crate::record::Record;
use crate::reduce_input::Values;
use crate::sink::Sink;

/// The job.
#[derive(Debug, Clone)]
pub struct Distinct {
    field: Option<Field>,
}

impl NamedJob for Distinct {
    const NAME: &'static str = "distinct";
    const ABOUT: &'static str = "the different lines, or values of a field";
    const OPTIONS: &'static [JobOption] = &[
        JobOption::new("field", "N", "which field, counted from 1; default: the line"),
        SEPARATOR,
    ];

    fn from_options(options: &Options<'_>) -> Result<Self, JobError> {
        Ok(Distinct { field: Field::if_given(options, "field")? })
    }
}

impl Job for Distinct {
    /// There is nothing to combine: that a key is there is all.
    const COMBINED_VALUE_BYTES: Option<usize> = Some(0);

    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        match &self.field {
            None => out.emit(record.bytes, b""),
            Some(field) => match field.find(record.bytes) {
                Some(range) => out.emit_within(record.bytes, range, b""),
                None => out.count(WITHOUT_FIELD, 1),
            },
        }
    }

    fn reduce(&self, value: &[u8], _: &mut Values<'_, Self>, out: &mut Sink) {
        out.bytes(value);
        out.end_record();
    }
}
