//! A service driven by hand, whose view is as old as the test likes.

use std::fs;
use std::io::{self, Write};
use std::sync::Mutex;

use synod_client::Embedded;
use synod_jobs::cluster::JobState;
use synod_jobs::cluster::shuffle::map_file_name;
use synod_jobs::{Progress, run_built_in};
use synod_state::kv::{DeleteRangeRequest, KeyRange};
use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::jobs::moments::Moment;
use crate::jobs::tests::bench::{Bench, Kind, parts, text};
use crate::jobs::tests::shuffle::{Gate, spec};

/// What is logged.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Said {
    type Writer = Said;

    fn make_writer(&self) -> Said {
        self.clone()
    }
}

/// A worker with one slot, the only one, and at whose gate its attempts wait.
struct ByHand {
    bench: Bench,
    service: JobService<Embedded>,
    gate: Gate,
    // It serves until the sender has gone.
    _stop: watch::Sender<bool>,
}

impl ByHand {
    async fn new() -> ByHand {
        let bench = Bench::new(0).await;
        let gate = Gate::default();
        let held = gate.clone();
        let kind = Kind::acting(move |moment| {
            if let Moment::AttemptBegins(_) = moment {
                held.pass();
            }
        });
        let Kind { moments, limits, lease_seconds, .. } = kind.unhurried();
        let facts = NodeFacts {
            name: "w".into(),
            address: "127.0.0.1:9".into(),
            folder: bench.path("w"),
            runs_commands: true,
            host: String::new(),
            moments,
        };
        let options = JobsOptions { slots: Some(1), lease_seconds, limits, ..Default::default() };
        let (stop, stopped) = watch::channel(false);
        let service = JobService::new(bench.kv.clone(), facts, options, stopped);
        ByHand { bench, service, gate, _stop: stop }
    }

    /// Decides on the records as they were when they were read, long after its last change.
    async fn act_on_an_old_view(&mut self) {
        let (_, at) = &mut self.service.last_change;
        *at = at.checked_sub(VIEW_PATIENCE).unwrap();
        self.service.act().await;
    }

    /// Serves like a service with a new view, until something is so.
    async fn serve_until(&mut self, what: &str, is_so: impl Fn(&JobService<Embedded>) -> bool) {
        let began = Instant::now();
        while !is_so(&self.service) {
            assert!(began.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.service.view = self.bench.view().await;
            while let Ok(result) = self.service.results.try_recv() {
                self.service.on_result(result).await;
            }
            let member = self.service.member.as_ref();
            if member.is_some_and(|member| member.elected.has_changed().is_ok_and(|new| new)) {
                self.service.on_election();
            }
            self.service.act().await;
        }
    }
}

fn is_over(service: &JobService<Embedded>, id: &JobId) -> bool {
    let job = service.view.jobs.get(id).and_then(|job| job.job.as_ref());
    job.is_some_and(|job| job.record.state.is_final())
}

#[tokio::test]
async fn a_view_that_lacks_an_attempts_claim_ends_no_attempt_and_has_none_begun() {
    let mut it = ByHand::new().await;
    fs::write(it.bench.path("in"), text(10_000, 5)).unwrap();
    run_built_in(&spec(&it.bench, "local"), &Progress::new()).unwrap();
    let id = it.bench.submit(&spec(&it.bench, "out")).await;
    it.serve_until("an attempt", |service| !service.running.is_empty()).await;
    it.act_on_an_old_view().await;
    let running = it.service.running.values().next().unwrap();
    running.progress.check_cancelled().expect("nobody has taken its claim away");
    it.gate.open();
    let ended = it.service.results.recv().await.unwrap();
    it.service.on_result(ended).await;
    for _ in 0..3 {
        it.act_on_an_old_view().await;
        assert_eq!(it.service.ended.len(), 1, "nobody can be told yet");
        assert!(it.service.running.is_empty(), "claims do not pile up meanwhile");
    }
    it.serve_until("the end", |service| is_over(service, &id)).await;
    assert!(parts(&it.bench.path("out")) == parts(&it.bench.path("local")));
    let report = it.service.view.jobs[&id].report().unwrap();
    let attempts: BTreeSet<u32> = report.tasks.iter().map(|row| row.attempt).collect();
    assert_eq!(attempts, BTreeSet::from([0]), "each task was done once");
}

#[tokio::test]
async fn what_an_attempt_has_made_that_has_lost_its_claim_is_removed_while_the_job_goes_on() {
    let mut it = ByHand::new().await;
    fs::write(it.bench.path("in"), text(10_000, 5)).unwrap();
    run_built_in(&spec(&it.bench, "local"), &Progress::new()).unwrap();
    let id = it.bench.submit(&spec(&it.bench, "out")).await;
    it.serve_until("an attempt", |service| !service.running.is_empty()).await;
    it.gate.open();
    let ended = it.service.results.recv().await.unwrap();
    let ThreadResult::Attempt(EndedAttempt { held, .. }) = &ended else { panic!("no attempt") };
    let made = folder_of(&it.bench.path("w"), &id).join(map_file_name(held.task, held.attempt()));
    let claim = KeyRange::one(id.key(held.seat.key(held.task)));
    assert!(made.is_file());
    it.bench.kv.delete(DeleteRangeRequest { range: claim, prev_kv: false }).await.unwrap();
    it.service.on_result(ended).await;
    it.serve_until("its removal", |_| !made.exists()).await;
    assert!(it.service.view.jobs[&id].job.as_ref().unwrap().record.state == JobState::Running);
    it.serve_until("the end", |service| is_over(service, &id)).await;
    assert!(parts(&it.bench.path("out")) == parts(&it.bench.path("local")));
}

#[tokio::test]
async fn a_person_hears_once_for_each_job_that_it_has_less_memory_than_it_asks_for() {
    let mut it = ByHand::new().await;
    fs::write(it.bench.path("in"), text(10_000, 5)).unwrap();
    let spec = spec(&it.bench, "out");
    it.service.memory_bytes = Some(spec.memory_bytes / 2);
    it.gate.open();
    let id = it.bench.submit(&spec).await;
    // As before its first task, of what is fetched ahead.
    it.service.folders.insert(id.clone(), spec);
    let said = Said::default();
    let listening = tracing::subscriber::set_default(
        tracing_subscriber::fmt().with_writer(said.clone()).finish(),
    );
    it.serve_until("the end", |service| is_over(service, &id)).await;
    drop(listening);
    let said = String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
    assert_eq!(said.matches("it runs with less").count(), 1, "{said}");
}
