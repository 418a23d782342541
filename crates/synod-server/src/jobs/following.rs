//! Follows a submitted job to its end: shows its progress, passes on the wish to stop.

use std::time::Duration;

use synod_base::Revision;
use synod_client::{ClientError, Consistency, Kv};
use synod_jobs::cluster::names::{JobKey, WORKERS};
use synod_jobs::cluster::records::Totals;
use synod_jobs::cluster::{Change, JobId, JobState, JobView, View};
use synod_jobs::{JobError, JobSummary, Progress};
use synod_state::kv::{KeyRange, RangeRequest};
use tokio::time::Instant;

use super::patience::{PATIENCE, PAUSE};
use super::records::{Applied, apply, follow};
use super::submit::SubmitError;

/// One job and who follows it.
pub(super) struct Following<'a, K> {
    kv: &'a K,
    id: JobId,
    progress: &'a Progress,
    asked_to_cancel: Option<Instant>,
    /// Since when there is no worker, as far as was looked.
    deserted_since: Option<Instant>,
    /// Since when nobody has answered. Besides the watch workers are asked for: a watch may try again by
    /// itself, for ever, and say nothing.
    unanswered_since: Option<Instant>,
    /// How long the job may be without workers.
    pub(super) patience_without_workers: Duration,
    /// How long nobody may answer.
    pub(super) patience_without_answers: Duration,
    /// How long nobody may take the job.
    pub(super) patience_until_taken: Duration,
    /// Whether it is taken back then: not by those who only look on.
    takes_back: bool,
}

impl<'a, K: Kv> Following<'a, K> {
    pub(super) fn new(kv: &'a K, id: JobId, progress: &'a Progress) -> Self {
        Following {
            kv,
            id,
            progress,
            asked_to_cancel: None,
            deserted_since: None,
            unanswered_since: None,
            patience_without_workers: PATIENCE_WITHOUT_WORKERS,
            patience_without_answers: PATIENCE,
            patience_until_taken: PATIENCE,
            takes_back: true,
        }
    }

    /// For those who look on: the job does not depend on them, and stays if nobody takes it.
    pub(super) fn looking_on(self) -> Self {
        Following { takes_back: false, ..self }
    }

