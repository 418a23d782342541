//! The status page of jobs: what it answers and refuses over plain HTTP, what a real browser makes of it,
//! and that no text of a job is anything but text there.
//!
//! The browser is Debian's `chromium`, without its network services. Without it these tests say so and
//! pass, unless SYNOD_TEST_REQUIRE_CHROMIUM=1 (as in `.ci/run`).

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::cluster::Cluster;
use support::load::{remote, runtime};
use support::process::Process;
use support::{PATIENCE, http, leave_out, succeed, synod, wait_for};
use synod::client::Kv;
use synod::jobs::cluster::names::JobKey;
use synod::jobs::cluster::records::{AttemptFailure, Span, Totals, encode};
use synod::jobs::cluster::report::{FailureRow, Skew, TaskRow};
use synod::jobs::cluster::{JobId, JobRecord, JobReport, JobState, TaskId};
use synod::jobs::given_up::GivenUp;
use synod::jobs::{Counters, JobSpec};
use synod::kv::PutRequest;
use tempfile::TempDir;

/// What somebody may call a job, or a program may say when it fails.
const EVIL: &str = "<script>document.title='owned'</script><img src=x onerror=alert(1)>&amp;";
/// Tasks of the large job that its report tells of, and those that it leaves out, all of them maps.
const MAPS: u32 = 1_900;
const REDUCES: u32 = 90;
const LEFT_OUT: u32 = 8_010;

struct Bench {
    cluster: Cluster,
    client: String,
}

impl Bench {
    fn new() -> Bench {
        Bench::of(1)
    }

    fn of(nodes: usize) -> Bench {
        let cluster = Cluster::start(nodes);
        let client = cluster.nodes[0].client();
        Bench { cluster, client }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.cluster.folder().join(name)
    }

    fn get(&self, path: &str) -> (u16, String) {
        http::get(&self.client, path).unwrap()
    }

    fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Runs a word count that succeeds; its name.
    fn count(&self) -> String {
        let input = self.path("in").to_str().unwrap().to_owned();
        fs::write(&input, "to be or not\nto be\n").unwrap();
        let output = self.path("out").to_str().unwrap().to_owned();
        let run = ["run", "wordcount", &input, "--output", &output, "--json"];
        let done = succeed(&[&run[..], &["--endpoints", &self.client]].concat());
        let done: Value = serde_json::from_str(&done).unwrap();
        done["id"].as_str().unwrap().to_owned()
    }

    /// Runs one that fails on a record.
    fn fail(&self) {
        let input = self.path("long").to_str().unwrap().to_owned();
        fs::write(&input, [&b"short\n"[..], &vec![b'x'; 3 << 20]].concat()).unwrap();
        let output = self.path("none").to_str().unwrap().to_owned();
        let run = ["run", "wordcount", &input, "--output", &output, "--max-record-mib", "1"];
        let mut run = synod(&[&run[..], &["--endpoints", &self.client]].concat());
        let ran = run.stdin(Stdio::null()).output().unwrap();
        assert_eq!(ran.status.code(), Some(1));
    }

    /// Stores what is left of a large job that nobody ran, with texts that want to be markup.
    fn store_large(&self) -> JobId {
        let id: JobId = "000000000001-00000001".parse().unwrap();
        let (record, report) = (large_record(), large_report());
        runtime().block_on(async {
            let kv = remote(std::slice::from_ref(&self.client));
            for (key, value) in [
                (JobKey::Report, encode(&report).unwrap()),
                (JobKey::Record, encode(&record).unwrap()),
            ] {
                let put = PutRequest {
                    key: id.key(key).into(),
                    value: value.into(),
                    ..PutRequest::default()
                };
                kv.put(put).await.unwrap();
            }
        });
        id
    }
}

fn large_record() -> JobRecord {
    JobRecord {
        spec: JobSpec::new("wordcount", [format!("/in/{EVIL}")], format!("/out/{EVIL}")),
        state: JobState::Failed(format!("it broke: {EVIL}")),
        epoch: 1,
        build: "test".into(),
        totals: Totals {
            maps: MAPS + LEFT_OUT,
            reduces: REDUCES,
            input_bytes: 1 << 36,
            plan_pieces: 1,
        },
        attempts: 4,
        reduce_attempts: None,
        runs_commands: false,
        name: EVIL.into(),
        submitted_ms: 1_700_000_000_000,
        started_ms: 1_700_000_001_000,
        ended_ms: 1_700_000_301_000,
    }
}

