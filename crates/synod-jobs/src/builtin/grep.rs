//! The lines that a regular expression matches, or the matches themselves, in the order of the
//! input: a job without reduce tasks.
//!
//! An output line is a matching line; with `invert=true` one that does not match; with
//! `only_matching=true` a match, as many to a line as there are, empty ones left out. The counter
//! `matching_lines` says how many lines were chosen. Part file n holds those of split n.
//!
//! The pattern is of the crate `regex`, over bytes: it knows UTF-8, and lines need not be UTF-8. `^`
//! and `$` are the ends of a line; a carriage return before the line feed belongs to the line.
//!
//! A block of lines is searched as a whole, and only where something is found it is looked at which
//! line that is. What is found may reach over a line's end; then the line is searched alone.

use crate::builtin::options::{JobOption, NamedJob, Options};
use crate::emit::Emitter;
use crate::error::JobError;
use crate::job::Job;
use crate::record::{Block, Record};
use crate::reduce_input::Values;
use crate::sink::Sink;
use crate::spec::JobSpec;
use regex::bytes::{Regex, RegexBuilder};

/// The job.
#[derive(Debug, Clone)]
pub struct Grep {
    pattern: Regex,
    /// Whether no line that matches alone goes unnoticed if many are searched at once.
    finds_in_blocks: bool,
    invert: bool,
    only_matching: bool,
}

impl Grep {
    /// The counter of lines in the output, or of lines with a match in it.
    pub const MATCHING: &'static str = "matching_lines";
}

/// Of the compiled pattern; a pattern that needs more is refused.
const PATTERN_BYTES: usize = 64 << 20;

impl NamedJob for Grep {
    const NAME: &'static str = "grep";
    const ABOUT: &'static str = "lines that a regular expression matches, in the input's order";
    const OPTIONS: &'static [JobOption] = &[
        JobOption::new("pattern", "REGEX", "what to look for; needed"),
        JobOption::new("ignore_case", "true", "capital and small letters are the same"),
        JobOption::new("invert", "true", "the lines that do not match"),
        JobOption::new("only_matching", "true", "the matches instead of their lines"),
    ];

    fn from_options(options: &Options<'_>) -> Result<Self, JobError> {
        if options.spec().reduces != Some(0) {
            let what = "job `grep` has no reduce tasks: leave their number out, or say 0";
            return Err(JobError::BadSpec { what: what.to_owned() });
        }
        let text = options.text("pattern");
        let text = text.ok_or_else(|| options.bad("pattern", "a regular expression"))?;
        let pattern = RegexBuilder::new(text)
            .multi_line(true)
            .case_insensitive(options.flag("ignore_case")?)
            .size_limit(PATTERN_BYTES)
            .build()
            .map_err(|error| {
                // The library explains over several lines, the last of which is the reason.
                let error = error.to_string();
                let reason = error.lines().last().unwrap_or_default();
                options.bad("pattern", &format!("a regular expression: {}", reason.trim()))
            })?;
        // The beginning and end of the text, and flags that change what others mean.
        let finds_in_blocks = [r"\A", r"\z", "(?"].iter().all(|special| !text.contains(special));
        let (invert, only_matching) = (options.flag("invert")?, options.flag("only_matching")?);
        if invert && only_matching {
            return Err(options.bad("only_matching", "together with `invert`"));
        }
        Ok(Grep { pattern, finds_in_blocks, invert, only_matching })
    }

    fn prepare(spec: &mut JobSpec) -> Result<(), JobError> {
        spec.reduces.get_or_insert(0);
        Ok(())
    }
}

impl Job for Grep {
    const WRITES_PAIRS: bool = true;

    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        if self.pattern.is_match(record.bytes) != self.invert {
            let matching = self.take(record.bytes, out);
            out.count(Self::MATCHING, matching);
        }
    }

    fn map_block(&self, block: Block<'_>, out: &mut Emitter<'_, Self>) {
        if !self.finds_in_blocks {
            block.records().for_each(|record| self.map(record, out));
            return;
        }
        let bytes = block.bytes;
        // Where the lines begin that nothing is known of.
        let mut rest = 0;
        let mut matching = 0;
        while rest < bytes.len() {
            let found = self.pattern.find_at(bytes, rest);
            // A match behind the last line feed is on no line.
            let found = found.filter(|found| found.start() < bytes.len());
            let Some(found) = found else { break };
            let before = memchr::memrchr(b'\n', &bytes[rest..found.start()]);
            let start = before.map_or(rest, |at| rest + at + 1);
            let end = memchr::memchr(b'\n', &bytes[found.start()..]);
            let end = end.map_or(bytes.len(), |at| found.start() + at);
            if self.invert {
                matching += self.take_lines(&bytes[rest..start], out);
            }
            let line = &bytes[start..end];
            if (found.end() <= end || self.pattern.is_match(line)) != self.invert {
                matching += self.take(line, out);
            }
            rest = end + 1;
        }
        if self.invert && rest < bytes.len() {
            matching += self.take_lines(&bytes[rest..], out);
        }
        out.count(Self::MATCHING, matching);
    }

    /// Not asked: there are no reduce tasks.
    fn reduce(&self, _: &[u8], _: &mut Values<'_, Self>, _: &mut Sink) {}
}

impl Grep {
    /// Takes every line of these and tells how many they are.
    fn take_lines(&self, lines: &[u8], out: &mut Emitter<'_, Self>) -> u64 {
        let ended = lines.split_inclusive(|&byte| byte == b'\n');
        ended.map(|line| self.take(line.strip_suffix(b"\n").unwrap_or(line), out)).sum()
    }

    /// Takes a line and tells whether something came of it: 1 or 0.
    fn take(&self, line: &[u8], out: &mut Emitter<'_, Self>) -> u64 {
        if !self.only_matching {
            out.emit(line, b"");
            return 1;
        }
        let mut any = false;
        for found in self.pattern.find_iter(line).filter(|found| !found.is_empty()) {
            any = true;
            out.emit(found.as_bytes(), b"");
        }
        u64::from(any)
    }
}
