//! A MapReduce job of one's own on a cluster. This one program is worker, client and local runner:
//!
//!     synod up --nodes 3                                        its nodes leave the job to these two:
//!     alias own_job='cargo run -q --release -p synod --example own_job --'
//!     own_job worker 127.0.0.1:2379 /tmp/w1                     in a terminal of its own
//!     own_job worker 127.0.0.1:2379 /tmp/w2                     in another one
//!     own_job submit 127.0.0.1:2379 /tmp/lengths least=3 book.txt
//!     own_job local /tmp/lengths-here least=3 book.txt          the same files, without a cluster
//!
//! All workers of the job must be the same file as the one that submits it; others leave it alone.

use std::error::Error;
use synod::client::{Remote, RemoteOptions};
use synod::jobs::{
    Emitter, Job, JobError, JobOption, JobSpec, Jobs, NamedJob, Options, Progress, Record, Sink,
    Values,
};
use synod::server::{WorkerOptions, run_worker, submit_with};

/// How many words there are of each length.
struct WordLengths {
    least: usize,
}

impl Job for WordLengths {
    /// Counts are added up before they travel.
    const COMBINED_VALUE_BYTES: Option<usize> = Some(8);

    fn map(&self, line: Record<'_>, out: &mut Emitter<'_, Self>) {
        let words = line.bytes.split(u8::is_ascii_whitespace).map(<[u8]>::len);
        for length in words.filter(|length| *length >= self.least.max(1)) {
            // Keys are ordered as bytes.
            out.emit(format!("{length:06}").as_bytes(), &1_u64.to_le_bytes());
        }
    }

    fn combine(&self, total: &mut [u8], value: &[u8]) {
        let sum = number(total) + number(value);
        total.copy_from_slice(&sum.to_le_bytes());
    }

    fn reduce(&self, length: &[u8], values: &mut Values<'_, Self>, out: &mut Sink) {
        let mut words = 0;
        while let Some(value) = values.next() {
            words += number(value);
        }
        out.bytes(length);
        out.bytes(b"\t");
        out.decimal(words);
        out.end_record();
    }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("every value has eight bytes"))
}

/// Its name, and how it is built from the settings of a spec, on every worker anew.
impl NamedJob for WordLengths {
    const NAME: &'static str = "word-lengths";
    const ABOUT: &'static str = "words by their length: length<TAB>count";
    const OPTIONS: &'static [JobOption] =
        &[JobOption::new("least", "N", "count words of N bytes and more; default: 1")];

    fn from_options(options: &Options<'_>) -> Result<Self, JobError> {
        Ok(WordLengths { least: options.number("least", 1..=1_000)?.unwrap_or(1) })
    }
}

/// Words with a `=` are settings of the job, all others are files.
fn spec(output: &str, words: &[&str]) -> JobSpec {
    let (settings, inputs): (Vec<&str>, Vec<&str>) = words.iter().partition(|w| w.contains('='));
    let settings = settings.iter().filter_map(|setting| setting.split_once('='));
    let mut spec = JobSpec::new(WordLengths::NAME, inputs, output);
    spec.options = settings.map(|(name, value)| (name.into(), value.into())).collect();
    spec
}

fn main() -> Result<(), Box<dyn Error>> {
    let jobs = Jobs::built_in().with::<WordLengths>()?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let summary = match words.as_slice() {
        ["worker", endpoint, folder] => {
            let name = format!("own-{}", std::process::id());
            let mut options = WorkerOptions::new(*folder, name, vec![(*endpoint).to_owned()]);
            options.jobs.known = jobs;
            run_worker(options, |ready| println!("worker {} is ready", ready.name))?;
            return Ok(());
        }
        ["submit", endpoint, output, words @ ..] => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let kv = Remote::new(&[*endpoint], RemoteOptions::default())?;
                let (spec, progress) = (spec(output, words), Progress::new());
                Ok::<_, Box<dyn Error>>(submit_with(&kv, &spec, &progress, &jobs).await?)
            })?
        }
        ["local", output, words @ ..] => jobs.run_local(&spec(output, words), &Progress::new())?,
        _ => {
            return Err("usage: worker ENDPOINT FOLDER, submit ENDPOINT OUTPUT WORDS.., or \
                         local OUTPUT WORDS.."
                .into());
        }
    };
    println!("{} part files", summary.manifest.parts.len());
    Ok(())
}
