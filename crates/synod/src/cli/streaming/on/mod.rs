//! `--on`: hands a streaming job to an engine that the user has, Hadoop or Spark.
//!
//! Hadoop gets the very words ([`hadoop`]); Spark, which knows no streaming jobs, a program that does
//! what one does ([`spark`]). Where the engine is, is found out in [`program`].

mod hadoop;
mod program;
mod spark;

use synod::jobs::streaming::arguments::options::{OptionKind, find};

use super::run::Stop;
use crate::cli::failure::Failure;

pub use program::refuse_what_was_meant_for_another;

/// An engine, and what is asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandOver {
    engine: String,
    words: Vec<String>,
}

impl HandOver {
    /// If the words ask for that. With `--check` they ask for something else.
    pub fn wanted(words: &[String]) -> Option<HandOver> {
        let mut engine = None;
        for (at, word) in words.iter().enumerate() {
            match find(word) {
                Some((option, _)) if option.name == "check" => return None,
                Some((option, attached)) if option.name == "on" && engine.is_none() => {
                    engine = attached.map(str::to_owned).or_else(|| words.get(at + 1).cloned());
                }
                _ => {}
            }
        }
        Some(HandOver { engine: engine?, words: words.to_vec() })
    }

    /// Hands the job over. Returns when it has ended, or never: the engine may take the place of this
    /// process.
    pub fn run(&self) -> Result<(), Stop> {
        let words = synod::jobs::streaming::arguments::without(&self.words, "on");
        self.refuse_own_options(&words)?;
        match self.engine.as_str() {
            "hadoop" => Err(hadoop::run(&words).into()),
            "spark" => spark::run(&words),
            other => {
                let what = format!("--on {other}: hadoop and spark are known");
                Err(Failure::WrongUse(what).into())
            }
        }
    }

    fn refuse_own_options(&self, words: &[String]) -> Result<(), Failure> {
        let mut options = words.iter().filter_map(|word| find(word)).map(|(option, _)| option);
        match options.find(|option| option.kind == OptionKind::Own) {
            None => Ok(()),
            Some(option) => Err(Failure::WrongUse(format!(
                "--{} is for jobs that Synod runs: leave it out with --on {}",
                option.name, self.engine
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(line: &str) -> Option<String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        HandOver::wanted(&words).map(|wanted| wanted.engine)
    }

    #[test]
    fn a_job_is_handed_over_if_its_words_say_so() {
        assert_eq!(engine("-input x --on hadoop -mapper cat").as_deref(), Some("hadoop"));
        assert_eq!(engine("--on=spark").as_deref(), Some("spark"));
        for line in ["-input on", "-mapper cat", "--on hadoop --check", "--on"] {
            assert_eq!(engine(line), None, "{line}");
        }
    }
}
