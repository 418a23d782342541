//! Frames between nodes: one message each, already addressed. The executor adds length and checksum
//! and knows who is at the other end; everything else is decided here.

use bytes::Bytes;
use synod_base::{DecodeError, Decoder, Encoder, GroupId, LeaseId, NodeId, ProposalId, Term};

use crate::request::RequestError;

/// The group that holds the coordination state. Frames and log records name a group, so that more
/// groups can share log and connections later.
pub const COORDINATION: GroupId = GroupId(1);

/// What a follower asks of the leader about leases, whose clock only the leader keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeaseAsk {
    /// Start its time anew.
    KeepAlive(LeaseId),
    /// How long has it left.
    Remaining(LeaseId),
}

/// The leader's answer: the granted and the remaining whole seconds; `None` if there is no such lease.
pub type LeaseAnswer = Option<(i64, i64)>;

/// A message from one node to another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// The consensus core's own, opaque here.
    Consensus(Bytes),
    /// Proposals of a follower's clients. `term` is the term in which the sender follows the receiver;
    /// in any other term the receiver drops them, so that a delayed duplicate is never proposed twice.
    Propose {
        /// The sender's term.
        term: Term,
        /// Item encodings (`item.rs`), each under its id.
        items: Vec<(ProposalId, Bytes)>,
    },
    /// A question to the leader; asked again until answered.
    AskLease {
        /// The sender's counter.
        question: u64,
        /// What.
        ask: LeaseAsk,
    },
    /// Its answer.
    AnswerLease {
        /// As asked.
        question: u64,
        /// What.
        answer: LeaseAnswer,
    },
    /// A piece of a state on its way to a follower that is too far behind for the log.
    SnapshotChunk {
        /// Names the transfer: unique per sender and start.
        transfer: u64,
        /// Counts pieces, from 0.
        sequence: u64,
        /// Keys and values (`snapshot.rs`).
        body: Bytes,
    },
    /// The last piece was the previous one; this is the consensus message that goes with the state.
    SnapshotEnd {
        /// As in the chunks.
        transfer: u64,
        /// Number of pieces.
        sequence: u64,
        /// For `Core::step`.
        message: Bytes,
    },
    /// The receiver has everything below `next` of this transfer.
    SnapshotAck {
        /// As in the chunks.
        transfer: u64,
        /// The next piece it wants.
        next: u64,
    },
    /// The receiver cannot take this transfer (any more).
    SnapshotRefused {
        /// As in the chunks.
        transfer: u64,
    },
    /// Proposals that the leader did not take and never will: they did not happen.
    Refuse {
        /// Which, and why; the reason is one of [`REFUSALS`].
        items: Vec<(ProposalId, RequestError)>,
    },
}

/// What a leader may refuse a forwarded proposal for, by its number on the wire.
const REFUSALS: [RequestError; 9] = [
    RequestError::ChangeInProgress,
    RequestError::DiskFull,
    RequestError::Overloaded,
    RequestError::NotLearner,
    RequestError::LearnerNotReady,
    RequestError::NotEnoughMembers,
    RequestError::MemberNotFound,
    RequestError::MemberExists,
    RequestError::MemberUrlInvalid,
];

