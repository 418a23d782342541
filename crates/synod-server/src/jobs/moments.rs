//! Moments at which a test may hold a thread, to do something to it, or to others meanwhile. Nothing
//! happens at them otherwise.

use std::time::Duration;

use synod_base::Revision;
use synod_jobs::Stores;
use synod_jobs::cluster::Work;
use synod_jobs::cluster::worker::Held;
use tokio::time::Instant;

use super::threads::unix_ms;

/// A moment in the life of a thread.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(super) enum Moment<'a> {
    AttemptBegins(&'a Held),
    AttemptEnded(&'a Held),
    WorkBegins(Work),
    WorkEnded(Work),
    /// A job is planned; its output is about to be made.
    Makes,
    /// Readers can see the output of a job; what is left of the work on it is still there.
    Published,
    /// Of the worker: it has a connection to the one of this node.
    Minds(&'a str),
    /// Of the worker: it cannot reach the one of this node, as registered at this revision.
    Misses(&'a str, Revision),
}

#[cfg(test)]
pub(super) type Act = std::sync::Arc<dyn Fn(Moment<'_>) + Send + Sync>;

/// What is done at the moments of one worker.
#[derive(Clone, Default)]
pub(crate) struct Moments {
    #[cfg(test)]
    pub(super) act: Option<Act>,
    /// A store for outputs that begin with `slow://`.
    #[cfg(test)]
    pub(super) slow: Option<std::sync::Arc<dyn synod_jobs::OutputStore>>,
    /// A store for inputs that begin with `disk://`.
    #[cfg(test)]
    pub(super) disk: Option<std::sync::Arc<dyn synod_jobs::input::InputStore>>,
    /// How far the machine's clock is set wrong, in milliseconds.
    #[cfg(test)]
    pub(super) clock_error_ms: std::sync::Arc<std::sync::atomic::AtomicI64>,
    /// Time that passes for the coordinator beside the real one, in milliseconds.
    #[cfg(test)]
    pub(super) passed_ms: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

impl std::fmt::Debug for Moments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Moments")
    }
}

#[cfg(not(test))]
impl Moments {
    /// What jobs may read and write.
    pub(super) fn stores(&self, stores: Stores) -> Stores {
        stores
    }

    /// The machine's clock, see [`unix_ms`].
    pub(super) fn unix_ms(&self) -> u64 {
        unix_ms()
    }

    /// The time since then, as the coordinator measures how long anything stands still.
    pub(super) fn since(&self, then: Instant) -> Duration {
        then.elapsed()
    }

    /// An attempt is about to run.
    pub(super) fn attempt_begins(&self, _: &Held) {}

    /// An attempt has ended, and nobody knows yet.
    pub(super) fn attempt_ended(&self, _: &Held) {}

    /// The coordinator's work on files is about to be done.
    pub(super) fn work_begins(&self, _: Work) {}

    /// It is done, and nobody knows yet.
    pub(super) fn work_ended(&self, _: Work) {}

    /// The output of a job is about to be made.
    pub(super) fn makes(&self) {}

    /// Readers can see the output of a job.
    pub(super) fn published(&self) {}

    /// The worker has a connection to its neighbour, of this node.
    pub(super) fn minds(&self, _: &str) {}

    /// The worker cannot reach its neighbour, of this node, as registered at this revision.
    pub(super) fn misses(&self, _: &str, _: Revision) {}
}

#[cfg(test)]
impl Moments {
    fn reach(&self, moment: Moment<'_>) {
        if let Some(act) = &self.act {
            act(moment);
        }
    }

    pub(super) fn stores(&self, stores: Stores) -> Stores {
        let stores = match &self.slow {
            Some(slow) => stores.with_output("slow", slow.clone()),
            None => stores,
        };
        match &self.disk {
            Some(disk) => stores.with("disk", disk.clone()),
            None => stores,
        }
    }

    pub(super) fn unix_ms(&self) -> u64 {
        let error = self.clock_error_ms.load(std::sync::atomic::Ordering::SeqCst);
        unix_ms().saturating_add_signed(error)
    }

    pub(super) fn since(&self, then: Instant) -> Duration {
        let passed = self.passed_ms.load(std::sync::atomic::Ordering::SeqCst);
        then.elapsed() + Duration::from_millis(passed)
    }

    pub(super) fn attempt_begins(&self, held: &Held) {
        self.reach(Moment::AttemptBegins(held));
    }

    pub(super) fn attempt_ended(&self, held: &Held) {
        self.reach(Moment::AttemptEnded(held));
    }

    pub(super) fn work_begins(&self, work: Work) {
        self.reach(Moment::WorkBegins(work));
    }

    pub(super) fn work_ended(&self, work: Work) {
        self.reach(Moment::WorkEnded(work));
    }

    pub(super) fn makes(&self) {
        self.reach(Moment::Makes);
    }

    pub(super) fn published(&self) {
        self.reach(Moment::Published);
    }

    pub(super) fn minds(&self, node: &str) {
        self.reach(Moment::Minds(node));
    }

    pub(super) fn misses(&self, node: &str, registered: Revision) {
        self.reach(Moment::Misses(node, registered));
    }
}
