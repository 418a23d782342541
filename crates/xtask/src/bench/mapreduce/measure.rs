//! Runs programs in turns and notes what each run took.
//!
//! What is timed is the whole process, start and output included. Processor time and the most memory are
//! what the kernel counted for the process and the children it waited for. Linux counts the memory of
//! the process that starts another one against that one, so this bench must stay small itself.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use wait4::Wait4;

use super::answers::{Digest, Form, digest};
use crate::bench::workplace::Workplace;

/// How a program is run that writes to this output.
pub type MakeCommand = dyn Fn(&Path) -> Result<Command>;

/// Whose processor time a run costs.
pub enum Cpu {
    /// The process's own.
    Own,
    /// That of other processes, too, which have used so much until now.
    And(Box<dyn Fn() -> Duration>),
    /// It works in a process that cannot be looked at.
    Unknown,
}

/// Something to run.
pub struct Program {
    /// What it is called in tables and figures.
    pub name: &'static str,
    pub command: Box<MakeCommand>,
    pub cpu: Cpu,
    /// Whether it is no error of the bench if it cannot do the work.
    pub may_fail: bool,
}

/// What a run took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    pub seconds: f64,
    /// User and system time, if it is known.
    pub cpu_seconds: Option<f64>,
    /// The most memory of the process itself, if it is known.
    pub max_resident_bytes: Option<u64>,
}

