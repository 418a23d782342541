//! Records and groups that a job's own functions fail on, left out by attempts on several nodes; and tasks
//! that a job goes on without after all nodes have failed them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use synod_jobs::cluster::TaskId;
use synod_jobs::given_up::GivenUp;
use synod_jobs::{JobSpec, Progress, run_built_in};

use super::bench::{Bench, Kind};
use crate::jobs::moments::Moment;

/// Nothing takes this long on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which nodes have begun an attempt of which task.
type Begun = Arc<(Mutex<BTreeMap<TaskId, Vec<String>>>, Condvar)>;

/// Three nodes that run a task at a time each, and nothing before all of them take part.
async fn three(begun: &Begun) -> Bench {
    let mut bench = Bench::new(0).await;
    for number in 0..3 {
        let (begun, name) = (begun.clone(), format!("w{number}"));
        let act = move |moment: Moment<'_>| {
            if let Moment::AttemptBegins(held) = moment {
                let (tasks, changed) = &*begun;
                let mut now = tasks.lock().unwrap();
                now.entry(held.task).or_default().push(name.clone());
                changed.notify_all();
                let some = |now: &mut BTreeMap<TaskId, Vec<String>>| {
                    now.values().flatten().collect::<BTreeSet<_>>().len() < 3
                };
                drop(changed.wait_timeout_while(now, PATIENCE, some).unwrap());
            }
        };
        // An attempt more is made only for one that fails, not for a machine that stands still meanwhile.
        bench.add(Kind { slots: 1, ..Kind::acting(act) }.unhurried()).await;
    }
    bench
}

/// All files of an output but `_SUCCESS`, which is there.
fn files(output: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(output).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut files: BTreeMap<String, Vec<u8>> =
        entries.map(|path| (name(&path), fs::read(path).unwrap())).collect();
    assert!(files.remove("_SUCCESS").is_some(), "{:?}", files.keys());
    files
}

/// The job fails without a tab in a line: its map function panics.
fn picky(bench: &Bench, output: &str) -> JobSpec {
    JobSpec {
        reduces: Some(1),
        split_bytes: Some(8),
        skip_bad_records: 2,
        sync_output: false,
        speculative: false,
        ..JobSpec::new("top-k-merge", [bench.path("in")], bench.path(output))
    }
}

#[tokio::test]
async fn records_a_map_function_panics_on_are_left_out_by_several_nodes_and_kept_as_they_are_here()
{
    let begun = Begun::default();
    let bench = three(&begun).await;
    fs::write(bench.path("in"), "a\t7\nb\t8\nno tab\nc\t6\nd\t5\nnot one\ne\t4\n").unwrap();
    let here = picky(&bench, "here");
    let ran = tokio::task::spawn_blocking(move || run_built_in(&here, &Progress::new()));
    let counted_here = ran.await.unwrap().unwrap().manifest.counters;
    let there = bench.run(&picky(&bench, "there")).await.unwrap();
    let (counted, kept) = (there.manifest.counters, files(&bench.path("there")));
    assert!(kept == files(&bench.path("here")), "{kept:?}");
    assert_eq!(kept["part-00000"], b"b\t8\na\t7\nc\t6\nd\t5\ne\t4\n");
    assert_eq!((counted.bad_records_skipped, counted_here.bad_records_skipped), (2, 2));
    let lines = kept.iter().filter(|(name, _)| name.starts_with(".skipped-m-"));
    let lines: Vec<String> =
        lines.map(|(_, line)| String::from_utf8(line.clone()).unwrap()).collect();
    assert_eq!(lines.len(), 2, "each in a split of its own: {lines:?}");
    for (line, (offset, record)) in lines.iter().zip([(8, "no tab"), (23, "not one")]) {
        assert!(line.contains(&format!("\t{offset}\t")), "{line}");
        assert!(
            line.ends_with(&format!("\t{record}\n")) && line.contains("writes a tab"),
            "{line}"
        );
    }
    // Two attempts that fail, and one without the record; who makes them depends on who has room.
    let begun = begun.0.lock().unwrap().clone();
    let tries = begun.values().map(Vec::len).filter(|tries| *tries > 1);
    assert!(tries.eq([3, 3]), "{begun:?}");
    assert_eq!(begun.values().flatten().collect::<BTreeSet<_>>().len(), 3, "{begun:?}");
    let spec = JobSpec { skip_bad_records: 1, ..picky(&bench, "too-many") };
    let said = bench.run(&spec).await.unwrap_err().to_string();
    assert!(said.contains("more than 1 bad records") && said.contains("writes a tab"), "{said}");
    assert!(!spec.output.exists());
}

