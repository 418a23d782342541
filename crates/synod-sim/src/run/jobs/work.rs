//! What takes time in simulated jobs: attempts of tasks, and a coordinator's work on files.

use synod_jobs::Counters;
use synod_jobs::cluster::records::{TaskOutput, UnreadableRecord};
use synod_jobs::cluster::{JobId, TaskId, TaskKind, Work};
use synod_jobs::reduce_task::ReduceOutput;
use synod_jobs::side_files::SideFile;

use super::Reminder;
use super::files::manifest;
use super::sick::COMPLAINT;
use super::worker::{Begun, Outcome, Worked};
use crate::run::Run;

/// An attempt that might as well have succeeded.
const BROKE: Outcome = Outcome::Failed { message: "it broke", permanent: false };

impl Run {
    pub(super) fn schedule_begun(&mut self, place: usize) {
        for begun in std::mem::take(&mut self.jobs.workers[place].begun) {
            let slow = self.world.now < self.heal_at && self.rng.u8(..30) == 0;
            let (most, reminder) = match begun {
                Begun::Attempt(number) if slow => (9_000, Reminder::Attempt(number)),
                Begun::Attempt(number) => (500, Reminder::Attempt(number)),
                Begun::Work(number) => (400, Reminder::Work(number)),
            };
            self.remind_in(place, most, reminder);
        }
    }

    pub(super) fn attempt_ends(&mut self, place: usize, number: u64) {
        let worker = &self.jobs.workers[place];
        let found = worker.running.iter().find(|(_, running)| running.number == number);
        let Some((key, running)) = found else { return };
        let (key, id) = (key.clone(), worker.id.clone());
        let attempt = (key.1, running.held.attempt());
        let client = self.jobs.clients.iter().find(|client| client.job == key.0);
        let sick = client.and_then(|client| client.sick.fails(key.1, &running.held.record));
        let outcome = if running.cancelled {
            Outcome::GivenUp
        } else if let Some(permanent) = sick {
            Outcome::Failed { message: COMPLAINT, permanent }
        } else if self.world.now < self.heal_at && self.rng.u8(..50) == 0 {
            BROKE
        } else if key.1.kind == TaskKind::Map {
            // Beside its pairs it leaves a file that is published.
            if self.jobs.files.stage(&key.0, attempt, [key.1]) {
                self.jobs.files.put_output(&id, &key.0, attempt);
                Outcome::Made(map_output(key.1, self.reduces_of(&key.0)))
            } else {
                BROKE
            }
        } else {
            self.reduce_ends(place, &key, attempt)
        };
        if outcome == BROKE {
            *self.jobs.broke.entry(key.clone()).or_default() += 1;
        }
        self.jobs.workers[place].on_attempt(&key, outcome);
    }

    /// A reduce has what it needs if each output is where the records said.
    fn reduce_ends(
        &mut self,
        place: usize,
        key: &(JobId, TaskId),
        attempt: (TaskId, u32),
    ) -> Outcome {
        let running = &self.jobs.workers[place].running[key];
        let missing = running.maps.iter().find(|(map, attempt, worker)| {
            let unheard = self.rng.u8(..100) == 0 && *worker != self.jobs.workers[place].id;
            unheard || !self.jobs.files.has_output(worker, &key.0, (*map, *attempt))
        });
        if let Some((map, attempt, worker)) = missing {
            let (attempt, worker) = (*attempt, worker.clone());
            let report =
                UnreadableRecord { attempt, worker, message: "it is not there".to_owned() };
            return Outcome::Unreadable(*map, report);
        }
        let maps: Vec<TaskId> = running.maps.iter().map(|(map, ..)| *map).collect();
        let reduce_pairs_in = maps.len() as u64;
        if !self.jobs.files.stage(&key.0, attempt, maps) {
            // The job has ended, and its folder is gone.
            return BROKE;
        }
        Outcome::Made(TaskOutput::Reduce(ReduceOutput {
            partition: key.1.number,
            bytes: 10,
            records: 1,
            crc32c: key.1.number,
            counters: Counters { reduce_pairs_in, ..Counters::default() },
            side_files: Vec::new(),
        }))
    }

    fn reduces_of(&self, job: &JobId) -> usize {
        let client = self.jobs.clients.iter().find(|client| client.job == *job);
        client.and_then(|client| client.spec.reduces).unwrap_or(1) as usize
    }

    pub(super) fn work_ends(&mut self, place: usize, number: u64) {
        let worker = &self.jobs.workers[place];
        let found = worker.working.iter().find(|(_, working)| working.number == number);
        let Some((job, working)) = found else { return };
        let (job, work) = (job.clone(), working.work);
        let files = &mut self.jobs.files;
        let worked = match work {
            Work::Check => Worked::Checked(files.is_free(&job)),
            Work::Plan => {
                files.make(&job);
                Worked::Planned
            }
            Work::Commit => {
                let ours = manifest(&job, &working.winners);
                match files.published(&job) {
                    Some(seen) if *seen == ours => Worked::Committed(Ok(Box::new(ours))),
                    Some(seen) => {
                        Worked::Committed(Err(format!("{seen:?} is there, not {ours:?}")))
                    }
                    None if working.cancel => Worked::CommitCancelled,
                    None => {
                        let result = files.publish(&job, &working.winners, usize::MAX);
                        let found = result.map(|found| self.world.violations.extend(found));
                        Worked::Committed(found.map(|()| Box::new(ours)))
                    }
                }
            }
            Work::Clean => Worked::Cleaned(files.clean(&job).map(Box::new)),
        };
        self.jobs.workers[place].on_work(&job, worked);
    }
}

fn map_output(task: TaskId, reduces: usize) -> TaskOutput {
    let sections = vec![(10, 1); reduces];
    let counters = Counters { map_records_in: 1, ..Counters::default() };
    let side_files = vec![SideFile { name: format!("side-{task}"), bytes: 1 }];
    TaskOutput::Map { sections, index_crc32c: 0, counters, side_files }
}
