//! Work of the coordinator on files and stores, while its thread runs.
//!
//! It may take as long as it likes if it moves. What stands still is told to end, and only when it has ended
//! does anything else begin on that job: two threads never work on one output from one node. What does
//! not even end is left to itself, and then nobody on this node touches the output any more. A commit that
//! readers can see the output of has succeeded, whatever it still waits for.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use synod_jobs::Progress;
use synod_jobs::cluster::Work;
use synod_jobs::commit::Manifest;

/// Well below the time after which nobody is thought to look after a job.
const WHILE: Duration = Duration::from_secs(2);

/// Why work was told to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    /// It stood still.
    Stalled,
    /// Somebody wants the job to end.
    Wish,
    /// This node is the coordinator no more.
    Deposed,
}

/// What to do about work that has not ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Wait,
    /// It was told to end, and stood still for as long again.
    Leave,
}

/// Work whose thread has not ended.
#[derive(Debug)]
pub(super) struct Working {
    pub(super) work: Work,
    /// Tells it from other work on the same job.
    pub(super) number: u64,
    progress: Arc<Progress>,
    /// What a commit has published: then it has succeeded, whether it ends or not.
    published: Arc<OnceLock<Manifest>>,
    /// What was seen last, and when that was new.
    seen: (u64, Duration),
    stopped: Option<Stop>,
    began: Duration,
}

impl Working {
    pub(super) fn new(work: Work, number: u64, now: Duration) -> Working {
        let progress = Arc::new(Progress::new());
        let published = Arc::default();
        Working { work, number, progress, published, seen: (0, now), stopped: None, began: now }
    }

    /// For its thread.
    pub(super) fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// For its thread, if it is a commit.
    pub(super) fn published(&self) -> Arc<OnceLock<Manifest>> {
        self.published.clone()
    }

    /// Whether it takes so long that whoever waits should hear that it has begun.
    pub(super) fn takes_a_while(&self, now: Duration) -> bool {
        now.saturating_sub(self.began) >= WHILE
    }

    pub(super) fn stopped(&self) -> Option<Stop> {
        self.stopped
    }

    /// Looks whether it moves; `limit` is how long it may stand still, `cancel` whether the job is to end.
    pub(super) fn look(&mut self, now: Duration, limit: Duration, cancel: bool) -> Verdict {
        let moves = self.progress.moves();
        if moves != self.seen.0 {
            self.seen = (moves, now);
        }
        // Other work is either short or leads to the end itself.
        if cancel && matches!(self.work, Work::Plan | Work::Commit) {
            self.stop(Stop::Wish);
        }
        if now.saturating_sub(self.seen.1) < limit {
            return Verdict::Wait;
        }
        if self.stopped.is_some() {
            return Verdict::Leave;
        }
        self.stop(Stop::Stalled);
        self.seen.1 = now;
        Verdict::Wait
    }

    /// Tells it to end. The first reason counts.
    pub(super) fn stop(&mut self, why: Stop) {
        self.progress.cancel();
        self.stopped.get_or_insert(why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(600);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn work_that_moves_may_take_as_long_as_it_likes() {
        let mut working = Working::new(Work::Commit, 0, at(5));
        for hour in 1..100 {
            working.progress.note_move();
            for look in [0, 1, 599] {
                assert_eq!(working.look(at(hour * 600 + look), LIMIT, false), Verdict::Wait);
            }
        }
        assert_eq!(working.stopped(), None);
        working.progress.check_cancelled().unwrap();
    }

    #[test]
    fn work_that_stands_still_is_told_to_end_and_is_left_only_if_it_does_not() {
        let mut working = Working::new(Work::Clean, 0, at(5));
        assert_eq!(working.look(at(604), LIMIT, true), Verdict::Wait);
        assert_eq!(working.stopped(), None, "cleaning is what follows from a wish to cancel");
        assert_eq!(working.look(at(605), LIMIT, false), Verdict::Wait);
        assert_eq!(working.stopped(), Some(Stop::Stalled));
        working.progress.check_cancelled().unwrap_err();
        assert_eq!(working.look(at(1_204), LIMIT, false), Verdict::Wait);
        // On its way to the end it moves once more.
        working.progress.note_move();
        assert_eq!(working.look(at(1_300), LIMIT, false), Verdict::Wait);
        assert_eq!(working.look(at(1_899), LIMIT, false), Verdict::Wait);
        assert_eq!(working.look(at(1_900), LIMIT, false), Verdict::Leave);
    }

    #[test]
    fn a_wish_to_cancel_reaches_a_plan_and_a_commit_at_once() {
        for work in [Work::Plan, Work::Commit] {
            let mut working = Working::new(work, 0, at(5));
            assert_eq!(working.look(at(6), LIMIT, true), Verdict::Wait);
            assert_eq!(working.stopped(), Some(Stop::Wish));
            working.progress.check_cancelled().unwrap_err();
            working.stop(Stop::Deposed);
            assert_eq!(working.stopped(), Some(Stop::Wish));
        }
    }
}
