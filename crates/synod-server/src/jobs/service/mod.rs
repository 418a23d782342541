//! The service of one node: follows the records, and acts on them as worker and, if elected, as coordinator.
//!
//! While there is no job the node only watches: it writes nothing, so an unused cluster stays untouched.
//! With the first job it takes a lease, registers, and stands for election; some seconds after the last one
//! it leaves. Everything decided here comes from the view; after a change of its own the service waits until
//! the view has it. Joining and leaving is in `membership.rs`, the coordinator's part in `coordinating.rs`,
//! the worker's in `working.rs`, what it fetches before it needs it in `fetching_ahead.rs`, minding the next
//! worker in `neighbour.rs`.

mod coordinating;
mod fetching_ahead;
mod membership;
mod neighbour;
mod overseeing;
#[cfg(test)]
mod tests;
mod working;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use synod_base::Revision;
use synod_client::{ClientError, Consistency, Kv, WatchBatch, Watcher};
use synod_jobs::cluster::names::PREFIX;
use synod_jobs::cluster::{Change, Chooser, JobId, TaskId, View, WorkerId};
use synod_jobs::{JobSpec, Stores};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::ahead::Ahead;
use super::at_hand::AtHand;
use super::folders::{folder_of, keep_logs_only, remove_folder, strip_all};
use super::host::build_of_this_program;
use super::memory::{half_of_this_machine, least_for};
use super::moments::Moments;
use super::pool::Pool;
use super::records::{Applied, apply, follow};
use super::stores::stores_of_job;
use super::threads::{EndedAttempt, Results, StoredPlan, ThreadResult};
use super::{JobMetrics, JobsOptions};
use membership::Member;
use overseeing::Working;
use working::Running;

/// What the service knows of its node.
#[derive(Clone, Debug)]
pub(crate) struct NodeFacts {
    /// Its name.
    pub name: String,
    /// `host:port` where other workers fetch.
    pub address: String,
    /// Where map outputs are kept.
    pub folder: PathBuf,
    /// Whether jobs may run programs here.
    pub runs_commands: bool,
    /// Its machine, see [`host_of_this_process`](super::host::host_of_this_process).
    pub host: String,
    /// Where tests may hold its threads.
    pub moments: Moments,
}

/// The service; `run` is all it does.
pub(crate) struct JobService<K: Kv> {
    kv: K,
    facts: NodeFacts,
    options: JobsOptions,
    slots: u32,
    /// Memory that its tasks may take together; `None`: what their jobs ask for.
    memory_bytes: Option<u64>,
    /// This life of this process.
    id: WorkerId,
    build: String,
    /// Finds that out, so that the first job need not wait for it.
    building: Option<JoinHandle<String>>,
    started: Instant,
    view: View,
    /// Revision of the last change made here, and when: nothing is decided before the view has it.
    last_change: (Revision, Instant),
    member: Option<Member<K>>,
    chooser: Chooser,
    /// Attempts whose threads have not ended.
    running: BTreeMap<(JobId, TaskId), Running>,
    /// Attempts that have ended and are not in the records yet.
    ended: VecDeque<EndedAttempt>,
    plans: BTreeMap<JobId, Arc<StoredPlan>>,
    /// Specs of the jobs that this worker has files of.
    folders: BTreeMap<JobId, JobSpec>,
    /// What it has of the files that came with them.
    at_hand: BTreeMap<JobId, Arc<AtHand>>,
    /// Jobs that this worker has nothing of but logs.
    logs: BTreeSet<JobId>,
    /// What it has fetched of map outputs for reduces to come, and when it looked for more.
    ahead: Ahead,
    looked_ahead: Option<Instant>,
    /// What the coordinator does on the files of jobs, how much of that it has begun, and failed commits.
    working: BTreeMap<JobId, Working>,
    works_begun: u64,
    failed_commits: BTreeMap<JobId, u32>,
    /// Outputs that planning has made here and the records do not know of: if the job ends without
    /// success, whoever ends it may have looked before they were there.
    made: BTreeMap<JobId, JobSpec>,
    /// When it last left the office to another program.
    stood_aside: Option<Instant>,
    /// Jobs that this worker leaves alone because its program is another one.
    warned: BTreeSet<JobId>,
    pool: Pool,
    sender: Results,
    results: mpsc::Receiver<ThreadResult>,
    stop: watch::Receiver<bool>,
    /// Whether it is to leave once nobody needs it.
    drain: watch::Receiver<bool>,
    /// Since when the records cannot be read, and whether a person knows.
    unreadable_since: Option<(Instant, bool)>,
    /// Told how the records are, if anybody looks at them.
    metrics: Option<JobMetrics>,
    /// Told when the records were read for the first time.
    following: Option<oneshot::Sender<()>>,
}