/// The runs of each program, in the order of the programs.
pub struct Runs {
    /// Empty for a program that could not do the work.
    pub took: Vec<Vec<Took>>,
    /// Which ones that are, and why.
    pub failed: Vec<(&'static str, String)>,
    /// Of the answer, which is the same for all.
    pub lines: u64,
}

/// Runs each program once to warm up and to compare answers, then so often in turns; who is first
/// changes from round to round.
pub fn in_turns(
    work_name: &str,
    programs: &[Program],
    form: Form,
    runs: u32,
    work: &Workplace,
) -> Result<Runs> {
    let mut answer: Option<Digest> = None;
    let mut failed: Vec<(&'static str, String)> = Vec::new();
    for program in programs {
        let (took, output) = match once(program, work) {
            Err(error) if program.may_fail => {
                eprintln!("bench: {work_name}: {} cannot do it: {error:#}", program.name);
                failed.push((program.name, format!("{error:#}")));
                work.absent(OUTPUT)?;
                continue;
            }
            done => done?,
        };
        let this = digest(&output, form)?;
        if *answer.get_or_insert(this) != this && form != Form::Differs {
            bail!(
                "{work_name}: another answer from {} than from {}",
                program.name,
                programs[0].name
            );
        }
        let compared = if form == Form::Differs { "an answer of its own" } else { "same answer" };
        eprintln!("bench: {work_name}: {}: {compared}, {:.2} s cold", program.name, took.seconds);
        work.absent(OUTPUT)?;
    }
    let mut took = vec![Vec::new(); programs.len()];
    for round in 0..runs as usize {
        for place in 0..programs.len() {
            let at = (round + place) % programs.len();
            if failed.iter().any(|(name, _)| *name == programs[at].name) {
                continue;
            }
            took[at].push(once(&programs[at], work)?.0);
            // Outputs may be large.
            work.absent(OUTPUT)?;
        }
    }
    Ok(Runs { took, failed, lines: answer.map_or(0, |answer| answer.lines) })
}

/// One run, and where its output is.
fn once(program: &Program, work: &Workplace) -> Result<(Took, PathBuf)> {
    let folder = work.fresh(OUTPUT)?;
    let output = folder.join("out");
    let mut command = (program.command)(&output)?;
    let others = match &program.cpu {
        Cpu::And(used) => used(),
        Cpu::Own | Cpu::Unknown => Duration::ZERO,
    };
    let mut took = timed(&mut command)?;
    match &program.cpu {
        Cpu::Own => {}
        Cpu::And(used) => {
            let others = (used() - others).as_secs_f64();
            took.cpu_seconds = took.cpu_seconds.map(|own| own + others);
            took.max_resident_bytes = None;
        }
        Cpu::Unknown => (took.cpu_seconds, took.max_resident_bytes) = (None, None),
    }
    Ok((took, output))
}

/// Runs it to its end. What it says on its standard error is read here: that pipe ends with it, so
/// waiting for the end is bounded.
fn timed(command: &mut Command) -> Result<Took> {
    let what = format!("{command:?}");
    let start = Instant::now();
    let child = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {what}"))?;
    let mut running = Running(Some(child));
    let stderr = running.0.as_mut().and_then(|child| child.stderr.take());
    let mut stderr = stderr.context("it is piped")?;
    let (ended, has_ended) = mpsc::channel();
    std::thread::spawn(move || {
        let mut said = Vec::new();
        // What could not be read is not shown.
        drop(stderr.read_to_end(&mut said));
        drop(ended.send(said));
    });
    let Ok(said) = has_ended.recv_timeout(TIMEOUT) else {
        bail!("{what} takes longer than {} s", TIMEOUT.as_secs());
    };
    let mut child = running.0.take().context("it was started")?;
    let used = child.wait4()?;
    let seconds = start.elapsed().as_secs_f64();
    if !used.status.success() {
        let said = String::from_utf8_lossy(&said);
        // Some end with an advice.
        let error = said.lines().rev().find(|line| line.contains("Error"));
        let error = error.or(said.lines().last()).unwrap_or_default();
        bail!("{what}: {}: {error}", used.status);
    }
    let cpu = used.rusage.utime + used.rusage.stime;
    Ok(Took {
        seconds,
        cpu_seconds: Some(cpu.as_secs_f64()),
        max_resident_bytes: Some(used.rusage.maxrss),
    })
}

/// Killed when dropped before its end.
struct Running(Option<Child>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // It may have ended already.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Name of the folder that outputs are in, with what a program leaves beside its own.
const OUTPUT: &str = "output";

/// For one run of one program.
const TIMEOUT: Duration = Duration::from_secs(1800);

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(name: &'static str, script: &'static str) -> Program {
        let command = move |output: &Path| {
            let mut command = Command::new("sh");
            command.arg("-c").arg(script).arg("sh").arg(output);
            Ok(command)
        };
        Program { name, command: Box::new(command), cpu: Cpu::Own, may_fail: false }
    }

    #[test]
    fn each_program_runs_as_often_and_its_time_is_counted() {
        let work = Workplace::new(Some(&std::env::temp_dir())).unwrap();
        let programs = [
            shell("idle", "printf 'a\\nb\\n' > $1"),
            shell(
                "busy",
                "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; printf 'b\\na\\n' > $1",
            ),
        ];
        let runs = in_turns("test", &programs, Form::Lines, 3, &work).unwrap();
        assert_eq!(runs.lines, 2);
        assert!(runs.took.iter().all(|took| took.len() == 3));
        let least = |at: usize| {
            let all = runs.took[at].iter().filter_map(|took| took.cpu_seconds);
            all.fold(f64::MAX, f64::min)
        };
        assert!(least(1) > least(0), "counting takes time");
        assert!(runs.took[0][0].max_resident_bytes.unwrap() > 100_000);
        let order = in_turns("test", &programs, Form::Bytes, 1, &work);
        assert!(order.err().unwrap().to_string().contains("another answer from busy"));
        let fails = [shell("fails", "echo so it is >&2; exit 3")];
        let error = in_turns("test", &fails, Form::Lines, 1, &work).err().unwrap().to_string();
        assert!(error.contains("so it is"), "{error}");
        let script = "echo MemoryError: too much >&2; echo see the manual >&2; exit 1";
        let mut weak = shell("weak", script);
        weak.may_fail = true;
        let able = shell("able", "printf 'a\\n' > $1");
        let runs = in_turns("test", &[able, weak], Form::Lines, 2, &work).unwrap();
        assert_eq!(runs.took.iter().map(Vec::len).collect::<Vec<_>>(), [2, 0]);
        assert!(runs.failed[0].0 == "weak" && runs.failed[0].1.contains("too much"));
    }
}
