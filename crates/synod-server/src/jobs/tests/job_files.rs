//! The files that come with a job: workers run the bytes that were submitted, whatever becomes of the files,
//! which they need not see, and nothing stays behind.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use synod_client::{Consistency, Kv};
use synod_jobs::JobSpec;
use synod_jobs::cluster::names::{FILES, JobKey};
use synod_jobs::cluster::{JobId, JobState, TaskId};
use synod_state::kv::{KeyRange, PutRequest, RangeRequest};

use super::bench::{Bench, Kind, parts};
use super::shuffle::Gate;
use super::streaming::spec_of;
use crate::jobs::moments::Moment;
use crate::jobs::{retry_job, submit_job};

const PATIENCE: Duration = Duration::from_secs(60);

/// The keys of files in the store.
async fn stored(bench: &Bench) -> Vec<String> {
    let range = KeyRange::prefix(FILES);
    let request = RangeRequest { range, keys_only: true, ..RangeRequest::default() };
    let (_, found) = bench.kv.range(request, Consistency::Linearizable).await.unwrap();
    found.kvs.iter().map(|kv| String::from_utf8(kv.key.to_vec()).unwrap()).collect()
}

async fn wait_for_none(bench: &Bench) {
    let gone = async {
        while !stored(bench).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the files are removed");
}

async fn put(bench: &Bench, key: &str, value: &[u8]) {
    let (key, value) = (key.to_owned().into(), value.to_vec().into());
    bench.kv.put(PutRequest { key, value, ..PutRequest::default() }).await.unwrap();
}

/// A mapper and what it needs, in a folder of their own.
fn own(bench: &Bench, mapper: &str) {
    fs::create_dir_all(bench.path("own/side/deep")).unwrap();
    fs::write(bench.path("own/m.sh"), format!("#!/bin/sh\n{mapper}\n")).unwrap();
    fs::write(bench.path("own/words.txt"), "words\n").unwrap();
    fs::write(bench.path("own/side/deep/text"), "text\n").unwrap();
}

/// A job over two inputs that needs the files in `own`.
fn job(bench: &Bench, more: &[&str]) -> JobSpec {
    for name in ["in/a", "in/b"] {
        fs::create_dir_all(bench.path("in")).unwrap();
        fs::write(bench.path(name), "x\n").unwrap();
    }
    let words = ["-files", "own/m.sh,own/words.txt#w,own/side", "-mapper", "m.sh"];
    let data = ["-reducer", "NONE", "-input", "in", "-output", "out"];
    spec_of(bench, &[more, &words, &data].concat())
}

#[tokio::test]
async fn workers_run_the_files_as_they_were_submitted_and_need_not_see_them() {
    let mut bench = Bench::new(0).await;
    let meet = bench.path("meet");
    fs::create_dir(&meet).unwrap();
    // Each waits for the other one, so both workers run it.
    let mapper = format!(
        "touch '{meet}/'$mapreduce_task_id
         n=0
         while [ $(ls '{meet}' | wc -l) -lt 2 ] && [ $n -lt 3000 ]; do sleep 0.02; n=$((n+1)); done
         cat w side/deep/text
         cat > /dev/null",
        meet = meet.display()
    );
    own(&bench, &mapper);
    let id = bench.submit(&job(&bench, &[])).await;
    let keys = stored(&bench).await;
    assert!(!keys.is_empty() && keys.iter().all(|key| key.starts_with(&id.files_prefix())));
    fs::remove_dir_all(bench.path("own")).unwrap();
    own(&bench, "echo changed");
    fs::remove_file(bench.path("own/words.txt")).unwrap();
    for _ in 0..2 {
        bench.add(Kind { slots: 1, ..Kind::default() }.unhurried()).await;
    }
    bench.finish(&id).await.unwrap();
    let parts = parts(&bench.path("out"));
    assert_eq!(parts.len(), 2);
    assert!(parts.values().all(|part| part == b"words\t\ntext\t\n"), "{parts:?}");
    let report = bench.view().await.jobs[&id].report().unwrap();
    let nodes: BTreeSet<u32> = report.tasks.iter().map(|row| row.node).collect();
    assert_eq!((nodes.len(), report.failed_attempts), (2, 0));
    // Nobody needs them any more.
    wait_for_none(&bench).await;
    bench.wait_clean().await;
}

#[tokio::test]
async fn a_failed_job_is_tried_again_with_its_files_which_go_when_it_is_forgotten() {
    let mut bench = Bench::new(0).await;
    let allowed = bench.path("allowed");
    own(&bench, &format!("[ -e '{}' ] || exit 3\ncat w; cat > /dev/null", allowed.display()));
    let once = ["-D", "mapreduce.map.maxattempts=1"];
    let id = bench.submit(&job(&bench, &once)).await;
    fs::remove_dir_all(bench.path("own")).unwrap();
    let mut kind = Kind::default().unhurried();
    kind.limits.finished_kept = 1;
    bench.add(kind).await;
    bench.finish(&id).await.unwrap_err();
    assert!(!stored(&bench).await.is_empty());
    fs::write(&allowed, "").unwrap();
    let again = retry_job(&bench.kv, &id).await.unwrap();
    bench.finish(&again).await.unwrap();
    assert_eq!(parts(&bench.path("out"))["part-00000"], b"words\t\n");
    wait_for_none(&bench).await;
    assert!(!bench.view().await.jobs.contains_key(&id));
}

#[tokio::test]
async fn files_that_cannot_be_fetched_fail_an_attempt_and_not_the_job() {
    let mut bench = Bench::new(0).await;
    own(&bench, "cat w; cat > /dev/null");
    let id = bench.submit(&job(&bench, &[])).await;
    let first = stored(&bench).await.remove(0);
    let (_, found) = bench.kv.get(first.clone()).await.unwrap();
    put(&bench, &first, b"damaged").await;
    let gate = Gate::default();
    let held = gate.clone();
    let kind = Kind::acting(move |moment| {
        if matches!(moment, Moment::AttemptBegins(held) if held.attempt() > 0) {
            held.pass();
        }
    });
    bench.add(kind.unhurried()).await;
    let task = TaskId::map(0);
    let failure = bench.wait("a failed attempt", |view| {
        view.jobs.get(&id)?.tasks.get(&task)?.record.failures.first().cloned()
    });
    let failure = failure.await;
    assert!(failure.message.contains("is not what was sent"), "{}", failure.message);
    assert!(!failure.permanent);
    put(&bench, &first, &found.unwrap().value).await;
    gate.open();
    bench.finish(&id).await.unwrap();
    assert_eq!(parts(&bench.path("out"))["part-00000"], b"words\t\n");
}

#[tokio::test]
async fn too_much_is_refused_with_the_limit_unless_every_node_sees_it() {
    let bench = Bench::new(0).await;
    own(&bench, "cat");
    let large = fs::File::create(bench.path("own/words.txt")).unwrap();
    large.set_len(65 << 20).unwrap();
    let refused = submit_job(&bench.kv, &job(&bench, &[])).await.unwrap_err().to_string();
    assert!(refused.contains("/own/words.txt") && refused.contains("64 MiB"), "{refused}");
    assert!(stored(&bench).await.is_empty() && bench.view().await.jobs.is_empty());
    let root = format!("synod.hdfs.root={}", bench.path("own").display());
    for seen in ["synod.streaming.files.in.place=true", &root] {
        let id = bench.submit(&job(&bench, &["-D", seen])).await;
        let record = bench.view().await.jobs[&id].job.clone().unwrap().record;
        assert_eq!((record.state, record.spec.sent), (JobState::Submitted, None));
    }
    assert!(stored(&bench).await.is_empty());
}

#[tokio::test]
async fn files_of_a_client_that_died_before_its_job_was_there_are_removed_by_a_later_one() {
    let bench = Bench::new(0).await;
    let piece = |id: &str| format!("{}000000", id.parse::<JobId>().unwrap().files_prefix());
    let old = "000000000001-00000001";
    put(&bench, &piece(old), b"nobody's").await;
    let known: JobId = "000000000002-00000001".parse().unwrap();
    put(&bench, &piece("000000000002-00000001"), b"a job's").await;
    put(&bench, &known.key(JobKey::Record), b"of another program").await;
    // This one may be about to write its job's record.
    let young = format!("{:012x}-00000001", crate::jobs::threads::unix_ms());
    put(&bench, &piece(&young), b"somebody's").await;
    own(&bench, "cat");
    let id = bench.submit(&job(&bench, &[])).await;
    let keys = stored(&bench).await;
    let has = |prefix: &str| keys.iter().any(|key| key.starts_with(prefix));
    assert!(!has(&piece(old)), "{keys:?}");
    assert!(has(&piece(&young)) && has(&known.files_prefix()) && has(&id.files_prefix()));
}

#[cfg(feature = "wasm")]
#[tokio::test]
async fn a_module_is_sent_along_like_other_files_also_to_whoever_plans_the_job() {
    let mut bench = Bench::new(0).await;
    let module = include_str!("../../../../synod-jobs/tests/wasm/guests/wordcount.wat");
    fs::write(bench.path("job.wat"), module).unwrap();
    fs::write(bench.path("in"), "b a\na\n").unwrap();
    let mut spec = JobSpec {
        reduces: Some(1),
        sync_output: false,
        ..JobSpec::new("wasm", [bench.path("in")], bench.path("out"))
    };
    spec.options.insert("module".to_owned(), bench.path("job.wat").to_str().unwrap().to_owned());
    let id = bench.submit(&spec).await;
    fs::remove_file(bench.path("job.wat")).unwrap();
    bench.add(Kind::default().unhurried()).await;
    bench.finish(&id).await.unwrap();
    assert_eq!(parts(&bench.path("out"))["part-00000"], b"a\t2\nb\t1\n");
    bench.wait_clean().await;
    wait_for_none(&bench).await;
}