impl<K: Kv> JobService<K> {
    /// The service of this node, over this store. It ends when `stop` says so.
    pub(crate) fn new(
        kv: K,
        facts: NodeFacts,
        options: JobsOptions,
        stop: watch::Receiver<bool>,
    ) -> Self {
        // A receiver without its sender keeps the last value.
        let (_, drain) = watch::channel(false);
        let slots = options.slots();
        let memory_bytes = options.memory_bytes.or_else(half_of_this_machine);
        let (sender, results) = mpsc::channel(WAITING_RESULTS);
        JobService {
            kv,
            facts,
            options,
            slots,
            memory_bytes: memory_bytes.map(|bytes| bytes.max(least_for(slots))),
            id: worker_id(),
            build: String::new(),
            building: None,
            started: Instant::now(),
            view: View::default(),
            last_change: (Revision(0), Instant::now()),
            member: None,
            chooser: Chooser::default(),
            running: BTreeMap::new(),
            ended: VecDeque::new(),
            plans: BTreeMap::new(),
            folders: BTreeMap::new(),
            at_hand: BTreeMap::new(),
            logs: BTreeSet::new(),
            ahead: Ahead::default(),
            looked_ahead: None,
            working: BTreeMap::new(),
            works_begun: 0,
            stood_aside: None,
            warned: BTreeSet::new(),
            failed_commits: BTreeMap::new(),
            made: BTreeMap::new(),
            pool: Pool::default(),
            sender,
            results,
            stop,
            drain,
            unreadable_since: None,
            metrics: None,
            following: None,
        }
    }

    /// It leaves also, once nobody needs it, when `drain` says so.
    #[must_use]
    pub(crate) fn draining_when(self, drain: watch::Receiver<bool>) -> Self {
        JobService { drain, ..self }
    }

    /// What it sees is shown in these metrics.
    #[must_use]
    pub(crate) fn counting_in(self, metrics: JobMetrics) -> Self {
        JobService { metrics: Some(metrics), ..self }
    }

    /// `told` hears when the records were read for the first time.
    #[must_use]
    pub(crate) fn telling_when_it_follows(self, told: oneshot::Sender<()>) -> Self {
        JobService { following: Some(told), ..self }
    }

