//! The rules that look at lines: name-plates, width, words that must not stay, and what the crates
//! below the executor must not touch (no clock, thread, socket, file or dice: the simulator's
//! ground). The exceptions are named one by one, with their reasons, in `EXCUSES`.

use super::source::Source;

/// Every line that breaks a rule, as `path:line: what`.
pub fn breaches(files: &[Source]) -> Vec<String> {
    files.iter().flat_map(of_file).collect()
}

fn of_file(file: &Source) -> Vec<String> {
    let mut found = Vec::new();
    if !file.is_test && !file.text.starts_with("//! ") {
        found.push(format!("{}:1: a file begins with its name-plate, '//!'", file.path));
    }
    for (number, line) in file.lines() {
        let width = line.chars().count();
        let is_comment = line.trim_start().starts_with("//");
        let widest = match line {
            _ if is_comment => WIDEST_COMMENT,
            _ if line.contains('"') => WIDEST_STRING,
            _ => WIDEST_CODE,
        };
        if width > widest {
            found.push(format!("{}:{number}: {width} columns; {widest} fit", file.path));
        }
        for (word, why) in UNFINISHED {
            if line.contains(word) && !excused(file, word) {
                found.push(format!("{}:{number}: '{word}': {why}", file.path));
            }
        }
    }
    for (number, line) in file.product_lines() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        for (word, why) in NOT_IN_PRODUCT {
            if line.contains(word) && !excused(file, word) {
                found.push(format!("{}:{number}: '{word}': {why}", file.path));
            }
        }
    }
    if is_below_executor(&file.path) {
        found.extend(outside_world(file));
    }
    found
}

/// Code; rustfmt breaks what it can.
const WIDEST_CODE: usize = 100;

/// Prose may end its last word late.
const WIDEST_COMMENT: usize = 110;

/// A string that rustfmt does not break.
const WIDEST_STRING: usize = 120;

/// Marks of unfinished work, in comments and tests too.
const UNFINISHED: [(&str, &str); 5] = [
    ("TODO", "do it, or file an issue"),
    ("FIXME", "fix it, or file an issue"),
    ("todo!", "do it"),
    ("unimplemented!", "implement it, or leave it out"),
    ("#[ignore", "a test runs, or it is not there"),
];

const NOT_IN_PRODUCT: [(&str, &str); 2] = [
    (".unwrap()", "say why it cannot fail with expect, or return the error"),
    ("thread::sleep", "wait for what you wait for"),
];

/// Without `synod-`. The simulator stands beside the executor, on its own virtual world.
const BELOW_EXECUTOR: [&str; 10] =
    ["base", "proto", "storage", "consensus", "state", "node", "client", "jobs", "api", "sim"];

fn is_below_executor(path: &str) -> bool {
    BELOW_EXECUTOR.iter().any(|name| path.starts_with(&format!("crates/synod-{name}/src/")))
}

/// Touches of the world outside, other than through the executor.
fn outside_world(file: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let mut import = None;
    for (number, line) in file.product_lines() {
        let code = line.trim();
        if code.starts_with("//") {
            continue;
        }
        // An import of several lines counts as one.
        if code.starts_with("use std::") || code.starts_with("pub use std::") {
            import = Some(String::new());
        }
        let words = match &mut import {
            Some(import) => {
                import.push_str(code);
                if !code.ends_with(';') {
                    continue;
                }
                std::mem::take(import)
            }
            None => code.to_owned(),
        };
        let is_import = import.take().is_some();
        for (name, paths, imported) in OUTSIDE {
            let touches = paths.iter().any(|path| has_path(&words, path))
                || is_import && imported.iter().any(|word| has_word(&words, word));
            if touches && !excused(file, name) {
                let what = "the outside world belongs to the executor (synod-server)";
                found.push(format!("{}:{number}: {name}: {what}", file.path));
            }
        }
    }
    found
}

