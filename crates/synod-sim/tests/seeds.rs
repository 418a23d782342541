//! A few seeds in every test run; `cargo xtask sim` runs as many as one likes.

use synod_sim::run::run;

#[test]
fn a_few_seeds_keep_every_promise() {
    for seed in 1..=4 {
        let report = run(seed);
        assert_eq!(report.violations, [], "cargo xtask sim --seeds 1 --first {seed} --verbose");
        assert!(report.counters["answered"] > 100, "seed {seed} hardly did anything");
    }
}

#[test]
fn a_seed_run_twice_gives_the_same_trace() {
    let (first, second) = (run(5), run(5));
    assert_eq!((first.trace, first.counters), (second.trace, second.counters));
    assert_ne!(first.trace, run(6).trace);
}
