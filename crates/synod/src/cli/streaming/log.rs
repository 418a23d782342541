//! Lines in the form of Hadoop's log, which launchers take apart: ids, progress, counters.

use std::collections::BTreeMap;
use std::io::Write;

use synod::jobs::commit::Manifest;
use synod::jobs::{Counters, JobSummary, TaskLog};

use super::dates::Date;
use crate::cli::progress::Beside;

/// A line of the log, on stderr.
pub fn line(level: &str, logger: &str, text: &str) {
    // Whoever closed stderr does not want it.
    let mut stderr = std::io::stderr().lock();
    let _ = writeln!(stderr, "{} {level} {logger}: {text}", Date::now().for_log());
}

/// A line that only says something.
pub fn info(logger: &str, text: &str) {
    line("INFO", logger, text);
}

/// What the commands of a job print on stderr.
pub struct CommandLog {
    /// Whether each line is one of Hadoop's log; else they are printed as they are.
    pub as_log: bool,
    /// The bar that they stand above.
    pub beside: Beside,
}

impl TaskLog for CommandLog {
    fn line(&self, bytes: &[u8]) {
        if self.as_log {
            return info("streaming.PipeMapRed", &String::from_utf8_lossy(bytes));
        }
        let mut line = bytes.to_vec();
        line.push(b'\n');
        self.beside.print(|| {
            let _ = std::io::stderr().lock().write_all(&line);
        });
    }
}

/// What a job counted, in the layout of Hadoop's client; `combines` if it has a combiner.
pub fn counters(summary: &JobSummary, combines: bool) -> String {
    let counters = &summary.manifest.counters;
    let groups = [of_tasks(summary), groups(counters, combines), groups_of_commands(counters)];
    in_layout(groups.concat())
}

/// How many counters are missing, and where they are, if the records of a cluster do not hold all.
pub fn counters_cut(manifest: &Manifest) -> Option<String> {
    let more = manifest.cut.counters;
    (more > 0).then(|| format!("and {more} more counters, see _SUCCESS in the output"))
}

/// What its commands counted, in the same layout.
pub fn counters_of_commands(counters: &Counters) -> String {
    in_layout(groups_of_commands(counters))
}

fn in_layout(groups: Vec<Group>) -> String {
    let number: usize = groups.iter().map(|(_, counters)| counters.len()).sum();
    let mut text = format!("Counters: {number}");
    for (group, counters) in groups {
        text.push_str(&format!("\n\t{group}"));
        for (name, amount) in counters {
            text.push_str(&format!("\n\t\t{name}={amount}"));
        }
    }
    text
}

type Group = (String, Vec<(String, i128)>);

/// Attempts that have failed, under the names that Hadoop has for their number (`NUM_FAILED_MAPS`,
/// `NUM_FAILED_REDUCES`), and tasks that the job went on without. As there, what did not happen is not shown.
fn of_tasks(summary: &JobSummary) -> Vec<Group> {
    let (report, counters) = (&summary.report, &summary.manifest.counters);
    let of_maps = report.failed_map_attempts;
    let all = [
        ("Failed map tasks", u64::from(of_maps)),
        ("Failed reduce tasks", u64::from(report.failed_attempts.saturating_sub(of_maps))),
        ("Map tasks given up", counters.maps_given_up),
        ("Reduce tasks given up", counters.reduces_given_up),
    ];
    let there = all.into_iter().filter(|(_, number)| *number > 0);
    let there: Vec<(String, i128)> =
        there.map(|(name, number)| (name.to_owned(), number.into())).collect();
    if there.is_empty() { Vec::new() } else { vec![("Job Counters".to_owned(), there)] }
}

fn groups(counters: &Counters, combines: bool) -> Vec<Group> {
    // Each pair of a mapper goes through the combiner once.
    let combined = match combines {
        true => (counters.map_pairs_out, counters.combined_pairs_out),
        false => (0, 0),
    };
    let own = |name: &str, counters: &[(&str, u64)]| {
        let counters =
            counters.iter().map(|(name, amount)| ((*name).to_owned(), i128::from(*amount)));
        (name.to_owned(), counters.collect::<Vec<_>>())
    };
    vec![
        own(
            "Map-Reduce Framework",
            &[
                ("Map input records", counters.map_records_in),
                ("Map output records", counters.map_pairs_out),
                ("Combine input records", combined.0),
                ("Combine output records", combined.1),
                ("Reduce input groups", counters.reduce_groups_in),
                ("Reduce input records", counters.reduce_pairs_in),
                ("Reduce output records", counters.reduce_records_out),
                ("Spilled runs", counters.runs_written),
                ("Spilled bytes", counters.run_bytes_written),
                ("Skipped long records", counters.long_records_skipped),
            ],
        ),
        own("File Input Format Counters", &[("Bytes Read", counters.map_bytes_in)]),
        own("File Output Format Counters", &[("Bytes Written", counters.reduce_bytes_out)]),
    ]
}

fn groups_of_commands(counters: &Counters) -> Vec<Group> {
    let mut users: BTreeMap<&str, BTreeMap<&str, i128>> = BTreeMap::new();
    for (full_name, amount) in &counters.user {
        // `group,name`, and `group,name,-` for what was taken off.
        let (full_name, sign) = match full_name.strip_suffix(",-") {
            Some(name) => (name, -1),
            None => (full_name.as_str(), 1),
        };
        let (group, name) = full_name.split_once(',').unwrap_or(("Synod", full_name));
        let sum = users.entry(group).or_default().entry(name).or_default();
        *sum += sign * i128::from(*amount);
    }
    let users = users.into_iter().map(|(group, counters)| {
        let counters = counters.into_iter().map(|(name, amount)| (name.to_owned(), amount));
        (group.to_owned(), counters.collect())
    });
    users.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod::jobs::cluster::JobReport;

    #[test]
    fn counters_stand_in_groups() {
        let mut counted = Counters { map_records_in: 5, ..Counters::default() };
        counted.count("G,a b", 7);
        counted.count("G,a b,-", 9);
        counted.count("bad_records_skipped", 1);
        let manifest = Manifest { counters: counted, ..Manifest::default() };
        let report = JobReport::default();
        let mut summary = JobSummary { manifest, splits: 1, input_bytes: 0, report };
        let text = counters(&summary, false);
        assert!(
            text.starts_with("Counters: 14\n\tMap-Reduce Framework\n\t\tMap input records=5\n")
        );
        assert!(text.ends_with("\n\tG\n\t\ta b=-2\n\tSynod\n\t\tbad_records_skipped=1"), "{text}");
        (summary.report.failed_attempts, summary.report.failed_map_attempts) = (5, 4);
        summary.manifest.counters.maps_given_up = 1;
        let text = counters(&summary, false);
        let tasks = "Failed map tasks=4\n\t\tFailed reduce tasks=1\n\t\tMap tasks given up=1";
        let start = format!("Counters: 17\n\tJob Counters\n\t\t{tasks}\n\tMap-Reduce Framework\n");
        assert!(text.starts_with(&start), "{text}");
    }
}
