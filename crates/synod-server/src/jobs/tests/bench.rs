//! Workers in this process, a client, files: everything real but the store's disk and the cables. A worker
//! is "killed" by cutting its cables and dropping its service; its task threads go on for a moment like
//! those of a process that does not know yet.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use synod_base::LeaseId;
use synod_client::{Consistency, Embedded, Kv};
use synod_jobs::cluster::names::{ELECTION, PREFIX};
use synod_jobs::cluster::{JobId, JobState, Limits, View, WorkerId};
use synod_jobs::{JobSpec, JobSummary, Progress};
use synod_state::kv::KeyRange;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::cable::{Cable, Damage};
use super::store::{Link, Store, Traffic};
use crate::jobs::moments::{Moment, Moments};
use crate::jobs::records::follow;
use crate::jobs::{
    JobFiles, JobService, JobsOptions, JobsPage, NodeFacts, SubmitError, follow_job, port,
    submit_job,
};

/// Nothing that a test waits for takes this long on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a worker is like.
#[derive(Clone)]
pub struct Kind {
    pub slots: u32,
    /// Workers of one machine read each other's files.
    pub machine: String,
    pub moments: Moments,
    pub limits: Limits,
    pub lease_seconds: i64,
    /// See [`JobsOptions::memory_bytes`].
    pub memory_bytes: Option<u64>,
    /// See [`JobsOptions::ahead_percent`].
    pub ahead_percent: u8,
}

impl Default for Kind {
    fn default() -> Kind {
        let limits = Limits {
            no_worker: Duration::from_secs(10),
            stall: Duration::from_secs(20),
            slow_after: Duration::from_millis(300),
            finished_kept: 10,
        };
        Kind {
            slots: 2,
            machine: String::new(),
            moments: Moments::default(),
            limits,
            lease_seconds: 2,
            memory_bytes: None,
            ahead_percent: 10,
        }
    }
}

