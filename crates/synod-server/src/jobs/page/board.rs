//! Who answers for the status page: a thread with a view of its own, for as long as somebody looks.
//!
//! It follows the records as any client does. Plans and reports are left out of its view, they are the
//! large ones; the report of a job that has ended is read when it is asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use synod_base::Revision;
use synod_client::{ClientError, Consistency, Kv, WatchSpec, Watcher};
use synod_jobs::cluster::names::{JobKey, Key, PREFIX};
use synod_jobs::cluster::records::encode;
use synod_jobs::cluster::room::slots_together;
use synod_jobs::cluster::shown::{JobDetail, JobRow, WorkerRow, workers};
use synod_jobs::cluster::{JobId, View};
use synod_jobs::{Outlook, Pace};
use synod_state::kv::{Event, KeyRange};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Question, Wanted, html};
use crate::jobs::query::read_jobs_as;
use crate::jobs::threads::unix_ms;

/// Jobs that a list shows, the newest ones.
const MAX_JOBS: usize = 200;
/// Without a question for so long, the board goes, and its view with it.
const IDLE: Duration = Duration::from_secs(60);
/// Running jobs are looked at this often, so that their rates are known when somebody asks.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Rates are over this time. Workers tell every few seconds how far they are.
const RATE_WINDOW: Duration = Duration::from_secs(20);
/// Between attempts to follow the records.
const FOLLOW_PAUSE: Duration = Duration::from_millis(500);
/// How long the store may take to give a report.
const REPORT_PATIENCE: Duration = Duration::from_secs(5);

/// Starts a board on a thread of its own. It ends when nobody has asked for a while, or nobody can.
pub(super) fn start<K: Kv>(
    kv: K,
    node: String,
    questions: mpsc::Receiver<Question>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let now = Instant::now();
    let board = Board { kv, node, begun: now, asked: now, paces: BTreeMap::new() };
    let thread = std::thread::Builder::new().name("synod-jobs-page".into());
    thread.spawn(move || runtime.block_on(board.run(questions))).map(drop)
}

struct Board<K> {
    kv: K,
    node: String,
    begun: Instant,
    /// When somebody wanted to know something last.
    asked: Instant,
    /// What is known of the speed of the running jobs.
    paces: BTreeMap<JobId, (Outlook, Pace)>,
}

/// All jobs.
#[derive(Debug, Serialize)]
pub(super) struct List<'a> {
    /// Name of the node that answers.
    pub node: &'a str,
    /// Its clock, milliseconds since 1970.
    pub now_ms: u64,
    /// The newest jobs, newest first.
    pub jobs: Vec<JobRow>,
    /// Jobs that are not among them.
    pub jobs_left_out: usize,
    /// Workers that are registered, which they are while there is work.
    pub workers: Vec<WorkerRow>,
    /// Tasks that these may run at a time, all together.
    pub slots: u32,
}

/// One job.
#[derive(Debug, Serialize)]
pub(super) struct One<'a> {
    /// Name of the node that answers.
    pub node: &'a str,
    /// Its clock, milliseconds since 1970.
    pub now_ms: u64,
    /// The job.
    pub job: JobDetail,
}

impl<K: Kv> Board<K> {
    async fn run(mut self, mut questions: mpsc::Receiver<Question>) {
        while self.asked.elapsed() < IDLE {
            match self.follow().await {
                Ok((view, watcher)) => match self.serve(view, watcher, &mut questions).await {
                    Some(error) => tracing::debug!("jobs: the page's watch has ended: {error}"),
                    None => return,
                },
                Err(error) => {
                    tracing::debug!("jobs: the page cannot read the records: {error}");
                    // Who asks is told so at once.
                    while questions.try_recv().is_ok() {
                        self.asked = Instant::now();
                    }
                    if questions.is_closed() {
                        return;
                    }
                    tokio::time::sleep(FOLLOW_PAUSE).await;
                }
            }
        }
    }