    /// Serves until the server stops.
    pub(crate) async fn run(mut self) {
        self.building = Some(tokio::task::spawn_blocking(build_of_this_program));
        // No record knows of what an earlier life has left, but its logs can still be asked for.
        self.logs = strip_all(self.facts.folder.clone()).await;
        let mut stop = self.stop.clone();
        tokio::select! {
            () = self.follow_records() => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        for running in self.running.values() {
            running.progress.cancel();
        }
        self.stop_work();
        self.ahead.retain(|_| false);
        if let Some(member) = self.member.take() {
            // Others need not wait for the lease to end. If this takes long, they do.
            drop(tokio::time::timeout(LEAVE_TIMEOUT, member.session.close()).await);
        }
        // The data folder is free once the threads have ended.
        let wait = async {
            while !self.running.is_empty() {
                match self.results.recv().await {
                    Some(ThreadResult::Attempt(EndedAttempt { held, .. })) => {
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
            // Older records than those seen before would have it remove what is needed now.
            match follow(&self.kv, PREFIX, Consistency::Linearizable).await {
                Ok((view, watcher)) => {
                    self.view = view;
                    self.unreadable_since = None;
                    if let Some(told) = self.following.take() {
                        // Who waited for it may have gone.
                        let _told: Result<(), ()> = told.send(());
                    }
                    match self.act_on_changes(watcher).await {
                        Some(error) => {
                            tracing::debug!("jobs: the watch of the records has ended: {error}");
                        }
                        None => return,
                    }
                }
                Err(error) => self.cannot_follow(&error),
            }
            let is_out = self.member.as_ref().is_none_or(|member| member.session.is_lost());
            if is_out && *self.drain.borrow() {
                // Nobody counts on it any more, and nobody can be told.
                return;
            }
            tokio::time::sleep(FOLLOW_PAUSE).await;
        }
    }

    /// What one job may read.
    fn stores(&self) -> Stores {
        self.facts.moments.stores(stores_of_job(self.kv.clone(), Handle::current()))
    }

    /// A person hears of it when it has gone on for a while, once.
    fn cannot_follow(&mut self, error: &ClientError) {
        tracing::debug!("jobs: cannot read the records: {error}");
        let (since, told) = self.unreadable_since.get_or_insert_with(|| (Instant::now(), false));
        if since.elapsed() >= UNREADABLE_PATIENCE && !std::mem::replace(told, true) {
            tracing::warn!("jobs: cannot read the records, trying on: {error}");
        }
    }

    /// Acts whenever something has changed, until the watch ends with an error, or nobody needs this
    /// worker any more.
    async fn act_on_changes(&mut self, mut watcher: Watcher) -> Option<ClientError> {
        let mut drain = self.drain.clone();
        loop {
            self.act().await;
            if let Some(metrics) = &mut self.metrics {
                metrics.update(&self.view);
            }
            let draining = *drain.borrow();
            if draining && !self.is_needed() {
                return None;
            }
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
            let told_to_leave = async {
                if draining || drain.wait_for(|drain| *drain).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                batch = watcher.next() => match batch {
                    Ok(batch) => self.take_in(&batch),
                    Err(error) => return Some(error),
                },
                () = told_to_leave => {}
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
                    Err(error) => return Some(error),
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
        self.remove_late_outputs();
        self.forget_old_jobs();
        let (revision, at) = self.last_change;
        // A change that found nothing to delete shows up nowhere, so the wait has a limit. What is decided
        // behind it must not take a claim that is not here yet for one that is gone.
        let behind = self.view.revision() < revision && at.elapsed() < VIEW_PATIENCE;
        if self.member.is_none() || behind {
            return;
        }
        self.coordinate().await;
        self.report_ended().await;
        self.mind_running().await;
        self.look_ahead();
        self.claim().await;
    }

    async fn change(&mut self, change: Change) -> Applied {
        let applied = apply(&self.kv, change).await;
        if let Applied::Yes(revision) = applied {
            self.last_change = (self.last_change.0.max(revision), Instant::now());
        }
        applied
    }

    async fn on_result(&mut self, result: ThreadResult) {
        match result {
            ThreadResult::Attempt(ended) => {
                self.running.remove(&(ended.held.job.clone(), ended.held.task));
                self.ended.push_back(ended);
            }
            ThreadResult::Work(id, number, result) => self.on_work(&id, number, result).await,
        }
    }

    /// Removes what was kept for jobs that need it no longer.
    fn forget_old_jobs(&mut self) {
        let active: BTreeSet<JobId> = self.view.active().map(|(id, ..)| id.clone()).collect();
        // Before their folders go.
        self.ahead.retain(|id| active.contains(id));
        self.warned.retain(|id| active.contains(id));
        self.plans.retain(|id, _| active.contains(id));
        let busy: BTreeSet<&JobId> = self.running.keys().map(|(id, _)| id).collect();
        let folder = &self.facts.folder;
        self.folders.retain(|id, _| {
            let needed = active.contains(id) || busy.contains(id) || self.working.contains_key(id);
            if !needed {
                keep_logs_only(folder_of(folder, id));
                self.logs.insert(id.clone());
            }
            needed
        });
        let (jobs, folders) = (&self.view.jobs, &self.folders);
        self.at_hand.retain(|id, _| folders.contains_key(id));
        self.logs.retain(|id| {
            let known = jobs.contains_key(id);
            if !known && !folders.contains_key(id) {
                remove_folder(folder_of(folder, id));
            }
            known && !folders.contains_key(id)
        });
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
/// Records that cannot be read for so long are worth a warning.
const UNREADABLE_PATIENCE: Duration = Duration::from_secs(5);
/// Leaving in order may take this long when the server stops.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(500);
/// How long the view may be behind a change of this node's own.
const VIEW_PATIENCE: Duration = Duration::from_secs(1);
/// Results that threads may leave before they wait.
const WAITING_RESULTS: usize = 64;
/// Commits that may fail before the job does.
const COMMIT_TRIES: u32 = 3;
