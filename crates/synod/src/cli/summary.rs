//! What `synod run` and `synod jobs show` print of a job that is done: one screen for people, or JSON.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use synod::jobs::builtin::field;
use synod::jobs::cluster::{JobId, JobReport};
use synod::jobs::commit::Manifest;
use synod::jobs::given_up::warning;
use synod::jobs::{Counters, JobSummary};

use super::output::{self, count, duration, plain, size};

/// Slowest tasks that are shown.
const SLOWEST: usize = 3;
/// Tasks without which the job went on that are shown.
const GIVEN_UP: usize = 3;
/// Failed attempts that are shown.
const FAILURES: usize = 2;
/// Counters of the job's own that are shown.
const COUNTERS: usize = 8;
/// Characters of a message that are shown.
const MESSAGE_CHARS: usize = 100;

/// A job that is done.
pub struct Done<'a> {
    /// What it is called.
    pub name: &'a str,
    /// Its name on the cluster, if it ran on one.
    pub id: Option<&'a JobId>,
    /// Where its output is.
    pub output: &'a Path,
    /// How long it took, if that is known.
    pub took: Option<Duration>,
    /// What it has done.
    pub summary: &'a JobSummary,
}

impl Done<'_> {
    /// One screen.
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let JobSummary { manifest, splits, input_bytes, report } = self.summary;
        let took = self.took.map(|took| {
            let rate = *input_bytes as f64 / took.as_secs_f64().max(0.001);
            format!(" in {} ({}/s)", duration(took), size(rate as u64))
        });
        writeln!(
            out,
            "{}: {} from {splits} splits{}, {} records in {}",
            plain(self.name),
            size(*input_bytes),
            took.unwrap_or_default(),
            count(manifest.counters.reduce_records_out),
            plain(&self.output.display().to_string()),
        )?;
        if let Some(id) = self.id {
            row(out, "job", &id.to_string())?;
        }
        let counters = &manifest.counters;
        let files = manifest.parts.len() as u64 + manifest.cut.parts;
        for (name, text) in facts(counters, report, files) {
            row(out, name, &text)?;
        }
        print_given_up(out, report)?;
        print_slowest(out, report)?;
        print_failures(out, report)?;
        print_counters(out, counters, manifest.cut.counters)?;
        if !manifest.cut.is_nothing() {
            row(out, "", "the records keep a part of this; _SUCCESS in the output has all")?;
        }
        Ok(())
    }

    /// The same and more as a JSON object on one line.
    pub fn print_json(&self, out: &mut impl Write) -> io::Result<()> {
        let JobSummary { manifest, splits, input_bytes, report } = self.summary;
        let object = json!({
            "name": self.name,
            "id": self.id,
            // As far as it is text: JSON has no other.
            "output": self.output.to_string_lossy(),
            "seconds": self.took.map(|took| took.as_secs_f64()),
            "splits": splits,
            "input_bytes": input_bytes,
            "manifest": manifest,
            "report": report,
        });
        serde_json::to_writer(&mut *out, &object)?;
        out.write_all(b"\n")
    }
}

/// What went in, through and out.
pub fn facts(counted: &Counters, report: &JobReport, files: u64) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("input", format!("{} records", count(counted.map_records_in))),
        ("map", mapped(counted)),
    ];
    if counted.runs_written > 0 {
        let (bytes, runs) = (size(counted.run_bytes_written), count(counted.runs_written));
        facts.push(("on disk", format!("{bytes} of intermediate data in {runs} runs")));
    }
    if let Some(skew) = report.skew {
        let mut text = format!("{} groups", count(counted.reduce_groups_in));
        if skew.median_pairs > 0 {
            let times = skew.largest_pairs as f64 / skew.median_pairs as f64;
            let largest = skew.largest;
            text += &format!(
                "; the largest partition, {largest}, has {times:.1} times the pairs of the middle one"
            );
        }
        facts.push(("reduce", text));
    }
    let written = size(counted.reduce_bytes_out);
    let records = count(counted.reduce_records_out);
    facts.push(("output", format!("{records} records, {written} in {files} files")));
    let trouble = trouble(counted, report);
    if !trouble.is_empty() {
        facts.push(("trouble", trouble.join(", ")));
    }
    facts.extend(field::warning(counted).map(|warning| ("warning", warning)));
    facts
}

