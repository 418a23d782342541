//! The node's clock: the operating system's monotonic one, counted from the node's start.

use synod_base::Instant;

/// The node's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// Starts at zero.
    pub(crate) fn start() -> Self {
        Clock { start: std::time::Instant::now() }
    }

    /// Now.
    pub(crate) fn now(&self) -> Instant {
        self.node_time(std::time::Instant::now())
    }

    /// The same moment, as the node counts.
    pub(super) fn node_time(&self, moment: std::time::Instant) -> Instant {
        Instant::ZERO + moment.saturating_duration_since(self.start)
    }

    /// The same moment, as the runtime's timers count.
    pub(super) fn at(&self, instant: Instant) -> tokio::time::Instant {
        (self.start + (instant - Instant::ZERO)).into()
    }
}
