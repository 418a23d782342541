//! What whoever submits a job is told once, before it runs: what of their arguments is old, and what
//! is accepted and does nothing.

use super::Arguments;
use super::options::OPTIONS;
use crate::streaming::properties::Properties;
use crate::streaming::properties::known::{not_interpreted, without_effect};

/// Names in one notice. A file of a whole cluster's properties has hundreds.
const MOST_NAMES: usize = 20;

/// Options that are taken and do nothing, wherever the job runs.
const IDLE_OPTIONS: &[&str] =
    &["mapdebug", "reducedebug", "debug", "dfs", "fs", "jt", "tokenCacheFile", "libjars"];

/// Of a job in this process there are no others that it could be before or after.
const PRIORITY: &str = "mapreduce.job.priority";

/// The notices, a sentence each.
pub fn notices(arguments: &Arguments, properties: &Properties) -> Vec<String> {
    let mut notices = arguments.warnings.clone();
    let mut idle: Vec<&str> = OPTIONS
        .iter()
        .map(|option| option.name)
        .filter(|name| IDLE_OPTIONS.contains(name) && arguments.has(name))
        .collect();
    // On a cluster the job goes on without its submitter; here it is part of this process.
    if arguments.has("background") && !arguments.has("endpoints") {
        idle.push("background");
    }
    if !idle.is_empty() {
        notices.push(format!("options that have no effect here: -{}", idle.join(", -")));
    }
    let mut without_effect = without_effect(properties);
    if properties.raw(PRIORITY).is_some() && !arguments.has("endpoints") {
        without_effect.push(PRIORITY);
    }
    let named = [
        ("properties that have no effect here", without_effect),
        ("properties not interpreted", not_interpreted(properties)),
    ];
    for (what, names) in named {
        if !names.is_empty() {
            notices.push(format!("{what}: {}", listed(&names)));
        }
    }
    notices
}

/// The first of the names, and how many more there are.
fn listed(names: &[&str]) -> String {
    let first = names.iter().take(MOST_NAMES).copied().collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(MOST_NAMES) {
        None | Some(0) => first,
        Some(more) => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str, pairs: &[(&str, &str)]) -> Vec<String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let mut properties = Properties::new();
        for (name, value) in pairs {
            properties.set(name, *value);
        }
        notices(&Arguments::parse(&words).unwrap(), &properties)
    }

    #[test]
    fn what_does_nothing_is_named_once_under_its_present_name() {
        let line = "-fs x -mapdebug a -mapdebug b -background -input in";
        let pairs = [
            ("mapred.map.tasks", "7"),
            ("io.sort.factor", "7"),
            ("io.sort.mb", "200"),
            ("mapred.job.priority", "HIGH"),
            ("mapreduce.map.speculative", "false"),
            ("mapreduce.job.reduces", "2"),
            ("my.own", "x"),
        ];
        assert_eq!(
            of(line, &pairs),
            [
                "options that have no effect here: -mapdebug, -fs, -background",
                "properties that have no effect here: mapreduce.task.io.sort.factor, mapreduce.task.io.sort.mb, \
                 mapreduce.job.priority",
                "properties not interpreted: my.own",
            ]
        );
        let pairs = [("mapreduce.job.priority", "HIGH")];
        assert!(of("--endpoints a:1 -background", &pairs).is_empty());
        assert!(of("-input in", &[("mapreduce.job.reduces", "2")]).is_empty());
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..25).map(|number| format!("my.{number:02}")).collect();
        let pairs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
        let notices = of("", &pairs);
        assert!(notices[0].ends_with("my.18, my.19 and 5 more"), "{notices:?}");
    }
}
