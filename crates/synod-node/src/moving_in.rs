//! A received state takes the place of the old one (`snapshot.rs`). Where the disk fills up half way, this
//! replica is neither the old nor the new one: it takes part in nothing, tries again, and goes on once
//! there is room. What was moved in stays, so that trying costs no room. A crash meanwhile is finished
//! at the next start, which needs that room, too.

use std::time::Duration;

use bytes::Bytes;
use synod_base::{Instant, LogStart, NodeId};
use synod_storage::engine::EngineError;

use crate::effects::StopReason;
use crate::node::{FrameError, Node};
use crate::snapshot::Installation;

/// Between attempts.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// A state that is half moved in.
#[derive(Debug)]
pub(crate) struct MovingIn {
    installation: Installation,
    from: NodeId,
    /// For consensus, once it is done.
    message: Bytes,
    next_try: Instant,
}

impl Node {
    /// The disk has room for so many bytes before the reserve is touched. A state is not moved in where it
    /// does not fit. Before the first call nothing is known, and nothing refused.
    pub fn on_disk_room(&mut self, bytes: u64) {
        self.room_bytes = Some(bytes);
    }

    /// Whether this replica has neither its old nor its new state.
    pub(crate) fn is_moving_in(&self) -> bool {
        self.moving_in.is_some()
    }

    /// When to try again.
    pub(crate) fn next_move_in(&self) -> Option<Instant> {
        self.moving_in.as_ref().map(|moving| moving.next_try)
    }

    /// The staged state of this position takes the place of the old one.
    pub(crate) fn move_in(
        &mut self,
        from: NodeId,
        position: LogStart,
        message: Bytes,
    ) -> Result<(), FrameError> {
        let installation = Installation::new(position);
        self.go_on(MovingIn { installation, from, message, next_try: self.latest })
    }

    /// Tries again, if it is time.
    pub(crate) fn go_on_moving_in(&mut self, now: Instant) {
        let Some(moving) = self.moving_in.take_if(|moving| moving.next_try <= now) else { return };
        if let Err(error) = self.go_on(moving) {
            // The state is that of a position which the log cannot follow.
            self.stop(StopReason::Storage(error.to_string()));
        }
    }

    fn go_on(&mut self, mut moving: MovingIn) -> Result<(), FrameError> {
        match moving.installation.go_on(&*self.engine) {
            Ok(()) => {}
            Err(EngineError::NoSpace(_)) => {
                moving.next_try = self.latest + TRY_AGAIN_AFTER;
                self.moving_in = Some(moving);
                return Ok(());
            }
            Err(error) => {
                self.stop_on(error);
                return Ok(());
            }
        }
        self.reopen();
        if self.stopped.is_none() {
            self.step(moving.from, moving.message)?;
        }
        Ok(())
    }
}