/// What it is called, paths that reach it, and words that do in an import of `std`.
const OUTSIDE: [(&str, &[&str], &[&str]); 5] = [
    (
        "clock",
        &[
            "std::time::Instant",
            "std::time::SystemTime",
            "tokio::time",
            "Instant::now",
            "SystemTime::now",
        ],
        &["Instant", "SystemTime"],
    ),
    ("threads", &["std::thread", "spawn_blocking"], &["thread"]),
    ("sockets", &["std::net", "tokio::net", "tonic::transport"], &["net"]),
    ("files", &["std::fs"], &["fs"]),
    (
        "dice",
        &[
            "rand::rng",
            "rand::random",
            "getrandom::",
            "Rng::new()",
            "fastrand::u64(",
            "fastrand::u32(",
            "fastrand::usize(",
            "fastrand::bool(",
            "RandomState::new",
        ],
        &["RandomState"],
    ),
];

/// Who may, and why. A folder's name ends with a slash.
const EXCUSES: &[(&str, &[&str], &str)] = &[
    ("crates/synod-base/src/disk/real.rs", &["files"], "the real disk"),
    ("crates/synod-storage/src/engine/fjall.rs", &["files", "threads"], "fjall owns its files"),
    ("crates/synod-storage/src/engine/fjall/", &["files"], "as above"),
    ("crates/synod-client/src/conformance.rs", &["clock"], "a suite for tests; bounds their waits"),
    ("crates/synod-client/src/remote/", &["clock", "sockets"], "a client of another process"),
    ("crates/synod-client/src/session.rs", &["clock"], "when to renew; no node sees it"),
    ("crates/synod-jobs/src/local/", &["files", "threads"], "the runner inside one process"),
    ("crates/synod-jobs/src/local/mod.rs", &["dice"], "a seed that a hostile input does not know"),
    ("crates/synod-jobs/src/commit.rs", &["dice"], "names that no two coordinators share"),
    ("crates/synod-jobs/src/local/diary.rs", &["clock"], "when tasks ran, for people to look at"),
    (
        "crates/synod-jobs/src/builtin/join/left_lines.rs",
        &["files"],
        "keeps in the attempt's folder what does not fit the memory",
    ),
    (
        "crates/synod-jobs/src/builtin/passes.rs",
        &["files"],
        "reads what one pass wrote for the next",
    ),
    ("crates/synod-jobs/src/builtin/kmeans/centres.rs", &["files"], "a side file of a task"),
    ("crates/synod-jobs/src/cluster/", &["files"], "the runner on a node's worker thread"),
    ("crates/synod-jobs/src/commit.rs", &["files"], "renames outputs; workers only"),
    ("crates/synod-jobs/src/input/", &["files"], "reads users' files; workers only"),
    ("crates/synod-jobs/src/quarantine.rs", &["files"], "keeps what a task left out"),
    ("crates/synod-jobs/src/reader.rs", &["files"], "reads users' files; workers only"),
    ("crates/synod-jobs/src/run/", &["files"], "spills to local disk; workers only"),
    ("crates/synod-jobs/src/side_files.rs", &["files"], "lists what a task has left; workers only"),
    ("crates/synod-jobs/src/sink.rs", &["files"], "writes part files; workers only"),
    ("crates/synod-jobs/src/task.rs", &["files"], "the folders of an attempt; workers only"),
    (
        "crates/synod-jobs/src/streaming/child/",
        &["files", "clock"],
        "programs of tasks: their folders, pipes and timeouts; workers only",
    ),
    ("crates/synod-jobs/src/streaming/files.rs", &["files"], "the files that come with a job"),
    ("crates/synod-jobs/src/streaming/report.rs", &["clock"], "how much stderr there is a second"),
    ("crates/synod-jobs/src/streaming/stage.rs", &["clock"], "hands the time to report.rs"),
    ("crates/synod-jobs/src/wasm/compilers.rs", &["threads"], "compiles users' modules"),
    ("crates/synod-jobs/src/wasm/module.rs", &["files"], "reads users' modules; workers only"),
    ("crates/synod-jobs/src/wasm/ticker.rs", &["threads"], "ends modules that take too long"),
    ("crates/synod-sim/src/cli.rs", &["threads"], "many simulations at a time, each on one thread"),
    (
        "crates/xtask/src/tidy/rules.rs",
        &["TODO", "FIXME", "todo!", "unimplemented!", "#[ignore"],
        "the rules name what they look for",
    ),
    ("crates/xtask/src/tidy/rules.rs", &[".unwrap()", "thread::sleep"], "as above"),
];