impl Kind {
    /// Does this at the moments of its threads.
    pub fn acting(act: impl Fn(Moment<'_>) + Send + Sync + 'static) -> Kind {
        Kind {
            moments: Moments { act: Some(Arc::new(act)), ..Moments::default() },
            ..Kind::default()
        }
    }

    /// Of this one nothing is taken for dead, hanging or slow, however long the machine stands still.
    pub fn unhurried(mut self) -> Kind {
        self.lease_seconds = 600;
        self.limits.stall = Duration::from_secs(600);
        self.limits.slow_after = Duration::from_secs(600);
        self
    }
}

/// A worker, dead or alive.
pub struct Worker {
    pub name: String,
    pub folder: PathBuf,
    pub link: Link,
    pub cable: Cable,
    service: Option<JoinHandle<()>>,
    port: JoinHandle<()>,
    drain: watch::Sender<bool>,
    stop: watch::Sender<bool>,
}

impl Worker {
    pub fn is_alive(&self) -> bool {
        self.service.is_some()
    }
}

/// A store, workers on it, a folder for everything.
pub struct Bench {
    pub store: Store,
    pub workers: Vec<Worker>,
    pub folder: TempDir,
    pub kv: Embedded,
}

impl Bench {
    /// With this many workers, each on a machine of its own.
    pub async fn new(workers: usize) -> Bench {
        let store = Store::start();
        let kv = Embedded::new(store.handle());
        let folder = TempDir::new().unwrap();
        let mut bench = Bench { store, workers: Vec::new(), folder, kv };
        for _ in 0..workers {
            bench.add(Kind::default()).await;
        }
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// One more worker; its number.
    pub async fn add(&mut self, kind: Kind) -> usize {
        let name = format!("w{}", self.workers.len());
        let machine = if kind.machine.is_empty() { name.clone() } else { kind.machine };
        let (handle, link) = self.store.link();
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let cable = Cable::lay(socket.local_addr().unwrap()).await;
        let folder = self.path(&name).join("jobs");
        let facts = NodeFacts {
            name: name.clone(),
            address: cable.address().to_string(),
            folder: folder.clone(),
            runs_commands: true,
            host: machine,
            moments: kind.moments,
        };
        let options = JobsOptions {
            slots: Some(kind.slots),
            lease_seconds: kind.lease_seconds,
            tell_interval: Duration::from_millis(50),
            limits: kind.limits,
            memory_bytes: kind.memory_bytes,
            ahead_percent: kind.ahead_percent,
            ..JobsOptions::default()
        };
        let (stop, stopped) = watch::channel(false);
        let (drain, draining) = watch::channel(false);
        let page = JobsPage::new(Embedded::new(handle.clone()), name.clone());
        let service = JobService::new(Embedded::new(handle), facts, options, stopped);
        let service = tokio::spawn(service.draining_when(draining).run());
        let port = tokio::spawn(port::serve(socket, JobFiles::new(folder.clone()), page));
        let service = Some(service);
        self.workers.push(Worker { name, folder, link, cable, service, port, drain, stop });
        self.workers.len() - 1
    }

    /// As `kill -9`, and what the store does some seconds later if `at_once`: it ends the lease.
    pub async fn kill(&mut self, number: usize, at_once: bool) {
        let worker = &mut self.workers[number];
        worker.link.set(Traffic::Cut);
        worker.cable.damage(Damage::Refuse);
        worker.port.abort();
        if let Some(service) = worker.service.take() {
            service.abort();
        }
        if at_once {
            self.end_lease(number).await;
        }
    }

    /// Ends the lease of a worker, as if it had not been heard of for long enough.
    pub async fn end_lease(&self, number: usize) {
        if let Some(lease) = self.lease_of(number).await {
            // It may be over already.
            drop(self.kv.lease_revoke(lease).await);
        }
    }

    async fn lease_of(&self, number: usize) -> Option<LeaseId> {
        let id = self.id_of(number).await?;
        let (_, found) = self.kv.get(id.key()).await.unwrap();
        Some(found?.lease)
    }

    /// The name under which a worker is registered.
    pub async fn id_of(&self, number: usize) -> Option<WorkerId> {
        let view = self.view().await;
        let name = &self.workers[number].name;
        let found = view.workers.iter().find(|(_, found)| found.record.node == *name);
        found.map(|(id, _)| id.clone())
    }

    /// Number of the worker that coordinates, if one does.
    pub async fn coordinator(&self) -> Option<usize> {
        let (_, leader) =
            synod_client::election::leader(&self.kv, ELECTION.as_bytes()).await.unwrap();
        let id: WorkerId = String::from_utf8(leader?.value.to_vec()).ok()?.parse().ok()?;
        let node = self.view().await.node_of(&id);
        self.workers.iter().position(|worker| worker.name == node)
    }

    /// Waits until so many workers stand for election or are elected.
    pub async fn wait_candidates(&self, count: usize) {
        let range = KeyRange::prefix(ELECTION);
        let request = synod_state::kv::RangeRequest { range, ..Default::default() };
        let began = std::time::Instant::now();
        loop {
            let found = self.kv.range(request.clone(), Consistency::Linearizable).await.unwrap().1;
            if found.kvs.len() >= count {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{} of {count} candidates", found.kvs.len());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Tells a worker to leave when nobody needs it.
    pub fn drain(&self, number: usize) {
        self.workers[number].drain.send_replace(true);
    }

    /// Waits until a worker's service has ended.
    pub async fn wait_gone(&mut self, number: usize) {
        let service = self.workers[number].service.take().expect("it runs");
        tokio::time::timeout(PATIENCE, service).await.expect("it ends").unwrap();
    }

    pub async fn view(&self) -> View {
        let range = KeyRange::prefix(PREFIX);
        let request = synod_state::kv::RangeRequest { range, ..Default::default() };
        let (header, found) = self.kv.range(request, Consistency::Linearizable).await.unwrap();
        View::load(&found.kvs, header.revision)
    }

    /// Waits until `look` finds something in the records; it sees every change.
    pub async fn wait<T>(&self, what: &str, mut look: impl FnMut(&View) -> Option<T>) -> T {
        let watching = async {
            let (mut view, mut watcher) =
                follow(&self.kv, PREFIX, Consistency::Linearizable).await.unwrap();
            loop {
                if let Some(found) = look(&view) {
                    return found;
                }
                for event in watcher.next().await.unwrap().events {
                    view.apply(&event.event);
                    if let Some(found) = look(&view) {
                        return found;
                    }
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, watching).await;
        found.unwrap_or_else(|_| panic!("waited in vain for {what}"))
    }

    /// Waits until the first job has some state.
    pub async fn wait_state(&self, id: &JobId, what: &str, is_it: impl Fn(&JobState) -> bool) {
        self.wait(what, |view| {
            let job = view.jobs.get(id)?.job.as_ref()?;
            is_it(&job.record.state).then_some(())
        })
        .await;
    }

    pub async fn submit(&self, spec: &JobSpec) -> JobId {
        submit_job(&self.kv, spec).await.unwrap()
    }

    /// Follows a job to its end. On a busy machine that may take long, but not without a change.
    pub async fn finish(&self, id: &JobId) -> Result<JobSummary, SubmitError> {
        let progress = Progress::new();
        let mut end = std::pin::pin!(follow_job(&self.kv, id.clone(), &progress));
        let mut before = String::new();
        for _ in 0..10 {
            if let Ok(end) = tokio::time::timeout(PATIENCE, &mut end).await {
                return end;
            }
            let now = format!("{:?}", self.view().await.jobs.get(id));
            assert_ne!(now, before, "nothing has moved for long");
            before = now;
        }
        panic!("every job comes to an end, but not this one: {before}");
    }

    pub async fn run(&self, spec: &JobSpec) -> Result<JobSummary, SubmitError> {
        let id = self.submit(spec).await;
        self.finish(&id).await
    }

    /// Waits until no living worker keeps anything of any job but logs.
    pub async fn wait_clean(&self) {
        for worker in self.workers.iter().filter(|worker| worker.is_alive()) {
            let began = std::time::Instant::now();
            while runs_in(&worker.folder) > 0 {
                assert!(began.elapsed() < PATIENCE, "{} keeps files", worker.name);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for worker in &self.workers {
            worker.stop.send_replace(true);
        }
    }
}

fn runs_in(folder: &Path) -> usize {
    let files = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten();
    let jobs = files(folder.to_owned()).flat_map(|job| files(job.path()));
    jobs.filter(|entry| entry.file_name() != "logs").count()
}

/// The part files by name. The output is complete and holds nothing else.
pub fn parts(output: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(output).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut parts: BTreeMap<String, Vec<u8>> = entries
        .map(|path| (name(&path), if path.is_dir() { Vec::new() } else { fs::read(path).unwrap() }))
        .collect();
    assert!(parts.remove("_SUCCESS").is_some(), "{:?}", parts.keys());
    assert!(parts.keys().all(|name| name.starts_with("part-")), "{:?}", parts.keys());
    parts
}

/// A text whose order and words depend on the seed.
pub fn text(bytes: usize, seed: u64) -> String {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut text = String::new();
    while text.len() < bytes {
        for _ in 0..rng.usize(0..12) {
            let word = rng.u32(..2_000).min(rng.u32(..2_000));
            text.push_str(&format!("w{word:x} "));
        }
        text.push('\n');
    }
    text
}