#[tokio::test]
async fn maps_that_no_node_can_do_are_given_up_and_the_output_is_the_one_of_a_single_process() {
    let begun = Begun::default();
    let bench = three(&begun).await;
    fs::write(bench.path("in"), "a\t7\nb\t8\nno tab\nc\t6\nd\t5\nnot one\ne\t4\n").unwrap();
    let tolerant = |output: &str, percent| JobSpec {
        skip_bad_records: 0,
        failed_maps_percent: percent,
        ..picky(&bench, output)
    };
    let here = tolerant("here", 60);
    let ran = tokio::task::spawn_blocking(move || run_built_in(&here, &Progress::new()));
    let here = ran.await.unwrap().unwrap().manifest;
    let there = bench.run(&tolerant("there", 60)).await.unwrap();
    assert!(files(&bench.path("there")) == files(&bench.path("here")));
    assert_eq!(there.manifest.parts, here.parts);
    let tasks = |given_up: &[GivenUp]| given_up.iter().map(|one| one.task).collect::<Vec<_>>();
    let lost = tasks(&there.manifest.given_up);
    assert!(lost.len() == 2 && lost == tasks(&here.given_up), "{lost:?}");
    assert!(there.manifest.given_up.iter().all(|one| one.error.contains("writes a tab")));
    assert_eq!(there.report.given_up, there.manifest.given_up);
    let counted =
        [&there.manifest.counters, &here.counters].map(|c| (c.maps_given_up, c.map_records_in));
    assert_eq!(counted[0], counted[1]);
    // A record that fails a second time cannot be had by a third attempt.
    for task in lost {
        assert_eq!(begun.0.lock().unwrap()[&task].len(), 2);
    }
    let spec = tolerant("too-many", 20);
    let said = bench.run(&spec).await.unwrap_err().to_string();
    assert!(said.contains("map tasks have failed, more than the 20 percent"), "{said}");
    assert!(!spec.output.exists());
}

#[cfg(feature = "wasm")]
#[tokio::test]
async fn groups_a_reduce_function_fails_on_are_left_out_by_several_nodes_and_their_keys_are_kept() {
    let begun = Begun::default();
    let bench = three(&begun).await;
    // The word count of the module's tests; its reduce function fails on words that begin with `!`.
    let module = include_str!("../../../../synod-jobs/tests/wasm/guests/wordcount.wat");
    let sign = "(local.set $at (i32.add (local.get $key) (local.get $key_length)))";
    assert_eq!(module.matches(sign).count(), 1);
    let check = "(if (i32.eq (i32.load8_u (local.get $key)) (i32.const 33)) (then unreachable))";
    fs::write(bench.path("job.wat"), module.replace(sign, &format!("{check} {sign}"))).unwrap();
    fs::write(bench.path("in"), "a !b\nc a\n!b !b\n").unwrap();
    let mut spec = JobSpec {
        reduces: Some(1),
        split_bytes: Some(4),
        skip_bad_records: 1,
        sync_output: false,
        speculative: false,
        ..JobSpec::new("wasm", [bench.path("in")], bench.path("out"))
    };
    spec.options.insert("module".to_owned(), bench.path("job.wat").to_str().unwrap().to_owned());
    // As the command line does, which notes what the module is.
    let mut prepared = None;
    let stopped = synod_jobs::run_passes(&spec, &Progress::new(), |pass| {
        prepared = Some(pass.clone());
        Err(synod_jobs::JobError::Cancelled)
    });
    let prepared = prepared.unwrap_or_else(|| panic!("{stopped:?}"));
    let counters = bench.run(&prepared).await.unwrap().manifest.counters;
    assert_eq!(counters.user["bad_groups_skipped"], 1);
    let kept = files(&bench.path("out"));
    assert_eq!(kept["part-00000"], b"a\t2\nc\t1\n");
    let line = String::from_utf8(kept[".skipped-r-000000"].clone()).unwrap();
    assert!(line.starts_with("-\t0\t0\t") && line.ends_with("\t!b\n"), "{line}");
    let begun = begun.0.lock().unwrap();
    let reduce = begun.values().next_back().unwrap();
    assert_eq!(reduce.len(), 3, "{begun:?}");
    assert_eq!(begun.values().flatten().collect::<BTreeSet<_>>().len(), 3, "{begun:?}");
}