fn excused(file: &Source, what: &str) -> bool {
    EXCUSES.iter().any(|(path, whats, _)| {
        let covers = file.path == *path || path.ends_with('/') && file.path.starts_with(path);
        covers && whats.contains(&what)
    })
}

/// Whether the text has the path, not as the tail of a longer name.
fn has_path(text: &str, path: &str) -> bool {
    text.match_indices(path).any(|(at, _)| !ends_in_word(&text[..at]))
}

fn has_word(text: &str, word: &str) -> bool {
    let whole = |(at, _)| {
        let rest: &str = &text[at + word.len()..];
        !ends_in_word(&text[..at]) && !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
    };
    text.match_indices(word).any(whole)
}

fn ends_in_word(text: &str) -> bool {
    text.ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str) -> Vec<String> {
        breaches(&[Source { path: path.into(), text: text.into(), is_test: false }])
    }

    #[track_caller]
    fn assert_breach(path: &str, code: &str, part: &str) {
        let found = check(path, &format!("//! Plate.\n{code}\n"));
        assert!(found.len() == 1 && found[0].contains(part), "{found:?}");
    }

    #[track_caller]
    fn assert_fine(path: &str, code: &str) {
        assert_eq!(check(path, &format!("//! Plate.\n{code}\n")), [""; 0]);
    }

    const NODE: &str = "crates/synod-node/src/a.rs";
    const SERVER: &str = "crates/synod-server/src/a.rs";

    #[test]
    fn a_file_without_a_name_plate_is_refused() {
        assert!(check(SERVER, "use x;\n")[0].contains("name-plate"));
    }

    #[test]
    fn a_line_too_wide_is_refused() {
        assert_breach(SERVER, &format!("let a = {};", "x".repeat(100)), "columns");
        assert_breach(SERVER, &format!("// {}", "x".repeat(120)), "columns");
        assert_fine(SERVER, &format!("// {}", "x".repeat(97)));
    }

    #[test]
    fn unfinished_work_is_refused() {
        assert_breach(SERVER, "// TODO later", "TODO");
        assert_breach(SERVER, "// FIXME later", "FIXME");
        assert_breach(SERVER, "    todo!()", "todo!");
        assert_breach(SERVER, "    unimplemented!()", "unimplemented!");
        assert_breach(SERVER, "#[ignore = \"slow\"]", "#[ignore");
    }

    #[test]
    fn unwrap_and_sleep_are_for_tests() {
        assert_breach(SERVER, "    a.unwrap();", "unwrap");
        assert_breach(SERVER, "    std::thread::sleep(a);", "sleep");
        assert_fine(SERVER, "    a.unwrap_or(b);");
        assert_fine(SERVER, "#[cfg(test)]\nmod tests {\n    a.unwrap();\n}");
    }

    #[test]
    fn the_outside_world_is_the_executors() {
        assert_breach(NODE, "use std::time::Instant;", "clock");
        assert_breach(NODE, "use std::{fmt, time::{Duration, SystemTime}};", "clock");
        assert_breach(NODE, "use std::{\n    fmt,\n    thread,\n};", "threads");
        assert_breach(NODE, "    let a = std::net::TcpStream::connect(b);", "sockets");
        assert_breach(NODE, "use tokio::net::TcpStream;", "sockets");
        assert_breach(NODE, "    tokio::time::sleep(a).await;", "clock");
        assert_breach("crates/synod-client/src/kv.rs", "use tonic::transport::Channel;", "sockets");
        assert_fine("crates/synod-client/src/remote/mod.rs", "use tonic::transport::Channel;");
        assert_breach(NODE, "use std::fs::File;", "files");
        assert_breach(NODE, "    let a = rand::random();", "dice");
        assert_breach(NODE, "    let a = fastrand::Rng::new();", "dice");
        assert_fine(NODE, "use std::time::Duration;\nuse synod_base::Instant;");
        assert_fine(NODE, "    let a = fastrand::Rng::with_seed(1);");
        assert_fine(NODE, "// std::fs is not for us");
        assert_fine(SERVER, "use std::fs::File;");
        assert_fine("crates/synod-base/src/disk/real.rs", "use std::fs::File;");
    }
}
