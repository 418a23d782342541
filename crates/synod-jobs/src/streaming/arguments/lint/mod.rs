//! What of a job would not work the same way elsewhere: `--check`.
//!
//! Not errors. The job runs here; on another Hadoop, or on this engine with another setting, one of
//! these would be the first thing to look at. Nothing is run: arguments, properties and the text of
//! shipped scripts ([`scripts`]) are all there is to see. docs/mapreduce.md has the list.

pub mod scripts;
mod shell;

use self::scripts::{Beside, Look, Place, lint_script};
use super::Arguments;
use super::submission::Submission;
use crate::error::JobError;
use crate::streaming::command;
use crate::streaming::files::JobFile;
use crate::streaming::locations::HDFS_ROOT;
use crate::streaming::properties::Properties;
use crate::streaming::properties::known::not_interpreted;
use crate::streaming::settings::{CMDENV_PREFIX, OWN_PREFIX, Pipes, Settings, Worker};
use crate::streaming::wire::Wire;
use std::collections::BTreeSet;

/// Words that mean something to a shell and nothing here.
const SHELL_WORDS: &[&str] = &["|", "||", "&&", ";", ">", ">>", "<", "<<", "2>", "2>&1", "&"];

/// Programs that are scripts' interpreters or belong to every system.
const EVERYWHERE: &[&str] = &[
    "awk", "bash", "cat", "cut", "egrep", "env", "fgrep", "grep", "head", "perl", "python",
    "python3", "ruby", "sed", "sh", "sort", "tail", "tr", "uniq", "wc",
];

/// What to look at, a sentence each. Shipped files are read with `look`; one that cannot be read as a file
/// is passed over.
pub fn lint(
    arguments: &Arguments,
    submission: &Submission,
    look: &Look<'_>,
) -> Result<Vec<String>, JobError> {
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
            lint_work(option, &line, properties, &mut found);
            found.extend(lint_shipped(&line, &settings, properties, look));
        }
    }
    lint_records(&settings, properties, &mut found);
    lint_pipes(&settings, &mut found);
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
    // Two stages may have one script.
    let mut said = BTreeSet::new();
    found.retain(|line| said.insert(line.clone()));
    Ok(found)
}

/// Records that are no lines.
fn lint_records(settings: &Settings, properties: &Properties, found: &mut Vec<String>) {
    let by_lines =
        matches!(settings.mapper, Worker::Command(_)) && settings.map.input == Wire::Text;
    let end = match &settings.marks {
        Some(marks) => String::from_utf8_lossy(&marks.end).into_owned(),
        None => properties.get_or("textinputformat.record.delimiter", ""),
    };
    if by_lines && !end.is_empty() && !end.contains('\n') {
        found.push(format!(
            "records end at `{}` and may hold line feeds: a mapper that reads lines takes one for \
             several",
            end.escape_debug()
        ));
    }
}

/// What goes through pipes and is no text, or text that is cut in more than one way.
fn lint_pipes(settings: &Settings, found: &mut Vec<String>) {
    let stages: [(&str, &Worker, &Pipes); 2] =
        [("map", &settings.mapper, &settings.map), ("reduce", &settings.reducer, &settings.reduce)];
    let commands = stages.into_iter().filter(|(_, worker, _)| matches!(worker, Worker::Command(_)));
    for (stage, _, pipes) in commands {
        for (direction, wire) in [("input", pipes.input), ("output", pipes.output)] {
            if wire != Wire::Text {
                found.push(format!(
                    "stream.{stage}.{direction} (-io) is not text: the program must speak {}, and \
                     engines that pass lines on are out of the question",
                    wire.name()
                ));
            }
        }
    }
    let Pipes { output, output_separator, key_fields, .. } = &settings.map;
    let to_command = matches!(settings.reducer, Worker::Command(_));
    let both = to_command && matches!(settings.mapper, Worker::Command(_));
    if !both || *output != Wire::Text {
        return;
    }
    if output_separator != "\t" {
        found.push(format!(
            "the mapper's keys end at `{}`, so they may hold tabs; a reducer that cuts lines at the \
             first tab would see other keys",
            output_separator.escape_debug()
        ));
    } else if *key_fields > 1 {
        found.push(format!(
            "keys of {key_fields} fields hold tabs: a reducer that cuts lines at the first tab sees \
             other keys"
        ));
    }
}

