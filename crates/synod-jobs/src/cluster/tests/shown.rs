//! What is shown of jobs in every state, and its bounds.

use std::time::Duration;

use super::*;
use crate::cluster::records::decode;
use crate::cluster::shown::{JobDetail, JobRow, PaceRow, workers};
use crate::cluster::worker::Pace;
use crate::commit::Manifest;
use crate::outlook;

fn row(desk: &Desk) -> JobRow {
    JobRow::of(&desk.id, desk.job(), None).unwrap()
}

fn detail(desk: &Desk) -> JobDetail {
    JobDetail::of(&desk.id, &desk.store.view, None).unwrap()
}

#[test]
fn a_running_job_shows_its_attempts_its_failures_and_how_far_it_is() {
    let mut desk = Desk::running(4, 2, 2);
    let failing = desk.claim(1).unwrap();
    desk.fail(1, &failing, None);
    let done = desk.claim(1).unwrap();
    assert!(desk.finish(1, &done));
    let running = desk.claim(2).unwrap();
    desk.tell(2, &running, 30);
    let shown = detail(&desk);
    assert_eq!((shown.row.state, shown.row.progress.phase), ("running", "map"));
    assert_eq!((shown.row.progress.maps_done, shown.row.progress.maps_total), (1, 4));
    assert_eq!((shown.row.progress.attempts_running, shown.row.progress.attempts_failed), (1, 1));
    let attempt = &shown.running[0];
    assert_eq!((attempt.task, attempt.attempt), (running.task, running.attempt()));
    assert_eq!((&*attempt.node, attempt.work_done, attempt.backup), ("n2", 30, false));
    assert_eq!(shown.report.failures[0].task, failing.task);
    assert_eq!(shown.report.tasks.len(), 1);
    let busy: Vec<u32> = workers(&desk.store.view).iter().map(|worker| worker.running).collect();
    assert_eq!(busy, [0, 1]);
}

#[test]
fn how_fast_a_job_is_and_how_long_it_takes_are_shown_as_far_as_they_are_known() {
    let desk = Desk::running(4, 2, 2);
    let shown = |rate, left| {
        let pace = outlook::Pace { fraction: 0.5, rate, left };
        let detail = JobDetail::of(&desk.id, &desk.store.view, Some(pace)).unwrap().row;
        let row = JobRow::of(&desk.id, desk.job(), Some(pace)).unwrap();
        assert_eq!(detail.pace, row.pace, "one page says what the other does");
        // The pages take them from here.
        let told = serde_json::to_value(&row).unwrap();
        assert_eq!(told["rate"].as_u64(), row.pace.rate);
        assert_eq!(told["left_ms"].as_u64(), row.pace.left_ms);
        (row.pace.rate, row.pace.left_ms)
    };
    let left = Some(Duration::from_millis(90_500));
    assert_eq!(shown(Some(2_500.9), left), (Some(2_500), Some(90_500)));
    assert_eq!(shown(Some(0.0), None), (Some(0), None));
    assert_eq!(shown(None, None), (None, None));
    assert_eq!(shown(None, Some(Duration::MAX)).1, Some(u64::MAX));
    assert_eq!(row(&desk).pace, PaceRow::default(), "nobody has looked");
}

#[test]
fn a_job_that_is_done_shows_the_whole_of_what_it_did() {
    let mut desk = Desk::running(3, 1, 1);
    desk.finish_all(1);
    desk.finish_all(1);
    assert_eq!(desk.settle(), Some(Work::Commit));
    let counters = JobReport::of(desk.job(), &desk.store.view.workers).counters;
    let manifest = Manifest { job: "wordcount".to_owned(), counters, ..Manifest::default() };
    let change = desk.coordinator.committed(&desk.id, &desk.store.view, desk.record(), manifest);
    assert!(desk.store.apply(change));
    let shown = detail(&desk);
    let progress = &shown.row.progress;
    assert_eq!((shown.row.state, progress.phase), ("done", "done"));
    assert_eq!(progress.bytes_read, progress.bytes_total);
    assert_eq!((progress.maps_done, progress.reduces_done), (3, 1));
    assert_eq!(shown.report.tasks.len(), 4);
    assert!(shown.running.is_empty());
}

#[test]
fn a_job_that_failed_or_is_being_cancelled_says_so() {
    let mut desk = Desk::running(1, 1, 1);
    let change = Change::new().put(desk.id.key(JobKey::Cancel), "");
    assert!(desk.store.apply(change));
    assert!(row(&desk).cancelling);
    assert_eq!(desk.settle(), Some(Work::Clean));
    assert_eq!((row(&desk).state, row(&desk).message), ("ending", None));
    let change = desk.coordinator.cleaned(&desk.id, &desk.store.view, desk.record(), None);
    assert!(desk.store.apply(change));
    assert_eq!((row(&desk).state, row(&desk).cancelling), ("cancelled", false));

    let mut desk = Desk::running(1, 1, 1);
    for _ in 0..4 {
        let held = desk.claim(1).unwrap();
        desk.fail(1, &held, Some(7));
        if desk.settle() == Some(Work::Clean) {
            break;
        }
    }
    assert_eq!(row(&desk).state, "ending");
    assert!(row(&desk).message.unwrap().contains("it broke"));
}

#[test]
fn whatever_a_job_is_made_of_what_is_shown_has_a_bound() {
    let mut spec =
        JobSpec::new("x".repeat(100_000), (0..5_000).map(|n| format!("/in/{n}")), "/out");
    spec.name = Some("ü".repeat(100_000));
    spec.options = (0..5_000).map(|n| (format!("o{n}"), "v".repeat(5_000))).collect();
    let desk = Desk::new(spec);
    let shown = detail(&desk);
    assert_eq!(shown.row.name.chars().count(), 1_001);
    assert_eq!(shown.spec.inputs.len() as u64 + shown.spec.inputs_left_out, 5_000);
    assert!(serde_json::to_vec(&shown).unwrap().len() < 100_000);
    assert_eq!(shown.row.state, "submitted");
    assert_eq!(shown.row.millis(5_000), None);
}

#[test]
fn what_a_running_attempt_has_said_is_shown_and_claims_without_it_are_read_as_before() {
    let mut desk = Desk::running(1, 1, 1);
    let held = desk.claim(1).unwrap();
    let stored = |desk: &Desk| encode(&desk.job().claims[&held.task].record).unwrap();
    let silent = stored(&desk);
    assert!(!String::from_utf8(silent.clone()).unwrap().contains("status"), "it costs nothing");
    assert_eq!(detail(&desk).running[0].status, "");
    let mut say = |status: String| {
        let pace = Pace { activity: 1, status, ..Pace::default() };
        assert!(desk.store.apply(worker::refreshed(&held, &identity(1), pace)));
        detail(&desk).running[0].status.clone()
    };
    assert_eq!(say("half <b>way</b>".to_owned()), "half <b>way</b>");
    // Whatever another program has stored, what is shown has a bound.
    assert_eq!(say("ü".repeat(100_000)).chars().count(), 1_001);
    assert_eq!(say(String::new()), "");
    assert_eq!(decode::<ClaimRecord>(&silent).unwrap().status, "");
}
