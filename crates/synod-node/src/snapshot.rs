//! Bringing the whole state to a follower for which the log no longer reaches back far enough.
//!
//! The sender reads a frozen view of its engine and sends it in pieces, one on its way at a time, each
//! acknowledged; a piece without an answer is sent again. The receiver collects in `Space::Staging`; only
//! when everything has arrived does it touch its own state ([`install`]): a durable note first, then
//! move, then a durable note that it is done, so a crash anywhere is finished at the next start. Only
//! after that does the consensus core hear of the snapshot, and the log of its new start.

use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;
use synod_base::limits::SNAPSHOT_CHUNK_BYTES;
use synod_base::{DecodeError, Decoder, Encoder, Instant, LogStart, NodeId};
use synod_consensus::Membership;
use synod_storage::engine::{Engine, EngineError, EngineRead, Space, WriteBatch};

use crate::frame::Frame;
use crate::meta::{APPLIED, Applied, MetaError, Notes, load_position};

/// How long to wait for an acknowledgement before the piece goes out again.
const RESEND_AFTER: Duration = Duration::from_millis(500);

/// Pieces without an answer after which the transfer is given up; consensus then asks anew.
const MAX_RESENDS: u32 = 20;

/// A state on its way to a follower.
pub struct Outgoing {
    transfer: u64,
    view: Box<dyn EngineRead + Send>,
    /// The state's position.
    pub at: LogStart,
    /// Its membership.
    pub membership: Membership,
    /// Index into `Space::REPLICATED`, and the first key of the next piece.
    cursor: Option<(usize, Vec<u8>)>,
    sequence: u64,
    /// The piece on its way, until acknowledged.
    piece: Frame,
    resend_at: Instant,
    resends: u32,
}

/// What an acknowledgement or a look at the clock leads to.
pub enum Step {
    /// Nothing now.
    Wait,
    /// Send this.
    Send(Frame),
    /// Every piece has arrived: send the end (see [`Outgoing::end`]).
    Complete,
    /// No answer for too long.
    GivenUp,
}

impl Outgoing {
    /// Starts a transfer of `view`; the first piece is the second value.
    pub fn start(
        now: Instant,
        transfer: u64,
        view: Box<dyn EngineRead + Send>,
    ) -> Result<(Self, Frame), MetaError> {
        let applied = Applied::load(&*view)?;
        let mut outgoing = Outgoing {
            transfer,
            view,
            at: applied.position,
            membership: applied.membership,
            cursor: Some((0, Vec::new())),
            sequence: 0,
            piece: Frame::SnapshotRefused { transfer },
            resend_at: now + RESEND_AFTER,
            resends: 0,
        };
        // The first piece always exists: the position itself is in it.
        let first = outgoing.next_piece()?;
        let first = first.unwrap_or(Frame::SnapshotRefused { transfer });
        outgoing.piece = first.clone();
        Ok((outgoing, first))
    }

    /// The receiver has everything below `next`.
    pub fn on_ack(&mut self, now: Instant, transfer: u64, next: u64) -> Result<Step, EngineError> {
        if transfer != self.transfer || next != self.sequence + 1 {
            return Ok(Step::Wait);
        }
        self.sequence = next;
        self.resends = 0;
        self.resend_at = now + RESEND_AFTER;
        match self.next_piece()? {
            Some(piece) => {
                self.piece = piece.clone();
                Ok(Step::Send(piece))
            }
            None => Ok(Step::Complete),
        }
    }

    /// Time passed.
    pub fn on_time(&mut self, now: Instant) -> Step {
        if now < self.resend_at {
            return Step::Wait;
        }
        self.resends += 1;
        if self.resends > MAX_RESENDS {
            return Step::GivenUp;
        }
        self.resend_at = now + RESEND_AFTER;
        Step::Send(self.piece.clone())
    }

    /// The last frame, with the consensus message that goes with this state.
    pub fn end(&mut self, message: Bytes) -> Frame {
        let end = Frame::SnapshotEnd { transfer: self.transfer, sequence: self.sequence, message };
        self.piece = end.clone();
        end
    }

    /// Whether this transfer is meant.
    #[must_use]
    pub fn is(&self, transfer: u64) -> bool {
        self.transfer == transfer
    }

    fn next_piece(&mut self) -> Result<Option<Frame>, EngineError> {
        let Some((mut space, mut from)) = self.cursor.take() else { return Ok(None) };
        let mut out = Encoder::with_capacity(SNAPSHOT_CHUNK_BYTES + 4096);
        while space < Space::REPLICATED.len() {
            let mut stopped_at = None;
            self.view.scan(Space::REPLICATED[space], &from, None, &mut |key, value| {
                if out.len() >= SNAPSHOT_CHUNK_BYTES {
                    stopped_at = Some(key.to_vec());
                    return ControlFlow::Break(());
                }
                out.u8(space as u8).bytes(key).bytes(value);
                ControlFlow::Continue(())
            })?;
            if let Some(key) = stopped_at {
                self.cursor = Some((space, key));
                break;
            }
            space += 1;
            from = Vec::new();
        }
        if out.is_empty() {
            return Ok(None);
        }
        let (transfer, sequence) = (self.transfer, self.sequence);
        Ok(Some(Frame::SnapshotChunk { transfer, sequence, body: out.into_bytes() }))
    }
}