fn large_report() -> JobReport {
    let nodes: Vec<String> = (0..10).map(|node| format!("{EVIL}-{node}")).collect();
    let row = |index: u32, task: TaskId| {
        let started_ms = 1_700_000_001_000 + u64::from(index / 10) * 1_400;
        let ended_ms = started_ms + 1_000 + u64::from(index % 7) * 50;
        let (bytes, pairs) = (1 << 25, u64::from(100 + index % 13));
        let backup = index % 50 == 7;
        TaskRow { task, attempt: 0, backup, node: index % 10, started_ms, ended_ms, bytes, pairs }
    };
    let maps = (0..MAPS).map(|number| row(number, TaskId::map(number)));
    let reduces = (0..REDUCES).map(|number| row(MAPS + number, TaskId::reduce(number)));
    let failure = |number: u32| FailureRow {
        task: TaskId::map(number),
        failure: AttemptFailure {
            attempt: 1,
            worker: "w-1".parse().unwrap(),
            node: nodes[number as usize].clone(),
            span: Span { started_ms: 1_700_000_290_000, ended_ms: 1_700_000_295_000 },
            message: format!("no luck {number}: {EVIL}"),
            bad_record: Some(77),
            permanent: false,
            whole_job: false,
            others: Vec::new(),
        },
    };
    JobReport {
        addresses: vec!["javascript:alert(1)//x:1".into(); nodes.len()],
        tasks: maps.chain(reduces).collect(),
        tasks_left_out: LEFT_OUT,
        failures: (0..5).map(failure).collect(),
        failed_attempts: 9,
        failed_map_attempts: 7,
        given_up: vec![GivenUp { task: TaskId::map(3), error: format!("given up: {EVIL}") }],
        backup_attempts: 40,
        lost_outputs: 2,
        counters: Counters {
            user: [(EVIL.into(), 12_345)].into(),
            maps_given_up: 1,
            ..Counters::default()
        },
        counters_left_out: 3,
        skew: Some(Skew { median_pairs: 105, largest_pairs: 112, largest: 5 }),
        nodes,
    }
}

#[test]
fn the_page_and_its_json_answer_get_requests_for_names_of_jobs_and_nothing_else() {
    let bench = Bench::new();
    let empty = bench.json("/jobs/api/v1/jobs");
    assert_eq!((&empty["node"], &empty["jobs"]), (&"n1".into(), &Value::Array(Vec::new())));
    assert!(bench.get("/jobs").1.contains("There are no jobs"));
    let id = bench.count();
    let listed = bench.json("/jobs/api/v1/jobs");
    assert_eq!(
        (&listed["jobs"][0]["id"], &listed["jobs"][0]["state"]),
        (&id[..].into(), &"done".into())
    );
    assert_eq!(listed["workers"][0]["node"], "n1");
    let job = bench.json(&format!("/jobs/api/v1/jobs/{id}"));
    assert_eq!(job["job"]["report"]["counters"]["reduce_records_out"], 4);
    assert_eq!(job["job"]["report"]["tasks"][0]["t"], "m000000");
    assert_eq!(job["job"]["spec"]["inputs"][0], bench.path("in").to_str().unwrap());
    for path in ["/jobs/none", "/jobs/api/v1/jobs/none", "/jobs/../x", "/jobs/api/v1", "/jobs/x.js"]
    {
        assert_eq!(bench.get(path).0, 404, "{path}");
    }
    for (method, status) in [("POST", 405), ("DELETE", 405), ("HEAD", 405)] {
        let (found, head) = http::ask(&bench.client, method, "/jobs").unwrap();
        assert_eq!(found, status, "{method}");
        assert!(head.to_ascii_lowercase().contains("\r\nallow: get"), "{head}");
    }
    let (_, head) = http::ask(&bench.client, "GET", "/jobs").unwrap();
    let head = head.to_ascii_lowercase();
    for header in ["content-security-policy: default-src 'none'; script-src 'self'", "nosniff"] {
        assert!(head.contains(header), "{header} is not in {head}");
    }
}

#[test]
fn the_metrics_of_a_node_count_its_jobs() {
    let bench = Bench::new();
    let metric = |line: &str| bench.get("/metrics").1.lines().any(|found| found == line);
    assert!(metric("synod_jobs_ended_total{result=\"done\"} 0"));
    bench.count();
    bench.fail();
    for line in [
        "synod_jobs{state=\"done\"} 1",
        "synod_jobs{state=\"failed\"} 1",
        "synod_jobs{state=\"running\"} 0",
        "synod_jobs_ended_total{result=\"done\"} 1",
        "synod_job_tasks{kind=\"map\",state=\"running\"} 0",
        "synod_job_workers 1",
    ] {
        wait_for(line, PATIENCE, || metric(line).then_some(()));
    }
}

