//! Tasks of a module as a worker of a cluster runs them: one attempt at a time, through files.

use crate::support::{Bench, parts, run, zipf_text};
use crate::{WORDCOUNT, guest_that, prepared, set, wasm};
use std::fs;
use std::io::Write;
use std::sync::Arc;
use synod_jobs::cluster::attempt::{Attempt, AttemptError, WorkMeter};
use synod_jobs::cluster::names::{JobId, TaskId, TaskKind};
use synod_jobs::cluster::output;
use synod_jobs::cluster::records::{BadRecord, TaskOutput};
use synod_jobs::cluster::shuffle::{Fetch, FetchError, MapLocation};
use synod_jobs::{
    Job, JobError, JobPlan, JobSpec, JobVisitor, NoLog, Progress, Stores, plan, with_job,
};

/// Everything lies on this worker.
struct NoFetch;

impl Fetch for NoFetch {
    fn fetch(
        &self,
        _: &JobId,
        _: u32,
        from: &MapLocation,
        _: &mut dyn Write,
    ) -> Result<(), FetchError> {
        Err(FetchError::Unreadable(format!("{from:?} is here")))
    }
}

pub fn plan_of(spec: &JobSpec) -> JobPlan {
    struct Plan<'a>(&'a JobSpec);
    impl JobVisitor for Plan<'_> {
        type Output = JobPlan;
        fn visit<J: Job>(self, job: &J) -> JobPlan {
            plan(job, self.0, 2, &Stores::local(), &Progress::new()).unwrap()
        }
    }
    with_job(spec, &Progress::new(), Plan(spec)).unwrap()
}

fn attempt(
    bench: &Bench,
    spec: &JobSpec,
    plan: &JobPlan,
    task: TaskId,
    skips: &[BadRecord],
    maps: &[MapLocation],
) -> Result<TaskOutput, AttemptError> {
    attempt_until(bench, spec, plan, (task, skips, maps), &Progress::new())
}

/// The first map task of a job.
pub fn attempt_of_map(
    bench: &Bench,
    spec: &JobSpec,
    plan: &JobPlan,
    progress: &Progress,
) -> Result<TaskOutput, AttemptError> {
    let task = TaskId { kind: TaskKind::Map, number: 0 };
    attempt_until(bench, spec, plan, (task, &[], &[]), progress)
}

fn attempt_until(
    bench: &Bench,
    spec: &JobSpec,
    plan: &JobPlan,
    (task, skips, maps): (TaskId, &[BadRecord], &[MapLocation]),
    progress: &Progress,
) -> Result<TaskOutput, AttemptError> {
    let folder = bench.path("worker");
    fs::create_dir_all(&folder).unwrap();
    let attempt = Attempt {
        job: &"job-1".parse().unwrap(),
        task,
        number: 0,
        spec,
        plan,
        folder: &folder,
        slots: 2,
        skips,
        has_failed_before: false,
        maps,
        stores: &Stores::local(),
        log: &NoLog,
        progress,
        work: &Arc::new(WorkMeter::default()),
    };
    attempt.run(&NoFetch)
}

#[test]
fn attempts_on_a_worker_give_the_bytes_of_a_run_in_one_process() {
    let bench = Bench::new();
    let path = bench.file("in", &zipf_text(35, 1 << 20, 20_000));
    let mut spec = wasm(&bench, WORDCOUNT, &[&path]);
    spec.split_bytes = Some(200_000);
    spec.reduces = Some(2);
    run(&spec).unwrap();
    let whole = parts(&spec.output);
    spec.output = bench.path("cluster");
    let spec = prepared(&spec).unwrap();
    let (plan, job) = (plan_of(&spec), "job-1".parse().unwrap());
    output::create(&spec.output, &job).unwrap();
    let mapped: Vec<(TaskId, TaskOutput)> = (0..plan.splits.len() as u32)
        .map(|number| {
            let task = TaskId { kind: TaskKind::Map, number };
            (task, attempt(&bench, &spec, &plan, task, &[], &[]).unwrap())
        })
        .collect();
    for partition in 0..plan.reduces {
        let locations: Vec<MapLocation> = mapped
            .iter()
            .map(|(map, output)| MapLocation {
                map: *map,
                attempt: 0,
                worker: "worker-1".parse().unwrap(),
                address: None,
                file: None,
                index_crc32c: match output {
                    TaskOutput::Map { index_crc32c, .. } => *index_crc32c,
                    TaskOutput::Reduce(_) => panic!("{output:?}"),
                },
                section: output.section(partition).unwrap(),
            })
            .collect();
        let task = TaskId { kind: TaskKind::Reduce, number: partition };
        attempt(&bench, &spec, &plan, task, &[], &locations).unwrap();
        let (name, bytes) = &whole[partition as usize];
        let folder = output::attempt_path(&spec.output, &job, task, 0);
        assert!(fs::read(folder.join(name)).unwrap() == *bytes);
    }
}

#[test]
fn an_attempt_names_its_bad_record_leaves_it_out_when_told_and_refuses_another_module() {
    let bench = Bench::new();
    let path = bench.file("in", b"good\n!bad\ngood\n");
    let traps = "(if (i32.eq (i32.load8_u (local.get $record)) (i32.const 33)) (then unreachable))";
    let mut spec = prepared(&wasm(&bench, &guest_that(traps), &[&path])).unwrap();
    let (plan, job) = (plan_of(&spec), "job-1".parse().unwrap());
    output::create(&spec.output, &job).unwrap();
    let task = TaskId { kind: TaskKind::Map, number: 0 };
    match attempt(&bench, &spec, &plan, task, &[], &[]) {
        Err(AttemptError::Failed(JobError::Task { bad_record: Some(5), permanent, message })) => {
            assert!(!permanent, "{message}");
        }
        other => panic!("{other:?}"),
    }
    let bad = [BadRecord { place: 5, error: "it trapped".to_owned() }];
    attempt(&bench, &spec, &plan, task, &bad, &[]).unwrap();
    let folder = output::attempt_path(&spec.output, &job, task, 0);
    let kept = fs::read_to_string(output::side_folder(&folder).join(".skipped-m-000000")).unwrap();
    assert_eq!(kept, format!("{}\t0\t5\tit trapped\t!bad\n", path.display()));
    let module = spec.options["module"].clone();
    fs::write(&module, WORDCOUNT).unwrap();
    match attempt(&bench, &spec, &plan, task, &bad, &[]) {
        Err(AttemptError::Failed(error @ JobError::BadSpec { .. })) => {
            assert!(error.is_permanent() && error.to_string().contains(&module), "{error}");
        }
        other => panic!("{other:?}"),
    }
    set(&mut spec, "hash", "");
    assert!(prepared(&spec).is_err());
}
