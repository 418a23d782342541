//! k-means against Lloyd's iteration in memory, and what ends it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use support::{Bench, joined, parts, run};
use synod_jobs::JobSpec;

/// Points around three places, and lines that are none.
fn points(seed: u64, count: usize) -> (Vec<u8>, Vec<[f64; 2]>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut text, mut points) = (Vec::new(), Vec::new());
    for number in 0..count {
        let place = [[0.0, 0.0], [10.0, 0.0], [3.0, 8.0]][random.usize(..3)];
        let point = place.map(|at| at + random.f64() * 2.0 - 1.0);
        points.push(point);
        let separator = [" ", ",", " , ", "\t"][random.usize(..4)];
        let comma = separator.contains(',');
        let (before, after) = if comma { ("", "") } else { (" ", " \r") };
        text.extend_from_slice(
            format!("{before}{}{separator}{}{after}", point[0], point[1]).as_bytes(),
        );
        text.push(b'\n');
        if number % 50 == 0 {
            text.extend_from_slice(
                [&b"\n"[..], b"1 2 3\n", b"1,x\n", b"\xff 1\n"][number / 50 % 4],
            );
        }
    }
    text.pop();
    (text, points)
}

fn nearest(centres: &[[f64; 2]], point: [f64; 2]) -> usize {
    let distance =
        |centre: &[f64; 2]| (point[0] - centre[0]).powi(2) + (point[1] - centre[1]).powi(2);
    let mut best = 0;
    for at in 1..centres.len() {
        if distance(&centres[at]) < distance(&centres[best]) {
            best = at;
        }
    }
    best
}

/// Lloyd's iteration until nothing moves, or so many rounds; also how many there were.
fn naive(points: &[[f64; 2]], first: &[[f64; 2]], rounds: usize) -> (Vec<[f64; 2]>, usize) {
    let mut centres = first.to_vec();
    for round in 1..=rounds {
        let before = centres.clone();
        for (cluster, centre) in centres.iter_mut().enumerate() {
            let own = points.iter().filter(|&&point| nearest(&before, point) == cluster);
            let own: Vec<_> = own.collect();
            if !own.is_empty() {
                let mean = |at: usize| own.iter().map(|p| p[at]).sum::<f64>() / own.len() as f64;
                *centre = [mean(0), mean(1)];
            }
        }
        let moved = before
            .iter()
            .zip(&centres)
            .any(|(a, b)| a.iter().zip(b).any(|(a, b)| (a - b).abs() > 1e-9));
        if !moved {
            return (centres, round);
        }
    }
    (centres, rounds)
}

/// Cluster, number of points and centre of every line.
fn centres_in(output: &[u8]) -> Vec<(usize, u64, [f64; 2])> {
    let text = String::from_utf8(output.to_vec()).unwrap();
    let read = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let numbers: Vec<f64> = fields[2].split(' ').map(|text| text.parse().unwrap()).collect();
        (fields[0].parse().unwrap(), fields[1].parse().unwrap(), [numbers[0], numbers[1]])
    };
    text.lines().map(read).collect()
}

fn spec(bench: &Bench, path: &std::path::Path, options: &[(&str, &str)]) -> JobSpec {
    let mut spec = bench.spec("k-means", &[path]);
    spec.options = options.iter().map(|&(key, value)| (key.into(), value.into())).collect();
    spec
}

#[test]
fn centres_are_those_of_lloyds_iteration_for_any_splits() {
    let bench = Bench::new();
    let (text, points) = points(71, 2_000);
    let path = bench.file("in", &text);
    // The last one is nearest to no point, ever.
    let first = [[1.0, 1.0], [2.0, 1.0], [2.0, 2.0], [1e6, 1e6]];
    let given = "1,1;2,1;2,2;1000000,1000000";
    for rounds in [1, 3, 100] {
        let (expected, took) = naive(&points, &first, rounds);
        let mut outputs = Vec::new();
        for split in [300, 10_000, 1 << 20] {
            let rounds = rounds.to_string();
            let mut spec = spec(
                &bench,
                &path,
                &[("centres", given), ("iterations", &rounds), ("epsilon", "1e-9")],
            );
            spec.split_bytes = Some(split);
            let summary = run(&spec).unwrap();
            let output = joined(&spec.output);
            let found = centres_in(&output);
            assert_eq!(found.len(), 4);
            for (at, &(cluster, count, centre)) in found.iter().enumerate() {
                assert_eq!(cluster, at);
                let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
                assert!(near(centre[0], expected[at][0]) && near(centre[1], expected[at][1]));
                assert_eq!(count == 0, at == 3);
            }
            assert_eq!(found.iter().map(|found| found.1).sum::<u64>(), 2_000);
            assert_eq!(summary.manifest.counters.user["iterations"], took as u64);
            outputs.push(output);
        }
        assert!(outputs.windows(2).all(|pair| pair[0] == pair[1]), "bytes depend on splits");
    }
    assert!(bench.names().iter().all(|name| !name.contains("passes")));
}

#[test]
fn the_seed_decides_which_points_are_first_and_not_the_order_of_the_input() {
    let bench = Bench::new();
    let (text, _) = points(72, 500);
    let path = bench.file("in", &text);
    let mut reversed: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
    reversed.reverse();
    let backwards = bench.file("backwards", &reversed.join(&b'\n'));
    let answer = |path: &std::path::Path, seed: &str| {
        let spec = spec(&bench, path, &[("k", "3"), ("seed", seed), ("iterations", "1")]);
        run(&spec).unwrap();
        joined(&spec.output)
    };
    let one = answer(&path, "1");
    assert_eq!(one, answer(&backwards, "1"));
    assert_eq!(one, answer(&path, "1"));
    assert_ne!(one, answer(&path, "2"));
    let too_many = spec(&bench, &path, &[("k", "502")]);
    let error = run(&too_many).unwrap_err();
    assert!(error.to_string().contains("only 501 different points"), "{error}");
    assert!(!too_many.output.exists());
}

#[test]
fn every_point_is_assigned_to_its_nearest_centre_in_the_order_of_the_input() {
    let bench = Bench::new();
    let (text, _) = points(73, 1_000);
    let path = bench.file("in", &text);
    let mut spec = spec(&bench, &path, &[("k", "3"), ("seed", "5"), ("assign", "true")]);
    spec.split_bytes = Some(3_000);
    run(&spec).unwrap();
    let side = fs::read_to_string(spec.output.join("centres")).unwrap();
    let centres: Vec<[f64; 2]> = side
        .lines()
        .map(|line| {
            let numbers = line.split_once('\t').unwrap().1;
            let numbers: Vec<f64> = numbers.split(' ').map(|text| text.parse().unwrap()).collect();
            [numbers[0], numbers[1]]
        })
        .collect();
    assert_eq!(centres.len(), 3);
    fs::remove_file(spec.output.join("centres")).unwrap();
    let mut expected = Vec::new();
    for line in text.split(|&byte| byte == b'\n') {
        let text = String::from_utf8_lossy(line);
        let numbers: Vec<Option<f64>> = text
            .split([' ', ',', '\t', '\r'])
            .filter(|text| !text.is_empty())
            .map(|text| text.parse().ok())
            .collect();
        if let [Some(x), Some(y)] = numbers[..] {
            let cluster = nearest(&centres, [x, y]).to_string();
            expected.extend_from_slice(&[cluster.as_bytes(), b"\t", line, b"\n"].concat());
        }
    }
    assert!(parts(&spec.output).len() > 3, "several splits");
    assert!(joined(&spec.output) == expected);
}
