//! Keys of a store as the output of jobs: written once whoever publishes and however often, by nobody whose
//! output it is not, and removed if the job fails.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::PATIENCE;
use synod_base::LeaseId;
use synod_client::{Consistency, Kv, Remote, RemoteOptions};
use synod_jobs::cluster::destination::Destination;
use synod_jobs::cluster::names::JobKey;
use synod_jobs::cluster::output::{Winner, create_attempt};
use synod_jobs::cluster::records::{Totals, encode};
use synod_jobs::cluster::{JobId, JobRecord, JobState, TaskId};
use synod_jobs::commit::{Account, Manifest, Part};
use synod_jobs::reduce_task::ReduceOutput;
use synod_jobs::{Counters, JobError, JobSpec, OutputStore, Progress, Publication, Stores};
use synod_server::{Server, ServerOptions, local_stores};
use synod_state::kv::{DeleteRangeRequest, KeyRange, KeyValue, PutRequest, RangeRequest};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const OUTPUT: &str = "kv://out/";

/// A server, a client of it, and the part files of a job.
struct Bench {
    runtime: Runtime,
    kv: Remote,
    files: Files,
    _server: Server,
    _data: TempDir,
}

/// The part files of a job, and where the store is.
struct Files {
    address: String,
    folder: TempDir,
    manifest: Manifest,
}

impl Files {
    /// What another process of the job has.
    fn stores(&self) -> Stores {
        local_stores(std::slice::from_ref(&self.address))
    }

    fn publish(&self, mark: &str, progress: &Progress) -> Result<(), JobError> {
        let (output, folder, manifest) = (Path::new(OUTPUT), self.folder.path(), &self.manifest);
        store(&self.stores()).publish(&Publication { output, mark, folder, manifest }, progress)
    }
}

impl Bench {
    /// With part files of these contents.
    fn new(parts: &[String]) -> Bench {
        let data = TempDir::new().unwrap();
        let mut options = ServerOptions::new(data.path(), "n1");
        // The records of jobs are written here, and nobody else is to act on them.
        options.jobs.enabled = false;
        let server = Server::start(options).unwrap();
        assert!(server.wait_ready(PATIENCE));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let address = server.info().client_addresses[0].to_string();
        let _inside = runtime.enter();
        let kv = Remote::new(std::slice::from_ref(&address), RemoteOptions::default()).unwrap();
        drop(_inside);
        let folder = TempDir::new().unwrap();
        let part = |(number, text): (usize, &String)| {
            let name = format!("part-{number:05}");
            std::fs::write(folder.path().join(&name), text).unwrap();
            let records = text.lines().count() as u64;
            Part { name, bytes: text.len() as u64, records, crc32c: 0 }
        };
        let parts = parts.iter().enumerate().map(part).collect();
        let manifest = Manifest { job: "test".to_owned(), parts, ..Manifest::default() };
        let files = Files { address, folder, manifest };
        Bench { runtime, kv, files, _server: server, _data: data }
    }

    fn pairs(&self) -> Vec<KeyValue> {
        self.under("out/")
    }

    fn under(&self, prefix: &'static str) -> Vec<KeyValue> {
        let request = RangeRequest { range: KeyRange::prefix(prefix), ..RangeRequest::default() };
        self.runtime.block_on(self.kv.range(request, Consistency::Linearizable)).unwrap().1.kvs
    }
}

fn store(stores: &Stores) -> &dyn OutputStore {
    stores.output_of(Path::new(OUTPUT)).unwrap().unwrap()
}

fn job(number: u32) -> JobId {
    format!("0000000000{number:02x}-00000000").parse().unwrap()
}

fn lines(from: usize, to: usize) -> String {
    (from..to).map(|number| format!("k{number:05}\tvalue {number}\n")).collect()
}

