//! Key ranges of a store as inputs of jobs: cut, read at one revision, and what happens when that is
//! compacted away.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use common::lone_server;
use synod_base::Revision;
use synod_client::{Kv, Remote, RemoteOptions};
use synod_jobs::emit::Emitter;
use synod_jobs::input::InputFile;
use synod_jobs::reduce_input::Values;
use synod_jobs::{
    InputFormat, Job, JobError, JobSpec, LocalOptions, NoLog, Progress, Record, Sink, Stores,
    run_local_with,
};
use synod_server::{Server, stores_of_job};
use synod_state::kv::{PutRequest, TxnOp, TxnRequest};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A server, a client of it, and the runtime that the client needs.
struct Bench {
    runtime: Runtime,
    kv: Remote,
    folder: TempDir,
    _server: Server,
    _data: TempDir,
}

impl Bench {
    fn new() -> Bench {
        let data = TempDir::new().unwrap();
        let server = lone_server(data.path());
        // Two threads are what a program has: one runs the runtime, one the job.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let address = server.info().client_addresses[0].to_string();
        let _inside = runtime.enter();
        let kv = Remote::new(&[address], RemoteOptions::default()).unwrap();
        drop(_inside);
        Bench { runtime, kv, folder: TempDir::new().unwrap(), _server: server, _data: data }
    }

    fn put(&self, pairs: &BTreeMap<Vec<u8>, Vec<u8>>) -> Revision {
        let (mut last, mut success, mut bytes) = (Revision(0), Vec::new(), 0);
        for (number, (key, value)) in pairs.iter().enumerate() {
            bytes += value.len();
            let (key, value) = (key.to_vec().into(), value.to_vec().into());
            success.push(TxnOp::Put(PutRequest { key, value, ..PutRequest::default() }));
            if success.len() == 100 || bytes > 200_000 || number + 1 == pairs.len() {
                let success = std::mem::take(&mut success);
                let txn = TxnRequest { success, ..TxnRequest::default() };
                last = self.runtime.block_on(self.kv.txn(txn)).unwrap().0.revision;
                bytes = 0;
            }
        }
        last
    }

    /// Does something that blocks, with the stores of a job, while the runtime runs.
    fn with_stores<T: Send>(&self, body: impl FnOnce(&Stores) -> T + Send) -> T {
        let stores = stores_of_job(self.kv.clone(), self.runtime.handle().clone());
        std::thread::scope(|scope| {
            let (done, ended) = tokio::sync::oneshot::channel::<()>();
            let worker = scope.spawn(move || {
                // It is dropped in a panic, too.
                let _done = done;
                body(&stores)
            });
            drop(self.runtime.block_on(ended));
            worker.join().unwrap()
        })
    }

    fn list(&self, name: &str, format: &InputFormat) -> Vec<InputFile> {
        self.with_stores(|stores| {
            stores.of(Path::new(name)).unwrap().list(Path::new(name), format, &Progress::new())
        })
        .unwrap()
    }

    /// The pairs that a job over these inputs sees.
    fn pairs_of(
        &self,
        inputs: &[&str],
        output: &str,
    ) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, JobError> {
        let spec = JobSpec::new("collect", inputs, self.folder.path().join(output));
        let job = Collect::default();
        self.with_stores(|stores| {
            let options = LocalOptions { stores, log: &NoLog, only_maps: None };
            run_local_with(&spec, &job, &Progress::new(), &options)
        })?;
        let pairs = job.0.into_inner().unwrap();
        let seen = pairs.len();
        let pairs: BTreeMap<_, _> = pairs.into_iter().collect();
        assert_eq!(seen, pairs.len(), "no key is seen twice");
        Ok(pairs)
    }
}

/// Keeps the pairs that it sees.
#[derive(Default)]
struct Collect(Mutex<Vec<(Vec<u8>, Vec<u8>)>>);

impl Job for Collect {
    fn map(&self, record: Record<'_>, _: &mut Emitter<'_, Self>) {
        self.0.lock().unwrap().push((record.key.to_vec(), record.bytes.to_vec()));
    }

    fn reduce(&self, _: &[u8], _: &mut Values<'_, Self>, _: &mut Sink) {}
}

/// Keys and values with any bytes, values of any length: 0 to a MiB.
fn awkward_pairs(prefix: &[u8], many: usize) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..many)
        .map(|number| {
            let odd: Vec<u8> = (0..number % 7).map(|_| random.u8(..)).collect();
            let key = [prefix, &odd, format!("\n\t{number}").as_bytes()].concat();
            let length = match number % 400 {
                0 => 1 << 20,
                1 => 0,
                _ => random.usize(..3_000),
            };
            (key, (0..length).map(|_| random.u8(..)).collect())
        })
        .collect()
}

