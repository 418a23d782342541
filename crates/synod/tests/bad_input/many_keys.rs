//! Many more different keys than fit the memory, through the real binary, whose memory is watched.
//!
//! What is asserted is the memory of a process that is not optimized and runs two tasks at once: what the
//! job was given, and a margin for the program itself and for what is not set aside from the budget.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::giants::watched;
use crate::support::synod;

/// 56 MB of text, each key twice in it.
const KEYS: u64 = 2_000_000;
/// At 64 MiB up to 102 were seen, and it is the same for twice as much text. Who took twice the budget would
/// be over it.
const MARGIN_MIB: u64 = 60;

fn key(number: u64) -> String {
    // In no order; no two are the same.
    format!("k{:012x}", number * 2_654_435_761 % (1 << 32))
}

fn write_keys(path: &Path) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    for number in (0..KEYS).chain((0..KEYS).rev()) {
        writeln!(file, "{}", key(number)).unwrap();
    }
    file.flush().unwrap();
}

/// Each key is there once, and was counted twice.
fn check(output: &Path, counted: impl Fn(&str) -> Option<&str>) {
    let mut found: Vec<String> = Vec::new();
    for part in fs::read_dir(output).unwrap() {
        let path = part.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("part-") {
            let lines = BufReader::new(File::open(path).unwrap()).lines();
            found.extend(lines.map(|line| {
                let line = line.unwrap();
                counted(&line).unwrap_or_else(|| panic!("not counted twice: {line}")).to_owned()
            }));
        }
    }
    found.sort_unstable();
    let mut expected: Vec<String> = (0..KEYS).map(key).collect();
    expected.sort_unstable();
    assert!(found == expected, "{} keys of {KEYS}", found.len());
}

/// The memory of a job that succeeds, MiB; its output is checked and removed.
fn measure(folder: &Path, command: Command, counted: impl Fn(&str) -> Option<&str>) -> u64 {
    let (said, good, most) = watched(folder, command);
    assert!(good, "{said}");
    check(&folder.join("out"), counted);
    fs::remove_dir_all(folder.join("out")).unwrap();
    most
}

#[test]
fn two_million_keys_are_counted_within_little_memory_and_not_more_than_they_need() {
    let folder = TempDir::new().unwrap();
    write_keys(&folder.path().join("in"));
    let count = |memory_mib: u64| {
        let mut command = synod(&["run", "wordcount", "in", "--output", "out", "--reduces", "4"]);
        command.args(["--slots", "2", "--memory", &format!("{memory_mib}M")]);
        measure(folder.path(), command, |line| line.strip_suffix("\t2"))
    };
    let (little, much) = (count(64), count(1024));
    assert!(little < 64 + MARGIN_MIB, "{little} MiB");
    assert!(little * 5 / 4 < much, "a larger budget was of no use: {little} and {much} MiB");
}