#[test]
fn a_publication_that_is_broken_off_is_finished_by_another_process_and_writes_no_pair_twice() {
    let bench = Bench::new(&[lines(0, 2_000), String::new(), lines(2_000, 2_950)]);
    let (stores, output) = (bench.files.stores(), Path::new(OUTPUT));
    let mark = store(&stores).claim(output, Some(&job(1))).unwrap();
    // A key in the way breaks it off.
    let key = "out/k01950";
    let put = PutRequest { key: key.into(), ..PutRequest::default() };
    bench.runtime.block_on(bench.kv.put(put)).unwrap();
    bench.files.publish(&mark, &Progress::new()).unwrap_err();
    assert_eq!(bench.pairs().len(), 1_901);
    let range = KeyRange::one(key);
    let delete = DeleteRangeRequest { range, prev_kv: false };
    bench.runtime.block_on(bench.kv.delete(delete)).unwrap();
    let cancelled = Progress::new();
    cancelled.cancel();
    let error = bench.files.publish(&mark, &cancelled).unwrap_err();
    assert!(matches!(error, JobError::Cancelled), "{error}");
    assert_eq!(bench.pairs().len(), 1_900);
    assert_eq!(store(&stores).published(output, &mark).unwrap(), None);
    // The next one claims what is its job's already.
    assert_eq!(store(&bench.files.stores()).claim(output, Some(&job(1))).unwrap(), mark);
    for _ in 0..2 {
        bench.files.publish(&mark, &Progress::new()).unwrap();
        let pairs = bench.pairs();
        assert_eq!(pairs.len(), 2_950);
        for (number, pair) in pairs.iter().enumerate() {
            assert_eq!(pair.key, format!("out/k{number:05}"));
            assert_eq!(pair.value, format!("value {number}"));
            assert_eq!(pair.version, 1, "written once");
        }
    }
    let published = store(&stores).published(output, &mark).unwrap();
    assert_eq!(published.as_ref(), Some(&bench.files.manifest));
    store(&stores).clean(output, &mark, &Progress::new()).unwrap();
    assert_eq!(bench.pairs().len(), 2_950, "what is published stays");
    let error = store(&stores).claim(output, Some(&job(2))).unwrap_err();
    assert!(matches!(error, JobError::OutputExists { .. }), "{error}");
}

#[test]
fn two_processes_that_publish_at_once_write_every_pair_once() {
    let bench = Bench::new(&[lines(0, 2_000)]);
    let stores = bench.files.stores();
    let mark = store(&stores).claim(Path::new(OUTPUT), Some(&job(1))).unwrap();
    let files = &bench.files;
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| files.publish(&mark, &Progress::new()).unwrap());
        }
    });
    let pairs = bench.pairs();
    assert_eq!(pairs.len(), 2_000);
    assert!(pairs.iter().all(|pair| pair.version == 1));
}

#[test]
fn whoever_has_lost_the_output_writes_nothing_and_what_a_failed_job_wrote_goes() {
    let bench = Bench::new(&[lines(0, 500)]);
    let (stores, output) = (bench.files.stores(), Path::new(OUTPUT));
    let first = store(&stores).claim(output, Some(&job(1))).unwrap();
    let second = store(&stores).claim(output, None).unwrap();
    assert_ne!(first, second);
    let error = bench.files.publish(&first, &Progress::new()).unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("somebody else"), "{error}");
    assert_eq!(bench.pairs(), []);

    // A key that comes while the job runs is not overwritten, and not removed unless it is the output's.
    let put = PutRequest { key: "out/k00250".into(), value: "x".into(), ..PutRequest::default() };
    bench.runtime.block_on(bench.kv.put(put)).unwrap();
    let error = bench.files.publish(&second, &Progress::new()).unwrap_err();
    assert!(error.to_string().contains("the key out/k00250 is there already"), "{error}");
    assert_eq!(bench.pairs().len(), 201, "all before that transaction, and the key");
    store(&stores).clean(output, &first, &Progress::new()).unwrap();
    assert_eq!(bench.pairs().len(), 201, "it is not the first one's any more");
    store(&stores).clean(output, &second, &Progress::new()).unwrap();
    assert_eq!(bench.pairs(), []);
    let all = RangeRequest { range: KeyRange::prefix("synod/outputs/"), ..RangeRequest::default() };
    let left = bench.runtime.block_on(bench.kv.range(all, Consistency::Linearizable)).unwrap();
    assert_eq!(left.1.kvs, [], "no mark is left");
}