/// What a command does with its input, as far as its words show it.
fn lint_work(option: &str, line: &str, properties: &Properties, found: &mut Vec<String>) {
    let words = command::split(line);
    let Some(program) = words.first().map(|word| last_part(word)) else { return };
    let in_shell =
        shell::SHELLS.contains(&program) && words.get(1).is_some_and(|word| word == "-c");
    let commands = match words.get(2) {
        Some(text) if in_shell => shell::commands(text),
        _ => vec![program],
    };
    let enough = ["grep", "egrep", "fgrep"].contains(&program)
        && words.iter().any(|word| word == "-q" || word.starts_with("-m"));
    if let Some(command) = shell::without_input(&commands).or(enough.then_some(program)) {
        found.push(format!(
            "-{option}: {command} does not read all its input; Hadoop's pipe breaks, and the task fails"
        ));
    }
    if let Some(command) = shell::by_locale(&commands)
        && !is_bytewise(properties)
        && !shell::sets_byte_order(line)
    {
        found.push(locale_warning(&format!("-{option}"), command));
    }
}

fn locale_warning(place: &str, command: &str) -> String {
    format!(
        "{place}: {command} goes by the locale of the machine, keys come in the order of their bytes: \
         -cmdenv LC_ALL=C"
    )
}

/// What the texts of the scripts in a command show.
fn lint_shipped(
    line: &str,
    settings: &Settings,
    properties: &Properties,
    look: &Look<'_>,
) -> Vec<String> {
    let words = command::split(line);
    let shipped =
        |word: &str| settings.files.iter().find(|file| file.name == word.trim_start_matches("./"));
    let Some((program, arguments)) = words.split_first() else { return Vec::new() };
    let script = match shipped(program) {
        Some(file) => Some((file, Place::Program)),
        // What an interpreter runs is its first file; others are what the script reads.
        None if is_interpreter(last_part(program)) => arguments
            .iter()
            .find_map(|word| shipped(word))
            .map(|file| (file, Place::ArgumentOf(last_part(program)))),
        None => None,
    };
    let Some((file, place)) = script else { return Vec::new() };
    let Ok(text) = look(&file.path) else { return Vec::new() };
    let names: Vec<&str> = settings.files.iter().map(|file| file.name.as_str()).collect();
    let beside = Beside {
        names: &names,
        archives: !settings.archives.is_empty(),
        bytewise: is_bytewise(properties),
        hash_seed: variable(properties, "PYTHONHASHSEED").is_some(),
    };
    lint_script(&file.name, place, &text, &beside)
}

fn last_part(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

fn is_interpreter(program: &str) -> bool {
    shell::SHELLS.contains(&program)
        || ["python", "pypy", "perl", "ruby", "awk", "env"]
            .iter()
            .any(|part| program.contains(part))
}

fn is_bytewise(properties: &Properties) -> bool {
    variable(properties, "LC_ALL")
        .is_some_and(|locale| locale == "POSIX" || locale == "C" || locale.starts_with("C."))
}

/// A variable that the job sets for its commands.
fn variable(properties: &Properties, name: &str) -> Option<String> {
    let by_option = properties.get(&format!("{CMDENV_PREFIX}{name}"));
    by_option.or_else(|| {
        let lists = ["mapreduce.map.env", "mapreduce.reduce.env"].map(|list| properties.get(list));
        let pairs = lists.iter().flatten().flat_map(|list| list.split(','));
        let mut values = pairs.filter_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='));
        values.next().map(str::to_owned)
    })
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
