//! Maps whose output goes with its worker when the last reduce has read it: what they have counted and left
//! beside the part files is the job's all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use synod_jobs::JobSpec;
use synod_jobs::cluster::{TaskKind, View};
use synod_jobs::commit::Manifest;

use super::bench::{Bench, Kind};
use super::commits::wait_until;
use super::shuffle::Gate;
use super::streaming::spec_of;
use crate::jobs::moments::Moment;

/// Nothing takes this long on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);
const MAPS: usize = 6;

/// Each map counts itself and leaves a side file; one reduce.
fn spec(bench: &Bench) -> JobSpec {
    let program = "echo reporter:counter:G,maps,1 >&2
        echo $mapreduce_task_attempt_id > \"$mapreduce_task_output_dir/side-$mapreduce_task_partition\"";
    JobSpec { speculative: false, ..with_program(bench, "out", program, MAPS) }
}

/// A streaming job of so many maps, each of which does this and passes its input on, and one reduce.
pub fn with_program(bench: &Bench, output: &str, text: &str, maps: usize) -> JobSpec {
    let program = bench.path(&format!("{output}.sh"));
    fs::write(&program, format!("#!/bin/sh\n{text}\nexec cat\n")).unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let input = format!("{output}-in");
    fs::create_dir(bench.path(&input)).unwrap();
    for number in 0..maps {
        fs::write(bench.path(&format!("{input}/{number:02}")), format!("{number}\n")).unwrap();
    }
    let words = ["-input", &input, "-output", output, "-mapper", program.to_str().unwrap()];
    let words = [&words[..], &["-reducer", "cat", "-numReduceTasks", "1"]].concat();
    spec_of(bench, &words)
}

/// Which workers have begun a map.
type Begun = Arc<(Mutex<BTreeSet<u32>>, Condvar)>;

/// A worker of one slot. Its first map waits until two workers have one; a reduce that has ended waits at
/// the first gate before anybody hears of it, a map that is made again at the second.
fn kind(number: u32, begun: &Begun, ended: &Arc<AtomicBool>, [reduced, again]: [&Gate; 2]) -> Kind {
    let (begun, ended) = (begun.clone(), ended.clone());
    let (reduced, again) = (reduced.clone(), again.clone());
    let kind = Kind::acting(move |moment| match moment {
        Moment::AttemptBegins(held) if held.task.kind == TaskKind::Map => {
            if held.attempt() > 0 {
                again.pass();
            }
            let (workers, changed) = &*begun;
            let mut now = workers.lock().unwrap();
            now.insert(number);
            changed.notify_all();
            drop(changed.wait_timeout_while(now, PATIENCE, |now| now.len() < 2).unwrap());
        }
        Moment::AttemptEnded(held) if held.task.kind == TaskKind::Reduce => {
            ended.store(true, SeqCst);
            reduced.pass();
        }
        _ => {}
    });
    Kind { slots: 1, ..kind }.unhurried()
}

/// The side files of an output by name, and what readers are told of it.
pub fn published(output: &Path) -> (BTreeMap<String, String>, Manifest) {
    let manifest: Manifest =
        serde_json::from_slice(&fs::read(output.join("_SUCCESS")).unwrap()).unwrap();
    let names = manifest.side_files.iter().map(|side| side.name.clone());
    (
        names.map(|name| (name.clone(), fs::read_to_string(output.join(name)).unwrap())).collect(),
        manifest,
    )
}

#[tokio::test]
async fn maps_lost_after_the_last_reduce_has_read_them_are_counted_and_their_side_files_published()
{
    let (begun, reduced, again) = (Begun::default(), Gate::default(), Gate::default());
    let ended = Arc::new(AtomicBool::new(false));
    let mut bench = Bench::new(0).await;
    for number in 0..2 {
        bench.add(kind(number, &begun, &ended, [&reduced, &again])).await;
    }
    let id = bench.submit(&spec(&bench)).await;
    let giver = |view: &View| {
        let job = view.jobs.get(&id)?;
        let (_, _, claim) = job.attempts().find(|(task, ..)| task.kind == TaskKind::Reduce)?;
        let mut others = job.outputs().keys().filter(|worker| **worker != claim.record.worker);
        others.next().map(|worker| view.node_of(worker))
    };
    let giver = bench.wait("the reduce, and a worker that only has maps", giver).await;
    let giver = bench.workers.iter().position(|worker| worker.name == giver).unwrap();
    let reduce = ended.clone();
    let wait = move || wait_until("the reduce is over, and nobody knows", || reduce.load(SeqCst));
    tokio::task::spawn_blocking(wait).await.unwrap();
    bench.kill(giver, true).await;
    bench.add(kind(2, &begun, &ended, [&reduced, &again])).await;
    let made_again = |view: &View| {
        let job = view.jobs.get(&id)?;
        job.attempts().any(|(task, ..)| task.kind == TaskKind::Map).then_some(())
    };
    bench.wait("a map that is made again", made_again).await;
    reduced.open();
    let summary = bench.finish(&id).await.unwrap();
    let (files, manifest) = published(&bench.path("out"));
    let names: Vec<String> = (0..MAPS).map(|number| format!("side-{number}")).collect();
    assert!(files.keys().eq(&names), "{files:?}");
    // What is made again comes too late.
    assert!(files.values().all(|attempt| attempt.trim().ends_with("_0")), "{files:?}");
    assert_eq!(manifest.counters.map_records_in, MAPS as u64);
    assert_eq!(manifest.counters.user["G,maps"], MAPS as u64);
    assert_eq!(summary.manifest, manifest);
    assert!(summary.report.lost_outputs > 0 && summary.report.tasks.len() == MAPS + 1);
    assert_eq!(summary.report.counters, manifest.counters);
    again.open();
    bench.wait_clean().await;
    assert_eq!(published(&bench.path("out")), (files, manifest));
    assert!(!bench.path("out/_temporary").exists());
}
