//! Golden scripts: `tests/testdata/*.txt` tell a story in commands, with the exact output below each.
//!
//! A case is its lines up to `----`, then the expected output up to an empty line. With
//! `SYNOD_UPDATE_GOLDEN` set in the environment the files are rewritten with what came out.
//!
//! Commands: `put K V`, `get K [END]`, `del K [END]`, `txn` (followed by lines `if FIELD K OP X`,
//! `then COMMAND`, `else COMMAND`), `compact R`, `grant ID TTL`, `revoke ID`, `lease ID`,
//! `history FROM [max=BYTES]`, `scrub`, `restart`, `sizes`. `\0` as END stands for the zero byte; options are
//! `name` or `name=value`.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use synod_base::{LeaseId, Revision};
use synod_state::kv::*;
use synod_storage::engine::{Engine, MemoryEngine, WriteBatch};

#[test]
fn every_script_gives_its_output() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata");
    let mut scripts: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    for script in scripts {
        let expected = std::fs::read_to_string(&script).unwrap();
        let came_out = run_script(&expected);
        if std::env::var_os("SYNOD_UPDATE_GOLDEN").is_some() {
            std::fs::write(&script, came_out).unwrap();
        } else {
            assert!(came_out == expected, "{}:\n{came_out}", script.display());
        }
    }
}

struct Runner {
    engine: Arc<MemoryEngine>,
    kv: Kv,
}