#[test]
fn without_a_script_the_pages_show_the_jobs_and_no_text_of_a_job_is_markup() {
    let bench = Bench::new();
    let large = bench.store_large();
    bench.fail();
    let list = wait_for("both jobs", PATIENCE, || {
        let (_, page) = bench.get("/jobs");
        (page.contains(&large.to_string()) && page.matches(">failed<").count() == 2).then_some(page)
    });
    let (_, page) = bench.get(&format!("/jobs/{large}"));
    for html in [&list, &page] {
        assert!(!html.contains("<script>") && !html.contains("<img"), "{html}");
        assert!(html.contains("&lt;script&gt;document.title=&#39;owned&#39;"), "{html}");
    }
    assert!(page.contains("no luck 3: &lt;script&gt;") && page.contains("m000006"), "{page}");
    // A page of a large job is not large.
    assert!(page.len() < 40_000, "{}", page.len());
    let (_, json) = bench.get(&format!("/jobs/api/v1/jobs/{large}"));
    assert!(json.len() < 400_000, "{}", json.len());
    let job = &serde_json::from_str::<Value>(&json).unwrap()["job"];
    assert_eq!((&job["maps_done"], &job["reduces_done"]), (&9_910.into(), &90.into()));
}

#[test]
fn every_node_and_every_worker_of_a_cluster_shows_its_jobs() {
    let bench = Bench::of(3);
    let id = bench.count();
    let data = bench.path("w1").to_str().unwrap().to_owned();
    let worker = ["worker", "--data", &data, "--name", "w1", "--stop-with-stdin"];
    let mut worker = synod(&[&worker[..], &["--endpoints", &bench.client]].concat());
    let mut worker = Process::start("w1", &mut worker, bench.cluster.folder());
    let ready = worker.wait_for_output(|output| output.contains(" ready: "));
    let address = ready.trim().rsplit(' ').next().unwrap().to_owned();
    let nodes = bench.cluster.nodes.iter().map(|node| node.client());
    for (address, name) in nodes.chain([address]).zip(["n1", "n2", "n3", "w1"]) {
        // A follower may be behind for a moment.
        wait_for(&format!("the job at {name}"), PATIENCE, || {
            let (status, body) = http::get(&address, "/jobs/api/v1/jobs")?;
            assert_eq!(status, 200, "{name}: {body}");
            let listed: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(listed["node"], name);
            (listed["jobs"][0]["id"] == id[..] && listed["jobs"][0]["state"] == "done")
                .then_some(())
        });
        let (status, page) = http::get(&address, &format!("/jobs/{id}")).unwrap();
        assert!(status == 200 && page.contains(&id) && page.contains(name), "{name}: {page}");
    }
}

/// Says something of itself that wants to be markup, a command to a terminal and longer than all else, and
/// waits until it is let go.
const SAYS: &str = r#"#!/bin/sh
printf 'reporter:status:first\nreporter:status:half \033[2J%s%01000d\n' "$1" 7 >&2
while [ ! -e "$2" ]; do sleep 0.05; done
cat
"#;