    async fn follow(&self) -> Result<(View, Watcher), ClientError> {
        let view = read_jobs_as(&self.kv, Consistency::Serializable).await?;
        let start_revision = Revision(view.revision().0 + 1);
        let range = KeyRange::prefix(PREFIX);
        let spec = WatchSpec { range, start_revision, ..WatchSpec::default() };
        Ok((view, self.kv.watch(spec).await?))
    }

    /// Answers until the watch ends with an error, or nobody asks any more.
    async fn serve(
        &mut self,
        mut view: View,
        mut watcher: Watcher,
        questions: &mut mpsc::Receiver<Question>,
    ) -> Option<ClientError> {
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut idle_at = self.asked + IDLE;
        loop {
            tokio::select! {
                batch = watcher.next() => match batch {
                    Ok(batch) => {
                        let events = batch.events.iter().map(|event| &event.event);
                        events.filter(|event| is_shown(event)).for_each(|event| view.apply(event));
                    }
                    Err(error) => return Some(error),
                },
                question = questions.recv() => {
                    self.asked = Instant::now();
                    idle_at = self.asked + IDLE;
                    self.answer(&mut view, question?).await;
                }
                _ = look.tick() => self.look(&view),
                () = tokio::time::sleep_until(idle_at) => {
                    // From now on whoever asks gets another board; this one answers who has just asked.
                    questions.close();
                    idle_at = Instant::now() + IDLE;
                }
            }
        }
    }

    fn look(&mut self, view: &View) {
        let now = self.begun.elapsed();
        let mut paces = std::mem::take(&mut self.paces);
        for (id, job, _) in view.active() {
            let known = paces.remove(id).map(|(outlook, _)| outlook);
            let mut outlook = known.unwrap_or_else(|| Outlook::over(RATE_WINDOW));
            let pace = outlook.look(now, &job.snapshot());
            self.paces.insert(id.clone(), (outlook, pace));
        }
    }

    async fn answer(&self, view: &mut View, question: Question) {
        let Question { wanted, answer } = question;
        if answer.is_closed() {
            // It has waited too long.
            return;
        }
        let body = match &wanted {
            Wanted::ListPage => Some(html::list(&self.list(view))),
            Wanted::ListJson => Some(json(&self.list(view))),
            Wanted::JobPage(id) => self.one(view, id).await.map(|one| html::job(&one)),
            Wanted::JobJson(id) => self.one(view, id).await.map(|one| json(&one)),
        };
        // Who has asked may have gone.
        drop(answer.send(body));
    }

    fn list(&self, view: &View) -> List<'_> {
        let newest = view.jobs.iter().rev().take(MAX_JOBS);
        List {
            node: &self.node,
            now_ms: unix_ms(),
            jobs: newest.filter_map(|(id, job)| JobRow::of(id, job, self.pace(id))).collect(),
            jobs_left_out: view.jobs.len().saturating_sub(MAX_JOBS),
            workers: workers(view),
            slots: slots_together(view.workers.values().map(|worker| &worker.record)),
        }
    }

    async fn one(&self, view: &mut View, id: &JobId) -> Option<One<'_>> {
        let job = view.jobs.get(id)?.job.as_ref()?;
        if job.record.state.is_final() {
            let get = self.kv.get(id.key(JobKey::Report));
            let read = tokio::time::timeout(REPORT_PATIENCE, get).await;
            let report = read.ok().and_then(Result::ok).and_then(|(_, found)| found);
            view.jobs.get_mut(id)?.stored_report = report.map(|found| found.value);
        }
        let detail = JobDetail::of(id, view, self.pace(id));
        view.jobs.get_mut(id)?.stored_report = None;
        Some(One { node: &self.node, now_ms: unix_ms(), job: detail? })
    }

    fn pace(&self, id: &JobId) -> Option<Pace> {
        self.paces.get(id).map(|(_, pace)| *pace)
    }
}

/// Whether the view is to have it.
fn is_shown(event: &Event) -> bool {
    !matches!(
        Key::parse(&event.kv.key),
        Some(Key::Job(_, JobKey::Plan(_) | JobKey::Report | JobKey::Unreadable(_)))
    )
}

fn json<T: Serialize>(shown: &T) -> Bytes {
    encode(shown).expect("what is shown is text and numbers").into()
}
