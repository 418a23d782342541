//! Whether two programs gave the same answer: a checksum of the lines that they wrote.
//!
//! Where order is not part of the answer, the checksum is the sum of each line's, so lines need not be
//! sorted; no output is ever in memory as a whole (`measure.rs` says why that matters).

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// What makes two answers the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// The same lines, in any order and cut into any parts.
    Lines,
    /// The same, tabs at the end of a line aside: Hadoop's format puts one there.
    LinesButTabs,
    /// The same bytes in the same order, cut into any parts.
    Bytes,
    /// Nothing: the programs read different inputs.
    Differs,
}

/// What is left of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Digest {
    /// How many lines there are.
    pub lines: u64,
    checksum: u128,
}

/// The digest of a file, or of the part files of a folder in their order.
pub fn digest(output: &Path, form: Form) -> Result<Digest> {
    let mut all: Box<dyn Read> = Box::new(std::io::empty());
    for path in part_files(output)? {
        let file = File::open(&path).with_context(|| path.display().to_string())?;
        all = Box::new(all.chain(file));
    }
    let mut reader = BufReader::with_capacity(1 << 20, all);
    let mut digest = Digest { lines: 0, checksum: 0 };
    let mut in_order = Xxh3::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        digest.lines += 1;
        let mut text = line.strip_suffix(b"\n").unwrap_or(&line);
        match form {
            Form::Bytes => in_order.update(&line),
            Form::Lines | Form::LinesButTabs | Form::Differs => {
                while form == Form::LinesButTabs && text.last() == Some(&b'\t') {
                    text = &text[..text.len() - 1];
                }
                digest.checksum = digest.checksum.wrapping_add(xxh3_128(text));
            }
        }
    }
    digest.checksum = digest.checksum.wrapping_add(in_order.digest128());
    Ok(digest)
}

/// A single file, or the part files of a folder in their order.
fn part_files(output: &Path) -> Result<Vec<PathBuf>> {
    if output.is_file() {
        return Ok(vec![output.to_path_buf()]);
    }
    let read = fs::read_dir(output).with_context(|| output.display().to_string())?;
    let mut paths: Vec<PathBuf> =
        read.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    let is_part = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("part-"))
    };
    paths.retain(is_part);
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_lines_in_parts_and_in_one_file_are_the_same_answer() {
        let folder = std::env::temp_dir().join(format!("xtask-answers-{}", std::process::id()));
        fs::create_dir_all(folder.join("parts")).unwrap();
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        write("parts/part-00000", "b\nb\n");
        write("parts/part-00001", "a\n");
        write("parts/_SUCCESS", "not a line");
        write("sorted", "a\nb\nb\n");
        write("as-is", "b\nb\na\n");
        write("other", "a\nc\nc\n");
        write("fewer", "a\nb\n");
        write("tabs", "b\t\nb\na\t\n");
        let of = |name: &str, form| digest(&folder.join(name), form).unwrap();
        assert_eq!(of("parts", Form::Lines), of("sorted", Form::Lines));
        assert_eq!(of("parts", Form::Lines).lines, 3);
        for other in ["other", "fewer", "tabs"] {
            assert_ne!(of("parts", Form::Lines), of(other, Form::Lines), "{other}");
        }
        assert_eq!(of("parts", Form::LinesButTabs), of("tabs", Form::LinesButTabs));
        assert_ne!(of("parts", Form::Bytes), of("sorted", Form::Bytes));
        assert_eq!(of("parts", Form::Bytes), of("as-is", Form::Bytes));
        fs::remove_dir_all(folder).unwrap();
    }
}
