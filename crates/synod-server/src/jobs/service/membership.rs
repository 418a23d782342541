//! Joining while there is a job, standing for election, leaving when there is none.

use synod_base::LeaseId;
use synod_client::election::{self, Leadership};
use synod_client::{ClientError, Kv, Session};
use synod_jobs::cluster::names::ELECTION;
use synod_jobs::cluster::records::encode;
use synod_jobs::cluster::worker::Identity;
use synod_jobs::cluster::{Change, Coordinator, Office, WorkerRecord};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{FOLLOW_PAUSE, JobService};
use crate::jobs::threads::build_of_this_program;

/// Registered and standing for election, as long as the session lives.
pub(super) struct Member<K: Kv> {
    pub(super) session: Session<K>,
    pub(super) identity: Identity,
    pub(super) candidacy: JoinHandle<()>,
    pub(super) elected: watch::Receiver<Option<Leadership>>,
    pub(super) coordinator: Option<Coordinator>,
    /// Since when there is no job.
    pub(super) idle_since: Option<Instant>,
}

impl<K: Kv> JobService<K> {
    pub(super) async fn join_or_leave(&mut self) {
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
            host: String::new(),
            folder: String::new(),
            runs_commands: false,
            draining: false,
        };
        let value = encode(&record).expect("a worker's record is text and numbers");
        let registration = Change::new().put_leased(self.id.key(), value, lease);
        self.kv.txn(registration.into_txn()).await?;
        let (sender, elected) = watch::channel(None);
        let candidate = stand_for_election(self.kv.clone(), lease, self.id.to_string(), sender);
        Ok(Member {
            session,
            identity: Identity { id: self.id.clone(), lease, node: self.facts.name.clone() },
            candidacy: tokio::spawn(candidate),
            elected,
            coordinator: None,
            idle_since: None,
        })
    }

    pub(super) fn on_election(&mut self) {
        let Some(member) = &mut self.member else { return };
        let leadership = member.elected.borrow_and_update().clone();
        member.coordinator = leadership.map(|Leadership { key, revision, .. }| {
            Coordinator::new(Office { key, epoch: revision }, self.options.limits)
        });
        self.failed_commits.clear();
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