#[test]
fn what_a_running_program_says_of_itself_is_shown_beside_its_task_as_text() {
    let bench = Bench::new();
    let (script, evil, go) = (bench.path("says.sh"), bench.path("evil.sh"), bench.path("go"));
    fs::write(&script, SAYS).unwrap();
    // In a file of its own: a mapper's arguments know no escapes.
    let call = format!("sh {} \"{EVIL}\" {}\n", script.display(), go.display());
    fs::write(&evil, call).unwrap();
    let input = bench.path("in");
    fs::write(&input, "a\n").unwrap();
    let (mapper, output) = (format!("sh {}", evil.display()), bench.path("said"));
    let mut job = synod(&["streaming", "--endpoints", &bench.client, "-mapper", &mapper]);
    job.args(["-numReduceTasks", "0", "-input"]).arg(&input).arg("-output").arg(&output);
    let mut job = Process::start("the job", &mut job, bench.cluster.folder());
    let (id, status) = wait_for("the status", PATIENCE, || {
        let id = bench.json("/jobs/api/v1/jobs")["jobs"].get(0)?["id"].as_str()?.to_owned();
        let job = bench.json(&format!("/jobs/api/v1/jobs/{id}"));
        let status = job["job"]["running"].get(0)?["status"].as_str()?.to_owned();
        (!status.is_empty()).then_some((id, status))
    });
    let whole = format!("half [2J{EVIL}{}", "0".repeat(1_000));
    assert_eq!(status, whole[..200]);
    let shown = succeed(&["jobs", "show", &id, "--endpoints", &bench.client]);
    let row = shown.lines().find(|line| line.starts_with("  m000000 ")).unwrap();
    assert!(row.ends_with(&status), "{shown}");
    let (_, page) = bench.get(&format!("/jobs/{id}"));
    assert!(page.contains("<td>half [2J&lt;script&gt;document.title=&#39;owned&#39;"), "{page}");
    assert!(!page.contains("<script>") && !page.contains("<img"), "{page}");
    if let Some(document) = rendered(&bench.client, &format!("/jobs/{id}")) {
        assert!(document.contains("half [2J&lt;script&gt;document.title='owned'"), "{document}");
        assert_eq!(document.matches("<script").count(), 1, "{document}");
        assert!(!document.contains("<img"), "{document}");
    }
    fs::write(&go, "").unwrap();
    assert!(job.wait(PATIENCE).success(), "{}", job.stderr());
    // It was said of an attempt that runs.
    let detail = bench.json(&format!("/jobs/api/v1/jobs/{id}"));
    assert_eq!(detail["job"]["running"], Value::Array(Vec::new()));
}

/// What the browser makes of a page: its document when the script has run, or `None` if there is no browser.
fn rendered(address: &str, path: &str) -> Option<String> {
    let browser = std::env::var("SYNOD_CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
    if Command::new(&browser).arg("--version").output().is_err() {
        leave_out(
            &format!("the status page in a browser: no `{browser}`"),
            "SYNOD_TEST_REQUIRE_CHROMIUM",
        );
        return None;
    }
    let profile = TempDir::new().unwrap();
    let mut command = Command::new(&browser);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
    ]);
    command.args([
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]);
    command.args([
        "--enable-logging=stderr",
        "--window-size=1100,900",
        "--virtual-time-budget=4000",
    ]);
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    command.args(["--dump-dom", &format!("http://{address}{path}")]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    // Whatever the script, or the browser about it, has complained of.
    assert!(!stderr.contains("CONSOLE"), "{stderr}");
    let document = String::from_utf8(output.stdout).unwrap();
    assert!(!document.contains("no answer; what is shown may be old"), "{document}");
    Some(document)
}

#[test]
fn a_browser_shows_the_list_and_takes_no_name_of_a_job_for_markup() {
    let bench = Bench::new();
    bench.count();
    bench.fail();
    bench.store_large();
    let Some(document) = rendered(&bench.client, "/jobs") else { return };
    assert!(document.contains("<h2>Ended</h2>"), "{document}");
    assert_eq!(document.matches("chip chip-failed").count(), 2, "{document}");
    assert_eq!(document.matches("chip chip-done").count(), 1, "{document}");
    assert!(document.contains("is longer than 1048576 bytes"), "{document}");
    assert!(
        document.contains("&lt;script&gt;document.title='owned'&lt;/script&gt;&lt;img"),
        "{document}"
    );
    assert_eq!(document.matches("<script").count(), 1, "only that of the page: {document}");
    assert!(!document.contains("<img") && !document.contains("<title>owned"), "{document}");
}

#[test]
fn a_browser_shows_a_job_of_ten_thousand_tasks_with_timeline_skew_failures_and_counters() {
    let bench = Bench::new();
    let large = bench.store_large();
    let Some(document) = rendered(&bench.client, &format!("/jobs/{large}")) else { return };
    let bars = (MAPS + REDUCES) as usize + 5;
    assert_eq!(document.matches("data-bar=").count(), bars);
    for kind in ["map", "reduce", "backup", "failed"] {
        assert!(document.contains(&format!("<pattern id=\"p-{kind}\"")), "{kind}");
        assert!(document.contains(&format!("fill=\"url(#p-{kind})\"")), "{kind}");
    }
    for text in [
        "<h2>Timeline</h2>",
        "The 1,990 tasks that took longest are shown; 8,010 are not.",
        "<h2>How even the partitions are</h2>",
        "Partition 5 is the largest: 112 pairs, 1.1 times the middle one (105).",
        "<h2>Tasks given up</h2>",
        "given up: &lt;script&gt;",
        "without 1 map",
        "<h2>Failed attempts</h2>",
        "no luck 4: &lt;script&gt;",
        "and 4 more",
        "<h2>Slowest tasks</h2>",
        "<h2>Counters</h2>",
        "12,345",
        "backup attempt that won",
    ] {
        assert!(document.contains(text), "{text} is not in the page");
    }
    assert_eq!(document.matches("<script").count(), 1);
    assert!(
        !document.contains("<img") && !document.contains("javascript:"),
        "nothing of theirs runs"
    );
}

