//! A job of one's own: for every word of three letters or more the files it occurs in, each with
//! the number of lines: `cargo run -p synod-jobs --example inverted_index -- FILE.. OUTPUT`.
//!
//! It shows the whole trait: a combiner, and a key that is grouped by its first part so that the
//! second part (the file) reaches the reducer sorted.

use std::collections::BTreeSet;
use synod_jobs::{Emitter, Job, JobSpec, Progress, Record, Sink, Values, run_local};

struct InvertedIndex;

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("every value has eight bytes"))
}

impl Job for InvertedIndex {
    const COMBINED_VALUE_BYTES: Option<usize> = Some(8);

    /// Emits `word NUL file` with the count 1 for every different word of a line.
    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        let words: BTreeSet<&[u8]> = record
            .bytes
            .split(|byte| !byte.is_ascii_alphanumeric())
            .filter(|word| word.len() >= 3)
            .collect();
        for word in words {
            let file = record.file.as_os_str().as_encoded_bytes();
            out.emit_joined(&[word, b"\0", file], &1_u64.to_le_bytes());
        }
    }

    fn combine(&self, total: &mut [u8], value: &[u8]) {
        let sum = number(total) + number(value);
        total.copy_from_slice(&sum.to_le_bytes());
    }

    /// The word alone: words hold no NUL.
    fn group<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        key.split(|&byte| byte == 0).next().unwrap_or(key)
    }

    /// Writes `word<TAB>file:lines<TAB>file:lines..`; counts of one file are adjacent.
    fn reduce(&self, word: &[u8], pairs: &mut Values<'_, Self>, out: &mut Sink) {
        out.bytes(word);
        let mut file = Vec::new();
        let mut lines = 0;
        while let Some((key, value)) = pairs.next_pair() {
            let this = &key[word.len() + 1..];
            if lines > 0 && this != file {
                write_file(out, &file, lines);
                lines = 0;
            }
            file = this.to_vec();
            lines += number(value);
        }
        write_file(out, &file, lines);
        out.end_record();
    }
}

fn write_file(out: &mut Sink, file: &[u8], lines: u64) {
    out.bytes(b"\t");
    out.bytes(file);
    out.bytes(b":");
    out.decimal(lines);
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut inputs: Vec<String> = std::env::args().skip(1).collect();
    let output = inputs.pop().ok_or("usage: inverted_index FILE.. OUTPUT")?;
    let spec = JobSpec::new("inverted-index", inputs, output);
    let summary = run_local(&spec, &InvertedIndex, &Progress::new())?;
    for part in &summary.manifest.parts {
        println!("{}: {} words", part.name, part.records);
    }
    Ok(())
}
