//! What a real Hadoop Streaming gave, and what is given here for the same arguments: exit codes, part
//! files byte for byte, counters. The cases are in `golden/cases.json`, what Hadoop gave in
//! `golden/recorded.json`; `golden/README.md` says how it was recorded. The environment of programs is
//! compared in `golden_environment.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::read::MultiGzDecoder;
use serde_json::Value;

use crate::bench::{Bench, visible_parts};
use crate::formats::{bz2, gz};

/// Cases at a time.
const THREADS: usize = 4;

/// Counters that are not compared, and why.
const NOT_COMPARED: &[(&str, &str)] = &[(
    "Bytes Read",
    "Hadoop's is what its readers took of the files, packed and beyond a split's end, too; here it is \
     what the records are made of",
)];

/// The cases and what Hadoop gave.
pub struct Golden {
    cases: Value,
    recorded: Value,
}

/// One case.
#[derive(Clone, Copy)]
pub struct Case<'g> {
    pub name: &'g str,
    asked: &'g Value,
    pub recorded: &'g Value,
}

/// What a job gave here.
pub struct Given {
    pub bench: Bench,
    pub said: String,
    code: Option<i32>,
    /// Unpacked; a character is a byte.
    pub parts: BTreeMap<String, String>,
}

impl Golden {
    pub fn read() -> Golden {
        let read = |text| serde_json::from_str(text).unwrap();
        Golden {
            cases: read(include_str!("golden/cases.json")),
            recorded: read(include_str!("golden/recorded.json")),
        }
    }

    pub fn cases(&self) -> Vec<Case<'_>> {
        let cases = self.cases.as_array().unwrap().iter().map(|asked| {
            let name = asked["name"].as_str().unwrap();
            let recorded = &self.recorded["cases"][name];
            assert!(recorded.is_object(), "{name} was never recorded: see golden/README.md");
            Case { name, asked, recorded }
        });
        cases.collect()
    }

    pub fn recorded(&self) -> &Value {
        &self.recorded
    }

    pub fn case(&self, name: &str) -> Case<'_> {
        self.cases().into_iter().find(|case| case.name == name).unwrap()
    }
}

impl Case<'_> {
    fn is(&self, flag: &str) -> bool {
        self.asked[flag] == true
    }

    pub fn run(&self) -> Given {
        let bench = Bench::new();
        for (name, content) in self.asked["files"].as_object().unwrap() {
            match name.strip_suffix('/') {
                Some(folder) => fs::create_dir_all(bench.path(folder)).unwrap(),
                None => put(&bench, name, content),
            }
        }
        let folder = bench.path("").display().to_string();
        let mut words: Vec<String> = match &self.asked["args"] {
            Value::Array(words) => words.iter().map(|word| word.as_str().unwrap().into()).collect(),
            words => words.as_str().unwrap().split_whitespace().map(str::to_owned).collect(),
        };
        words.iter_mut().for_each(|word| *word = word.replace("{folder}/", &folder));
        let given = |name: &str| words.iter().any(|word| word == name);
        let input: &[&str] = if given("-input") { &[] } else { &["-input", "in"] };
        let more = match self.asked["output"] == false {
            true => Vec::new(),
            false => [input, &["-output", "out"]].concat(),
        };
        // Under the name that ends with Hadoop's codes and prints its counters.
        let front = ["hadoop", "jar", "hadoop-streaming.jar"];
        let words = front.into_iter().chain(words.iter().map(String::as_str)).chain(more);
        let done = bench.command(&words.collect::<Vec<_>>()).output().unwrap();
        let code = done.status.code();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        let output = bench.path("out");
        let parts = if code == Some(0) && output.exists() {
            assert!(output.join("_SUCCESS").exists(), "{}: {said}", self.name);
            visible_parts(&output).into_iter().map(unpacked).collect()
        } else {
            BTreeMap::new()
        };
        Given { bench, said, code, parts }
    }

    /// What should be as Hadoop has it or as the case says, and is not.
    fn differences(&self) -> Vec<String> {
        let given = self.run();
        let mut found = Vec::new();
        let ours = &self.asked["ours"];
        let code = ours.get("code").unwrap_or(&self.recorded["code"]);
        if given.code.map(i64::from) != code.as_i64() {
            found.push(format!("ends with {:?}, not {code}: {}", given.code, given.said));
        }
        if ours.is_object() {
            let as_hadoop = ours.get("parts").is_none_or(|parts| self.recorded["parts"] == *parts)
                && ours.get("code").is_none_or(|code| self.recorded["code"] == *code)
                && ours.get("counters").is_none();
            if as_hadoop {
                found.push("is said to differ from Hadoop, and does not".to_owned());
            }
            assert!(ours["because"].is_string(), "{} says why", self.name);
        }
        if code.as_i64() != Some(0) || self.is("environment") {
            return self.named(found);
        }
        let parts = ours.get("parts").or(self.recorded.get("parts"));
        if let Some(parts) = parts {
            let expected = parts.as_object().unwrap().iter();
            let expected =
                expected.map(|(name, part)| (name.clone(), part.as_str().unwrap().into()));
            let (given, expected) =
                (self.in_order(&given.parts), self.in_order(&expected.collect()));
            if given != expected {
                found.push(format!("gives {given:#?}, not {expected:#?}"));
            }
        }
        let counters = ours.get("counters").or(self.recorded.get("counters"));
        // Where the output is another on purpose, so are the counters.
        let compared = ours.get("parts").is_none() || ours.get("counters").is_some();
        if let Some(groups) = counters.filter(|_| compared) {
            for (group, counters) in groups.as_object().unwrap() {
                let counters = counters.as_object().unwrap().iter();
                for (name, amount) in counters.filter(|(name, _)| !is_left_out(name)) {
                    let counted = given.counter(group, name);
                    if counted != amount.as_i64() {
                        found.push(format!("counts {group}, {name}: {counted:?}, not {amount}"));
                    }
                }
            }
        }
        self.named(found)
    }

    fn named(&self, found: Vec<String>) -> Vec<String> {
        found.iter().map(|what| format!("{}: {what}", self.name)).collect()
    }

    /// Part files as they are compared: where Hadoop itself leaves an order open it does not count.
    fn in_order(&self, parts: &BTreeMap<String, String>) -> Vec<(String, String)> {
        let mut parts = parts.clone();
        if self.is("same_key_in_any_order") {
            for part in parts.values_mut() {
                let key = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
                let mut lines: Vec<&str> = part.split_inclusive('\n').collect();
                for group in lines.chunk_by_mut(|a, b| key(a) == key(b)) {
                    group.sort_unstable();
                }
                *part = lines.concat();
            }
        }
        if self.is("lines_in_any_order") {
            for part in parts.values_mut() {
                let mut lines: Vec<&str> = part.split_inclusive('\n').collect();
                lines.sort_unstable();
                *part = lines.concat();
            }
        }
        if self.is("parts_in_any_order") {
            let names: Vec<String> = parts.keys().cloned().collect();
            let mut texts: Vec<String> = parts.into_values().collect();
            texts.sort_unstable();
            return names.into_iter().zip(texts).collect();
        }
        parts.into_iter().collect()
    }
}