    pub(super) async fn follow(mut self) -> Result<JobSummary, SubmitError> {
        loop {
            let error = match follow(self.kv, &self.id.prefix(), Consistency::Linearizable).await {
                Ok((view, watcher)) => {
                    self.unanswered_since = None;
                    match self.watch(view, watcher).await? {
                        Ended::Job(summary) => return Ok(*summary),
                        Ended::Watch(error) => error,
                    }
                }
                Err(error) => error,
            };
            self.bear(&error)?;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn watch(
        &mut self,
        mut view: View,
        mut watcher: synod_client::Watcher,
    ) -> Result<Ended, SubmitError> {
        let opened = Instant::now();
        let mut looked = opened;
        loop {
            let Some(job) = view.jobs.get(&self.id) else {
                let message = format!("the records of job {} were removed", self.id);
                return Err(JobError::OnCluster { message }.into());
            };
            if let Some(summary) = self.look_at(job, opened).await? {
                return Ok(Ended::Job(Box::new(summary)));
            }
            tokio::select! {
                batch = watcher.next() => match batch {
                    Ok(batch) => batch.events.iter().for_each(|event| view.apply(&event.event)),
                    Err(error) => return Ok(Ended::Watch(error)),
                },
                () = tokio::time::sleep(PAUSE) => {}
            }
            if looked.elapsed() >= WORKERS_LOOK.min(self.patience_without_workers) {
                self.look_for_workers().await?;
                looked = Instant::now();
            }
        }
    }

    /// A job goes nowhere without workers, and nobody is there to say so.
    async fn look_for_workers(&mut self) -> Result<(), SubmitError> {
        let range = KeyRange::prefix(WORKERS);
        let request = RangeRequest { range, limit: 1, keys_only: true, ..RangeRequest::default() };
        match self.kv.range(request, Consistency::Linearizable).await {
            Ok((_, found)) if found.kvs.is_empty() => self.unanswered_since = None,
            Ok(_) => (self.deserted_since, self.unanswered_since) = (None, None),
            Err(error) => return self.bear(&error),
        }
        let since = *self.deserted_since.get_or_insert_with(Instant::now);
        if since.elapsed() < self.patience_without_workers {
            return Ok(());
        }
        let id = &self.id;
        let message = format!(
            "no worker is left: start nodes or workers that take jobs, and job {id} goes on; or end it \
             with `synod jobs cancel {id}`"
        );
        Err(JobError::OnCluster { message }.into())
    }

    /// An error of the cluster may pass, but not for ever.
    fn bear(&mut self, error: &ClientError) -> Result<(), SubmitError> {
        let since = *self.unanswered_since.get_or_insert_with(Instant::now);
        if since.elapsed() < self.patience_without_answers {
            return Ok(());
        }
        let (id, seconds) = (&self.id, since.elapsed().as_secs());
        let message = format!(
            "the cluster has not answered for {seconds} s ({error}); job {id} goes on once it does: see \
             `synod jobs show {id}`"
        );
        Err(JobError::OnCluster { message }.into())
    }

    /// Shows the progress, passes on the wish to stop; the summary once the job is done.
    async fn look_at(
        &mut self,
        view: &JobView,
        opened: Instant,
    ) -> Result<Option<JobSummary>, SubmitError> {
        let Some(job) = &view.job else { return Ok(None) };
        match &job.record.state {
            JobState::Done(manifest) => {
                let Totals { maps, input_bytes, .. } = job.record.totals;
                let (manifest, splits) = (manifest.clone(), maps as usize);
                // It was written together with the state.
                let report = view.report().unwrap_or_default();
                return Ok(Some(JobSummary { manifest, splits, input_bytes, report }));
            }
            JobState::Failed(message) => {
                let message = message.clone();
                return Err(JobError::OnCluster { message }.into());
            }
            JobState::Cancelled => return Err(JobError::Cancelled.into()),
            JobState::Submitted if opened.elapsed() >= self.patience_until_taken => {
                return self.end_of_patience(job.modified).await;
            }
            // It goes nowhere any more.
            JobState::Ending(_) => {}
            _ => self.progress.show(&view.snapshot()),
        }
        if self.progress.check_cancelled().is_err() {
            self.cancel(job.created).await?;
        }
        Ok(None)
    }

    async fn cancel(&mut self, created: Revision) -> Result<(), SubmitError> {
        match self.asked_to_cancel {
            None => {
                let change = Change::new()
                    .if_created_at(self.id.key(JobKey::Record), created)
                    .put(self.id.key(JobKey::Cancel), "");
                if let Applied::Yes(_) = apply(self.kv, change).await {
                    self.asked_to_cancel = Some(Instant::now());
                }
                Ok(())
            }
            Some(asked) if asked.elapsed() < PATIENCE => Ok(()),
            Some(_) => {
                let id = &self.id;
                let message = format!("job {id} was told to stop, but nobody has confirmed it");
                Err(JobError::OnCluster { message }.into())
            }
        }
    }

    /// Nobody has taken the job.
    async fn end_of_patience(&self, modified: Revision) -> Result<Option<JobSummary>, SubmitError> {
        if self.takes_back {
            return self.withdraw(modified).await;
        }
        let id = &self.id;
        let message = format!(
            "no node has taken job {id}: start nodes or workers that take jobs, and it goes on; or end it \
             with `synod jobs cancel {id}`"
        );
        Err(JobError::OnCluster { message }.into())
    }

    /// Takes back a job that nobody has touched.
    async fn withdraw(&self, modified: Revision) -> Result<Option<JobSummary>, SubmitError> {
        let key = self.id.key(JobKey::Record);
        let change = Change::new().if_unchanged(key, modified).delete_prefix(self.id.prefix());
        match apply(self.kv, change).await {
            Applied::Yes(_) => {
                let message =
                    "no node took the job: start nodes that take jobs; nothing was done".to_owned();
                Err(JobError::OnCluster { message }.into())
            }
            // Somebody has just begun, or nobody knows: look again.
            Applied::No | Applied::TooLarge | Applied::Unknown => Ok(None),
        }
    }
}

/// How following a job once has ended.
enum Ended {
    Job(Box<JobSummary>),
    Watch(ClientError),
}

/// How long a job may be without workers: somebody may be starting new ones.
const PATIENCE_WITHOUT_WORKERS: Duration = Duration::from_mins(1);
/// Workers are looked for this often.
const WORKERS_LOOK: Duration = Duration::from_secs(5);
