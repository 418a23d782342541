//! The service of one node: follows the records, and acts on them as worker and, if elected, as coordinator.
//!
//! While there is no job the node only watches: it writes nothing, so an unused cluster stays
//! untouched. With the first job it takes a lease, registers, and stands for election; some seconds
//! after the last one it leaves. Everything decided here comes from the view; after a change of its
//! own the service waits until the view has it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use synod_base::{LeaseId, Revision};
use synod_client::election::{self, Leadership};
use synod_client::{ClientError, Consistency, Kv, Session, WatchBatch, Watcher};
use synod_jobs::cluster::attempt::{AttemptError, failure_of, remove_output};
use synod_jobs::cluster::names::{ELECTION, PREFIX};
use synod_jobs::cluster::records::{TaskOutput, encode};
use synod_jobs::cluster::worker::{self, Held, Identity};
use synod_jobs::cluster::{
    Change, Coordinator, JobId, Office, Step, TaskId, TaskKind, View, WorkerId, WorkerRecord,
};
use synod_jobs::{JobError, JobSpec, Progress};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::JobsOptions;
use super::records::{Applied, apply, follow};
use super::threads::{
    AttemptTask, Results, StoredPlan, ThreadResult, WorkResult, build_of_this_program, folder_of,
    map_locations, remove_folder, remove_folder_now, start_work,
};

/// What the service knows of its node.
#[derive(Clone, Debug)]
pub(crate) struct NodeFacts {
    /// Its name.
    pub name: String,
    /// `host:port` where other workers fetch.
    pub address: String,
    /// Where map outputs are kept.
    pub folder: PathBuf,
}

/// The service; `run` is all it does.
pub(crate) struct JobService<K: Kv> {
    kv: K,
    facts: NodeFacts,
    options: JobsOptions,
    slots: u32,
    /// This life of this process.
    id: WorkerId,
    build: String,
    started: Instant,
    view: View,
    /// Revision of the last change made here: nothing is decided before the view has it.
    last_change: Revision,
    member: Option<Member<K>>,
    /// Attempts whose threads have not ended.
    running: BTreeMap<(JobId, TaskId), Running>,
    /// Attempts that have ended and are not in the records yet.
    ended: VecDeque<(Held, Result<TaskOutput, AttemptError>)>,
    plans: BTreeMap<JobId, Arc<StoredPlan>>,
    /// Specs of the jobs that this worker has files of.
    folders: BTreeMap<JobId, JobSpec>,
    /// Jobs on whose files the coordinator works, and failed commits.
    working: BTreeSet<JobId>,
    failed_commits: BTreeMap<JobId, u32>,
    sender: Results,
    results: mpsc::Receiver<ThreadResult>,
    stop: watch::Receiver<bool>,
}

/// Registered and standing for election, as long as the session lives.
struct Member<K: Kv> {
    session: Session<K>,
    identity: Identity,
    candidacy: JoinHandle<()>,
    elected: watch::Receiver<Option<Leadership>>,
    coordinator: Option<Coordinator>,
    /// Since when there is no job.
    idle_since: Option<Instant>,
}

struct Running {
    held: Held,
    progress: Arc<Progress>,
    activity: Arc<AtomicU64>,
    told: (u64, Instant),
}

impl Running {
    /// A number that changes when the attempt moves, and the bytes it has read.
    fn moved(&self) -> (u64, u64) {
        let now = self.progress.snapshot();
        let sum = now.bytes_read + now.bytes_spilled + now.bytes_written;
        (sum + self.activity.load(Ordering::Relaxed), now.bytes_read)
    }
}