/// A state that is arriving.
#[derive(Debug)]
pub struct Incoming {
    /// From whom.
    pub from: NodeId,
    /// Which transfer.
    pub transfer: u64,
    /// The next piece that is wanted.
    pub next: u64,
    /// What has arrived, in bytes.
    pub bytes: u64,
}

/// Why an arriving piece is not taken.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// It does not decode.
    #[error("malformed snapshot piece: {0}")]
    Malformed(#[from] DecodeError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Puts one piece into staging.
pub fn stage(engine: &dyn Engine, body: Bytes) -> Result<(), StageError> {
    let mut input = Decoder::new(body);
    let mut batch = WriteBatch::default();
    while input.remaining() > 0 {
        let space = input.u8("snapshot space")?;
        if usize::from(space) >= Space::REPLICATED.len() {
            let value = u64::from(space);
            return Err(DecodeError::Invalid { what: "snapshot space", value }.into());
        }
        let key = input.bytes("snapshot key")?;
        let value = input.bytes("snapshot value")?;
        batch.put(Space::Staging, staged_key(space, &key), value);
    }
    engine.write(batch)?;
    Ok(())
}

/// Empties staging: a new transfer begins, or an old one is over.
pub fn clear_staging(engine: &dyn Engine) -> Result<(), EngineError> {
    engine.clear(Space::Staging)
}

/// The position of the staged state; `None` if it names none.
pub fn staged_position(engine: &dyn Engine) -> Result<Option<LogStart>, MetaError> {
    // `Space::Meta` is the first of the replicated spaces.
    load_position(engine, Space::Staging, &staged_key(0, APPLIED), "staged position")
}

/// Replaces this replica's state by the staged one, durably. Finishes what a crash interrupted when
/// called again with the same position.
pub fn install(engine: &dyn Engine, position: LogStart) -> Result<(), EngineError> {
    Installation::new(position).go_on(engine)
}

/// The replacement of the state, as far as it is done. Where the engine finds no room it can go on later.
#[derive(Debug)]
pub struct Installation {
    position: LogStart,
    noted: bool,
    /// Index into `Space::REPLICATED` of the space that is being moved in.
    space: usize,
    /// What stood in that space before is gone, and everything staged before this key is there.
    moved_to: Option<Vec<u8>>,
}

impl Installation {
    /// Nothing done yet.
    pub fn new(position: LogStart) -> Self {
        Installation { position, noted: false, space: 0, moved_to: None }
    }

    /// Does what is left to do.
    pub fn go_on(&mut self, engine: &dyn Engine) -> Result<(), EngineError> {
        if !self.noted {
            write_notes(engine, Notes { installing: Some(self.position), ..Notes::default() })?;
            self.noted = true;
        }
        while let Some(space) = Space::REPLICATED.get(self.space) {
            self.move_in(engine, *space)?;
            self.space += 1;
            self.moved_to = None;
        }
        write_notes(engine, Notes { installed: Some(self.position), ..Notes::default() })?;
        match clear_staging(engine) {
            // Installed all the same; the next transfer, or the next start, clears it.
            Err(EngineError::NoSpace(_)) => Ok(()),
            other => other,
        }
    }

    fn move_in(&mut self, engine: &dyn Engine, space: Space) -> Result<(), EngineError> {
        let number = self.space as u8;
        if self.moved_to.is_none() {
            engine.clear(space)?;
        }
        let mut from = self.moved_to.take().unwrap_or_else(|| vec![number]);
        loop {
            self.moved_to = Some(from.clone());
            let mut batch = WriteBatch::default();
            let mut bytes = 0;
            let mut stopped_at = None;
            engine.scan(Space::Staging, &from, Some(&[number + 1]), &mut |key, value| {
                if bytes >= SNAPSHOT_CHUNK_BYTES {
                    stopped_at = Some(key.to_vec());
                    return ControlFlow::Break(());
                }
                bytes += key.len() + value.len();
                batch.put(space, Bytes::copy_from_slice(&key[1..]), Bytes::copy_from_slice(value));
                ControlFlow::Continue(())
            })?;
            engine.write(batch)?;
            match stopped_at {
                Some(key) => from = key,
                None => return Ok(()),
            }
        }
    }
}

fn write_notes(engine: &dyn Engine, notes: Notes) -> Result<(), EngineError> {
    let mut batch = WriteBatch::default();
    notes.save(&mut batch);
    engine.write(batch)?;
    engine.persist()
}

fn staged_key(space: u8, key: &[u8]) -> Bytes {
    let mut staged = Vec::with_capacity(key.len() + 1);
    staged.push(space);
    staged.extend_from_slice(key);
    staged.into()
}