fn run_script(script: &str) -> String {
    let engine = Arc::new(MemoryEngine::new());
    let kv = Kv::open(engine.clone()).unwrap();
    let mut runner = Runner { engine, kv };
    let mut out = String::new();
    for case in script.trim_end().split("\n\n") {
        let mut comments = String::new();
        let mut lines = Vec::new();
        for line in case.lines().take_while(|line| *line != "----") {
            if line.starts_with('#') {
                writeln!(comments, "{line}").unwrap();
            } else {
                lines.push(line);
            }
        }
        out.push_str(&comments);
        if !lines.is_empty() {
            write!(out, "{}\n----\n{}", lines.join("\n"), runner.run(&lines)).unwrap();
        }
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

impl Runner {
    fn run(&mut self, lines: &[&str]) -> String {
        let words = Words::of(lines[0]);
        match words.name {
            "get" => match self.kv.range(&words.range()).unwrap() {
                Ok(result) => show_range(&result),
                Err(refusal) => format!("refused: {refusal}\n"),
            },
            "history" => {
                let max_bytes = words.number("max").map_or(usize::MAX, |max| max as usize);
                let from = Revision(words.args[0].parse().unwrap());
                match self.kv.history(from, max_bytes).unwrap() {
                    Ok(page) => self.show_history(&page),
                    Err(refusal) => format!("refused: {refusal}\n"),
                }
            }
            "lease" => match self.kv.lease(LeaseId(words.args[0].parse().unwrap())) {
                Some(lease) => format!("ttl={} keys={:?}\n", lease.ttl_seconds, lease.keys),
                None => "no such lease\n".to_string(),
            },
            "scrub" => {
                let mut batch = WriteBatch::default();
                while self.kv.scrub(1, &mut batch).unwrap() {}
                self.engine.write(batch).unwrap();
                self.kv.on_committed();
                self.run(&["sizes"])
            }
            "restart" => {
                self.kv = Kv::open(self.engine.clone()).unwrap();
                self.run(&["sizes"])
            }
            "sizes" => {
                let KvSizes { live_keys, history_events, leases, .. } = self.kv.sizes();
                format!("keys={live_keys} events={history_events} leases={leases}\n")
            }
            _ => self.apply(&words, &lines[1..]),
        }
    }

    fn apply(&mut self, words: &Words<'_>, rest: &[&str]) -> String {
        let number = |i: usize| words.args[i].parse::<i64>().unwrap();
        let command = match words.name {
            "put" => Command::Put(words.put()),
            "del" => Command::DeleteRange(words.delete()),
            "txn" => Command::Txn(txn(rest)),
            "compact" => Command::Compact { revision: Revision(number(0)) },
            "grant" => Command::LeaseGrant { id: LeaseId(number(0)), ttl_seconds: number(1) },
            "revoke" => Command::LeaseRevoke { id: LeaseId(number(0)) },
            other => panic!("unknown command {other}"),
        };
        match crate::apply(&mut self.kv, &*self.engine, &command) {
            Ok(result) => format!("{}revision {}\n", show_result(&result), self.kv.revision()),
            Err(refusal) => format!("refused: {refusal}\n"),
        }
    }

    fn show_history(&self, page: &HistoryPage) -> String {
        let mut out = String::new();
        for event in &page.events {
            let before = self.kv.prev_kv(event).unwrap();
            let before = before.map_or(String::new(), |kv| format!(" before {}", text(&kv.value)));
            writeln!(out, "{:?} {}{before}", event.kind, show_kv(&event.kv)).unwrap();
        }
        writeln!(out, "next {}", page.next).unwrap();
        out
    }
}

/// A line of a script.
struct Words<'a> {
    name: &'a str,
    args: Vec<&'a str>,
    options: Vec<(&'a str, &'a str)>,
}

const OPTIONS: [&str; 14] = [
    "rev",
    "limit",
    "sort",
    "keys_only",
    "count_only",
    "min_mod",
    "max_mod",
    "min_create",
    "max_create",
    "prev",
    "lease",
    "ignore_value",
    "ignore_lease",
    "max",
];

impl<'a> Words<'a> {
    fn of(line: &'a str) -> Self {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap();
        let (mut args, mut options) = (Vec::new(), Vec::new());
        for word in words {
            let (option, value) = word.split_once('=').unwrap_or((word, ""));
            if OPTIONS.contains(&option) {
                options.push((option, value));
            } else {
                args.push(word);
            }
        }
        Words { name, args, options }
    }

    fn option(&self, name: &str) -> Option<&'a str> {
        self.options.iter().find(|(option, _)| *option == name).map(|(_, value)| *value)
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.option(name).map(|value| value.parse().unwrap())
    }

    fn arg(&self, i: usize) -> Bytes {
        match self.args.get(i).copied() {
            Some("\\0") => Bytes::from_static(&[0]),
            word => Bytes::from(word.unwrap_or_default().to_string()),
        }
    }

    fn key_range(&self) -> KeyRange {
        KeyRange { key: self.arg(0), range_end: self.arg(1) }
    }

    fn range(&self) -> RangeRequest {
        let revision = |name| Revision(self.number(name).unwrap_or(0));
        let mut request = RangeRequest {
            range: self.key_range(),
            limit: self.number("limit").unwrap_or(0),
            revision: revision("rev"),
            keys_only: self.option("keys_only").is_some(),
            count_only: self.option("count_only").is_some(),
            min_mod_revision: revision("min_mod"),
            max_mod_revision: revision("max_mod"),
            min_create_revision: revision("min_create"),
            max_create_revision: revision("max_create"),
            ..RangeRequest::default()
        };
        if let Some((target, order)) = self.option("sort").and_then(|sort| sort.split_once(':')) {
            request.sort_target = match target {
                "key" => SortTarget::Key,
                "version" => SortTarget::Version,
                "create" => SortTarget::Create,
                "mod" => SortTarget::Mod,
                "value" => SortTarget::Value,
                other => panic!("unknown sort target {other}"),
            };
            request.sort_order = match order {
                "none" => SortOrder::None,
                "up" => SortOrder::Ascend,
                "down" => SortOrder::Descend,
                other => panic!("unknown sort order {other}"),
            };
        }
        request
    }

    fn put(&self) -> PutRequest {
        PutRequest {
            key: self.arg(0),
            value: self.arg(1),
            lease: LeaseId(self.number("lease").unwrap_or(0)),
            prev_kv: self.option("prev").is_some(),
            ignore_value: self.option("ignore_value").is_some(),
            ignore_lease: self.option("ignore_lease").is_some(),
        }
    }

    fn delete(&self) -> DeleteRangeRequest {
        DeleteRangeRequest { range: self.key_range(), prev_kv: self.option("prev").is_some() }
    }
}

