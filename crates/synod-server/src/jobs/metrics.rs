//! What `/metrics` shows of jobs: as this node sees them in the records. Names of jobs are no labels, so the
//! number of series is fixed.

use std::collections::BTreeSet;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use synod_jobs::cluster::room::slots_together;
use synod_jobs::cluster::{JobId, JobState, TaskKind, View};

/// The metrics of jobs. Cheap to clone; all clones count in one place.
#[derive(Clone, Debug)]
pub(crate) struct JobMetrics {
    /// By [`STATES`].
    jobs: [Gauge; STATES.len()],
    /// By [`RESULTS`].
    ended: [Counter; RESULTS.len()],
    maps: Tasks,
    reduces: Tasks,
    /// By [`BYTES`].
    bytes: [Gauge; BYTES.len()],
    workers: Gauge,
    slots: Gauge,
    /// Jobs that had not ended when this was told last.
    active: BTreeSet<JobId>,
}

/// Tasks of one kind of all jobs that have not ended.
#[derive(Clone, Debug)]
struct Tasks {
    waiting: Gauge,
    running: Gauge,
    done: Gauge,
    given_up: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskLabel {
    kind: &'static str,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BytesLabel {
    what: &'static str,
}

/// States of jobs, as far as they are told apart here.
const STATES: [&str; 5] = ["waiting", "running", "done", "failed", "cancelled"];
/// How a job may end.
const RESULTS: [&str; 3] = ["done", "failed", "cancelled"];
/// Bytes of jobs that have not ended.
const BYTES: [&str; 4] = ["input", "read", "spilled", "written"];

impl JobMetrics {
    /// All at zero.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let jobs = Family::<StateLabel, Gauge>::default();
        let ended = Family::<ResultLabel, Counter>::default();
        let tasks = Family::<TaskLabel, Gauge>::default();
        let bytes = Family::<BytesLabel, Gauge>::default();
        let (workers, slots) = (Gauge::default(), Gauge::default());
        registry.register("synod_jobs", "Jobs in the records, by state", jobs.clone());
        registry.register("synod_jobs_ended", "Jobs whose end this node has seen", ended.clone());
        registry.register("synod_job_tasks", "Tasks of jobs that have not ended", tasks.clone());
        registry.register("synod_job_bytes", "Bytes of jobs that have not ended", bytes.clone());
        registry.register("synod_job_workers", "Workers that are registered", workers.clone());
        registry.register("synod_job_slots", "Tasks that they run at a time", slots.clone());
        let tasks_of = |kind| {
            let gauge = |state| tasks.get_or_create(&TaskLabel { kind, state }).clone();
            Tasks {
                waiting: gauge("waiting"),
                running: gauge("running"),
                done: gauge("done"),
                given_up: gauge("given_up"),
            }
        };
        JobMetrics {
            jobs: STATES.map(|state| jobs.get_or_create(&StateLabel { state }).clone()),
            ended: RESULTS.map(|result| ended.get_or_create(&ResultLabel { result }).clone()),
            maps: tasks_of("map"),
            reduces: tasks_of("reduce"),
            bytes: BYTES.map(|what| bytes.get_or_create(&BytesLabel { what }).clone()),
            workers,
            slots,
            active: BTreeSet::new(),
        }
    }

    /// The records are like this now.
    pub(super) fn update(&mut self, view: &View) {
        let mut active = BTreeSet::new();
        let mut states = [0_i64; STATES.len()];
        let mut maps = [0_u64; 4];
        let mut reduces = [0_u64; 4];
        let mut bytes = [0_u64; BYTES.len()];
        for (id, job) in &view.jobs {
            let Some(state) = job.job.as_ref().map(|job| state_of(&job.record.state)) else {
                continue;
            };
            states[position(&STATES, state)] += 1;
            if RESULTS.contains(&state) {
                if self.active.contains(id) {
                    self.ended[position(&RESULTS, state)].inc();
                }
                continue;
            }
            active.insert(id.clone());
            let now = job.snapshot();
            let running =
                |kind| job.attempts().filter(|(task, ..)| task.kind == kind).count() as u64;
            let over = (now.maps_done, now.maps_given_up);
            add(&mut maps, now.maps_total, over, running(TaskKind::Map));
            let over = (now.reduces_done, now.reduces_given_up);
            add(&mut reduces, now.reduces_total, over, running(TaskKind::Reduce));
            let of_job = [now.bytes_total, now.bytes_read, now.bytes_spilled, now.bytes_written];
            bytes.iter_mut().zip(of_job).for_each(|(sum, own)| *sum = sum.saturating_add(own));
        }
        self.active = active;
        for (gauge, number) in self.jobs.iter().zip(states) {
            gauge.set(number);
        }
        self.maps.set(maps);
        self.reduces.set(reduces);
        for (gauge, sum) in self.bytes.iter().zip(bytes) {
            gauge.set(number(sum));
        }
        self.workers.set(number(view.workers.len() as u64));
        let slots = slots_together(view.workers.values().map(|worker| &worker.record));
        self.slots.set(number(slots.into()));
    }
}