impl Frame {
    /// The frame as bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Encoder::with_capacity(32 + self.body_len());
        out.var(u64::from(COORDINATION.0));
        match self {
            Frame::Consensus(body) => out.u8(0).raw(body),
            Frame::Propose { term, items } => {
                out.u8(1).var(term.0).var(items.len() as u64);
                for (id, item) in items {
                    encode_proposal_id(*id, &mut out);
                    out.bytes(item);
                }
                &mut out
            }
            Frame::AskLease { question, ask } => {
                let (kind, id) = match ask {
                    LeaseAsk::KeepAlive(id) => (0, id),
                    LeaseAsk::Remaining(id) => (1, id),
                };
                out.u8(2).var(*question).u8(kind).var_i64(id.0)
            }
            Frame::AnswerLease { question, answer } => {
                out.u8(3).var(*question).bool(answer.is_some());
                if let Some((granted, remaining)) = answer {
                    out.var_i64(*granted).var_i64(*remaining);
                }
                &mut out
            }
            Frame::SnapshotChunk { transfer, sequence, body } => {
                out.u8(4).var(*transfer).var(*sequence).raw(body)
            }
            Frame::SnapshotEnd { transfer, sequence, message } => {
                out.u8(5).var(*transfer).var(*sequence).raw(message)
            }
            Frame::SnapshotAck { transfer, next } => out.u8(6).var(*transfer).var(*next),
            Frame::SnapshotRefused { transfer } => out.u8(7).var(*transfer),
            Frame::Refuse { items } => {
                out.u8(8).var(items.len() as u64);
                for (id, error) in items {
                    encode_proposal_id(*id, &mut out);
                    let number = REFUSALS.iter().position(|refusal| refusal == error);
                    out.u8(number.unwrap_or_default() as u8);
                }
                &mut out
            }
        };
        out.into_bytes()
    }

    /// Reads what [`Frame::encode`] wrote.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(bytes);
        let group = input.var_u32("frame group")?;
        if group != COORDINATION.0 {
            return Err(DecodeError::Invalid { what: "frame group", value: u64::from(group) });
        }
        let frame = match input.u8("frame kind")? {
            0 => Frame::Consensus(input.rest()),
            1 => {
                let term = Term(input.var("proposal term")?);
                let count = input.count("proposal count")?;
                let mut items = Vec::with_capacity(count.min(1024));
                for _ in 0..count {
                    items.push((decode_proposal_id(&mut input)?, input.bytes("proposal")?));
                }
                Frame::Propose { term, items }
            }
            2 => {
                let question = input.var("question")?;
                let kind = input.u8("lease question")?;
                let id = LeaseId(input.var_i64("lease id")?);
                let ask = match kind {
                    0 => LeaseAsk::KeepAlive(id),
                    1 => LeaseAsk::Remaining(id),
                    v => {
                        return Err(DecodeError::Invalid {
                            what: "lease question",
                            value: u64::from(v),
                        });
                    }
                };
                Frame::AskLease { question, ask }
            }
            3 => {
                let question = input.var("question")?;
                let answer = if input.bool("lease found")? {
                    Some((input.var_i64("granted")?, input.var_i64("remaining")?))
                } else {
                    None
                };
                Frame::AnswerLease { question, answer }
            }
            4 => Frame::SnapshotChunk {
                transfer: input.var("transfer")?,
                sequence: input.var("sequence")?,
                body: input.rest(),
            },
            5 => Frame::SnapshotEnd {
                transfer: input.var("transfer")?,
                sequence: input.var("sequence")?,
                message: input.rest(),
            },
            6 => Frame::SnapshotAck { transfer: input.var("transfer")?, next: input.var("next")? },
            7 => Frame::SnapshotRefused { transfer: input.var("transfer")? },
            8 => Frame::Refuse { items: decode_refusals(&mut input)? },
            v => return Err(DecodeError::Invalid { what: "frame kind", value: u64::from(v) }),
        };
        input.finish()?;
        Ok(frame)
    }

    fn body_len(&self) -> usize {
        match self {
            Frame::Consensus(body) => body.len(),
            Frame::Propose { items, .. } => items.iter().map(|(_, item)| item.len() + 32).sum(),
            Frame::SnapshotChunk { body, .. } => body.len(),
            Frame::SnapshotEnd { message, .. } => message.len(),
            _ => 0,
        }
    }
}

fn decode_refusals(input: &mut Decoder) -> Result<Vec<(ProposalId, RequestError)>, DecodeError> {
    let count = input.count("refusal count")?;
    let mut items = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        let id = decode_proposal_id(input)?;
        let number = input.u8("refusal")?;
        let Some(error) = REFUSALS.get(usize::from(number)) else {
            return Err(DecodeError::Invalid { what: "refusal", value: u64::from(number) });
        };
        items.push((id, error.clone()));
    }
    Ok(items)
}

/// Appends a proposal's id.
pub fn encode_proposal_id(id: ProposalId, out: &mut Encoder) {
    out.u64(id.node.0).var(u64::from(id.start_number)).var(id.counter);
}

/// Reads what [`encode_proposal_id`] wrote.
pub fn decode_proposal_id(input: &mut Decoder) -> Result<ProposalId, DecodeError> {
    Ok(ProposalId {
        node: NodeId(input.u64("proposal node")?),
        start_number: input.var_u32("proposal start number")?,
        counter: input.var("proposal counter")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_frame() -> Vec<Frame> {
        let id = ProposalId { node: NodeId(7), start_number: 2, counter: 1 << 40 };
        vec![
            Frame::Consensus(Bytes::from_static(b"raft")),
            Frame::Propose { term: Term(3), items: vec![(id, Bytes::from_static(b"item"))] },
            Frame::AskLease { question: 1, ask: LeaseAsk::KeepAlive(LeaseId(-5)) },
            Frame::AskLease { question: 2, ask: LeaseAsk::Remaining(LeaseId(5)) },
            Frame::AnswerLease { question: 2, answer: Some((10, 3)) },
            Frame::AnswerLease { question: 2, answer: None },
            Frame::SnapshotChunk { transfer: 9, sequence: 0, body: Bytes::from_static(b"kv") },
            Frame::SnapshotEnd { transfer: 9, sequence: 1, message: Bytes::from_static(b"m") },
            Frame::SnapshotAck { transfer: 9, next: 1 },
            Frame::SnapshotRefused { transfer: 9 },
            Frame::Refuse { items: REFUSALS.iter().map(|error| (id, error.clone())).collect() },
        ]
    }

    #[test]
    fn every_frame_comes_back_as_it_went_out() {
        for frame in every_frame() {
            assert_eq!(Frame::decode(frame.encode()), Ok(frame));
        }
    }

    #[test]
    fn a_cut_or_mutated_frame_never_panics() {
        for frame in every_frame() {
            let whole = frame.encode();
            for cut in 0..whole.len() {
                drop(Frame::decode(whole.slice(..cut)));
                let mut mutated = whole.to_vec();
                mutated[cut] ^= 0x5a;
                drop(Frame::decode(Bytes::from(mutated)));
            }
        }
    }

    #[test]
    fn another_group_is_refused() {
        assert!(Frame::decode(Bytes::from_static(&[2, 0])).is_err());
    }
}
