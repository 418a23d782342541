//! Counts words, as Synod's own `wordcount` does: the maximal runs of bytes that are not ASCII whitespace.
//!
//!     rustc --edition 2024 -O --target wasm32-unknown-unknown --crate-type cdylib wordcount.rs
//!     synod run wasm books/*.txt --output counts --set module=wordcount.wasm

mod synod_guest;

use synod_guest::{Job, Pairs, Record, Records};

/// The job; while it reduces, with the count of the current word.
#[derive(Default)]
pub struct WordCount {
    sum: u64,
}

impl Job for WordCount {
    fn map(&mut self, record: Record<'_>, out: &mut Pairs) {
        for word in record.bytes.split(u8::is_ascii_whitespace) {
            if !word.is_empty() {
                out.emit_count(word, 1);
            }
        }
    }

    fn begin(&mut self, _: &[u8], _: &mut Records) {
        self.sum = 0;
    }

    fn value(&mut self, _: &[u8], count: &[u8], _: &mut Records) {
        let count = count.first_chunk().map_or(0, |count| u64::from_le_bytes(*count));
        self.sum = self.sum.saturating_add(count);
    }

    fn end(&mut self, word: &[u8], out: &mut Records) {
        out.write(&[word, b"\t", self.sum.to_string().as_bytes()]);
    }
}

synod_guest::job!(WordCount, adds_counts);