/// A job of two maps, each of which waits until the test lets it go; with its client.
fn start_waiting_job(bench: &Bench) -> Process {
    let script = bench.path("wait.sh");
    let go = bench.path("go");
    let text = format!(
        "#!/bin/sh\nread line\nwhile [ ! -e {}-$line ]; do sleep 0.05; done\necho $line\n",
        go.display()
    );
    fs::write(&script, text).unwrap();
    let mut words: Vec<String> =
        vec!["streaming".into(), "--endpoints".into(), bench.client.clone()];
    words.extend(["-numReduceTasks", "0", "-mapper"].map(str::to_owned));
    words.push(format!("sh {}", script.display()));
    for name in ["a", "b"] {
        let input = bench.path(&format!("in-{name}"));
        fs::write(&input, format!("{name}\n")).unwrap();
        words.extend(["-input".to_owned(), input.to_str().unwrap().to_owned()]);
    }
    words.extend(["-output".to_owned(), bench.path("waited").to_str().unwrap().to_owned()]);
    let mut command = synod(&words.iter().map(String::as_str).collect::<Vec<_>>());
    Process::start("the job", &mut command, bench.cluster.folder())
}

#[test]
fn a_browser_shows_a_running_job_and_its_timeline_moves_with_it() {
    let cluster = Cluster::start_with(1, &["--job-slots", "2"]);
    let client = cluster.nodes[0].client();
    let bench = Bench { cluster, client };
    let mut job = start_waiting_job(&bench);
    let maps = |running: u64, done: u64| {
        let what = format!("{running} running maps and {done} done");
        wait_for(&what, PATIENCE, || {
            let listed = bench.json("/jobs/api/v1/jobs");
            let row = listed["jobs"].get(0)?;
            let is_so = row["attempts_running"] == running && row["maps_done"] == done;
            is_so.then(|| row["id"].as_str().unwrap().to_owned())
        })
    };
    let id = maps(2, 0);
    let page = format!("/jobs/{id}");
    let bars = |document: &str, kind: &str| {
        document.matches(&format!("fill=\"url(#p-{kind})\" data-bar=")).count()
    };
    let Some(document) = rendered(&bench.client, &page) else { return };
    assert_eq!((bars(&document, "map-runs"), bars(&document, "map")), (2, 0), "{document}");
    for text in ["2 attempts running", "running for", "0 of 2"] {
        assert!(document.contains(text), "{text} is not in {document}");
    }
    fs::write(bench.path("go-a"), "").unwrap();
    maps(1, 1);
    let document = rendered(&bench.client, &page).unwrap();
    assert_eq!((bars(&document, "map-runs"), bars(&document, "map")), (1, 1), "{document}");
    assert!(document.contains("1 attempts running") && document.contains("1 of 2"), "{document}");
    fs::write(bench.path("go-b"), "").unwrap();
    assert!(job.wait(PATIENCE).success());
    let document = rendered(&bench.client, &page).unwrap();
    assert_eq!((bars(&document, "map-runs"), bars(&document, "map")), (0, 2), "{document}");
    assert!(document.contains("chip-done") && !document.contains("running for"), "{document}");
}

#[test]
fn a_browser_shows_a_job_that_ran_with_links_to_the_logs_of_its_attempts() {
    let bench = Bench::new();
    bench.fail();
    let listed = bench.json("/jobs/api/v1/jobs");
    let id = listed["jobs"][0]["id"].as_str().unwrap();
    let Some(document) = rendered(&bench.client, &format!("/jobs/{id}")) else { return };
    let log = format!("/jobs/v1/{id}/log/m000000/0");
    assert!(document.contains(&format!("href=\"{log}\"")), "{document}");
    assert!(document.contains("the record at offset 6 is longer"), "{document}");
    assert!(bench.get(&log).1.contains("the record at offset 6 is longer"));
}
