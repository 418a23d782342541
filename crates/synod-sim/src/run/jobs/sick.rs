//! Tasks that cannot be done, whoever tries, in jobs that may go on without some of their tasks: enough, or
//! too few. And how such a job must end.

use std::collections::BTreeMap;

use fastrand::Rng;
use synod_jobs::JobSpec;
use synod_jobs::cluster::{TaskId, TaskKind, TaskRecord};

/// What a sick task says each time it fails.
pub(super) const COMPLAINT: &str = "it is sick";
/// Sick tasks of each kind, at most.
const MOST: u32 = 5;
/// Why a job may not do without a map that was done once.
const READ_BEFORE: &str = "its output was there before";

/// How a task fails.
#[derive(Clone, Copy, Debug)]
struct Sickness {
    /// It can be done until its output is lost, and never again: what it reads has gone. Maps only, for what
    /// reduces leave lies where nobody loses it.
    once_lost: bool,
    /// It says the first time that another attempt will not do better.
    permanent: bool,
}

/// The sick tasks of one job.
#[derive(Debug, Default)]
pub(super) struct Sick {
    tasks: BTreeMap<TaskId, Sickness>,
}

impl Sick {
    /// Makes some tasks of a job sick, and lets it do without some: not of those alone.
    pub(super) fn choose(rng: &mut Rng, spec: &mut JobSpec) -> Sick {
        let mut sick = Sick::default();
        for kind in [TaskKind::Map, TaskKind::Reduce] {
            let total = total(spec, kind);
            let some = (0..rng.u32(1..=total.min(MOST))).map(|_| rng.u32(..total));
            let (some, is_epidemic) = (some.collect::<Vec<u32>>(), rng.u8(..3) == 0);
            match (rng.bool(), kind) {
                (true, TaskKind::Map) if is_epidemic => sick.strike(rng, kind, 0..total, true),
                (true, _) => sick.strike(rng, kind, some, false),
                (false, _) => {}
            }
            let enough = (sick.count(kind, |_| true) * 100).div_ceil(total);
            let percent = match rng.u8(..5) {
                0 => rng.u32(..enough.max(1)),
                1 => rng.u32(enough..=100),
                _ => enough,
            };
            match kind {
                TaskKind::Map => spec.failed_maps_percent = percent,
                TaskKind::Reduce => spec.failed_reduces_percent = percent,
            }
        }
        sick
    }

    fn strike(
        &mut self,
        rng: &mut Rng,
        kind: TaskKind,
        numbers: impl IntoIterator<Item = u32>,
        once_lost: bool,
    ) {
        for number in numbers {
            let permanent = rng.bool();
            self.tasks.insert(TaskId { kind, number }, Sickness { once_lost, permanent });
        }
    }

    /// Whether an attempt of a task fails, and if so whether for good.
    pub(super) fn fails(&self, task: TaskId, record: &TaskRecord) -> Option<bool> {
        let Sickness { once_lost, permanent } = *self.tasks.get(&task)?;
        (!once_lost || record.losses > 0).then_some(permanent)
    }

    /// Whether a task may come to have failed for good.
    pub(super) fn is_sick(&self, task: TaskId) -> bool {
        self.tasks.contains_key(&task)
    }

    /// Whether a task can never be done.
    pub(super) fn is_hopeless(&self, task: TaskId) -> bool {
        self.tasks.get(&task).is_some_and(|sickness| !sickness.once_lost)
    }

    /// Whether a job has more tasks that cannot be done than it may do without.
    pub(super) fn are_too_many(&self, spec: &JobSpec) -> bool {
        let is_hopeless = |sickness: Sickness| !sickness.once_lost;
        [TaskKind::Map, TaskKind::Reduce]
            .into_iter()
            .any(|kind| self.count(kind, is_hopeless) > allowed(spec, kind))
    }

