//! What a worker fetches of map outputs before its reduces need it: its share of the partitions, of each map
//! as soon as that is done. How is in `jobs/ahead/`; that each worker begins with its share, in `claim.rs`
//! of `synod-jobs`.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use synod_client::Kv;
use synod_jobs::cluster::records::TaskOutput;
use synod_jobs::cluster::view::JobView;
use synod_jobs::cluster::{JobId, JobState, TaskId, TaskKind, WorkerId};
use tokio::time::Instant;

use super::JobService;
use crate::data_folder::DataFolder;
use crate::jobs::ahead::Piece;
use crate::jobs::folders::folder_of;

/// It looks for more no more often: of ten thousand maps each look sees all that are done.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

impl<K: Kv> JobService<K> {
    /// Fetches what there is for the reduces of this worker, of all jobs.
    pub(super) fn look_ahead(&mut self) {
        if self.looked_ahead.is_some_and(|looked| looked.elapsed() < LOOK_INTERVAL) {
            return;
        }
        self.looked_ahead = Some(Instant::now());
        let running = self.view.active().filter(|(_, view, job)| {
            job.record.state == JobState::Running && view.done(TaskKind::Map) > 0
        });
        let jobs: Vec<JobId> = running.map(|(id, ..)| id.clone()).collect();
        jobs.iter().for_each(|id| self.fetch_ahead(id));
    }

    /// The same, of one job.
    pub(super) fn fetch_ahead(&mut self, id: &JobId) {
        if self.options.ahead_percent == 0 {
            return;
        }
        let Some(pieces) = self.pieces_of(id) else { return };
        if pieces.is_empty() {
            return;
        }
        let Some(job) = self.view.jobs.get(id).and_then(|view| view.job.as_ref()) else { return };
        // From now on this worker has a folder for it.
        self.folders.entry(id.clone()).or_insert_with(|| job.record.spec.clone());
        let percent = u64::from(self.options.ahead_percent);
        let threads = self.ahead.fetch(id, pieces, &folder_of(&self.facts.folder, id));
        for _ in 0..threads {
            let ahead = self.ahead.clone();
            let work = move || ahead.work(|folder| room_in(folder, percent));
            if let Err(error) = self.pool.run(work) {
                tracing::debug!("jobs: cannot start a thread: {error}");
                self.ahead.lacks_a_thread();
            }
        }
    }

    /// What was not asked for yet of the outputs of other machines, in the order of the maps.
    fn pieces_of(&self, id: &JobId) -> Option<Vec<Piece>> {
        let job = self.view.jobs.get(id)?;
        let partitions = still_to_reduce(job, self.view.shares(job).of(&self.id), &self.id)?;
        let mut pieces = Vec::new();
        for (worker, maps) in job.outputs() {
            let place = self.place_of(worker, id);
            let Some(address) = place.address.filter(|_| place.folder.is_none()) else { continue };
            if !self.view.workers.contains_key(worker) {
                continue;
            }
            let done =
                |map: &TaskId| Some((*map, job.tasks.get(map)?.record.done.as_ref()?.attempt));
            for (map, attempt) in self.ahead.unasked(id, maps.iter().filter_map(done)) {
                let done = job.tasks.get(&map)?.record.done.as_ref()?;
                let Some((offset, bytes)) = place_in(&done.output, &partitions) else { continue };
                let (address, partitions) = (address.clone(), partitions.clone());
                pieces.push(Piece { map, attempt, address, partitions, offset, bytes });
            }
        }
        pieces.sort_by_key(|piece| piece.map);
        Some(pieces)
    }
}

/// Makes a job's folder; so much of what is free on its disk, in bytes.
fn room_in(folder: &Path, percent: u64) -> u64 {
    if let Err(error) = std::fs::create_dir_all(folder) {
        tracing::debug!("jobs: cannot create {}: {error}", folder.display());
        return 0;
    }
    // Of a disk that does not say what is free nothing is taken.
    DataFolder::free_bytes(folder).unwrap_or(0) / 100 * percent
}

/// The part of a worker's share from its first partition that it may have to reduce to its last.
fn still_to_reduce(job: &JobView, share: Range<u32>, me: &WorkerId) -> Option<Range<u32>> {
    let is_mine = |partition: &u32| {
        let task = TaskId::reduce(*partition);
        let record = job.tasks.get(&task).map(|task| &task.record);
        let is_open = record.is_some_and(|task| task.done.is_none() && task.given_up.is_none());
        let claim = job.claims.get(&task).map(|claim| &claim.record.worker);
        is_open && claim.is_none_or(|worker| worker == me)
    };
    let first = share.clone().find(is_mine)?;
    let last = share.rev().find(is_mine)?;
    Some(first..last + 1)
}

/// Where these partitions begin in a map output, and their bytes.
fn place_in(output: &TaskOutput, partitions: &Range<u32>) -> Option<(u64, u64)> {
    let offset = output.section(partitions.start)?.offset;
    let last = output.section(partitions.end - 1)?;
    Some((offset, last.offset + last.bytes - offset))
}