/// Fails to claim an output, for this reason.
fn refused(bench: &Bench, output: &str, id: Option<&JobId>, why: &str) {
    let error = store(&bench.files.stores()).claim(Path::new(output), id).unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains(why), "{error}");
}

#[test]
fn an_output_that_a_living_job_has_claimed_is_not_taken_though_nothing_is_written_yet() {
    let bench = Bench::new(&[lines(0, 5)]);
    let (stores, output) = (bench.files.stores(), Path::new(OUTPUT));
    // One in a single process.
    let mark = store(&stores).claim(output, None).unwrap();
    refused(&bench, OUTPUT, None, &format!("is being written by job {mark}"));
    refused(&bench, OUTPUT, Some(&job(1)), &format!("is being written by job {mark}"));
    // Neither what it lies in, nor what lies in it; what only looks like it is free.
    refused(&bench, "kv://o", None, "kv://out/, which has keys in common with it, is being");
    refused(&bench, "kv://out/sub/", None, "kv://out/, which has keys in common with it, is");
    let beside = store(&stores).claim(Path::new("kv://out2/"), None).unwrap();
    store(&stores).clean(Path::new("kv://out2/"), &beside, &Progress::new()).unwrap();
    let (folder, manifest) = (bench.files.folder.path(), &bench.files.manifest);
    let files = Publication { output, mark: &mark, folder, manifest };
    store(&stores).publish(&files, &Progress::new()).unwrap();
    assert_eq!(bench.pairs().len(), 5);
    assert_eq!(bench.under("synod/output-owners/"), [], "a job that has ended leaves no owner");
    // It is nobody's way any more.
    let within = Path::new("kv://out/sub/");
    let mark = store(&stores).claim(within, None).unwrap();
    store(&stores).clean(within, &mark, &Progress::new()).unwrap();
    assert_eq!(bench.under("synod/output-owners/"), []);

    // A process that is killed is known to be dead once its lease has ended.
    let mark = store(&stores).claim(within, None).unwrap();
    refused(&bench, "kv://out/sub/", None, &mark);
    let owner = &bench.under("synod/output-owners/")[0];
    assert_ne!(owner.lease, LeaseId::NONE);
    bench.runtime.block_on(bench.kv.lease_revoke(owner.lease)).unwrap();
    assert_ne!(store(&bench.files.stores()).claim(within, None).unwrap(), mark);
}

#[test]
fn a_job_of_one_process_that_was_taken_for_dead_writes_and_removes_nothing_any_more() {
    let bench = Bench::new(&[lines(0, 5)]);
    let (stores, output) = (bench.files.stores(), Path::new(OUTPUT));
    let late = store(&stores).claim(output, None).unwrap();
    let owner = &bench.under("synod/output-owners/")[0];
    bench.runtime.block_on(bench.kv.lease_revoke(owner.lease)).unwrap();
    // It was stopped meanwhile, say. Another job's output lies within its own.
    let others = bench.files.stores();
    let mark = store(&others).claim(Path::new("kv://out/sub/"), None).unwrap();
    let (folder, manifest) = (bench.files.folder.path(), &bench.files.manifest);
    let files = Publication { output: Path::new("kv://out/sub/"), mark: &mark, folder, manifest };
    store(&others).publish(&files, &Progress::new()).unwrap();
    let before = bench.pairs();
    let publication = Publication { output, mark: &late, folder, manifest };
    let error = store(&stores).publish(&publication, &Progress::new()).unwrap_err();
    assert!(error.to_string().contains("was not reached for 15 s"), "{error}");
    let error = store(&stores).clean(output, &late, &Progress::new()).unwrap_err();
    assert!(error.to_string().contains("was not reached for 15 s"), "{error}");
    assert_eq!(bench.pairs(), before);
}