    /// Whether a job that has given up these tasks may have failed for this reason, which names a sick task
    /// and how many may fail.
    pub(super) fn explains(
        &self,
        spec: &JobSpec,
        given_up: &BTreeMap<TaskId, String>,
        why: &str,
    ) -> bool {
        let complaint = |task: TaskId| format!("{COMPLAINT} (task {task}, ");
        let named = self.tasks.iter().find(|(task, _)| why.contains(&complaint(**task)));
        let Some((&TaskId { kind, .. }, &sickness)) = named else { return false };
        let (allowed, total) = (allowed(spec, kind), total(spec, kind));
        if sickness.once_lost && why.contains(READ_BEFORE) {
            return true;
        }
        let (percent, failed, kind_name) = (spec.failed_percent(kind), allowed + 1, kind.name());
        let begins = match percent {
            0 => COMPLAINT.to_owned(),
            _ => format!(
                "{failed} of {total} {kind_name} tasks have failed, more than the {percent} percent"
            ),
        };
        let gone = given_up.keys().filter(|task| task.kind == kind).count() as u32;
        why.starts_with(&begins) && gone == allowed
    }

    fn count(&self, kind: TaskKind, counts: impl Fn(Sickness) -> bool) -> u32 {
        let of_kind = self.tasks.iter().filter(|(task, _)| task.kind == kind);
        of_kind.filter(|(_, sickness)| counts(**sickness)).count() as u32
    }
}

/// Tasks of a kind in a job.
fn total(spec: &JobSpec, kind: TaskKind) -> u32 {
    match kind {
        TaskKind::Map => spec.inputs.len() as u32,
        TaskKind::Reduce => spec.reduces.unwrap_or(1),
    }
}

/// Tasks of a kind that a job may do without.
fn allowed(spec: &JobSpec, kind: TaskKind) -> u32 {
    total(spec, kind) * spec.failed_percent(kind) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten maps, two reduces; a fifth of the maps and no reduce may fail.
    fn job() -> (JobSpec, Sick) {
        let inputs = (0..10).map(|number| format!("/in/{number}"));
        let mut spec = JobSpec::new("sort", inputs, "/out");
        (spec.reduces, spec.failed_maps_percent) = (Some(2), 20);
        let mut sick = Sick::default();
        let mut rng = Rng::with_seed(1);
        sick.strike(&mut rng, TaskKind::Map, [1, 4, 7], false);
        sick.strike(&mut rng, TaskKind::Map, [8], true);
        sick.strike(&mut rng, TaskKind::Reduce, [0], false);
        (spec, sick)
    }

    #[test]
    fn a_job_ends_for_the_first_sick_task_that_it_may_not_do_without() {
        let (mut spec, sick) = job();
        let gone = |maps: &[u32]| -> BTreeMap<TaskId, String> {
            maps.iter().map(|map| (TaskId::map(*map), String::new())).collect()
        };
        let many = |failed: u32| {
            format!(
                "{failed} of 10 map tasks have failed, more than the 20 percent that may: the last one \
                 with: {COMPLAINT} (task m000007, attempt 3 on w-1-1)"
            )
        };
        let single = |task: &str| format!("{COMPLAINT} (task {task}, attempt 3 on w-1-1)");
        let read = format!("{}; {READ_BEFORE}, and", single("m000008"));
        for (maps, why, fits) in [
            (&[1, 4][..], many(3), true),
            (&[1], many(3), false),
            (&[1], many(2), false),
            (&[1, 4], many(3).replace("m000007", "m000006"), false),
            (&[1, 4], many(3).replace(COMPLAINT, "it broke"), false),
            (&[1, 4], single("m000007"), false),
            (&[], single("r000000"), true),
            (&[], single("r000001"), false),
            (&[], read.clone(), true),
            (&[], read.replace("m000008", "m000007"), false),
        ] {
            assert_eq!(sick.explains(&spec, &gone(maps), &why), fits, "{maps:?}: {why}");
        }
        assert!(sick.are_too_many(&spec));
        (spec.failed_maps_percent, spec.failed_reduces_percent) = (30, 50);
        assert!(!sick.are_too_many(&spec), "the fourth may be done");
    }

    #[test]
    fn a_task_that_is_sick_once_it_is_lost_can_be_done_before() {
        let (_, sick) = job();
        let lost = TaskRecord { losses: 1, ..TaskRecord::default() };
        let fails = |number, record: &TaskRecord| sick.fails(TaskId::map(number), record).is_some();
        assert!(!fails(8, &TaskRecord::default()) && fails(8, &lost));
        assert!(fails(1, &TaskRecord::default()) && !fails(0, &lost));
    }
}