impl<K: Kv> JobService<K> {
    /// The service of this node, over this store.
    pub(crate) fn new(
        kv: K,
        facts: NodeFacts,
        options: JobsOptions,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let slots = options.slots.unwrap_or_else(|| {
            std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32)
        });
        let (sender, results) = mpsc::channel(WAITING_RESULTS);
        JobService {
            kv,
            facts,
            options,
            slots: slots.max(1),
            id: worker_id(),
            build: String::new(),
            started: Instant::now(),
            view: View::default(),
            last_change: Revision(0),
            member: None,
            running: BTreeMap::new(),
            ended: VecDeque::new(),
            plans: BTreeMap::new(),
            folders: BTreeMap::new(),
            working: BTreeSet::new(),
            failed_commits: BTreeMap::new(),
            sender,
            results,
            stop,
        }
    }

    /// Serves until the server stops.
    pub(crate) async fn run(mut self) {
        // No record knows of what an earlier life has left.
        remove_folder_now(self.facts.folder.clone()).await;
        let mut stop = self.stop.clone();
        tokio::select! {
            () = self.follow_records() => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        for running in self.running.values() {
            running.progress.cancel();
        }
        if let Some(member) = self.member.take() {
            member.candidacy.abort();
            // Others need not wait for the lease to end. If this takes long, they do.
            drop(tokio::time::timeout(LEAVE_TIMEOUT, member.session.close()).await);
        }
        // The data folder is free once the threads have ended.
        let wait = async {
            while !self.running.is_empty() {
                match self.results.recv().await {
                    Some(ThreadResult::Attempt(held, _)) => {
                        self.running.remove(&(held.job, held.task));
                    }
                    Some(ThreadResult::Work(..)) => {}
                    None => return,
                }
            }
        };
        drop(tokio::time::timeout(LEAVE_TIMEOUT, wait).await);
    }

    async fn follow_records(&mut self) {
        loop {
            match follow(&self.kv, PREFIX, Consistency::Serializable).await {
                Ok((view, watcher)) => {
                    self.view = view;
                    let error = self.act_on_changes(watcher).await;
                    tracing::debug!("jobs: the watch of the records has ended: {error}");
                }
                Err(error) => tracing::debug!("jobs: cannot read the records: {error}"),
            }
            tokio::time::sleep(FOLLOW_PAUSE).await;
        }
    }

    /// Acts whenever something has changed, until the watch ends.
    async fn act_on_changes(&mut self, mut watcher: Watcher) -> ClientError {
        loop {
            self.act().await;
            let must_tick = self.member.is_some() || self.view.active().next().is_some();
            let tick = async {
                if must_tick {
                    tokio::time::sleep(TICK).await
                } else {
                    std::future::pending().await
                }
            };
            let elected = async {
                let changed = match &mut self.member {
                    Some(member) => member.elected.changed().await.is_ok(),
                    None => false,
                };
                if !changed {
                    // There is no candidacy whose outcome could change.
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                batch = watcher.next() => match batch {
                    Ok(batch) => self.take_in(&batch),
                    Err(error) => return error,
                },
                result = self.results.recv() => {
                    if let Some(result) = result {
                        self.on_result(result).await;
                    }
                }
                () = elected => self.on_election(),
                () = tick => {}
            }
            // What is here already is decided upon together.
            while let Some(batch) = watcher.next().now_or_never() {
                match batch {
                    Ok(batch) => self.take_in(&batch),
                    Err(error) => return error,
                }
            }
            while let Ok(result) = self.results.try_recv() {
                self.on_result(result).await;
            }
        }
    }

    fn take_in(&mut self, batch: &WatchBatch) {
        for event in &batch.events {
            self.view.apply(&event.event);
        }
    }

    async fn act(&mut self) {
        self.join_or_leave().await;
        self.forget_old_jobs();
        if self.member.is_none() || self.view.revision() < self.last_change {
            return;
        }
        self.coordinate().await;
        self.report_ended().await;
        self.mind_running().await;
        self.claim().await;
    }

    async fn change(&mut self, change: Change) -> Applied {
        let applied = apply(&self.kv, change).await;
        if let Applied::Yes(revision) = applied {
            self.last_change = self.last_change.max(revision);
        }
        applied
    }

    // As a member.

    async fn join_or_leave(&mut self) {
        let idle = self.view.active().next().is_none();
        let Some(member) = &mut self.member else {
            if !idle {
                match self.join().await {
                    Ok(member) => self.member = Some(member),
                    Err(error) => tracing::debug!("jobs: cannot register: {error}"),
                }
            }
            return;
        };
        if member.session.is_lost() {
            tracing::warn!("jobs: the worker's lease was lost; its tasks go to others");
            member.candidacy.abort();
            self.member = None;
            for running in self.running.values() {
                running.progress.cancel();
            }
        } else if !idle {
            member.idle_since = None;
        } else if member.idle_since.get_or_insert_with(Instant::now).elapsed()
            >= self.options.linger
            && let Some(member) = self.member.take()
        {
            member.candidacy.abort();
            // If that fails the lease ends by itself.
            drop(member.session.close().await);
        }
    }

    async fn join(&mut self) -> Result<Member<K>, ClientError> {
        if self.build.is_empty() {
            let build = tokio::task::spawn_blocking(build_of_this_program).await;
            self.build = build.unwrap_or_else(|_| env!("CARGO_PKG_VERSION").to_owned());
        }
        let session = Session::open(&self.kv, self.options.lease_seconds).await?;
        let lease = session.lease();
        let record = WorkerRecord {
            node: self.facts.name.clone(),
            address: self.facts.address.clone(),
            slots: self.slots,
            build: self.build.clone(),
        };
        let value = encode(&record).expect("a worker's record is text and numbers");
        let registration = Change::new().put_leased(self.id.key(), value, lease);
        if let Applied::Yes(revision) = apply(&self.kv, registration).await {
            self.last_change = self.last_change.max(revision);
        }
        let (sender, elected) = watch::channel(None);
        let candidate = stand_for_election(self.kv.clone(), lease, self.id.to_string(), sender);
        Ok(Member {
            session,
            identity: Identity { id: self.id.clone(), lease },
            candidacy: tokio::spawn(candidate),
            elected,
            coordinator: None,
            idle_since: None,
        })
    }

    fn on_election(&mut self) {
        let Some(member) = &mut self.member else { return };
        let leadership = member.elected.borrow_and_update().clone();
        member.coordinator = leadership.map(|Leadership { key, revision, .. }| {
            Coordinator::new(Office { key, epoch: revision }, self.options.limits)
        });
        self.failed_commits.clear();
    }

    /// Removes what was kept for jobs that need it no longer.
    fn forget_old_jobs(&mut self) {
        let active: BTreeSet<JobId> = self.view.active().map(|(id, ..)| id.clone()).collect();
        self.plans.retain(|id, _| active.contains(id));
        let busy: BTreeSet<&JobId> = self.running.keys().map(|(id, _)| id).collect();
        let folder = &self.facts.folder;
        self.folders.retain(|id, _| {
            let needed = active.contains(id) || busy.contains(id);
            if !needed {
                remove_folder(folder_of(folder, id));
            }
            needed
        });
    }

    // As coordinator.

    async fn coordinate(&mut self) {
        let now = self.started.elapsed();
        let ids: Vec<JobId> = self.view.active().map(|(id, ..)| id.clone()).collect();
        for id in ids {
            if self.working.contains(&id) {
                continue;
            }
            let Some(coordinator) = self.coordinator() else { return };
            match coordinator.next(now, &id) {
                None => {}
                Some(Step::Change(change)) => {
                    self.change(change).await;
                }
                Some(Step::Work(work)) => {
                    let Some(job) = self.view.jobs.get(&id) else { continue };
                    let slots = self.view.workers.values().map(|worker| worker.record.slots).sum();
                    let sender = self.sender.clone();
                    match start_work(work, id.clone(), job, slots, sender) {
                        Ok(()) => drop(self.working.insert(id)),
                        Err(error) => tracing::warn!("jobs: cannot start a thread: {error}"),
                    }
                }
            }
        }
        let prune = self.coordinator().and_then(|coordinator| coordinator.prune());
        if let Some(change) = prune {
            self.change(change).await;
        }
    }

    /// The coordinator and what it looks at, if this node is elected.
    fn coordinator(&mut self) -> Option<Seat<'_>> {
        let coordinator = self.member.as_mut()?.coordinator.as_mut()?;
        Some(Seat { coordinator, view: &self.view })
    }

    async fn on_result(&mut self, result: ThreadResult) {
        match result {
            ThreadResult::Attempt(held, result) => {
                self.running.remove(&(held.job.clone(), held.task));
                self.ended.push_back((held, result));
            }
            ThreadResult::Work(id, result) => {
                self.working.remove(&id);
                for change in self.changes_after(&id, result) {
                    if !matches!(self.change(change).await, Applied::Yes(_)) {
                        // It is done again, by this coordinator or the next.
                        return;
                    }
                }
            }
        }
    }

    fn changes_after(&mut self, id: &JobId, result: WorkResult) -> Vec<Change> {
        let build = self.build.clone();
        let failed = self.failed_commits.get(id).copied().unwrap_or(0) + 1;
        let Some(Seat { coordinator, view }) = self.coordinator() else { return Vec::new() };
        let Some(job) = view.jobs.get(id).and_then(|job| job.job.as_ref()) else {
            return Vec::new();
        };
        let change = match result {
            WorkResult::Checked(result) => coordinator.checked(id, job, result.err()),
            WorkResult::Planned(Ok(plan)) => match coordinator.planned(id, job, &plan, &build) {
                Ok(changes) => return changes,
                Err(why) => coordinator.not_planned(id, job, why),
            },
            WorkResult::Planned(Err(why)) => coordinator.not_planned(id, job, why),
            WorkResult::Committed(Ok(manifest)) => coordinator.committed(id, job, *manifest),
            WorkResult::Committed(Err(why)) if failed < COMMIT_TRIES => {
                tracing::warn!("jobs: publishing the output of job {id} failed: {why}");
                self.failed_commits.insert(id.clone(), failed);
                return Vec::new();
            }
            WorkResult::Committed(Err(why)) => coordinator.not_committed(id, job, why),
            WorkResult::Cleaned(result) => coordinator.cleaned(id, job, result.err()),
        };
        vec![change]
    }

    // As worker.

    /// Says how attempts have ended; keeps those that nobody can tell about.
    async fn report_ended(&mut self) {
        for _ in 0..self.ended.len() {
            let Some((held, result)) = self.ended.pop_front() else { return };
            if !worker::still_held(self.view.jobs.get(&held.job), &held) {
                if !self.has_won(&held) {
                    self.discard(&held);
                }
                continue;
            }
            let Some(change) = self.end_of(&held, &result) else { return };
            match self.change(change).await {
                Applied::Yes(_) => {}
                // The view will say what happened.
                Applied::No | Applied::Unknown => self.ended.push_back((held, result)),
            }
        }
    }

    fn end_of(&self, held: &Held, result: &Result<TaskOutput, AttemptError>) -> Option<Change> {
        let me = &self.member.as_ref()?.identity;
        let spec = self.folders.get(&held.job);
        Some(match result {
            Ok(output) => worker::done(held, me, output.clone()),
            Err(AttemptError::Failed(JobError::Cancelled)) => worker::given_up(held),
            Err(AttemptError::Failed(error)) => {
                let Held { job, task, .. } = held;
                tracing::warn!("jobs: task {task} of job {job} failed: {error}");
                let skips_allowed = spec.is_some_and(|spec| spec.skip_bad_records > 0);
                worker::failed(held, failure_of(error, held.attempt(), &me.id), skips_allowed)
            }
            Err(AttemptError::Unreadable(map, report)) => {
                let (job, why) = (&held.job, &report.message);
                tracing::warn!("jobs: the output of task {map} of job {job} is unreadable: {why}");
                worker::unreadable(held, *map, report)
            }
        })
    }

    /// Whether the records say that this attempt is the task's winner.
    fn has_won(&self, held: &Held) -> bool {
        let task = self.view.jobs.get(&held.job).and_then(|job| job.tasks.get(&held.task));
        task.and_then(|task| task.record.done.as_ref())
            .is_some_and(|done| done.worker == self.id && done.attempt == held.attempt())
    }

    fn discard(&self, held: &Held) {
        let Some(spec) = self.folders.get(&held.job) else { return };
        let folder = folder_of(&self.facts.folder, &held.job);
        remove_output(&held.job, held.task, held.attempt(), &folder, &spec.output);
    }

    /// Stops attempts that lost their claim, and tells of those that move.
    async fn mind_running(&mut self) {
        let Some(identity) = self.member.as_ref().map(|member| member.identity.clone()) else {
            return;
        };
        let mut known: BTreeSet<(JobId, TaskId)> = self.running.keys().cloned().collect();
        known.extend(self.ended.iter().map(|(held, _)| (held.job.clone(), held.task)));
        if let Some(change) = worker::stray_claim(&self.view, &identity, &known) {
            self.change(change).await;
        }
        let mut changes = Vec::new();
        for running in self.running.values_mut() {
            let job = self.view.jobs.get(&running.held.job);
            if !worker::still_held(job, &running.held) || job.is_none_or(|job| job.cancel) {
                running.progress.cancel();
                continue;
            }
            let (moved, bytes_read) = running.moved();
            let (told, at) = running.told;
            if moved != told && at.elapsed() >= TELL_INTERVAL {
                running.told = (moved, Instant::now());
                changes.push(worker::refreshed(&running.held, &identity, moved, bytes_read));
            }
        }
        for change in changes {
            self.change(change).await;
        }
    }

    /// Claims tasks for free slots and starts them.
    async fn claim(&mut self) {
        let mut busy: BTreeSet<(JobId, TaskId)> = self.running.keys().cloned().collect();
        busy.extend(self.ended.iter().map(|(held, _)| (held.job.clone(), held.task)));
        while self.running.len() < self.slots as usize {
            let Some(member) = &self.member else { return };
            let next = worker::next_claim(&self.view, &member.identity, &self.build, &busy);
            let Some(claim) = next else { return };
            // Lost or not, it is not tried again before the view is newer.
            busy.insert((claim.job.clone(), claim.task));
            let Applied::Yes(revision) = self.change(claim.change).await else { continue };
            let (job, task, record) = (claim.job, claim.task, claim.record);
            if let Err(error) = self.start(Held { job, task, record, revision }) {
                tracing::warn!("jobs: cannot start a thread: {error}");
                return;
            }
        }
    }

    fn start(&mut self, held: Held) -> std::io::Result<()> {
        let Some(view) = self.view.jobs.get(&held.job) else { return Ok(()) };
        let Some(job) = &view.job else { return Ok(()) };
        let maps = match held.task.kind {
            TaskKind::Map => Vec::new(),
            TaskKind::Reduce => map_locations(view, held.task.number, |worker| {
                // A worker that has just gone is asked in vain, and reported.
                let gone = || "gone".to_owned();
                let record = self.view.workers.get(worker);
                let address = record.map_or_else(gone, |worker| worker.record.address.clone());
                (*worker != self.id).then_some(address)
            }),
        };
        let plan = self.plans.entry(held.job.clone());
        let plan = plan.or_insert_with(|| Arc::new(StoredPlan::new(view))).clone();
        let spec = job.record.spec.clone();
        self.folders.entry(held.job.clone()).or_insert_with(|| spec.clone());
        let (progress, activity) = (Arc::new(Progress::new()), Arc::new(AtomicU64::new(0)));
        let task = AttemptTask {
            held: held.clone(),
            spec,
            plan,
            maps,
            folder: folder_of(&self.facts.folder, &held.job),
            slots: self.slots,
            progress: progress.clone(),
            activity: activity.clone(),
        };
        task.start(self.sender.clone())?;
        let key = (held.job.clone(), held.task);
        let running = Running { held, progress, activity, told: (0, Instant::now()) };
        self.running.insert(key, running);
        Ok(())
    }
}

