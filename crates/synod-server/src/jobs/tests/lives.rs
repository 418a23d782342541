//! The lives of workers and jobs when nothing goes wrong: everything once, side by side, nothing before its
//! time; workers come and leave in order; slow ones get help.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use synod_jobs::cluster::{JobState, TaskId, TaskKind};
use synod_jobs::{JobSpec, Progress, run_built_in};

use super::bench::{Bench, Kind, parts, text};
use super::shuffle::{Gate, spec};
use crate::jobs::moments::Moment;
use crate::jobs::{retry_job, submit_job};

async fn with_input() -> Bench {
    let bench = Bench::new(0).await;
    fs::write(bench.path("in"), text(60_000, 4)).unwrap();
    run_built_in(&spec(&bench, "local"), &Progress::new()).unwrap();
    bench
}

#[tokio::test]
async fn each_task_runs_exactly_once_when_nothing_fails() {
    let mut bench = with_input().await;
    let begun = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..3 {
        let begun = begun.clone();
        let kind = Kind::acting(move |moment| {
            if let Moment::AttemptBegins(held) = moment {
                begun.lock().unwrap().push(held.task);
            }
        });
        bench.add(kind.unhurried()).await;
    }
    let id = bench.submit(&spec(&bench, "out")).await;
    bench.finish(&id).await.unwrap();
    assert!(parts(&bench.path("out")) == parts(&bench.path("local")));
    let begun = begun.lock().unwrap().clone();
    let once: BTreeSet<TaskId> = begun.iter().copied().collect();
    let report = bench.view().await.jobs[&id].report().unwrap();
    assert_eq!(once.len(), begun.len(), "{begun:?}, {report:?}");
    assert_eq!(report.tasks.len(), begun.len());
    assert!(report.tasks.iter().all(|task| task.attempt == 0));
}

/// Two workers with a slot each, whose tasks of this kind wait for each other.
async fn overlap(kind: TaskKind) {
    let mut bench = with_input().await;
    let (at_once, gate) = (Arc::new(AtomicU32::new(0)), Gate::default());
    for _ in 0..2 {
        let (at_once, gate) = (at_once.clone(), gate.clone());
        let acting = Kind::acting(move |moment| {
            if let Moment::AttemptBegins(held) = moment
                && held.task.kind == kind
            {
                if at_once.fetch_add(1, Ordering::SeqCst) + 1 == 2 {
                    gate.open();
                }
                gate.pass();
            }
        });
        bench.add(Kind { slots: 1, ..acting }).await;
    }
    let id = bench.submit(&spec(&bench, "out")).await;
    // Were they to run one after the other, the first would wait for ever.
    bench.finish(&id).await.unwrap();
    let report = bench.view().await.jobs[&id].report().unwrap();
    assert_eq!(report.nodes.len(), 2);
}

#[tokio::test]
async fn maps_of_two_workers_run_at_the_same_time() {
    overlap(TaskKind::Map).await;
}

#[tokio::test]
async fn reduces_of_two_workers_run_at_the_same_time() {
    overlap(TaskKind::Reduce).await;
}

#[tokio::test]
async fn the_job_is_not_done_before_its_output_is_and_nothing_changes_after() {
    let mut bench = with_input().await;
    let gate = Gate::default();
    let last = gate.clone();
    let kind = Kind::acting(move |moment| {
        if let Moment::AttemptBegins(held) = moment
            && held.task == TaskId::reduce(1)
        {
            last.pass();
        }
    });
    bench.add(kind).await;
    let id = bench.submit(&spec(&bench, "out")).await;
    let one_left = |view: &synod_jobs::cluster::View| {
        (view.jobs.get(&id)?.done(TaskKind::Reduce) == 1).then_some(())
    };
    bench.wait("all tasks but one", one_left).await;
    assert!(!bench.path("out/_SUCCESS").exists());
    let names = fs::read_dir(bench.path("out")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["_temporary"], "no part file is there early");
    gate.open();
    bench.finish(&id).await.unwrap();
    let done = parts(&bench.path("out"));
    bench.wait_clean().await;
    assert!(parts(&bench.path("out")) == done);
}

#[tokio::test]
async fn a_worker_that_comes_in_the_middle_takes_part() {
    let mut bench = with_input().await;
    let gate = Gate::default();
    let held = gate.clone();
    let kind = Kind::acting(move |moment| {
        if let Moment::AttemptBegins(held_task) = moment
            && held_task.task.number > 3
        {
            held.pass();
        }
    });
    bench.add(Kind { slots: 1, ..kind }).await;
    let id = bench.submit(&spec(&bench, "out")).await;
    bench.wait("a map", |view| (view.jobs.get(&id)?.done(TaskKind::Map) > 1).then_some(())).await;
    bench.add(Kind::default()).await;
    let by_second = |view: &synod_jobs::cluster::View| {
        let job = view.jobs.get(&id)?;
        let done = job.tasks.values().filter_map(|task| task.record.done.as_ref());
        done.into_iter().find(|done| done.node == "w1").map(drop)
    };
    bench.wait("a task of the second worker", by_second).await;
    gate.open();
    bench.finish(&id).await.unwrap();
    assert!(parts(&bench.path("out")) == parts(&bench.path("local")));
}

