//! What of a job would not work the same way elsewhere: `--check`.
//!
//! Not errors. The job runs here; on another Hadoop, or on this engine with another setting, one of
//! these would be the first thing to look at.

use super::Arguments;
use super::submission::Submission;
use crate::error::JobError;
use crate::streaming::command;
use crate::streaming::files::JobFile;
use crate::streaming::locations::HDFS_ROOT;
use crate::streaming::properties::known::not_interpreted;
use crate::streaming::settings::{OWN_PREFIX, Settings, Worker};

/// Words that mean something to a shell and nothing here.
const SHELL_WORDS: &[&str] = &["|", "||", "&&", ";", ">", ">>", "<", "<<", "2>", "2>&1", "&"];

/// Programs that are scripts' interpreters or belong to every system.
const EVERYWHERE: &[&str] = &[
    "awk", "bash", "cat", "cut", "egrep", "env", "fgrep", "grep", "head", "perl", "python",
    "python3", "ruby", "sed", "sh", "sort", "tail", "tr", "uniq", "wc",
];

/// What to look at, a sentence each.
pub fn lint(arguments: &Arguments, submission: &Submission) -> Result<Vec<String>, JobError> {
    let properties = &submission.properties;
    let settings = Settings::read(properties)?;
    let mut found = arguments.warnings.clone();
    for (option, property) in [
        ("mapper", "stream.map.streamprocessor"),
        ("combiner", "stream.combine.streamprocessor"),
        ("reducer", "stream.reduce.streamprocessor"),
    ] {
        if let Some(line) = properties.raw(property).and_then(command::decode) {
            lint_command(option, &line, &settings.files, &mut found);
        }
    }
    for pair in arguments.values("cmdenv") {
        if pair.contains(' ') {
            found.push(format!("-cmdenv {pair}: Hadoop cuts the value at its blank"));
        }
    }
    if settings.mapper == Worker::Identity
        && matches!(settings.reducer, Worker::Command(_))
        && properties.raw("mapred.input.format.class").is_none()
    {
        found.push(
            "IdentityMapper over TextInputFormat gives numbers as keys: Hadoop fails when a \
             reducer is a command; use -mapper cat"
                .to_owned(),
        );
    }
    if settings.combiner.is_some() {
        found.push(
            "the combiner may run any number of times, also over its own output: it must print \
             what it reads, only less"
                .to_owned(),
        );
    }
    let own: Vec<&str> = properties
        .iter()
        .map(|(name, _)| name)
        .filter(|name| name.starts_with(OWN_PREFIX) && !name.starts_with("synod.cmdenv."))
        // Where there is a real HDFS nothing needs to stand in its place.
        .filter(|name| *name != HDFS_ROOT)
        .collect();
    if !own.is_empty() {
        found.push(format!("only Synod knows {}", own.join(", ")));
    }
    let unknown = not_interpreted(properties);
    if !unknown.is_empty() {
        found.push(format!("not interpreted here: {}", unknown.join(", ")));
    }
    Ok(found)
}

fn lint_command(option: &str, line: &str, files: &[JobFile], found: &mut Vec<String>) {
    let words = command::split(line);
    let Some(program) = words.first() else { return };
    if let Some(word) = words.iter().find(|word| SHELL_WORDS.contains(&word.as_str())) {
        found.push(format!(
            "-{option}: no shell runs, `{word}` is an argument; put the line into a script, or \
             write sh -c '..'"
        ));
    }
    if line.contains('\\') {
        found.push(format!(
            "-{option}: a backslash is a character like any other, it escapes nothing"
        ));
    }
    if line.split(' ').any(|word| word.starts_with('~') || word.starts_with('$')) {
        found.push(format!("-{option}: ~ and $ stand for themselves, nothing replaces them"));
    }
    let shipped = |name: &str| files.iter().any(|file| file.name == name);
    let plain = program.trim_start_matches("./");
    if program.starts_with('/') {
        found.push(format!("-{option}: {program} must be on every machine"));
    } else if !shipped(plain) && !EVERYWHERE.contains(&plain) && !plain.contains('/') {
        found.push(format!("-{option}: {program} is not shipped by -files; is it everywhere?"));
    }
    for word in &words[1..] {
        let script = [".py", ".rb", ".pl", ".sh", ".awk"].iter().any(|end| word.ends_with(end));
        if script && !word.starts_with('/') && !shipped(word.trim_start_matches("./")) {
            found.push(format!("-{option}: {word} is not shipped by -files"));
        }
    }
}