fn txn(lines: &[&str]) -> TxnRequest {
    let mut txn = TxnRequest::default();
    for line in lines {
        match line.split_once(' ').unwrap() {
            ("if", compare) => txn.compare.push(self::compare(compare)),
            ("then", op) => txn.success.push(txn_op(op)),
            ("else", op) => txn.failure.push(txn_op(op)),
            (other, _) => panic!("unknown part of a txn: {other}"),
        }
    }
    txn
}

fn txn_op(line: &str) -> TxnOp {
    let words = Words::of(line);
    match words.name {
        "get" => TxnOp::Range(words.range()),
        "put" => TxnOp::Put(words.put()),
        "del" => TxnOp::DeleteRange(words.delete()),
        other => panic!("unknown op {other}"),
    }
}

fn compare(line: &str) -> Compare {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    let against = words.pop().unwrap();
    let result = match words.pop().unwrap() {
        "=" => CompareResult::Equal,
        "!=" => CompareResult::NotEqual,
        "<" => CompareResult::Less,
        ">" => CompareResult::Greater,
        other => panic!("unknown comparison {other}"),
    };
    let number = || against.parse::<i64>().unwrap();
    let target = match words[0] {
        "version" => CompareTarget::Version(number()),
        "create" => CompareTarget::Create(Revision(number())),
        "mod" => CompareTarget::Mod(Revision(number())),
        "value" => CompareTarget::Value(against.to_string().into()),
        "lease" => CompareTarget::Lease(LeaseId(number())),
        other => panic!("unknown field {other}"),
    };
    let range = Words { name: "", args: words[1..].to_vec(), options: vec![] }.key_range();
    Compare { range, result, target }
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn show_kv(kv: &KeyValue) -> String {
    let KeyValue { create_revision, mod_revision, version, .. } = kv;
    let mut out = format!(
        "{}={} create={create_revision} mod={mod_revision} version={version}",
        text(&kv.key),
        text(&kv.value)
    );
    if kv.lease != LeaseId::NONE {
        write!(out, " lease={}", kv.lease.0).unwrap();
    }
    out
}

fn show_range(result: &RangeResult) -> String {
    let mut out = String::new();
    for kv in &result.kvs {
        writeln!(out, "{}", show_kv(kv)).unwrap();
    }
    writeln!(out, "count {}{}", result.count, if result.more { ", more" } else { "" }).unwrap();
    out
}

fn show_before(kvs: &[KeyValue]) -> String {
    kvs.iter().map(|kv| format!("before {}\n", show_kv(kv))).collect()
}

fn show_result(result: &CommandResult) -> String {
    match result {
        CommandResult::Put { prev_kv } => show_before(prev_kv.as_slice()),
        CommandResult::DeleteRange { deleted, prev_kvs } => {
            format!("{}deleted {deleted}\n", show_before(prev_kvs))
        }
        CommandResult::Txn(txn) => show_txn(txn),
        CommandResult::LeaseGrant { ttl_seconds, .. } => format!("ttl {ttl_seconds}\n"),
        CommandResult::Compact | CommandResult::LeaseRevoke => String::new(),
    }
}

fn show_txn(txn: &TxnResult) -> String {
    let mut out = format!("succeeded {}\n", txn.succeeded);
    for response in &txn.responses {
        out += &match response {
            TxnOpResult::Range(result) => show_range(result),
            TxnOpResult::Put { prev_kv } => format!("put\n{}", show_before(prev_kv.as_slice())),
            TxnOpResult::DeleteRange { deleted, prev_kvs } => {
                format!("{}deleted {deleted}\n", show_before(prev_kvs))
            }
            TxnOpResult::Txn(inner) => show_txn(inner),
        };
    }
    out
}
