//! Real text to count words in: the sources that cargo has downloaded. And the naive count, with which
//! what a job has counted is compared.
//!
//! SYNOD_WORDCOUNT_MB says how much text (20 if it is not set; `.ci/run` asks for 100 once more, with a
//! release binary in SYNOD_BIN).

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Text in a few files.
pub struct Text {
    /// The files' paths.
    pub inputs: Vec<String>,
    /// What is in them.
    contents: Vec<Vec<u8>>,
}

impl Text {
    /// Writes files of real text into `folder`.
    pub fn write(folder: &Path) -> Text {
        let megabytes: usize =
            std::env::var("SYNOD_WORDCOUNT_MB").map_or(20, |n| n.parse().expect("a number"));
        let contents = real_text(megabytes * 1_000_000);
        let mut inputs = Vec::new();
        for (number, content) in contents.iter().enumerate() {
            let path = folder.join(format!("text-{number}"));
            fs::write(&path, content).expect("a file can be written");
            inputs.push(path.to_str().expect("a path of text").to_owned());
        }
        Text { inputs, contents }
    }

    /// Compares part files with a naive count: each word in exactly one part, with its count, each
    /// part in bytewise order.
    pub fn check_count<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) {
        let mut counts = naive_count(&self.contents);
        for part in parts {
            assert!(part.ends_with(b"\n"), "every part of so many words has some");
            let mut before: &[u8] = &[];
            for line in part[..part.len() - 1].split(|&byte| byte == b'\n') {
                let tab = line.iter().position(|&byte| byte == b'\t').expect("word, tab, count");
                let (word, count) = (&line[..tab], String::from_utf8_lossy(&line[tab + 1..]));
                assert!(before < word, "{}", word.escape_ascii());
                let naive = counts.remove(word).map(|count| count.to_string());
                assert_eq!(naive.as_deref(), Some(count.as_ref()), "{}", word.escape_ascii());
                before = word;
            }
        }
        assert!(counts.is_empty(), "{} words are missing", counts.len());
    }
}

fn naive_count(texts: &[Vec<u8>]) -> HashMap<&[u8], u64> {
    let mut counts = HashMap::new();
    let words = texts.iter().flat_map(|text| text.split(u8::is_ascii_whitespace));
    for word in words.filter(|word| !word.is_empty()) {
        *counts.entry(word).or_default() += 1;
    }
    counts
}

/// This many bytes of sources in a few files' worth, again from the first source when all are used.
fn real_text(bytes: usize) -> Vec<Vec<u8>> {
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        home.map(|home| home.join(".cargo"))
    });
    let mut sources = Vec::new();
    for root in [
        cargo_home.map(|home| home.join("registry/src")),
        // Whoever keeps the crates elsewhere has at least these.
        Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")),
    ] {
        let enough: usize = sources.iter().map(Vec::len).sum();
        if let Some(root) = root.filter(|_| enough < bytes) {
            read_sources(&root, bytes, &mut sources);
        }
    }
    let mut texts = vec![Vec::new(); FILES];
    let mut sources = sources.iter().cycle();
    let mut total = 0;
    while total < bytes {
        let source = sources.next().expect("there are sources, this one at least");
        texts[total * FILES / bytes].extend_from_slice(source);
        total += source.len();
    }
    texts
}

/// Reads text files below `root`, in an order that only their names decide, until there are `bytes`.
fn read_sources(root: &Path, bytes: usize, sources: &mut Vec<Vec<u8>>) {
    let mut total = 0;
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop().filter(|_| total < bytes) {
        if let Ok(entries) = fs::read_dir(&path) {
            let mut entries: Vec<PathBuf> =
                entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
            entries.sort();
            waiting.extend(entries);
        } else if path.extension().is_some_and(|kind| kind == "rs" || kind == "md") {
            let source = fs::read(&path).unwrap_or_default();
            total += source.len();
            sources.push(source);
        }
    }
}

const FILES: usize = 5;