fn mapped(counted: &Counters) -> String {
    let (emitted, left) = (counted.map_pairs_out, counted.combined_pairs_out);
    let pairs = format!("{} pairs", count(emitted));
    if left >= emitted {
        return pairs;
    }
    let percent = left as f64 * 100.0 / emitted as f64;
    format!("{pairs}, {} after combining ({percent:.1} %)", count(left))
}

/// What did not go well although the job is done.
fn trouble(counted: &Counters, report: &JobReport) -> Vec<String> {
    let all = [
        (counted.maps_given_up, "maps given up"),
        (counted.reduces_given_up, "reduces given up"),
        (u64::from(report.failed_attempts), "failed attempts"),
        (u64::from(report.backup_attempts), "attempts beside slow ones"),
        (u64::from(report.lost_outputs), "lost map outputs"),
        (counted.bad_records_skipped, "bad records left out"),
        (counted.long_records_skipped, "too long records left out"),
    ];
    let there = all.into_iter().filter(|(number, _)| *number > 0);
    there.map(|(number, what)| format!("{} {what}", count(number))).collect()
}

/// The first tasks that the job went on without.
pub fn print_given_up(out: &mut impl Write, report: &JobReport) -> io::Result<()> {
    for (index, one) in report.given_up.iter().take(GIVEN_UP).enumerate() {
        let error = output::cut(&plain(&one.error), MESSAGE_CHARS);
        row(out, if index == 0 { "given up" } else { "" }, &format!("{}: {error}", one.task))?;
    }
    match report.given_up.len().checked_sub(GIVEN_UP).filter(|more| *more > 0) {
        Some(_) => row(out, "", "and more, see --json"),
        None => Ok(()),
    }
}

/// Says on stderr what a job went on without, however quiet it is to be: its output lacks that.
pub fn warn_of_given_up(manifest: &Manifest) {
    if let Some(warning) = warning(&manifest.counters, &manifest.given_up) {
        eprintln!("synod: warning: {}", plain(&warning));
    }
}

/// The tasks that took longest.
pub fn print_slowest(out: &mut impl Write, report: &JobReport) -> io::Result<()> {
    for (index, task) in report.slowest(SLOWEST).into_iter().enumerate() {
        let node = report.nodes.get(task.node as usize).map_or("", String::as_str);
        let took = duration(Duration::from_millis(task.millis()));
        let (id, bytes) = (task.task, size(task.bytes));
        let text = format!("{id}  {took:>9}  {bytes:>10}  {}", plain(node));
        row(out, if index == 0 { "slowest" } else { "" }, text.trim_end())?;
    }
    Ok(())
}

/// The first failed attempts.
pub fn print_failures(out: &mut impl Write, report: &JobReport) -> io::Result<()> {
    for (index, row_of) in report.failures.iter().take(FAILURES).enumerate() {
        let failure = &row_of.failure;
        let message = output::cut(&plain(&failure.message), MESSAGE_CHARS);
        let node = plain(&failure.node);
        let text = format!("{} attempt {} on {node}: {message}", row_of.task, failure.attempt);
        row(out, if index == 0 { "failed" } else { "" }, &text)?;
    }
    Ok(())
}

/// Counters of the job's own; so many others were not kept.
pub fn print_counters(out: &mut impl Write, counted: &Counters, left_out: u64) -> io::Result<()> {
    for (index, (name, amount)) in counted.user.iter().take(COUNTERS).enumerate() {
        let text = format!("{} {}", count(*amount), output::cut(&plain(name), MESSAGE_CHARS));
        row(out, if index == 0 { "counters" } else { "" }, &text)?;
    }
    let more = counted.user.len().saturating_sub(COUNTERS) as u64;
    match (more, left_out) {
        (0, 0) => Ok(()),
        (more, 0) => row(out, "", &format!("and {} more, see --json", count(more))),
        (more, left_out) => {
            let all = count(more + left_out);
            row(out, "", &format!("and {all} more, {} of them with --json", count(more)))
        }
    }
}

