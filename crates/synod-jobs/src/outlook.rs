//! How fast a job moves and how long its present phase will take, from looks at its progress.
//!
//! There is no clock here: whoever looks says when. What is not known is not said: no rate before
//! there was time to see one, no time left before there is a rate or a first finished task.

use crate::progress::{Phase, Snapshot};
use std::collections::VecDeque;
use std::time::Duration;

/// A rate needs looks at least this far apart.
const SHORTEST: Duration = Duration::from_secs(1);
/// Looks that are kept; of more frequent ones only some.
const MAX_LOOKS: u32 = 64;

/// What can be said of a running job.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pace {
    /// How much of the phase is done, 0 to 1.
    pub fraction: f64,
    /// Bytes per second over the last seconds: read while it maps, written while it reduces.
    pub rate: Option<f64>,
    /// Until the phase ends, if it goes on like this.
    pub left: Option<Duration>,
}

/// The looks at one job.
#[derive(Debug, Clone)]
pub struct Outlook {
    window: Duration,
    phase: Phase,
    /// When the phase was seen first.
    since: Duration,
    /// Moments and bytes, oldest first.
    looks: VecDeque<(Duration, u64)>,
    /// How many tasks of the phase were done, and when it became so many.
    tasks: (u64, Duration),
}

impl Outlook {
    /// Rates are over the last `window`. It must be longer than the pauses between two changes of the
    /// progress: a cluster tells every few seconds only.
    pub fn over(window: Duration) -> Outlook {
        Outlook {
            window,
            phase: Phase::Planning,
            since: Duration::ZERO,
            looks: VecDeque::new(),
            tasks: (0, Duration::ZERO),
        }
    }

    /// The job is like this at `now`, by a clock that only moves forward.
    pub fn look(&mut self, now: Duration, seen: &Snapshot) -> Pace {
        if self.phase != seen.phase {
            *self = Outlook { phase: seen.phase, since: now, ..Outlook::over(self.window) };
        }
        let bytes = match seen.phase {
            Phase::Map => seen.bytes_read,
            _ => seen.bytes_written,
        };
        self.remember(now, bytes);
        let (done, total) = (seen.reduces_over(), seen.reduces_total);
        if self.phase == Phase::Reduce && self.tasks.0 != done {
            self.tasks = (done, now);
        }
        let rate = self.rate();
        let left = match seen.phase {
            Phase::Map => rate.and_then(|rate| time_for(seen.bytes_total, seen.bytes_read, rate)),
            Phase::Reduce => self.time_for_tasks(now, total),
            _ => None,
        };
        Pace { fraction: fraction(seen), rate, left }
    }

    fn remember(&mut self, now: Duration, bytes: u64) {
        if self.looks.back().is_some_and(|(_, last)| *last > bytes) {
            // A failed attempt has taken back what it had read: what was seen before is no measure.
            self.looks.clear();
        }
        let pause = self.window / MAX_LOOKS;
        match self.looks.iter().rev().nth(1) {
            // The last look but one is recent enough: this one takes the last one's place.
            Some((before, _)) if now.saturating_sub(*before) < pause => {
                self.looks.pop_back();
            }
            _ => {}
        }
        self.looks.push_back((now, bytes));
        // One look that is older than the window stays, to cover it.
        while self.looks.get(1).is_some_and(|(at, _)| *at + self.window <= now) {
            self.looks.pop_front();
        }
    }

    fn rate(&self) -> Option<f64> {
        let (&(from, before), &(to, now)) = (self.looks.front()?, self.looks.back()?);
        let span = to.saturating_sub(from);
        // Nothing has moved: that is a fact only once it has lasted.
        let known = if now == before { span >= self.window } else { span >= SHORTEST };
        known.then(|| now.saturating_sub(before) as f64 / span.as_secs_f64())
    }

    /// Tasks are taken to go on as they have until the last one that was done.
    fn time_for_tasks(&self, now: Duration, total: u64) -> Option<Duration> {
        let (done, at) = self.tasks;
        if done == 0 || total <= done {
            return None;
        }
        let all = at.saturating_sub(self.since).mul_f64(total as f64 / done as f64);
        // When it should have been over but is not, there is nothing to go by.
        (self.since + all).checked_sub(now).filter(|left| !left.is_zero())
    }
}

