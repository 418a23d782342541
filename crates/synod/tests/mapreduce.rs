//! `synod run wordcount` over real text: the sources that cargo has downloaded, against a naive count.
//!
//! SYNOD_WORDCOUNT_MB says how much text (20 if it is not set; `.ci/run` asks for 100, with a release
//! binary in SYNOD_BIN).

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use support::succeed;
use tempfile::TempDir;

const REDUCES: usize = 3;

#[test]
fn a_word_count_over_real_text_equals_a_naive_count_however_it_is_split() {
    let megabytes =
        std::env::var("SYNOD_WORDCOUNT_MB").map_or(20, |n| n.parse().expect("a number"));
    let folder = TempDir::new().unwrap();
    let texts = real_text(megabytes * 1_000_000);
    let inputs: Vec<String> =
        (0..texts.len()).map(|n| format!("{}/text-{n}", path(&folder))).collect();
    for (input, text) in inputs.iter().zip(&texts) {
        fs::write(input, text).unwrap();
    }

    let parts = word_count(&inputs, &format!("{}/at-once", path(&folder)), &[]);
    assert_eq!(parts.len(), REDUCES);
    compare(&parts, naive_count(&texts));

    // Many small splits, one at a time, with so little memory that it has to go to disk.
    let piecemeal =
        ["--split-mib", "1", "--slots", "1", "--memory-mib", "8", "--max-record-mib", "1"];
    let again = word_count(&inputs, &format!("{}/piecemeal", path(&folder)), &piecemeal);
    assert!(parts == again, "the part files do not depend on how the work was cut");
}

fn path(folder: &TempDir) -> std::path::Display<'_> {
    folder.path().display()
}

/// Runs the job; its part files in order.
fn word_count(inputs: &[String], output: &str, more: &[&str]) -> Vec<Vec<u8>> {
    let reduces = REDUCES.to_string();
    let mut arguments = vec!["run", "wordcount", "--output", output, "--reduces", &reduces];
    arguments.extend(inputs.iter().map(String::as_str));
    arguments.extend(more);
    print!("{}", succeed(&arguments));
    assert!(Path::new(output).join("_SUCCESS").is_file());
    let part = |number: usize| Path::new(output).join(format!("part-{number:05}"));
    let parts = (0..).map(part).take_while(|path| path.exists());
    parts.map(|path| fs::read(path).expect("a part file can be read")).collect()
}

fn naive_count(texts: &[Vec<u8>]) -> HashMap<&[u8], u64> {
    let mut counts = HashMap::new();
    let words = texts.iter().flat_map(|text| text.split(u8::is_ascii_whitespace));
    for word in words.filter(|word| !word.is_empty()) {
        *counts.entry(word).or_default() += 1;
    }
    counts
}

/// Each word in exactly one part, with its count, each part in bytewise order.
fn compare(parts: &[Vec<u8>], mut counts: HashMap<&[u8], u64>) {
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