#[tokio::test]
async fn a_worker_told_to_leave_ends_what_it_runs_and_serves_its_outputs_to_the_end() {
    let mut bench = with_input().await;
    // The first worker stops within its second task; only then the second one begins, so that it cannot
    // take all tasks before the first one has had two.
    let (gate, other) = (Gate::default(), Gate::default());
    let begun = Arc::new(AtomicU32::new(0));
    for number in 0..2 {
        let (gate, other, begun) = (gate.clone(), other.clone(), begun.clone());
        let kind = Kind::acting(move |moment| {
            let Moment::AttemptBegins(_) = moment else { return };
            if number == 1 {
                other.pass();
            } else if begun.fetch_add(1, Ordering::SeqCst) == 1 {
                other.open();
                gate.pass();
            }
        });
        bench.add(Kind { slots: 1, ..kind }).await;
    }
    let id = bench.submit(&spec(&bench, "out")).await;
    let mine = |view: &synod_jobs::cluster::View| {
        let job = view.jobs.get(&id)?;
        let has_output = job.outputs().keys().any(|worker| view.node_of(worker) == "w0");
        let runs = job.attempts().any(|(_, _, claim)| view.node_of(&claim.record.worker) == "w0");
        (has_output && runs).then_some(())
    };
    bench.wait("an output of the first worker, and a task that it runs", mine).await;
    bench.drain(0);
    let told = |view: &synod_jobs::cluster::View| {
        view.workers.values().find(|worker| worker.record.draining).map(drop)
    };
    bench.wait("the word that it leaves", told).await;
    gate.open();
    bench.finish(&id).await.unwrap();
    bench.wait_gone(0).await;
    assert!(parts(&bench.path("out")) == parts(&bench.path("local")));
    let report = bench.view().await.jobs[&id].report().unwrap();
    assert_eq!((report.lost_outputs, report.failed_attempts), (0, 0));
    assert!(report.tasks.iter().all(|task| task.attempt == 0), "nothing ran twice");
    let reduces = report.tasks.iter().filter(|task| task.task.kind == TaskKind::Reduce);
    let nodes: BTreeSet<&str> =
        reduces.map(|task| report.nodes[task.node as usize].as_str()).collect();
    assert_eq!(nodes, BTreeSet::from(["w1"]), "it has taken nothing new");
}

#[tokio::test]
async fn a_straggler_gets_help_and_its_own_late_end_is_thrown_away() {
    let mut bench = with_input().await;
    let gate = Gate::default();
    let held = gate.clone();
    let stuck = Kind::acting(move |moment| {
        if let Moment::AttemptBegins(task) = moment
            && task.task == TaskId::map(0)
        {
            held.pass();
        }
    });
    bench.add(Kind { slots: 1, ..stuck }).await;
    let id = bench.submit(&spec(&bench, "out")).await;
    let stuck = |view: &synod_jobs::cluster::View| {
        view.jobs.get(&id)?.claims.contains_key(&TaskId::map(0)).then_some(())
    };
    bench.wait("the first worker to be stuck", stuck).await;
    bench.add(Kind::default()).await;
    let summary = bench.finish(&id).await.unwrap();
    assert!(parts(&bench.path("out")) == parts(&bench.path("local")));
    let report = bench.view().await.jobs[&id].report().unwrap();
    let winner = report.tasks.iter().find(|row| row.task == TaskId::map(0)).unwrap();
    assert_eq!((winner.attempt, report.nodes[winner.node as usize].as_str()), (1, "w1"));
    let lines = fs::read_to_string(bench.path("in")).unwrap().lines().count() as u64;
    assert_eq!(summary.manifest.counters.map_records_in, lines, "counted once");
    gate.open();
    bench.wait_clean().await;
    assert_eq!(report.lost_outputs, 0);
}

#[tokio::test]
async fn a_hung_attempt_is_given_up_and_the_task_done_elsewhere() {
    for kind in [TaskKind::Map, TaskKind::Reduce] {
        let mut bench = with_input().await;
        let gate = Gate::default();
        let once = Arc::new(AtomicU32::new(0));
        for _ in 0..2 {
            let (held, once) = (gate.clone(), once.clone());
            let hung = Kind::acting(move |moment| {
                if let Moment::AttemptBegins(task) = moment
                    && task.task.kind == kind
                    && once.fetch_add(1, Ordering::SeqCst) == 0
                {
                    held.pass();
                }
            });
            let limits = synod_jobs::cluster::Limits {
                stall: std::time::Duration::from_secs(1),
                ..hung.limits
            };
            bench.add(Kind { limits, ..hung }).await;
        }
        let once_only = JobSpec { speculative: false, ..spec(&bench, "out") };
        let id = bench.submit(&once_only).await;
        bench.finish(&id).await.unwrap();
        assert!(parts(&bench.path("out")) == parts(&bench.path("local")));
        let report = bench.view().await.jobs[&id].report().unwrap();
        // On a machine that stands still there may be others.
        let said = report.failures.iter().map(|row| row.failure.message.as_str());
        assert!(said.into_iter().any(|said| said.contains("no progress")), "{kind:?}");
        gate.open();
        bench.wait_clean().await;
    }
}