fn time_for(total: u64, done: u64, rate: f64) -> Option<Duration> {
    // All is read, and still it goes on: there is nothing to go by.
    let left = total.checked_sub(done).filter(|left| *left > 0)?;
    Duration::try_from_secs_f64(left as f64 / rate).ok()
}

/// How far the present phase is.
fn fraction(seen: &Snapshot) -> f64 {
    let (done, total) = match seen.phase {
        Phase::Planning => (0, 1),
        Phase::Map => (seen.bytes_read, seen.bytes_total),
        Phase::Reduce => (seen.reduces_over(), seen.reduces_total),
        Phase::Commit | Phase::Done => (1, 1),
    };
    (done as f64 / total.max(1) as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Progress;

    fn mapping(bytes_read: u64) -> Snapshot {
        let planning = Progress::new().snapshot();
        Snapshot { phase: Phase::Map, bytes_total: 1_000, bytes_read, ..planning }
    }

    fn reducing(reduces_done: u64, bytes_written: u64) -> Snapshot {
        let seen = Snapshot { phase: Phase::Reduce, reduces_total: 4, ..mapping(1_000) };
        Snapshot { reduces_done, bytes_written, ..seen }
    }

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn nothing_is_said_of_the_rate_before_a_second_has_passed() {
        let mut outlook = Outlook::over(at(5.0));
        for look in 0..10 {
            let pace = outlook.look(at(0.1 * f64::from(look)), &mapping(10 * look as u64));
            assert_eq!((pace.rate, pace.left), (None, None), "{look}");
        }
        let pace = outlook.look(at(1.0), &mapping(100));
        assert_eq!(pace, Pace { fraction: 0.1, rate: Some(100.0), left: Some(at(9.0)) });
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds_and_not_of_the_whole_time() {
        let mut outlook = Outlook::over(at(5.0));
        let mut pace = Pace::default();
        for tenth in 0..=200_u64 {
            // Fast for ten seconds, then at a tenth of that.
            let read = if tenth < 100 { tenth * 5 } else { 500 + (tenth - 100) / 2 };
            pace = outlook.look(at(tenth as f64 / 10.0), &mapping(read));
        }
        let rate = pace.rate.unwrap();
        assert!((4.9..=5.2).contains(&rate), "{rate}");
        assert!(outlook.looks.len() <= MAX_LOOKS as usize + 3, "{}", outlook.looks.len());
    }

    #[test]
    fn progress_that_comes_in_steps_is_no_standstill_until_the_window_is_over() {
        let mut outlook = Outlook::over(at(5.0));
        outlook.look(at(0.0), &mapping(0));
        assert_eq!(outlook.look(at(4.0), &mapping(0)).rate, None);
        let still = outlook.look(at(5.0), &mapping(0));
        assert_eq!((still.rate, still.left), (Some(0.0), None));
        assert_eq!(outlook.look(at(10.0), &mapping(300)).rate, Some(60.0));
        // A failed attempt is taken back.
        assert_eq!(outlook.look(at(11.0), &mapping(0)).rate, None);
    }

    #[test]
    fn the_time_left_of_reduces_is_worked_out_from_those_that_are_done() {
        let mut outlook = Outlook::over(at(5.0));
        outlook.look(at(10.0), &mapping(1_000));
        assert_eq!(outlook.look(at(20.0), &reducing(0, 0)).left, None);
        assert_eq!(outlook.look(at(30.0), &reducing(2, 50)).left, Some(at(10.0)));
        let later = outlook.look(at(34.0), &reducing(2, 90));
        assert_eq!((later.fraction, later.left), (0.5, Some(at(6.0))));
        assert_eq!(outlook.look(at(40.0), &reducing(2, 90)).left, None);
        assert_eq!(outlook.look(at(41.0), &reducing(4, 90)).left, None);
    }

    #[test]
    fn more_read_than_there_was_is_no_more_than_all() {
        let mut outlook = Outlook::over(at(5.0));
        assert_eq!(outlook.look(at(0.0), &mapping(3_000)).fraction, 1.0);
        let empty = Snapshot { bytes_total: 0, ..mapping(0) };
        assert_eq!(outlook.look(at(0.0), &empty).fraction, 0.0);
    }
}
