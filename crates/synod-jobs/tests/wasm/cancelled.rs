//! Jobs that are told to end while their module is compiled, or while it computes.

use crate::support::Bench;
use crate::worker::{attempt_of_map, plan_of};
use crate::{ECHO, guest, guest_that, prepared, set, wasm};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;
use synod_jobs::cluster::attempt::AttemptError;
use synod_jobs::{
    Job, JobError, JobVisitor, Progress, Snapshot, run_built_in, run_passes, with_job,
};

/// Nothing takes this long on the slowest machine, and everything that is waited for here would take longer.
const PATIENCE: Duration = Duration::from_secs(60);

struct Nothing;

impl JobVisitor for Nothing {
    type Output = ();
    fn visit<J: Job>(self, _: &J) {}
}

#[test]
fn whoever_is_told_to_end_does_not_wait_for_a_compiler_wherever_a_module_is_loaded() {
    let bench = Bench::new();
    let path = bench.file("in", b"a\n");
    let cancelled = Progress::new();
    cancelled.cancel();
    // Were any of them compiled, it would be refused.
    let spec = wasm(&bench, &guest(r#"(func (export "synod_none"))"#), &[&path]);
    let error = run_passes(&spec, &cancelled, |_| -> Result<_, JobError> { panic!("prepared") });
    assert!(matches!(error, Err(JobError::Cancelled)), "{error:?}");
    let error = with_job(&spec, &cancelled, Nothing);
    assert!(matches!(error, Err(JobError::Cancelled)), "{error:?}");
    // That one was told to end says nothing about the module: the next one gets to know what is wrong.
    let error = with_job(&spec, &Progress::new(), Nothing);
    assert!(matches!(error, Err(JobError::BadSpec { .. })), "{error:?}");
    let spec = wasm(&bench, &guest(r#"(func (export "synod_another"))"#), &[&path]);
    let planned = wasm(&bench, ECHO, &[&path]);
    let plan = plan_of(&planned);
    match attempt_of_map(&bench, &spec, &plan, &cancelled) {
        Err(AttemptError::Failed(JobError::Cancelled)) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_module_that_computes_for_long_ends_when_its_job_is_cancelled_and_not_when_its_time_is_over() {
    let forever = "(loop $forever (br $forever))";
    let reads = |now: Snapshot| now.bytes_read > 0;
    for (module, has_begun) in [
        (guest_that(forever), reads as fn(Snapshot) -> bool),
        (guest(&format!("(func $start {forever}) (start $start)")), |now| now.maps_total > 0),
        // One short call after the other.
        (
            guest(
                r#"(func (export "synod_map") (param i32 i32) (result i64) (i64.const 0x80000000))
                (func (export "synod_more") (result i64) (i64.const 0x80000000))"#,
            ),
            reads,
        ),
    ] {
        let bench = Bench::new();
        let path = bench.file("in", b"one\ntwo\n");
        let mut spec = wasm(&bench, &module, &[&path]);
        set(&mut spec, "timeout_ms", "600000");
        let spec = prepared(&spec).unwrap();
        let progress = Arc::new(Progress::new());
        let (done, finished) = channel();
        std::thread::spawn({
            let (progress, spec) = (progress.clone(), spec.clone());
            move || drop(done.send(run_built_in(&spec, &progress)))
        });
        // It computes now, or is about to.
        let began = std::time::Instant::now();
        while !has_begun(progress.snapshot()) {
            assert!(began.elapsed() < PATIENCE, "it does not begin");
            std::thread::yield_now();
        }
        progress.cancel();
        let error = finished.recv_timeout(PATIENCE).expect("it ends").unwrap_err();
        assert!(matches!(error, JobError::Cancelled), "{error}");
        assert!(!spec.output.exists());
    }
}
