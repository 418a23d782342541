//! The most frequent lines, or values of a field.
//!
//! An output line is `value<TAB>count`, counts descending, equal counts by value ascending; there
//! is one part file. With a field, lines without it are not in the output but in the counter
//! `lines_without_field`.
//!
//! The first pass writes for every partition its own `k` most frequent values; what is not among
//! them is not among the `k` of all. If there are several partitions, a second pass takes the
//! first `k` of what they wrote. A reduce task holds `k` values in memory.

use crate::builtin::field::{Field, SEPARATOR, WITHOUT_FIELD};
use crate::builtin::options::{JobOption, NamedJob, Options};
use crate::builtin::passes::{Pass, PassDone, Passes};
use crate::builtin::sums::{self, ONE, number};
use crate::emit::Emitter;
use crate::error::JobError;
use crate::job::Job;
use crate::record::Record;
use crate::reduce_input::{ReduceInput, Values};
use crate::sink::Sink;
use crate::spec::JobSpec;
use crate::task::TaskContext;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Most values that can be asked for: they are held in memory.
const MAX_K: usize = 10_000_000;
const DEFAULT_K: usize = 10;
const K: JobOption = JobOption::new("k", "N", "how many values; default: 10");
const WITHOUT: JobOption = JobOption::new(WITHOUT_FIELD, "N", "as the first pass has counted");

/// The first pass, or the only one: the most frequent values of each partition.
#[derive(Debug, Clone)]
pub struct TopK {
    k: usize,
    field: Option<Field>,
}

impl NamedJob for TopK {
    const NAME: &'static str = "top-k";
    const ABOUT: &'static str = "the most frequent lines, or values of a field: value, count";
    const OPTIONS: &'static [JobOption] = &[
        K,
        JobOption::new("field", "N", "which field, counted from 1; default: the line"),
        SEPARATOR,
    ];

    fn from_options(options: &Options<'_>) -> Result<Self, JobError> {
        Ok(TopK { k: k_of(options)?, field: Field::if_given(options, "field")? })
    }

    fn passes(spec: &JobSpec) -> Result<Option<Box<dyn Passes>>, JobError> {
        let several = spec.reduces != Some(1);
        Ok(several.then(|| Box::new(TwoPasses(spec.clone())) as Box<dyn Passes>))
    }
}

fn k_of(options: &Options<'_>) -> Result<usize, JobError> {
    Ok(options.number(K.name, 1..=MAX_K)?.unwrap_or(DEFAULT_K))
}

impl Job for TopK {
    const COMBINED_VALUE_BYTES: Option<usize> = Some(8);

    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        match &self.field {
            None => out.emit(record.bytes, &ONE),
            Some(field) => match field.find(record.bytes) {
                Some(range) => out.emit_within(record.bytes, range, &ONE),
                None => out.count(WITHOUT_FIELD, 1),
            },
        }
    }

    fn combine(&self, total: &mut [u8], value: &[u8]) {
        sums::add(total, value);
    }

    /// Not asked: [`TopK::reduce_partition`] reads the pairs.
    fn reduce(&self, _: &[u8], _: &mut Values<'_, Self>, _: &mut Sink) {}

    fn reduce_partition(
        &self,
        _: &TaskContext<'_>,
        input: &mut ReduceInput<'_, Self>,
        out: &mut Sink,
    ) -> Result<(), JobError> {
        let mut top = Top { k: self.k, heap: BinaryHeap::new() };
        let mut current = Vec::new();
        let mut count = 0_u64;
        while let Some((value, add)) = input.next_pair()? {
            if count > 0 && value != current {
                top.offer(&current, count);
                count = 0;
            }
            if count == 0 {
                current.clear();
                current.extend_from_slice(value);
            }
            count = count.saturating_add(number(add));
        }
        if count > 0 {
            top.offer(&current, count);
        }
        for Reverse((count, Reverse(value))) in top.heap.into_sorted_vec() {
            write(out, &value, count);
        }
        Ok(())
    }
}

fn write(out: &mut Sink, value: &[u8], count: u64) {
    out.bytes(value);
    out.bytes(b"\t");
    out.decimal(count);
    out.end_record();
}

/// The best of what was offered; the worst of them is on top of the heap. A smaller value is better
/// than a larger one of the same count.
struct Top {
    k: usize,
    heap: BinaryHeap<Reverse<(u64, Reverse<Vec<u8>>)>>,
}

impl Top {
    /// Offers a value. Values ascend, so one that is as frequent as the worst is no better.
    fn offer(&mut self, value: &[u8], count: u64) {
        if self.heap.len() == self.k {
            match self.heap.peek() {
                Some(Reverse((least, _))) if *least < count => drop(self.heap.pop()),
                _ => return,
            }
        }
        self.heap.push(Reverse((count, Reverse(value.to_vec()))));
    }
}

/// The second pass: lines of the first, the first `k` of them in the order of the output.
#[derive(Debug, Clone, Copy)]
pub struct TopKMerge {
    k: usize,
    without_field: u64,
}

impl NamedJob for TopKMerge {
    const NAME: &'static str = "top-k-merge";
    const ABOUT: &'static str = "the second pass of top-k";
    const OPTIONS: &'static [JobOption] = &[K, WITHOUT];
    const IS_SHOWN: bool = false;

    fn from_options(options: &Options<'_>) -> Result<Self, JobError> {
        let without_field = options.number(WITHOUT.name, 0..=u64::MAX)?.unwrap_or(0);
        Ok(TopKMerge { k: k_of(options)?, without_field })
    }
}

impl Job for TopKMerge {
    /// The key is the count, so that larger ones are smaller, and the value.
    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        let end = memchr::memrchr(b'\t', record.bytes).expect("the first pass writes a tab");
        let digits = std::str::from_utf8(&record.bytes[end + 1..]).ok();
        let count: u64 = digits.and_then(|text| text.parse().ok()).expect("and a number behind it");
        out.emit_joined(&[&(u64::MAX - count).to_be_bytes(), &record.bytes[..end]], b"");
    }

    /// Not asked: [`TopKMerge::reduce_partition`] reads the pairs.
    fn reduce(&self, _: &[u8], _: &mut Values<'_, Self>, _: &mut Sink) {}

    fn reduce_partition(
        &self,
        _: &TaskContext<'_>,
        input: &mut ReduceInput<'_, Self>,
        out: &mut Sink,
    ) -> Result<(), JobError> {
        if self.without_field > 0 {
            out.count(WITHOUT_FIELD, self.without_field);
        }
        for _ in 0..self.k {
            let Some((key, _)) = input.next_pair()? else { break };
            let (count, value) = key.split_first_chunk().expect("a key begins with its count");
            write(out, value, u64::MAX - u64::from_be_bytes(*count));
        }
        Ok(())
    }
}

struct TwoPasses(JobSpec);

impl Passes for TwoPasses {
    fn next(&mut self, before: Option<&PassDone>) -> Result<Pass, JobError> {
        let Some(before) = before else { return Ok(Pass::More(self.0.clone())) };
        let mut merge = before.input_of(&self.0, TopKMerge::NAME);
        merge.reduces = Some(1);
        if let Some(k) = self.0.options.get(K.name) {
            merge.options.insert(K.name.to_owned(), k.clone());
        }
        // Of two passes only the last one's counters are seen.
        if let Some(without) = before.summary.manifest.counters.user.get(WITHOUT_FIELD) {
            merge.options.insert(WITHOUT.name.to_owned(), without.to_string());
        }
        Ok(Pass::Last(merge))
    }
}