/// A line of a summary.
pub fn row(out: &mut impl Write, name: &str, text: &str) -> io::Result<()> {
    writeln!(out, "  {name:9} {text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod::jobs::cluster::TaskId;
    use synod::jobs::cluster::records::{AttemptFailure, Span};
    use synod::jobs::cluster::report::{FailureRow, Skew, TaskRow};

    fn task(number: u32, millis: u64) -> TaskRow {
        let task = TaskId::map(number);
        TaskRow {
            task,
            attempt: 0,
            backup: false,
            node: 0,
            started_ms: 5,
            ended_ms: 5 + millis,
            bytes: 2048,
            pairs: 1,
        }
    }

    fn failure() -> FailureRow {
        let failure = AttemptFailure {
            attempt: 1,
            worker: "w-1".parse().unwrap(),
            node: "n\u{1b}[31m1".into(),
            span: Span::default(),
            message: "it\nbroke".into(),
            bad_record: None,
            permanent: false,
            whole_job: false,
            others: Vec::new(),
        };
        FailureRow { task: TaskId::map(7), failure }
    }

    fn summary() -> JobSummary {
        let user = (0..10).map(|n| (format!("c{n}"), n)).collect();
        let counters = Counters {
            map_records_in: 1_000,
            map_pairs_out: 40_000,
            combined_pairs_out: 1_000,
            runs_written: 3,
            run_bytes_written: 4096,
            reduce_groups_in: 77,
            reduce_records_out: 77,
            reduce_bytes_out: 900,
            bad_records_skipped: 2,
            user,
            ..Counters::default()
        };
        let report = JobReport {
            nodes: vec!["n1".into()],
            tasks: (0..20).map(|number| task(number, 100 * u64::from(number))).collect(),
            failures: vec![failure(); 5],
            failed_attempts: 5,
            counters: counters.clone(),
            skew: Some(Skew { median_pairs: 10, largest_pairs: 25, largest: 1 }),
            ..JobReport::default()
        };
        let manifest = Manifest { job: "wordcount".into(), counters, ..Manifest::default() };
        JobSummary { manifest, splits: 20, input_bytes: 3 << 20, report }
    }

    fn printed() -> String {
        let summary = summary();
        let (name, output) = ("wordcount", Path::new("/tmp/out"));
        let took = Some(Duration::from_millis(2_340));
        let mut out = Vec::new();
        Done { name, id: None, output, took, summary: &summary }.print(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_summary_says_what_went_through_and_what_went_wrong() {
        let text = printed();
        for line in [
            "wordcount: 3.0 MiB from 20 splits in 2.3 s (1.3 MiB/s), 77 records in /tmp/out",
            "  input     1,000 records",
            "  map       40,000 pairs, 1,000 after combining (2.5 %)",
            "  on disk   4.0 KiB of intermediate data in 3 runs",
            "  reduce    77 groups; the largest partition, 1, has 2.5 times the pairs of the middle one",
            "  output    77 records, 900 B in 0 files",
            "  trouble   5 failed attempts, 2 bad records left out",
            "  slowest   m000019      1.9 s     2.0 KiB  n1",
            "            m000018      1.8 s     2.0 KiB  n1",
            "  counters  0 c0",
            "            and 2 more, see --json",
        ] {
            assert!(text.lines().any(|l| l == line), "`{line}` is not in\n{text}");
        }
    }

    #[test]
    fn a_field_that_no_line_has_is_a_warning() {
        let user = [("lines_without_field".to_owned(), 3)].into();
        let counted = Counters { map_records_in: 3, user, ..Counters::default() };
        let facts = facts(&counted, &JobReport::default(), 1);
        let (name, text) = facts.last().unwrap();
        assert!(*name == "warning" && text.starts_with("no line has the field"), "{facts:?}");
    }

    #[test]
    fn a_summary_fits_one_screen_and_says_nothing_to_the_terminal() {
        let text = printed();
        assert!(text.lines().count() <= 24, "{text}");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert!(text.contains("m000007 attempt 1 on n\\u{1b}[31m1: it\\nbroke"), "{text}");
    }
}