#[test]
fn an_output_that_a_job_of_a_cluster_has_claimed_is_free_once_its_record_says_that_it_has_ended() {
    let bench = Bench::new(&[]);
    let (stores, output) = (bench.files.stores(), Path::new(OUTPUT));
    let record = |state: JobState| {
        let record = JobRecord {
            name: "test".to_owned(),
            spec: JobSpec::new("wordcount", ["in"], OUTPUT),
            state,
            epoch: 0,
            build: String::new(),
            runs_commands: false,
            submitted_ms: 1,
            started_ms: 0,
            ended_ms: 0,
            totals: Totals::default(),
            attempts: 4,
            reduce_attempts: None,
        };
        let (key, value) = (job(1).key(JobKey::Record), encode(&record).unwrap());
        let put = PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() };
        bench.runtime.block_on(bench.kv.put(put)).unwrap();
    };
    record(JobState::Preparing);
    let mark = store(&stores).claim(output, Some(&job(1))).unwrap();
    for state in [JobState::Preparing, JobState::Running, JobState::Committing] {
        record(state);
        refused(&bench, OUTPUT, Some(&job(2)), "is being written by job");
        refused(&bench, "kv://out/sub/", None, "is being written by job");
    }
    record(JobState::Cancelled);
    let next = store(&stores).claim(output, Some(&job(2))).unwrap();
    assert_ne!(mark, next);
}

#[test]
fn a_job_that_has_written_nothing_removes_nothing() {
    let bench = Bench::new(&[lines(0, 5)]);
    let (stores, output) = (bench.files.stores(), Path::new(OUTPUT));
    let mark = store(&stores).claim(output, None).unwrap();
    let put = PutRequest { key: "out/mine".into(), value: "x".into(), ..PutRequest::default() };
    bench.runtime.block_on(bench.kv.put(put)).unwrap();
    store(&stores).clean(output, &mark, &Progress::new()).unwrap();
    assert_eq!(bench.pairs().len(), 1);
    assert!(bench.files.publish(&mark, &Progress::new()).is_err(), "the output is its no more");
}

#[test]
fn a_job_that_may_leave_out_records_is_refused_for_they_have_no_place_among_keys() {
    let bench = Bench::new(&[]);
    let mut spec = JobSpec::new("wordcount", ["in"], OUTPUT);
    store(&bench.files.stores()).check(&spec).unwrap();
    spec.skip_bad_records = 1;
    let error = store(&bench.files.stores()).check(&spec).unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("write to a folder"), "{error}");
}

#[test]
fn records_that_are_no_pairs_are_refused_before_a_key_is_written() {
    let mut bench = Bench::new(&[lines(0, 150), lines(150, 300)]);
    let stores = bench.files.stores();
    let mark = store(&stores).claim(Path::new(OUTPUT), None).unwrap();
    bench.files.manifest.parts[1].records -= 1;
    let error = bench.files.publish(&mark, &Progress::new()).unwrap_err();
    assert!(error.to_string().contains("part-00001 has 150 lines for 149 records"), "{error}");
    assert_eq!(bench.pairs(), []);
}

/// Two part files that attempts of a job on a cluster have left in the staging folder.
fn stage(spec: &JobSpec, job: &JobId) -> Vec<Winner> {
    let winner = |partition: u32| {
        let task = TaskId::reduce(partition);
        let folder = create_attempt(&spec.working_folder(job), job, task, 0).unwrap();
        let from = partition as usize * 200;
        let text = lines(from, from + 200);
        std::fs::write(folder.join(format!("part-{partition:05}")), &text).unwrap();
        let part = ReduceOutput {
            partition,
            bytes: text.len() as u64,
            records: 200,
            crc32c: 0,
            counters: Counters::default(),
            side_files: Vec::new(),
        };
        Winner { task, attempt: 0, part: Some(part), side_files: Vec::new() }
    };
    (0..2).map(winner).collect()
}

