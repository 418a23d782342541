//! For every word the files it occurs in.
//!
//! An output line is `word<TAB>file,file,..`, files ascending bytewise; with `counts=true` each file
//! is followed by `:` and how often the word occurs in it. A word is a run of ASCII letters and
//! digits and bytes from 0x80 on, so that words in UTF-8 stay whole. A file is named as the input
//! names it; control bytes, `,`, `:` and `\` in names are written as `\xHH`.
//!
//! The key is the word, a NUL and the file, grouped by the word: files reach the reducer sorted and
//! one at a time, so a word that is in all files takes no memory.

use crate::builtin::options::{JobOption, NamedJob, Options};
use crate::builtin::sums::{self, ONE, number};
use crate::emit::Emitter;
use crate::error::JobError;
use crate::job::Job;
use crate::record::Record;
use crate::reduce_input::Values;
use crate::sink::Sink;

/// The job.
#[derive(Debug, Clone, Copy)]
pub struct InvertedIndex {
    counts: bool,
    lower_case: bool,
}

impl NamedJob for InvertedIndex {
    const NAME: &'static str = "inverted-index";
    const ABOUT: &'static str = "which files each word occurs in: word, files";
    const OPTIONS: &'static [JobOption] = &[
        JobOption::new("counts", "true", "also how often, as file:count"),
        JobOption::new("ignore_case", "true", "A to Z are taken for a to z"),
    ];

    fn from_options(options: &Options<'_>) -> Result<Self, JobError> {
        let (counts, lower_case) = (options.flag("counts")?, options.flag("ignore_case")?);
        Ok(InvertedIndex { counts, lower_case })
    }
}

impl Job for InvertedIndex {
    const COMBINED_VALUE_BYTES: Option<usize> = Some(8);

    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        let file = record.file.as_os_str().as_encoded_bytes();
        let mut lowered = Vec::new();
        let line = if self.lower_case {
            lowered.extend(record.bytes.iter().map(u8::to_ascii_lowercase));
            &lowered
        } else {
            record.bytes
        };
        for word in line.split(|&byte| !is_word_byte(byte)).filter(|word| !word.is_empty()) {
            out.emit_joined(&[word, b"\0", file], &ONE);
        }
    }

    fn combine(&self, total: &mut [u8], value: &[u8]) {
        sums::add(total, value);
    }

    fn group<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        &key[..memchr::memchr(0, key).unwrap_or(key.len())]
    }

    fn reduce(&self, word: &[u8], pairs: &mut Values<'_, Self>, out: &mut Sink) {
        out.bytes(word);
        let mut file = Vec::new();
        let mut count = 0_u64;
        let mut separator: &[u8] = b"\t";
        while let Some((key, value)) = pairs.next_pair() {
            let this = &key[word.len() + 1..];
            if count > 0 && this != file {
                self.write_file(out, separator, &file, count);
                separator = b",";
                count = 0;
            }
            file.clear();
            file.extend_from_slice(this);
            count = count.saturating_add(number(value));
        }
        self.write_file(out, separator, &file, count);
        out.end_record();
    }
}

impl InvertedIndex {
    fn write_file(&self, out: &mut Sink, separator: &[u8], file: &[u8], count: u64) {
        out.bytes(separator);
        for &byte in file {
            if byte.is_ascii_control() || matches!(byte, b',' | b':' | b'\\') {
                out.bytes(format!("\\x{byte:02x}").as_bytes());
            } else {
                out.bytes(&[byte]);
            }
        }
        if self.counts {
            out.bytes(b":");
            out.decimal(count);
        }
    }
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}
