//! A join of a key that has more lines on the left than fit the memory, through the real binary, whose memory
//! is watched.

use std::fs::{self, File};
use std::io::{BufWriter, Write};

use tempfile::TempDir;

use crate::giants::watched;
use crate::support::synod;

const MEMORY_MIB: u64 = 64;
/// 160 MiB of lines with the same key.
const LINES: u64 = 10_240;
const LINE_BYTES: usize = 16 << 10;
/// The program, not optimized, and what is not set aside from the budget. 128 MiB in all were seen, and 486
/// when the lines were held in memory.
const MARGIN_MIB: u64 = 128;

#[test]
fn a_key_with_more_lines_on_the_left_of_a_join_than_fit_the_memory_is_joined_within_it() {
    let folder = TempDir::new().unwrap();
    let mut left = BufWriter::new(File::create(folder.path().join("left")).unwrap());
    for number in 0..LINES {
        writeln!(left, "k {number:0>LINE_BYTES$}").unwrap();
    }
    left.flush().unwrap();
    fs::write(folder.path().join("right"), "k 1\n").unwrap();
    let mut command = synod(&["run", "join", "left", "right", "--set", "left=left", "--no-sync"]);
    command.args(["--output", "out", "--reduces", "1", "--slots", "2", "--memory"]);
    command.arg(format!("{MEMORY_MIB}M"));
    let (said, good, most) = watched(folder.path(), command);
    assert!(good, "{said}");
    let line = "k\tk \tk 1\n".len() + LINE_BYTES;
    let bytes = fs::metadata(folder.path().join("out/part-00000")).unwrap().len();
    assert_eq!(bytes, LINES * line as u64);
    assert!(most < MEMORY_MIB + MARGIN_MIB, "{most} MiB");
}
