//! Lines in the form of Hadoop's log, which launchers take apart: ids, progress, counters.

use std::collections::BTreeMap;
use std::io::Write;

use synod::jobs::commit::Manifest;
use synod::jobs::{Counters, TaskLog};

use super::dates::Date;

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
}

impl TaskLog for CommandLog {
    fn line(&self, bytes: &[u8]) {
        if self.as_log {
            return info("streaming.PipeMapRed", &String::from_utf8_lossy(bytes));
        }
        let mut line = bytes.to_vec();
        line.push(b'\n');
        let _ = std::io::stderr().lock().write_all(&line);
    }
}

/// What a job counted, in the layout of Hadoop's client; `combines` if it has a combiner.
pub fn counters(counters: &Counters, combines: bool) -> String {
    in_layout([groups(counters, combines), groups_of_commands(counters)].concat())
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

    #[test]
    fn counters_stand_in_groups() {
        let mut counted = Counters { map_records_in: 5, ..Counters::default() };
        counted.count("G,a b", 7);
        counted.count("G,a b,-", 9);
        counted.count("bad_records_skipped", 1);
        let text = counters(&counted, false);
        assert!(
            text.starts_with("Counters: 14\n\tMap-Reduce Framework\n\t\tMap input records=5\n")
        );
        assert!(text.ends_with("\n\tG\n\t\ta b=-2\n\tSynod\n\t\tbad_records_skipped=1"), "{text}");
    }
}
