//! Programs that one would write by hand for one machine with two cores: the yardsticks of the built-in jobs.
//!
//! They are in this binary so that they are there whenever something is measured; each run is a process of
//! its own, `cargo xtask by-hand WORK INPUT OUTPUT`. They share nothing with Synod's code.

mod fieldcount;
mod lines;
mod table;
mod wordcount;

use std::path::PathBuf;

use anyhow::{Context, Result};

/// The command line of one.
#[derive(clap::Args)]
pub struct Arguments {
    /// What to do.
    work: ByHand,
    /// A file.
    input: PathBuf,
    /// A folder that does not exist.
    output: PathBuf,
}

/// What there is a program for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum ByHand {
    /// How often each word occurs.
    Wordcount,
    /// How many lines have the same first field.
    Fieldcount,
}

impl ByHand {
    /// As the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            ByHand::Wordcount => "wordcount",
            ByHand::Fieldcount => "fieldcount",
        }
    }
}

/// Runs one.
pub fn run(arguments: &Arguments) -> Result<()> {
    let run = match arguments.work {
        ByHand::Wordcount => wordcount::run,
        ByHand::Fieldcount => fieldcount::run,
    };
    let Arguments { input, output, .. } = arguments;
    run(input, output).with_context(|| format!("{} to {}", input.display(), output.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::path::Path;

    /// Every kind of length, at random.
    fn key(random: &mut fastrand::Rng) -> Vec<u8> {
        let length = match random.u8(..40) {
            0 => random.usize(1..200),
            1 => random.usize(14..19),
            _ => random.usize(1..14),
        };
        // Few letters, so that keys come again, and zeros, which are as good as any.
        (0..length).map(|_| b"ab\0\xff"[random.usize(..4).min(random.usize(..5))]).collect()
    }

    fn counted(work: ByHand, text: &[u8], folder: &Path) -> Vec<(Vec<u8>, u32)> {
        let (input, output) = (folder.join("in"), folder.join("out"));
        std::fs::write(&input, text).unwrap();
        run(&Arguments { work, input, output: output.clone() }).unwrap();
        let parts = ["part-00000", "part-00001"].map(|part| std::fs::read(output.join(part)));
        let all = parts.map(Result::unwrap).concat();
        let lines = all.split_inclusive(|&byte| byte == b'\n').map(|line| {
            let tab = line.iter().position(|&byte| byte == b'\t').unwrap();
            let count = String::from_utf8(line[tab + 1..line.len() - 1].to_vec()).unwrap();
            (line[..tab].to_vec(), count.parse().unwrap())
        });
        let lines = lines.collect();
        std::fs::remove_dir_all(output).unwrap();
        lines
    }

    fn naive<'t>(keys: impl Iterator<Item = &'t [u8]>) -> Vec<(Vec<u8>, u32)> {
        let mut counts = BTreeMap::new();
        keys.for_each(|key| *counts.entry(key.to_vec()).or_insert(0) += 1);
        counts.into_iter().collect()
    }

    #[test]
    fn keys_of_every_length_are_counted_as_a_naive_program_counts_them_and_sorted() {
        let folder = std::env::temp_dir().join(format!("xtask-by-hand-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut random = fastrand::Rng::with_seed(5);
        // The last one is of several chunks for each thread, and of more keys than the tables begin with.
        for keys in [0, 1, 2, 100, 400_000] {
            let mut text = Vec::new();
            for number in 0..keys {
                if random.u8(..3) == 0 {
                    text.extend(random.u32(..30_000).to_string().repeat(2).into_bytes());
                } else {
                    text.extend(key(&mut random));
                }
                let blank = [" ", "\n", " \t", "\n\n "][random.usize(..4)];
                // It may end in the middle of a key.
                text.extend(if number + 1 < keys || number % 2 == 0 { blank } else { "" }.bytes());
            }
            let words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            assert!(counted(ByHand::Wordcount, &text, &folder) == naive(words), "{keys} words");
            let fields = text.split(|&byte| byte == b'\n').filter_map(|line| {
                let mut fields = line.split(|byte| matches!(byte, b' ' | b'\t'));
                fields.find(|field| !field.is_empty())
            });
            assert!(counted(ByHand::Fieldcount, &text, &folder) == naive(fields), "{keys} fields");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