#[test]
fn every_step_of_an_output_on_a_cluster_may_be_repeated_by_another_coordinator() {
    let bench = Bench::new(&[]);
    let staging = bench.files.folder.path().join("staging");
    let mut spec = JobSpec::new("wordcount", ["in"], OUTPUT);
    let (id, account) = (job(1), Account::default());
    let error = Destination::of(&spec, &id, &bench.files.stores()).err().unwrap();
    assert!(error.to_string().contains("--staging"), "{error}");
    spec.staging_folder = Some(staging.clone());
    // Each step by a process that knows nothing of the others.
    let step = |body: &dyn Fn(Destination<'_>)| {
        let stores = bench.files.stores();
        body(Destination::of(&spec, &id, &stores).unwrap());
    };
    step(&|output| output.check_absent().unwrap());
    step(&|output| output.create().unwrap());
    step(&|output| output.create().unwrap());
    let winners = stage(&spec, &id);
    // A key in the way breaks the first commit off in the middle.
    let put = PutRequest { key: "out/k00150".into(), ..PutRequest::default() };
    bench.runtime.block_on(bench.kv.put(put)).unwrap();
    step(&|output| drop(output.commit(&winners, &account, &Progress::new()).unwrap_err()));
    assert_eq!(bench.pairs().len(), 101);
    let range = KeyRange::one("out/k00150");
    let delete = DeleteRangeRequest { range, prev_kv: false };
    bench.runtime.block_on(bench.kv.delete(delete)).unwrap();
    let told_to_end = Progress::new();
    told_to_end.cancel();
    // Before that a wish to cancel is heard, afterwards it comes too late.
    step(&|output| {
        let error = output.commit(&winners, &account, &told_to_end).unwrap_err();
        assert!(matches!(error, JobError::Cancelled), "{error}");
    });
    for progress in [Progress::new(), told_to_end] {
        step(&|output| {
            let manifest = output.commit(&winners, &account, &progress).unwrap();
            assert_eq!(manifest.parts.len(), 2);
        });
        let pairs = bench.pairs();
        assert_eq!(pairs.len(), 400);
        assert!(pairs.iter().all(|pair| pair.version == 1));
        step(&|output| output.tidy(&Progress::new()).unwrap());
        assert!(!spec.working_folder(&id).exists(), "nothing is left in the staging folder");
    }
    // Somebody wanted it to end, and came too late.
    step(&|output| {
        let found = output.clean(&Progress::new()).unwrap().expect("it is complete");
        assert_eq!(found.parts.len(), 2);
    });
    assert_eq!(bench.pairs().len(), 400);
    step(&|output| assert!(output.check_absent().is_err()));

    // Another job there is refused, and one that fails half way leaves nothing.
    let (other, stores) = (job(2), bench.files.stores());
    let error = Destination::of(&spec, &other, &stores).unwrap().create().unwrap_err();
    assert!(matches!(error, JobError::OutputExists { .. }), "{error}");
    let range = KeyRange::prefix("out/");
    let delete = DeleteRangeRequest { range, prev_kv: false };
    bench.runtime.block_on(bench.kv.delete(delete)).unwrap();
    let output = Destination::of(&spec, &other, &stores).unwrap();
    output.create().unwrap();
    let mut winners = stage(&spec, &other);
    winners[1].part.as_mut().unwrap().records -= 1;
    assert!(output.commit(&winners, &account, &Progress::new()).is_err());
    for _ in 0..2 {
        assert_eq!(output.clean(&Progress::new()).unwrap(), None);
    }
    assert_eq!(bench.pairs(), []);
    assert!(!spec.working_folder(&other).exists());
}
