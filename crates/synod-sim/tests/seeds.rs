//! A few seeds in every test run; `cargo xtask sim` runs as many as one likes.

use synod_sim::run::{Kind, run};

#[test]
fn a_few_seeds_keep_every_promise() {
    for seed in 1..=4 {
        let report = run(Kind::Keys, seed);
        assert_eq!(report.violations, [], "cargo xtask sim --seeds 1 --first {seed} --verbose");
        assert!(report.counters["answered"] > 100, "seed {seed} hardly did anything");
    }
}

#[test]
fn a_seed_run_twice_gives_the_same_trace() {
    for kind in [Kind::Keys, Kind::Jobs] {
        let (first, second) = (run(kind, 5), run(kind, 5));
        assert_eq!((first.trace, first.counters), (second.trace, second.counters));
        assert_ne!(first.trace, run(kind, 6).trace);
    }
}

#[test]
fn jobs_of_a_few_seeds_end_as_they_should() {
    let mut done = 0;
    for seed in 1..=4 {
        let report = run(Kind::Jobs, seed);
        let replay = format!("cargo xtask sim --jobs --seeds 1 --first {seed} --verbose");
        assert_eq!(report.violations, [], "{replay}");
        done += report.counters["jobs_done"];
    }
    assert!(done >= 4, "the last job of each seed is not cancelled");
}
