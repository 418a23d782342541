//! Whether two programs gave the same answer.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Whether these outputs hold the same lines, in any order.
pub fn same_lines(one: &Path, other: &Path) -> Result<bool> {
    let (one, other) = (read(one)?, read(other)?);
    Ok(one.len() == other.len() && sorted_lines(&one) == sorted_lines(&other))
}

fn sorted_lines(text: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
    lines.sort_unstable();
    lines
}

/// Whether these outputs are byte for byte the same, part after part.
pub fn same_bytes(one: &Path, other: &Path) -> Result<bool> {
    let (mut one, mut other) = (Parts::open(one)?, Parts::open(other)?);
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let (a, b) = (one.fill(&mut left)?, other.fill(&mut right)?);
        if left[..a] != right[..b] {
            return Ok(false);
        }
        if a == 0 {
            return Ok(true);
        }
    }
}

fn read(output: &Path) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    for path in part_files(output)? {
        text.extend(fs::read(&path).with_context(|| path.display().to_string())?);
    }
    Ok(text)
}

/// The files of an output one after the other.
struct Parts(Box<dyn Read>);

impl Parts {
    fn open(output: &Path) -> Result<Self> {
        let mut all: Box<dyn Read> = Box::new(std::io::empty());
        for path in part_files(output)? {
            let file = File::open(&path).with_context(|| path.display().to_string())?;
            all = Box::new(all.chain(BufReader::new(file)));
        }
        Ok(Parts(all))
    }

    /// Fills the buffer as far as there is something.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read(&mut buffer[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
    }
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

const CHUNK: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_lines_in_parts_and_in_one_file_are_the_same_answer() {
        let folder = std::env::temp_dir().join(format!("xtask-answers-{}", std::process::id()));
        fs::create_dir_all(folder.join("parts")).unwrap();
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        write("parts/part-00000", "b\n");
        write("parts/part-00001", "a\n");
        write("parts/_SUCCESS", "not a line");
        write("sorted", "a\nb\n");
        write("as-is", "b\na\n");
        write("other", "a\nc\n");
        let (parts, at) = (folder.join("parts"), |name: &str| folder.join(name));
        assert!(same_lines(&parts, &at("sorted")).unwrap());
        assert!(!same_bytes(&parts, &at("sorted")).unwrap());
        assert!(same_bytes(&parts, &at("as-is")).unwrap());
        assert!(!same_lines(&parts, &at("other")).unwrap());
        fs::remove_dir_all(folder).unwrap();
    }
}
