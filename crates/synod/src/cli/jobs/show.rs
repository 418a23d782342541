//! `synod jobs show`: one job, running or not.

use std::io::Write;

use synod::client::Remote;
use synod::jobs::cluster::JobId;
use synod::jobs::cluster::shown::{JobDetail, RunningRow};
use synod::server::read_job;

use super::{ago, millis, now_ms, print_json, unknown};
use crate::cli::output::{self, count, cut, plain, size};
use crate::cli::{Outcome, summary};

/// Running attempts that are shown; `--json` has more.
const RUNNING: usize = 50;
/// Characters of a text that are shown.
const TEXT_CHARS: usize = 200;
/// Inputs and options that are shown.
const SETTINGS: usize = 3;

/// Prints the job.
pub async fn show(out: &mut impl Write, kv: &Remote, id: &JobId, as_json: bool) -> Outcome {
    let view = read_job(kv, id).await?;
    let job = JobDetail::of(id, &view, None).ok_or_else(|| unknown(id))?;
    if as_json {
        return Ok(print_json(out, &job)?);
    }
    for (name, text) in facts(&job, now_ms()) {
        summary::row(out, name, &text)?;
    }
    if job.row.ended_ms == 0 {
        print_running(out, &job, now_ms())?;
    }
    summary::print_given_up(out, &job.report)?;
    summary::print_slowest(out, &job.report)?;
    summary::print_failures(out, &job.report)?;
    summary::print_counters(out, &job.report.counters, job.report.counters_left_out)?;
    Ok(())
}

fn facts(job: &JobDetail, now: u64) -> Vec<(&'static str, String)> {
    let (row, progress) = (&job.row, &job.row.progress);
    let mut facts = vec![
        ("job", format!("{}  {}", row.id, cut(&plain(&row.name), TEXT_CHARS))),
        ("state", state(job)),
        ("priority", row.priority.to_owned()),
        ("submitted", ago(row.submitted_ms, now)),
    ];
    facts.extend(row.millis(now).map(|took| ("time", millis(took))));
    let inputs = job.spec.inputs.iter().take(SETTINGS).map(|input| cut(&plain(input), TEXT_CHARS));
    let mut inputs = inputs.collect::<Vec<_>>().join(" ");
    let more = job.spec.inputs.len().saturating_sub(SETTINGS) as u64 + job.spec.inputs_left_out;
    if more > 0 {
        inputs += &format!(" and {more} more");
    }
    facts.push(("inputs", format!("{} in {inputs}", size(progress.bytes_total))));
    facts.push(("output", cut(&plain(&row.output), TEXT_CHARS)));
    for (name, value) in job.spec.options.iter().take(SETTINGS) {
        facts.push(("option", cut(&plain(&format!("{name}={value}")), TEXT_CHARS)));
    }
    let mut tasks = format!(
        "{} of {} maps, {} of {} reduces; {} running",
        progress.maps_done,
        progress.maps_total,
        progress.reduces_done,
        progress.reduces_total,
        progress.attempts_running
    );
    let (maps, reduces) = (progress.maps_given_up, progress.reduces_given_up);
    if maps + reduces > 0 {
        tasks += &format!("; {maps} maps and {reduces} reduces given up");
    }
    facts.push(("tasks", tasks));
    if job.report.counters.map_records_in > 0 {
        let files = progress.reduces_done;
        let counted = summary::facts(&job.report.counters, &job.report, files);
        // The folder stands there already.
        facts.extend(counted.into_iter().map(|(name, text)| match name {
            "input" => ("read", text),
            "output" => ("written", text),
            name => (name, text),
        }));
    }
    facts
}

fn state(job: &JobDetail) -> String {
    let (row, progress) = (&job.row, &job.row.progress);
    let mut state = row.state.to_owned();
    if row.state == "running" {
        let percent = progress.bytes_read as f64 * 100.0 / progress.bytes_total.max(1) as f64;
        state += &match progress.phase {
            "map" => format!(", map {percent:.0} %"),
            phase => format!(", {phase}"),
        };
    }
    if row.cancelling {
        state += ", told to end";
    }
    if let Some(message) = &row.message {
        state += &format!(": {}", cut(&plain(message), 2 * TEXT_CHARS));
    }
    state
}

fn print_running(out: &mut impl Write, job: &JobDetail, now: u64) -> std::io::Result<()> {
    if job.running.is_empty() {
        return Ok(());
    }
    let heading =
        ["  TASK", "ATTEMPT", "NODE", "AGE", "DONE", "", "STATUS"].map(str::to_owned).to_vec();
    let rows = job.running.iter().take(RUNNING).map(|running| running_row(running, now));
    let table: Vec<Vec<String>> = std::iter::once(heading).chain(rows).collect();
    output::print_table(out, &table)?;
    let more = (job.running.len().saturating_sub(RUNNING)) as u64 + job.running_left_out;
    match more {
        0 => Ok(()),
        more => writeln!(out, "  and {} more", count(more)),
    }
}

fn running_row(running: &RunningRow, now: u64) -> Vec<String> {
    let done = match running.work_total {
        0 => "-".to_owned(),
        total => format!("{:.0} %", running.work_done as f64 * 100.0 / total as f64),
    };
    let notes = [(running.backup, "beside a slow one"), (running.slow, "slow")];
    let notes: Vec<&str> = notes.into_iter().filter(|(is, _)| *is).map(|(_, note)| note).collect();
    vec![
        format!("  {}", running.task),
        running.attempt.to_string(),
        plain(&running.node),
        millis(now.saturating_sub(running.started_ms)),
        done,
        notes.join(", "),
        cut(&plain(&running.status), TEXT_CHARS),
    ]
}