/// The coordinator with its view.
struct Seat<'a> {
    coordinator: &'a mut Coordinator,
    view: &'a View,
}

impl Seat<'_> {
    fn next(self, now: Duration, id: &JobId) -> Option<Step> {
        self.coordinator.next(self.view, id, now)
    }

    fn prune(self) -> Option<Change> {
        self.coordinator.prune(self.view)
    }
}

/// Stands for election again and again, and says whenever it is elected or not any more.
async fn stand_for_election<K: Kv>(
    kv: K,
    lease: LeaseId,
    name: String,
    elected: watch::Sender<Option<Leadership>>,
) {
    loop {
        match election::campaign(&kv, ELECTION.as_bytes(), lease, name.clone()).await {
            Ok(leadership) => {
                elected.send_replace(Some(leadership.clone()));
                // An error means that nobody can tell: the guards of each change will.
                if election::lost(&kv, &leadership).await.is_ok() {
                    elected.send_replace(None);
                }
            }
            Err(error) => tracing::debug!("jobs: no election: {error}"),
        }
        tokio::time::sleep(FOLLOW_PAUSE).await;
    }
}

/// A name for this life of this process.
fn worker_id() -> WorkerId {
    let name = format!("w-{:016x}", fastrand::u64(..));
    name.parse().expect("it holds letters, digits and a dash")
}

/// Deadlines are looked at this often.
const TICK: Duration = Duration::from_millis(250);
/// Between attempts to follow the records.
const FOLLOW_PAUSE: Duration = Duration::from_millis(200);
/// Running attempts tell how far they are this often, if they move.
const TELL_INTERVAL: Duration = Duration::from_secs(5);
/// Leaving in order may take this long when the server stops.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(500);
/// Results that threads may leave before they wait.
const WAITING_RESULTS: usize = 64;
/// Commits that may fail before the job does.
const COMMIT_TRIES: u32 = 3;
