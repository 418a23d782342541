//! The passes of k-means, one after the other, and when it is enough.

use super::first::MAX_K;
use super::point::{Centres, read};
use super::{CENTRES, ITERATIONS, K, KMeans, KMeansAssign, KMeansCentres, KMeansStart, SEED};
use crate::builtin::options::{NamedJob, Options};
use crate::builtin::passes::{Pass, PassDone, Passes};
use crate::error::JobError;
use crate::spec::JobSpec;
use std::collections::BTreeMap;

const DEFAULT_ITERATIONS: u64 = 20;
const MAX_ITERATIONS: u64 = 10_000;

pub(super) struct Rounds {
    spec: JobSpec,
    k: usize,
    iterations: u64,
    epsilon: f64,
    assign: bool,
    state: State,
}

enum State {
    Begun,
    Drawing,
    /// A pass with these centres runs, the so manieth.
    Moving(Centres, u64),
}

impl Rounds {
    pub(super) fn new(spec: &JobSpec) -> Result<Rounds, JobError> {
        let options = Options::of::<KMeans>(spec)?;
        let given = options.text(CENTRES.name).is_some();
        let given = given.then(|| Centres::from_options(&options)).transpose()?;
        let k = match (options.number(K.name, 1..=MAX_K)?, &given) {
            (None, None) => return Err(options.bad(K.name, "how many clusters")),
            (Some(k), Some(given)) if k != given.count() => {
                return Err(options.bad(K.name, &format!("{}, as many as centres", given.count())));
            }
            (k, given) => given.as_ref().map_or(k.unwrap_or(0), Centres::count),
        };
        options.number(SEED.name, 0..=u64::MAX)?;
        let iterations = options.number("iterations", 1..=MAX_ITERATIONS)?;
        Ok(Rounds {
            spec: spec.clone(),
            k,
            iterations: iterations.unwrap_or(DEFAULT_ITERATIONS),
            epsilon: options.number("epsilon", 0.0..=f64::MAX)?.unwrap_or(0.0),
            assign: options.flag("assign")?,
            state: given.map_or(State::Begun, |centres| State::Moving(centres, 0)),
        })
    }

    fn pass(&self, job: &str, options: &[(&str, String)], reduces: Option<u32>) -> JobSpec {
        let options: BTreeMap<_, _> =
            options.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        JobSpec { job: job.to_owned(), options, reduces, ..self.spec.clone() }
    }

    fn draw(&self) -> JobSpec {
        let seed = self.spec.options.get(SEED.name).cloned().unwrap_or_else(|| "0".to_owned());
        let options = [(K.name, self.k.to_string()), (SEED.name, seed)];
        self.pass(KMeansStart::NAME, &options, Some(1))
    }

    /// The pass with these centres.
    fn move_from(&mut self, centres: Centres, number: u64) -> Pass {
        let pass = self.pass(KMeans::NAME, &[(CENTRES.name, centres.text())], Some(1));
        self.state = State::Moving(centres, number);
        Pass::More(pass)
    }

    fn last(&self, centres: &Centres, done: u64, before: &PassDone) -> JobSpec {
        let done = (ITERATIONS, done.to_string());
        if self.assign {
            let options = [(CENTRES.name, centres.text()), done];
            return self.pass(KMeansAssign::NAME, &options, Some(0));
        }
        let mut pass = before.input_of(&self.spec, KMeansCentres::NAME);
        pass.reduces = Some(1);
        pass.options.insert(done.0.to_owned(), done.1);
        pass
    }

    fn drawn(&self, lines: &[Vec<u8>]) -> Result<Centres, JobError> {
        if lines.len() < self.k {
            let what = format!(
                "{} clusters of only {} different points: ask for fewer, or look at the counter \
                 malformed_lines of a smaller job",
                self.k,
                lines.len()
            );
            return Err(JobError::BadSpec { what });
        }
        centres_of(lines.iter().map(Vec::as_slice))
    }
}

/// The centres that these lines hold.
fn centres_of<'l>(lines: impl Iterator<Item = &'l [u8]>) -> Result<Centres, JobError> {
    let mut points = Vec::new();
    for line in lines {
        let mut point = Vec::new();
        assert!(read(line, &mut point), "the pass before writes points");
        points.push(point);
    }
    Centres::new(&points).map_err(|what| JobError::BadSpec { what })
}

/// The centres in the output of a pass, in the order of their clusters.
fn moved_to(lines: &[Vec<u8>]) -> Result<Centres, JobError> {
    // One reduce task writes them in the order of their numbers.
    centres_of(lines.iter().map(|line| {
        let start = memchr::memrchr(b'\t', line).expect("a centre stands behind a tab");
        &line[start + 1..]
    }))
}

impl Passes for Rounds {
    fn next(&mut self, before: Option<&PassDone>) -> Result<Pass, JobError> {
        match (std::mem::replace(&mut self.state, State::Begun), before) {
            (State::Begun, _) => {
                self.state = State::Drawing;
                Ok(Pass::More(self.draw()))
            }
            (State::Drawing, Some(before)) => {
                let centres = self.drawn(&before.lines()?)?;
                Ok(self.move_from(centres, 1))
            }
            (State::Moving(centres, 0), _) => Ok(self.move_from(centres, 1)),
            (State::Moving(centres, number), Some(before)) => {
                let lines = before.lines()?;
                // Without any input there was no task to write them.
                let later = if lines.is_empty() { centres.clone() } else { moved_to(&lines)? };
                let is_enough = centres.moved(&later) <= self.epsilon;
                if is_enough || number == self.iterations {
                    return Ok(Pass::Last(self.last(&later, number, before)));
                }
                Ok(self.move_from(later, number + 1))
            }
            (State::Drawing | State::Moving(..), None) => {
                unreachable!("a pass that was run is told")
            }
        }
    }
}