impl Tasks {
    /// Waiting, running, done and given up.
    fn set(&self, tasks: [u64; 4]) {
        let gauges = [&self.waiting, &self.running, &self.done, &self.given_up];
        for (gauge, tasks) in gauges.into_iter().zip(tasks) {
            gauge.set(number(tasks));
        }
    }
}

/// Attempts beside one another are of one task, which counts as one that runs.
fn add(tasks: &mut [u64; 4], total: u64, (done, given_up): (u64, u64), attempts: u64) {
    let left = total.saturating_sub(done + given_up);
    let running = attempts.min(left);
    tasks[0] += left - running;
    tasks[1] += running;
    tasks[2] += done;
    tasks[3] += given_up;
}

fn state_of(state: &JobState) -> &'static str {
    match state {
        JobState::Submitted | JobState::Waiting => "waiting",
        JobState::Preparing | JobState::Running | JobState::Committing | JobState::Ending(_) => {
            "running"
        }
        JobState::Done(_) => "done",
        JobState::Failed(_) => "failed",
        JobState::Cancelled => "cancelled",
    }
}

fn position(names: &[&str], name: &str) -> usize {
    names.iter().position(|known| *known == name).expect("it is one of them")
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_jobs::JobSpec;
    use synod_jobs::cluster::names::JobKey;
    use synod_jobs::cluster::records::{Totals, encode};
    use synod_jobs::cluster::{JobRecord, TaskId, TaskRecord};
    use synod_state::kv::{Event, EventKind, KeyValue};

    fn put(view: &mut View, key: String, value: Vec<u8>) {
        let kv = KeyValue { key: key.into(), value: value.into(), ..KeyValue::default() };
        view.apply(&Event { kind: EventKind::Put, kv });
    }

    fn record(state: JobState) -> Vec<u8> {
        let record = JobRecord {
            spec: JobSpec::new("wordcount", ["/in"], "/out"),
            state,
            epoch: 1,
            build: String::new(),
            totals: Totals { maps: 2, reduces: 1, input_bytes: 500, plan_pieces: 1 },
            runs_commands: false,
            attempts: 4,
            reduce_attempts: None,
            name: String::new(),
            submitted_ms: 0,
            started_ms: 0,
            ended_ms: 0,
        };
        encode(&record).unwrap()
    }

    fn rendered(registry: &Registry) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
        text
    }

    #[test]
    fn a_job_is_counted_by_its_state_and_its_end_once() {
        let mut registry = Registry::default();
        let mut metrics = JobMetrics::register(&mut registry);
        let series = rendered(&registry).lines().count();
        let mut view = View::default();
        let id: JobId = "01".parse().unwrap();
        // It had ended before this node looked.
        let earlier: JobId = "00".parse().unwrap();
        put(&mut view, earlier.key(JobKey::Record), record(JobState::Cancelled));
        put(&mut view, id.key(JobKey::Record), record(JobState::Running));
        for number in 0..2 {
            let task = encode(&TaskRecord::default()).unwrap();
            put(&mut view, id.key(JobKey::Task(TaskId::map(number))), task);
        }
        metrics.update(&view);
        let text = rendered(&registry);
        for line in [
            "synod_jobs{state=\"running\"} 1",
            "synod_jobs{state=\"cancelled\"} 1",
            "synod_job_tasks{kind=\"map\",state=\"waiting\"} 2",
            "synod_job_tasks{kind=\"reduce\",state=\"waiting\"} 1",
            "synod_job_bytes{what=\"input\"} 500",
            "synod_jobs_ended_total{result=\"cancelled\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        put(&mut view, id.key(JobKey::Record), record(JobState::Failed("why".into())));
        metrics.update(&view);
        metrics.update(&view);
        let text = rendered(&registry);
        for line in [
            "synod_jobs{state=\"running\"} 0",
            "synod_jobs{state=\"failed\"} 1",
            "synod_jobs_ended_total{result=\"failed\"} 1",
            "synod_job_tasks{kind=\"map\",state=\"waiting\"} 0",
            "synod_job_bytes{what=\"input\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert_eq!(text.lines().count(), series, "no job makes a new series");
    }
}
