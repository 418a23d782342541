//! Runs a built-in job in this process, without the command line of the binary:
//! `cargo run --release -p synod-jobs --example builtin -- wordcount INPUT.. OUTPUT`.
//!
//! `MEMORY`, `SLOTS`, `REDUCES` and `NO_SYNC` in the environment set the fields of the same name.

use std::time::Instant;
use synod_jobs::{JobSpec, Progress, run_built_in};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let job = arguments.next().ok_or("usage: builtin JOB INPUT.. OUTPUT")?;
    let mut inputs: Vec<String> = arguments.collect();
    let output = inputs.pop().ok_or("usage: builtin JOB INPUT.. OUTPUT")?;
    let mut spec = JobSpec::new(job, inputs, output);
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>()).transpose();
    if let Some(memory) = number("MEMORY")? {
        spec.memory_bytes = memory;
    }
    spec.slots = number("SLOTS")?.map(u32::try_from).transpose()?;
    spec.reduces = number("REDUCES")?.map(u32::try_from).transpose()?;
    spec.sync_output = std::env::var_os("NO_SYNC").is_none();
    let start = Instant::now();
    let summary = run_built_in(&spec, &Progress::new())?;
    let seconds = start.elapsed().as_secs_f64();
    let rate = summary.input_bytes as f64 / 1e6 / seconds;
    println!("{seconds:.3} s, {rate:.0} MB/s, {} parts", summary.manifest.parts.len());
    println!("{:#?}", summary.manifest.counters);
    Ok(())
}
