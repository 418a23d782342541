//! What whoever submits a job is told once, before it runs: what of their arguments is old, and what
//! is accepted and does nothing.

use super::Arguments;
use super::options::OPTIONS;
use crate::streaming::properties::Properties;
use crate::streaming::properties::known::{not_interpreted, without_effect};

/// Names in one notice. A file of a whole cluster's properties has hundreds.
const MOST_NAMES: usize = 20;

/// Options that are taken and do nothing, wherever the job runs.
const IDLE_OPTIONS: &[&str] = &["debug", "dfs", "fs", "jt", "tokenCacheFile"];

/// Where a script is named that Hadoop would run after the last attempt of a task has failed.
const DEBUG_OPTIONS: &[&str] = &["mapdebug", "reducedebug"];
const DEBUG_PROPERTIES: &[&str] = &["mapreduce.map.debug.script", "mapreduce.reduce.debug.script"];

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
    notices.extend(about_debug_scripts(arguments, properties));
    if arguments.has("libjars") {
        notices
            .push("-libjars: tasks find these files as those of -files; no Java runs here".into());
    }
    let mut without_effect = without_effect(properties);
    without_effect.retain(|name| !DEBUG_PROPERTIES.contains(name));
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

/// A task's stdout, stderr and syslog, which such a script reads, are no files here.
fn about_debug_scripts(arguments: &Arguments, properties: &Properties) -> Option<String> {
    let options = DEBUG_OPTIONS.iter().filter(|name| arguments.has(name));
    let asked = options.map(|name| format!("-{name}"));
    let set = DEBUG_PROPERTIES.iter().filter(|name| properties.raw(name).is_some());
    let asked: Vec<String> = asked.chain(set.map(|name| (*name).to_owned())).collect();
    let how = if arguments.has("endpoints") {
        "`synod jobs logs` has the lines of failed attempts"
    } else {
        "--only-maps runs a map task alone, for a debugger"
    };
    (!asked.is_empty()).then(|| {
        format!(
            "no debug script is run ({}): the error of a failed task ends with the last lines of its \
             stderr, and {how}",
            asked.join(", ")
        )
    })
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
        let line = "-fs x -libjars a.jar -mapdebug a -mapdebug b -background -input in";
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
                "options that have no effect here: -fs, -background",
                "no debug script is run (-mapdebug): the error of a failed task ends with the last \
                 lines of its stderr, and --only-maps runs a map task alone, for a debugger",
                "-libjars: tasks find these files as those of -files; no Java runs here",
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
    fn debug_scripts_are_said_not_to_run_however_they_are_named() {
        let pairs = [("mapred.reduce.task.debug.script", "./d.sh")];
        let said = of("--endpoints a:1 -mapdebug a -reducedebug b", &pairs);
        assert_eq!(said.len(), 1, "{said:?}");
        let names = "(-mapdebug, -reducedebug, mapreduce.reduce.debug.script)";
        assert!(said[0].contains(names) && said[0].contains("`synod jobs logs`"), "{said:?}");
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..25).map(|number| format!("my.{number:02}")).collect();
        let pairs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
        let notices = of("", &pairs);
        assert!(notices[0].ends_with("my.18, my.19 and 5 more"), "{notices:?}");
    }
}
