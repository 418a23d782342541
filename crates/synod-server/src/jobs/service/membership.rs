//! Joining while there is a job, standing for election, leaving when there is none.

use std::time::Duration;

use synod_base::{LeaseId, Revision};
use synod_client::election::{self, Leadership};
use synod_client::{ClientError, Kv, Session};
use synod_jobs::cluster::names::ELECTION;
use synod_jobs::cluster::records::encode;
use synod_jobs::cluster::worker::Identity;
use synod_jobs::cluster::{Change, Coordinator, JobState, Office, WorkerId, WorkerRecord};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::neighbour::Minders;
use super::{FOLLOW_PAUSE, JobService};
use crate::jobs::records::Applied;

/// Registered and standing for election, as long as the session lives.
pub(super) struct Member<K: Kv> {
    pub(super) session: Session<K>,
    /// When it was registered.
    since: Revision,
    pub(super) identity: Identity,
    /// What it has registered.
    pub(super) record: WorkerRecord,
    /// Ends with this value.
    _candidacy: JoinSet<()>,
    minders: Minders,
    pub(super) elected: watch::Receiver<Option<Leadership>>,
    pub(super) coordinator: Option<Coordinator>,
    /// Since when there is no job.
    pub(super) idle_since: Option<Instant>,
}

impl<K: Kv> JobService<K> {
    pub(super) async fn join_or_leave(&mut self) {
        let idle = self.view.active().next().is_none();
        let draining = *self.drain.borrow();
        let Some(member) = &mut self.member else {
            if !idle && !draining {
                match self.join().await {
                    Ok(member) => self.member = Some(member),
                    Err(error) => tracing::debug!("jobs: cannot register: {error}"),
                }
            }
            return;
        };
        let is_known =
            self.view.revision() < member.since || self.view.workers.contains_key(&self.id);
        // The registration goes with the lease, and is missed before the next keep-alive.
        if member.session.is_lost() || !is_known {
            tracing::warn!("jobs: the worker's lease was lost; its tasks go to others");
            self.member = None;
            for running in self.running.values() {
                running.progress.cancel();
            }
            self.stop_work();
        } else if !idle {
            member.idle_since = None;
            member.minders.mind(&self.id, &self.view, &self.kv, &self.facts.moments);
            if draining && !member.record.draining {
                self.announce_drain().await;
            }
        } else if member.idle_since.get_or_insert_with(Instant::now).elapsed()
            >= self.options.linger
            && let Some(member) = self.member.take()
        {
            // If that fails the lease ends by itself.
            drop(member.session.close().await);
        }
    }

    async fn join(&mut self) -> Result<Member<K>, ClientError> {
        if let Some(build) = self.building.take() {
            self.build = build.await.unwrap_or_else(|_| env!("CARGO_PKG_VERSION").to_owned());
        }
        let session = Session::open(&self.kv, self.options.lease_seconds).await?;
        let lease = session.lease();
        let folder = std::path::absolute(&self.facts.folder).ok();
        let folder = folder.and_then(|folder| Some(folder.to_str()?.to_owned()));
        let record = WorkerRecord {
            node: self.facts.name.clone(),
            address: self.facts.address.clone(),
            slots: self.slots,
            shares_cores: self.options.slots.is_none() && !self.facts.host.is_empty(),
            build: self.build.clone(),
            host: self.facts.host.clone(),
            folder: folder.unwrap_or_default(),
            runs_commands: self.facts.runs_commands,
            draining: false,
        };
        let (header, _) = self.kv.txn(registration(&self.id, &record, lease).into_txn()).await?;
        let (sender, elected) = watch::channel(None);
        let candidate = stand_for_election(self.kv.clone(), lease, self.id.to_string(), sender);
        let mut candidacy = JoinSet::new();
        candidacy.spawn(candidate);
        Ok(Member {
            session,
            since: header.revision,
            record,
            identity: Identity { id: self.id.clone(), lease, node: self.facts.name.clone() },
            _candidacy: candidacy,
            minders: Minders::default(),
            elected,
            coordinator: None,
            idle_since: None,
        })
    }

    /// Says that it takes nothing new. If that fails it is tried again at the next look.
    async fn announce_drain(&mut self) {
        let Some(member) = &mut self.member else { return };
        let record = WorkerRecord { draining: true, ..member.record.clone() };
        let change = registration(&self.id, &record, member.identity.lease);
        if let Applied::Yes(_) = self.change(change).await
            && let Some(member) = &mut self.member
        {
            member.record = record;
        }
    }

    /// Whether a running job needs an output of this worker, or this worker has not yet said how its
    /// attempts have ended.
    pub(super) fn is_needed(&self) -> bool {
        let mut active = self.view.active().filter(|(_, _, job)| {
            // Nobody reads map outputs before or after.
            matches!(job.record.state, JobState::Running)
        });
        let registered = self.member.is_some();
        registered
            && (!self.running.is_empty()
                || !self.ended.is_empty()
                || active.any(|(_, view, _)| view.has_outputs_of(&self.id)))
    }

    pub(super) fn on_election(&mut self) {
        let Some(member) = &mut self.member else { return };
        let leadership = member.elected.borrow_and_update().clone();
        member.coordinator = leadership.map(|Leadership { key, revision, .. }| {
            Coordinator::new(Office { key, epoch: revision }, self.options.limits)
        });
        let is_out = member.coordinator.is_none();
        self.failed_commits.clear();
        if is_out {
            self.stop_work();
        }
    }
}

impl<K: Kv> JobService<K> {
    /// Gives the office to the next candidate, and stands for election again behind all others: a job
    /// waits for a coordinator with another program. Not at once again: programs that wait for each other
    /// would do nothing else.
    pub(super) async fn step_aside(&mut self) {
        if self.stood_aside.is_some_and(|at| at.elapsed() < ASIDE_PAUSE) {
            return;
        }
        let Some(member) = &mut self.member else { return };
        let Some(leadership) = member.elected.borrow().clone() else { return };
        match election::resign(&self.kv, &leadership).await {
            Ok(_) => {
                member.coordinator = None;
                self.stood_aside = Some(Instant::now());
            }
            Err(error) => tracing::debug!("jobs: cannot give up the office: {error}"),
        }
    }
}

/// Between two times that a coordinator steps aside.
const ASIDE_PAUSE: Duration = Duration::from_secs(1);

fn registration(id: &WorkerId, record: &WorkerRecord, lease: LeaseId) -> Change {
    let value = encode(record).expect("a worker's record is text and numbers");
    Change::new().put_leased(id.key(), value, lease)
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
