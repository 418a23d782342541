//! Which of several jobs a worker turns to.

use std::fs;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use synod_jobs::cluster::{JobId, JobState, TaskKind};
use synod_jobs::{JobSpec, Priority};

use super::bench::{Bench, Kind};
use crate::jobs::moments::Moment;

/// Nothing takes this long on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether attempts may go on, and the jobs whose maps have begun.
#[derive(Default)]
struct Gate {
    open: bool,
    begun: Vec<JobId>,
}

#[tokio::test]
async fn of_jobs_that_wait_the_one_of_the_highest_priority_is_next_and_none_is_stopped_for_it() {
    let gate: Arc<(Mutex<Gate>, Condvar)> = Arc::default();
    let mut bench = Bench::new(0).await;
    let seen = gate.clone();
    let act = move |moment: Moment<'_>| {
        if let Moment::AttemptBegins(held) = moment {
            let (state, changed) = &*seen;
            let mut now = state.lock().unwrap();
            if held.task.kind == TaskKind::Map {
                now.begun.push(held.job.clone());
            }
            drop(changed.wait_timeout_while(now, PATIENCE, |now| !now.open).unwrap());
        }
    };
    bench.add(Kind { slots: 1, ..Kind::acting(act) }.unhurried()).await;
    fs::write(bench.path("in"), "to be or not\n").unwrap();
    let spec = |output: &str, priority| JobSpec {
        reduces: Some(1),
        sync_output: false,
        priority,
        ..JobSpec::new("wordcount", [bench.path("in")], bench.path(output))
    };
    let first = bench.submit(&spec("first", Priority::Normal)).await;
    bench.wait("an attempt", |view| view.jobs.get(&first)?.claims.keys().next().copied()).await;
    let normal = bench.submit(&spec("normal", Priority::Normal)).await;
    let high = bench.submit(&spec("high", Priority::VeryHigh)).await;
    let is_running = |state: &JobState| *state == JobState::Running;
    bench.wait_state(&normal, "it runs", is_running).await;
    bench.wait_state(&high, "it runs", is_running).await;
    // The worker that has planned this one knows of those before it.
    let low = bench.submit(&spec("low", Priority::Low)).await;
    bench.wait_state(&low, "it runs", is_running).await;
    gate.0.lock().unwrap().open = true;
    gate.1.notify_all();
    for id in [&first, &normal, &high, &low] {
        bench.finish(id).await.unwrap();
    }
    assert_eq!(gate.0.lock().unwrap().begun, [first, high, normal, low]);
}