#[tokio::test]
async fn a_chain_of_jobs_runs_in_order_and_expands_its_inputs_only_then() {
    let mut bench = with_input().await;
    let first = spec(&bench, "out");
    let id = bench.submit(&first).await;
    let second = JobSpec {
        after: vec![id.clone()],
        reduces: Some(1),
        ..JobSpec::new("wordcount", [bench.path("out/part-*")], bench.path("out2"))
    };
    let second = bench.submit(&second).await;
    bench.add(Kind::default()).await;
    bench.finish(&second).await.unwrap();
    let records = bench.view().await.jobs[&second].job.clone().unwrap();
    assert!(matches!(records.record.state, JobState::Done(_)));
    let whole = JobSpec {
        reduces: Some(1),
        ..JobSpec::new("wordcount", [bench.path("in")], bench.path("local2"))
    };
    run_built_in(&whole, &Progress::new()).unwrap();
    assert!(parts(&bench.path("out2")) == parts(&bench.path("local2")));
}

#[tokio::test]
async fn a_failed_job_can_be_tried_again_and_others_cannot() {
    let mut bench = with_input().await;
    bench.add(Kind::default()).await;
    let missing = JobSpec::new("sort", [bench.path("later")], bench.path("out"));
    let id = bench.submit(&missing).await;
    let why = bench.finish(&id).await.unwrap_err().to_string();
    assert!(why.contains("later"), "{why}");
    assert!(!bench.path("out").exists());
    fs::write(bench.path("later"), "b\na\n").unwrap();
    let again = retry_job(&bench.kv, &id).await.unwrap();
    assert_ne!(again, id);
    bench.finish(&again).await.unwrap();
    assert_eq!(parts(&bench.path("out"))["part-00000"], b"a\nb\n");
    let done = retry_job(&bench.kv, &again).await.unwrap_err().to_string();
    assert!(done.contains("is done"), "{done}");
    let nobody = retry_job(&bench.kv, &"99".parse().unwrap()).await.unwrap_err().to_string();
    assert!(nobody.contains("is not known"), "{nobody}");
}

#[tokio::test]
async fn an_output_that_exists_is_refused_before_any_work_and_so_is_one_that_another_job_writes() {
    let mut bench = with_input().await;
    let gate = Gate::default();
    let held = gate.clone();
    let kind = Kind::acting(move |moment| {
        if matches!(moment, Moment::AttemptBegins(_)) {
            held.pass();
        }
    });
    bench.add(kind).await;
    fs::create_dir(bench.path("mine")).unwrap();
    fs::write(bench.path("mine/file"), "x").unwrap();
    let why = bench.run(&spec(&bench, "mine")).await.unwrap_err().to_string();
    assert!(why.contains("exists"), "{why}");
    assert_eq!(fs::read(bench.path("mine/file")).unwrap(), b"x");
    let id = submit_job(&bench.kv, &spec(&bench, "out")).await.unwrap();
    bench.wait_state(&id, "tasks", |state| *state == JobState::Running).await;
    let why = bench.run(&spec(&bench, "out")).await.unwrap_err().to_string();
    assert!(why.contains(&id.to_string()), "{why}");
    gate.open();
    bench.finish(&id).await.unwrap();
}

#[tokio::test]
async fn odd_shapes_of_jobs_give_what_a_local_run_gives() {
    let mut bench = with_input().await;
    bench.add(Kind::default()).await;
    bench.add(Kind::default()).await;
    fs::write(bench.path("empty"), "").unwrap();
    fs::write(bench.path("one"), "one\n").unwrap();
    fs::create_dir(bench.path("many")).unwrap();
    for number in 0..300 {
        fs::write(bench.path(&format!("many/{number}")), format!("line {number}\n")).unwrap();
    }
    let shapes = [
        ("no input at all", "sort", "empty", 2),
        ("more reduces than keys", "wordcount", "one", 9),
        ("one reduce", "sort", "in", 1),
        ("many small files", "sort", "many/*", 3),
        ("many reduces", "wordcount", "in", 256),
    ];
    for (number, (what, job, input, reduces)) in (0..).zip(shapes) {
        let spec = |output: String| JobSpec {
            reduces: Some(reduces),
            sync_output: false,
            ..JobSpec::new(job, [bench.path(input)], bench.path(&output))
        };
        let (here, there) = (format!("here-{number}"), format!("there-{number}"));
        run_built_in(&spec(here.clone()), &Progress::new()).unwrap();
        bench.run(&spec(there.clone())).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(parts(&bench.path(&here)) == parts(&bench.path(&there)), "{what}");
    }
}
