//! Lines and values that are far larger than what else is in memory, through the real binary, whose memory
//! is watched: `SYNOD_JOB_LINE_MB=4096` makes the line one of 4 GiB, `SYNOD_JOB_VALUE_MB=1023` the value
//! one of almost 1 GiB, the largest record that there may be. The files have holes and take no room.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::synod;

/// What the program has without a job, not optimized.
const PROGRAM_MIB: u64 = 36;

fn mebibytes(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap()) << 20
}

/// What a command has said, whether it ended well, and the most memory it was seen to have, in MiB.
pub(crate) fn watched(folder: &Path, mut command: Command) -> (String, bool, u64) {
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null());
    let said = folder.join("said");
    let mut child = command.stderr(File::create(&said).unwrap()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    let ended = loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        most = most.max(kib.unwrap_or(0) >> 10);
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        // What is asked for is the most that it ever had.
        std::thread::sleep(Duration::from_millis(1));
    };
    assert!(most > 0, "its memory was never seen");
    (fs::read_to_string(said).unwrap(), ended.success(), most)
}

/// Text, so many zero bytes, and text.
fn with_hole(path: &Path, before: &str, hole: u64, after: &str) {
    let mut file = File::create(path).unwrap();
    file.write_all(before.as_bytes()).unwrap();
    file.seek(SeekFrom::Current(hole as i64)).unwrap();
    file.write_all(after.as_bytes()).unwrap();
}

fn part(folder: &Path) -> Vec<u8> {
    let part = fs::read(folder.join("out/part-00000")).unwrap();
    fs::remove_dir_all(folder.join("out")).unwrap();
    part
}

#[test]
fn a_line_far_longer_than_the_memory_is_refused_left_out_or_cut_within_it() {
    const MEMORY_MIB: u64 = 64;
    let folder = TempDir::new().unwrap();
    let long = mebibytes("SYNOD_JOB_LINE_MB", 300);
    with_hole(&folder.path().join("in"), "short\n", long, "\nend\n");
    let native = |mode: &'static str| {
        let mut command = synod(&["run", "sort", "in", "--output", "out", "--reduces", "1"]);
        command.args(["--memory", "64M", "--long-records", mode]);
        command
    };
    let streaming = |more: &[&'static str]| {
        let mut command = synod(&["streaming"]);
        command.args(more).args(["-input", "in", "-output", "out", "-mapper", "cat"]);
        command.args(["-reducer", "cat", "--memory-mib", "64"]);
        command
    };
    let limit = ["-D", "mapreduce.input.linerecordreader.line.maxlength=1000"];
    for (what, command, expected) in [
        ("native, refused", native("fail"), None),
        ("native, left out", native("skip"), Some((&b"end\nshort\n"[..], 0))),
        ("native, cut", native("truncate"), Some((&b"end\nshort\n"[..], 16 << 20))),
        ("streaming, refused", streaming(&[]), None),
        ("streaming, left out", streaming(&limit), Some((&b"end\t\nshort\t\n"[..], 0))),
    ] {
        let (said, good, most) = watched(folder.path(), command);
        eprintln!("a line of {} MiB, {what}: {most} MiB of memory", long >> 20);
        // A record of the largest length is in several hands at once: docs/jobs-conformance.md.
        let zeros = expected.map_or(0, |(_, zeros)| zeros as u64 >> 20);
        assert!(most < MEMORY_MIB * 5 / 4 + 60 + 6 * zeros, "{what}: {most} MiB");
        match expected {
            None => {
                assert!(!good && said.contains("offset 6 is longer than 16777216"), "{said}");
                assert!(!folder.path().join("out").exists());
            }
            Some((lines, zeros)) => {
                assert!(good, "{what}: {said}");
                let part = part(folder.path());
                // Zeros come first.
                let first = part.iter().position(|&byte| byte != 0).unwrap_or(part.len());
                let rest = if zeros > 0 { &part[first + 1..] } else { &part[..] };
                assert!(first == zeros && rest == lines, "{what}: {first}");
            }
        }
    }
}

#[test]
fn values_of_no_bytes_and_one_that_is_huge_pass_together() {
    let folder = TempDir::new().unwrap();
    let large = mebibytes("SYNOD_JOB_VALUE_MB", 24);
    // A key and its value on each line; two of three have no value.
    with_hole(&folder.path().join("in"), "a\t\nb\tx\nhuge\t", large, "\nz\t\nb\t\n");
    let memory = 4 * (large >> 20) + 8;
    // More than 256 MiB are a record only if that is said.
    let limit = format!("mapreduce.input.linerecordreader.line.maxlength={}", large + 16);
    let mut command = synod(&["streaming", "-D", &limit, "-input", "in", "-output", "out"]);
    command.args(["-mapper", "cat", "-reducer", "cat", "--memory-mib", &memory.to_string()]);
    let (said, good, most) = watched(folder.path(), command);
    assert!(good, "{said}");
    eprintln!("a value of {} MiB with --memory-mib {memory}: {most} MiB of memory", large >> 20);
    // As docs/jobs-conformance.md says of records of a quarter of the memory; the program itself comes on
    // top.
    assert!(
        most <= memory * 5 / 2 + PROGRAM_MIB,
        "{most} MiB of memory with --memory-mib {memory}"
    );
    let part = part(folder.path());
    let (before, after) = (&b"a\t\nb\tx\nb\t\nhuge\t"[..], &b"\nz\t\n"[..]);
    assert!(part.starts_with(before) && part.ends_with(after));
    let zeros = &part[before.len()..part.len() - after.len()];
    assert!(zeros.len() as u64 == large && zeros.iter().all(|&byte| byte == 0));
}