impl Given {
    fn counter(&self, group: &str, name: &str) -> Option<i64> {
        let counters = self.said.split("Counters: ").last()?.lines();
        let mut counters =
            counters.skip_while(|line| line.trim_end() != format!("\t{group}")).skip(1);
        let name = format!("\t\t{name}=");
        let of_group = counters.by_ref().take_while(|line| line.starts_with("\t\t"));
        of_group.filter_map(|line| line.strip_prefix(&name)).next()?.parse().ok()
    }
}

fn is_left_out(counter: &str) -> bool {
    NOT_COMPARED.iter().any(|(name, _)| *name == counter)
}

/// Each character is a byte.
fn bytes(text: &Value) -> Vec<u8> {
    let text = text.as_str().unwrap();
    text.chars().map(|byte| u8::try_from(byte).expect("a character is a byte")).collect()
}

fn put(bench: &Bench, name: &str, content: &Value) {
    let each = |kind: &str, pack: fn(&[u8]) -> Vec<u8>| -> Vec<u8> {
        content[kind].as_array().unwrap().iter().flat_map(|part| pack(&bytes(part))).collect()
    };
    if content.is_string() {
        let content = bytes(content);
        if let Some(script) = content.strip_prefix(b"#!/bin/sh\n") {
            let script = std::str::from_utf8(script).unwrap();
            bench.script(name, script.trim_end());
        } else {
            bench.put(name, content);
        }
    } else if content.get("gz").is_some() {
        bench.put(name, each("gz", gz));
    } else if content.get("bz2").is_some() {
        bench.put(name, each("bz2", bz2));
    } else if content.get("zip").is_some() {
        let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (inner, content) in content["zip"].as_object().unwrap() {
            archive.start_file(inner, zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(&bytes(content)).unwrap();
        }
        bench.put(name, archive.finish().unwrap().into_inner());
    } else {
        let times = content["repeat"][1].as_u64().unwrap();
        bench.put(name, bytes(&content["repeat"][0]).repeat(times as usize));
    }
}

fn unpacked((name, content): (String, Vec<u8>)) -> (String, String) {
    let mut bytes = Vec::new();
    match name.rsplit_once('.') {
        Some((_, "gz")) => MultiGzDecoder::new(&content[..]).read_to_end(&mut bytes).unwrap(),
        Some((_, "bz2")) => {
            bzip2::read::MultiBzDecoder::new(&content[..]).read_to_end(&mut bytes).unwrap()
        }
        _ => content.as_slice().read_to_end(&mut bytes).unwrap(),
    };
    (name, bytes.into_iter().map(char::from).collect())
}

#[test]
fn what_hadoop_gave_is_given_here_but_for_what_is_said_to_differ() {
    let golden = Golden::read();
    let cases = golden.cases();
    let next = AtomicUsize::new(0);
    let found: Vec<String> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let mine = || cases.get(next.fetch_add(1, Ordering::Relaxed));
                    std::iter::from_fn(mine).flat_map(Case::differences).collect::<Vec<_>>()
                })
            })
            .collect();
        all.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
}

#[test]
fn each_recording_is_of_a_case_and_from_the_hadoop_that_the_documents_name() {
    let golden = Golden::read();
    let cases: BTreeSet<&str> = golden.cases().iter().map(|case| case.name).collect();
    let recorded = golden.recorded["cases"].as_object().unwrap();
    let recorded: BTreeSet<&str> = recorded.keys().map(String::as_str).collect();
    assert_eq!(cases, recorded);
    assert_eq!(golden.cases.as_array().unwrap().len(), cases.len(), "two cases have one name");
    assert_eq!(golden.recorded["hadoop"], "Hadoop 3.3.4");
    // Nothing of the machine that it was recorded on.
    let text = include_str!("golden/recorded.json");
    for trace in ["/tmp/golden-", "/root", "/home/", "/usr/"] {
        assert!(!text.contains(trace), "{trace}");
    }
}