#[test]
fn a_job_sees_every_key_of_a_range_once_as_it_was_when_the_job_was_planned() {
    let bench = Bench::new();
    let pairs = awkward_pairs(b"in/", 4_000);
    bench.put(&awkward_pairs(b"im", 10));
    bench.put(&awkward_pairs(b"in0", 10));
    let at = bench.put(&pairs);
    let pieces = bench.list("kv://in/", &InputFormat::default());
    assert!(pieces.len() > 1, "{pieces:?}");
    assert!(pieces.iter().all(|piece| piece.version == Some(at.0.to_string())), "{pieces:?}");
    assert_eq!(bench.pairs_of(&["kv://in/"], "now").unwrap(), pairs);

    // Pieces that were cut before are read as they were, whatever is written now.
    let later: BTreeMap<_, _> = pairs.keys().map(|key| (key.clone(), b"later".to_vec())).collect();
    bench.put(&later);
    let names: Vec<&str> = pieces.iter().map(|piece| piece.path.to_str().unwrap()).collect();
    assert_eq!(bench.pairs_of(&names, "as-cut").unwrap(), pairs);
    assert_eq!(bench.pairs_of(&[&format!("kv://in/?revision={}", at.0)], "then").unwrap(), pairs);
    assert_eq!(bench.pairs_of(&["kv://in/"], "later").unwrap(), later);
    assert_eq!(bench.pairs_of(&["kv://nothing/"], "none").unwrap(), BTreeMap::new());
    let (from, to) = (pairs.keys().nth(100).unwrap(), pairs.keys().nth(900).unwrap());
    let escaped = |key: &[u8]| key.iter().map(|byte| format!("%{byte:02x}")).collect::<String>();
    let range = format!("kv://{}?end={}&revision={}", escaped(from), escaped(to), at.0);
    let expected: BTreeMap<_, _> = pairs
        .range(from.clone()..to.clone())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    assert_eq!(bench.pairs_of(&[&range], "range").unwrap(), expected);
}

#[test]
fn all_ranges_of_a_job_are_read_at_the_same_revision() {
    let bench = Bench::new();
    let first = bench.put(&awkward_pairs(b"a/", 20));
    bench.with_stores(|stores| {
        let list = |name: &str| {
            let (name, format) = (Path::new(name), InputFormat::default());
            stores.of(name).unwrap().list(name, &format, &Progress::new()).unwrap()
        };
        let frozen = Some(first.0.to_string());
        assert!(list("kv://a/").iter().all(|piece| piece.version == frozen));
        std::thread::scope(|scope| {
            // The client's calls need a thread that may wait.
            let put =
                PutRequest { key: "b/1".into(), value: "late".into(), ..PutRequest::default() };
            let runtime = bench.runtime.handle();
            scope.spawn(|| runtime.block_on(bench.kv.put(put)).unwrap()).join().unwrap();
        });
        assert_eq!(list("kv://b/"), [], "what came later is not seen");
        assert!(list("kv://a/").iter().all(|piece| piece.version == frozen));
    });
}

#[test]
fn pieces_have_as_many_keys_as_a_job_wants_records_in_a_split() {
    let bench = Bench::new();
    bench.put(&awkward_pairs(b"k/", 25));
    let format = InputFormat { lines_per_split: Some(10), ..InputFormat::default() };
    assert_eq!(bench.list("kv://k/", &format).len(), 3);
}

#[test]
fn a_revision_that_is_compacted_during_the_job_fails_it_for_good() {
    let bench = Bench::new();
    let at = bench.put(&awkward_pairs(b"in/", 50));
    let pieces = bench.list("kv://in/", &InputFormat::default());
    let last = bench.put(&awkward_pairs(b"more/", 50));
    bench.runtime.block_on(bench.kv.compact(last)).unwrap();
    let name = pieces[0].path.to_str().unwrap();
    for name in [name, &format!("kv://in/?revision={}", at.0)] {
        let error = bench.pairs_of(&[name], "out").unwrap_err();
        assert!(error.is_permanent(), "{error}");
        let text = error.to_string();
        assert!(text.contains("kv://in/") && text.contains("keep history"), "{text}");
    }
    let error = bench.pairs_of(&["kv://in/?revision=99999"], "out").unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("revision"), "{error}");
}

#[test]
fn a_range_is_not_mixed_with_lines_nor_cut_otherwise() {
    let bench = Bench::new();
    bench.put(&awkward_pairs(b"in/", 5));
    let file: PathBuf = bench.folder.path().join("file");
    std::fs::write(&file, "a line\n").unwrap();
    let error = bench.pairs_of(&["kv://in/", file.to_str().unwrap()], "out").unwrap_err();
    assert!(matches!(error, JobError::BadSpec { .. }), "{error}");
    let error = bench.pairs_of(&["kv://in/?limit=3"], "out").unwrap_err();
    assert!(matches!(error, JobError::BadSpec { .. }), "{error}");
}
