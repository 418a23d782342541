//! Flags of `synod run` that say how inputs are read, how much memory a job takes, how part files are
//! written, and what may fail.

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};
use synod::jobs::input::codec::Codec;
use synod::jobs::size::parse_memory;
use synod::jobs::{Framing, JobSpec, LongRecords, Priority};

/// How a job reads and writes.
#[derive(Args, Debug)]
pub struct RunFlags {
    /// What a record is: lines, any-lines (LF, CR or CRLF), delimiter:TEXT, fixed:BYTES, prefixed (by a
    /// length of four bytes), pairs, whole (a file is one record)
    #[arg(long, value_name = "FORMAT", default_value = "lines", value_parser = framing)]
    format: Framing,
    /// Records per map task, in place of a size
    #[arg(long, value_name = "N")]
    records_per_split: Option<u64>,
    /// What becomes of records that are too long
    #[arg(long, value_name = "WHAT", default_value = "fail")]
    long_records: WithLong,
    /// Read folders with all folders below them
    #[arg(long)]
    recursive: bool,
    /// Leave out a UTF-8 byte order mark at the beginning of a file
    #[arg(long)]
    strip_bom: bool,
    /// Read .gz, .zst and .bz2 files as they are
    #[arg(long)]
    keep_compressed: bool,
    /// Memory that the job may take, for example 512M or 4G, 1M at least; what does not fit goes to disk
    #[arg(long, value_name = "SIZE", value_parser = parse_memory, conflicts_with = "memory_mib")]
    memory: Option<u64>,
    /// Compress part files: gz, zst or bz2
    #[arg(long, value_name = "CODEC", value_parser = codec)]
    compress: Option<Codec>,
    /// Write no part files without records
    #[arg(long)]
    lazy_output: bool,
    /// Go on without up to this many of a hundred map tasks, if they have failed as often as a task may: what
    /// is in their input is missing in the output, and the summary and the manifest say so
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = percent())]
    allow_failed_maps: u32,
    /// The same for reduce tasks: their part files are missing
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = percent())]
    allow_failed_reduces: u32,
    /// On a cluster: whether its tasks are taken before or after those of other jobs: very-high, high,
    /// normal, low or very-low
    #[arg(long, value_name = "PRIORITY", requires = "endpoints")]
    priority: Option<Priority>,
    /// Run only these map tasks, counted from 0, one after the other on one thread: to look at them
    /// with a debugger. Their splits depend on --slots: say it as for the whole job
    #[arg(long, value_name = "N,..", value_delimiter = ',', conflicts_with = "endpoints")]
    only_maps: Vec<u32>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum WithLong {
    Fail,
    Skip,
    Truncate,
}

impl RunFlags {
    /// Puts them into a spec.
    pub fn apply(&self, spec: &mut JobSpec) {
        spec.format.framing = self.format.clone();
        spec.format.lines_per_split = self.records_per_split;
        spec.format.long_records = match self.long_records {
            WithLong::Fail => LongRecords::Fail,
            WithLong::Skip => LongRecords::Skip,
            WithLong::Truncate => LongRecords::Truncate,
        };
        spec.format.recursive = self.recursive;
        spec.format.strip_bom = self.strip_bom;
        spec.format.keep_compressed = self.keep_compressed;
        if let Some(memory) = self.memory {
            spec.memory_bytes = memory;
        }
        spec.output_codec = self.compress;
        spec.lazy_output = self.lazy_output;
        spec.priority = self.priority.unwrap_or_default();
        spec.failed_maps_percent = self.allow_failed_maps;
        spec.failed_reduces_percent = self.allow_failed_reduces;
    }

    /// The map tasks to run, if not all.
    pub fn only_maps(&self) -> Option<BTreeSet<u32>> {
        (!self.only_maps.is_empty()).then(|| self.only_maps.iter().copied().collect())
    }
}

fn framing(text: &str) -> Result<Framing, String> {
    let (name, argument) = text.split_once(':').unwrap_or((text, ""));
    Ok(match name {
        "lines" if argument.is_empty() => Framing::Line,
        "any-lines" if argument.is_empty() => Framing::AnyLine,
        "prefixed" if argument.is_empty() => Framing::Prefixed,
        "pairs" if argument.is_empty() => Framing::Pairs,
        "whole" if argument.is_empty() => Framing::Whole,
        "delimiter" => Framing::Delimiter(unescaped(argument)?),
        "fixed" => Framing::Fixed(argument.parse().map_err(|_| "fixed:BYTES wants a number")?),
        _ => {
            return Err("it is lines, any-lines, delimiter:TEXT, fixed:BYTES, prefixed, pairs or \
                        whole"
                .to_owned());
        }
    })
}

/// The bytes that a text with `\n`, `\r`, `\t`, `\0`, `\\` and `\xHH` stands for.
fn unescaped(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        let (&letter, behind) = rest.split_first().ok_or("a backslash at its end")?;
        rest = behind;
        bytes.push(match letter {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'0' => 0,
            b'\\' => b'\\',
            b'x' => {
                let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                rest = rest.get(2..).unwrap_or_default();
                byte.ok_or("\\x wants two hexadecimal digits")?
            }
            _ => {
                return Err(format!("\\{} is no escape: \\n, \\r, \\t, \\0, \\\\ or \\xHH are", {
                    char::from(letter)
                }));
            }
        });
    }
    Ok(bytes)
}

fn percent() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(0..=100)
}

fn codec(text: &str) -> Result<Codec, String> {
    let found = Codec::ALL.into_iter().find(|codec| codec.extension() == text);
    found.ok_or_else(|| "it is gz, zst or bz2".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_named_as_the_help_says() {
        assert_eq!(framing("lines"), Ok(Framing::Line));
        assert_eq!(framing("any-lines"), Ok(Framing::AnyLine));
        assert_eq!(framing("fixed:100"), Ok(Framing::Fixed(100)));
        let delimiter = |bytes: &[u8]| Ok(Framing::Delimiter(bytes.to_vec()));
        assert_eq!(framing(r"delimiter:\r\n\x00:\\"), delimiter(b"\r\n\0:\\"));
        for wrong in ["", "line", "fixed", "fixed:x", "lines:1", r"delimiter:\q", r"delimiter:\x1"]
        {
            assert!(framing(wrong).is_err(), "{wrong}");
        }
    }
}
