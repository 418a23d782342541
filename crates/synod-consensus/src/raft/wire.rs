//! Messages between replicas as bytes: one tag, receiver, sender, term, then what the kind needs.
//!
//! The tags are the numbers of the raft crate's message kinds, so that a trace reads like its
//! documentation; kinds that a replica sends only to itself have no encoding. Payloads of entries are
//! slices of the received frame. Decoding checks everything that a message alone can show to be wrong,
//! because the raft crate panics on much of it; what depends on this replica's state is checked in
//! `admission`.

use bytes::Bytes;
use raft::eraftpb::{self as pb, MessageType};
use synod_base::{DecodeError, Decoder, Encoder, Entry, LogIndex, LogStart, NodeId, Term};

use super::convert;
use crate::core::{Membership, Message, MessageKind, ReadContext, StepError};

/// Terms and positions above this are refused: the raft crate adds to them without looking.
const MAX_POSITION: u64 = u64::MAX >> 1;

/// Encodes a message of the raft crate.
pub(super) fn encode(message: &pb::Message) -> Message {
    let kind = match message.get_msg_type() {
        MessageType::MsgSnapshot => {
            let (at, _) = convert::snapshot_from_raft(message.get_snapshot());
            MessageKind::Snapshot { at }
        }
        _ => MessageKind::Ordinary,
    };
    let payloads: usize = message.entries.iter().map(convert::entry_bytes).sum();
    let mut body = Encoder::with_capacity(64 + payloads);
    body.u8(message.get_msg_type() as u8).u64(message.to).u64(message.from).var(message.term);
    encode_rest(message, &mut body);
    Message { to: NodeId(message.to), kind, body: body.into_bytes() }
}

fn encode_rest(message: &pb::Message, body: &mut Encoder) {
    use MessageType as M;
    match message.get_msg_type() {
        M::MsgAppend => {
            body.var(message.log_term).var(message.index).var(message.commit);
            body.var(message.entries.len() as u64);
            for entry in &message.entries {
                convert::entry_from_raft(entry).encode(body);
            }
        }
        M::MsgAppendResponse => {
            body.var(message.index).var(message.commit).bool(message.reject);
            if message.reject {
                body.var(message.reject_hint).var(message.log_term);
            }
        }
        M::MsgRequestVote | M::MsgRequestPreVote => {
            body.var(message.log_term).var(message.index);
            body.var(message.commit).var(message.commit_term);
            body.bool(message.context == raft::CAMPAIGN_TRANSFER);
        }
        M::MsgRequestVoteResponse | M::MsgRequestPreVoteResponse => {
            body.bool(message.reject).var(message.commit).var(message.commit_term);
        }
        M::MsgSnapshot => {
            let (at, membership) = convert::snapshot_from_raft(message.get_snapshot());
            body.var(at.index.0).var(at.term.0);
            membership.encode(body);
        }
        M::MsgHeartbeat | M::MsgHeartbeatResponse => {
            // An empty context stands for none: a read's has a fixed length.
            body.var(message.commit).bytes(&message.context);
        }
        M::MsgTimeoutNow => {}
        M::MsgReadIndex | M::MsgReadIndexResp => {
            body.var(message.index);
            body.bytes(&message.entries[0].data);
        }
        kind => unreachable!("{kind:?} never leaves a replica"),
    }
}

/// Decodes and checks what the message alone can show.
pub(super) fn decode(body: Bytes) -> Result<pb::Message, StepError> {
    let mut input = Decoder::new(body);
    let mut message = pb::Message::default();
    let kind = message_kind(input.u8("message kind")?)?;
    message.set_msg_type(kind);
    message.to = input.u64("receiver")?;
    message.from = input.u64("sender")?;
    message.term = position(&mut input, "term")?;
    if message.to == 0 || message.from == 0 {
        return Err(StepError::Forbidden("a message from or to nobody"));
    }
    // The raft crate takes a message without a term for one of its own.
    if (message.term == 0) != (kind == MessageType::MsgReadIndex) {
        return Err(StepError::Forbidden(
            "a term where there is none, or none where there must be",
        ));
    }
    decode_rest(kind, &mut input, &mut message)?;
    input.finish()?;
    Ok(message)
}

/// The kinds that peers send each other.
fn message_kind(tag: u8) -> Result<MessageType, StepError> {
    use MessageType as M;
    const FROM_PEERS: [MessageType; 12] = [
        M::MsgAppend,
        M::MsgAppendResponse,
        M::MsgRequestVote,
        M::MsgRequestVoteResponse,
        M::MsgSnapshot,
        M::MsgHeartbeat,
        M::MsgHeartbeatResponse,
        M::MsgTimeoutNow,
        M::MsgReadIndex,
        M::MsgReadIndexResp,
        M::MsgRequestPreVote,
        M::MsgRequestPreVoteResponse,
    ];
    if let Some(kind) = FROM_PEERS.into_iter().find(|k| *k as u8 == tag) {
        return Ok(kind);
    }
    if tag <= M::MsgRequestPreVoteResponse as u8 {
        return Err(StepError::Forbidden("a kind of message that a replica sends only to itself"));
    }
    Err(DecodeError::Invalid { what: "message kind", value: u64::from(tag) }.into())
}

fn decode_rest(
    kind: MessageType,
    input: &mut Decoder,
    message: &mut pb::Message,
) -> Result<(), StepError> {
    use MessageType as M;
    match kind {
        M::MsgAppend => decode_append(input, message)?,
        M::MsgAppendResponse => {
            message.index = position(input, "index")?;
            message.commit = position(input, "commit")?;
            message.reject = input.bool("reject")?;
            if message.reject {
                message.reject_hint = position(input, "reject hint")?;
                message.log_term = position(input, "log term")?;
                if message.reject_hint > message.index {
                    return Err(StepError::Forbidden(
                        "a rejection that hints past what it rejects",
                    ));
                }
            }
        }
        M::MsgRequestVote | M::MsgRequestPreVote => {
            message.log_term = position(input, "log term")?;
            message.index = position(input, "index")?;
            message.commit = position(input, "commit")?;
            message.commit_term = position(input, "commit term")?;
            if input.bool("transfer")? {
                message.context = Bytes::from_static(raft::CAMPAIGN_TRANSFER);
            }
        }
        M::MsgRequestVoteResponse | M::MsgRequestPreVoteResponse => {
            message.reject = input.bool("reject")?;
            message.commit = position(input, "commit")?;
            message.commit_term = position(input, "commit term")?;
        }
        M::MsgSnapshot => decode_snapshot(input, message)?,
        M::MsgHeartbeat | M::MsgHeartbeatResponse => {
            message.commit = position(input, "commit")?;
            message.context = input.bytes("read context")?;
            if !message.context.is_empty() {
                ReadContext::from_bytes(&message.context)?;
            }
        }
        M::MsgTimeoutNow => {}
        M::MsgReadIndex | M::MsgReadIndexResp => {
            message.index = position(input, "index")?;
            let data = input.bytes("read context")?;
            ReadContext::from_bytes(&data)?;
            let entry = pb::Entry { data, ..Default::default() };
            message.set_entries(vec![entry].into());
        }
        kind => unreachable!("{kind:?} is none that peers send"),
    }
    Ok(())
}

fn decode_append(input: &mut Decoder, message: &mut pb::Message) -> Result<(), StepError> {
    message.log_term = position(input, "log term")?;
    message.index = position(input, "index")?;
    message.commit = position(input, "commit")?;
    // The raft crate answers "term 0" for positions that it does not have.
    if (message.log_term == 0) != (message.index == 0) {
        return Err(StepError::Forbidden("an append after an entry without a term"));
    }
    let (mut index, mut term) = (message.index, message.log_term);
    let mut entries = Vec::new();
    for _ in 0..input.count("entries")? {
        let entry = Entry::decode(input)?;
        if entry.index.0 != index + 1 || entry.index.0 > MAX_POSITION {
            return Err(StepError::Forbidden("entries with a gap"));
        }
        if entry.term.0 < term.max(1) || entry.term.0 > message.term {
            return Err(StepError::Forbidden("entries of a term that cannot be"));
        }
        (index, term) = (entry.index.0, entry.term.0);
        entries.push(convert::entry_to_raft(&entry));
    }
    message.set_entries(entries.into());
    Ok(())
}

fn decode_snapshot(input: &mut Decoder, message: &mut pb::Message) -> Result<(), StepError> {
    let index = position(input, "snapshot index")?;
    let term = position(input, "snapshot term")?;
    if index == 0 || term == 0 || term > message.term {
        return Err(StepError::Forbidden("a snapshot of a position that cannot be"));
    }
    let membership = Membership::decode(input)?;
    if membership.validate().is_err() {
        return Err(StepError::Forbidden("a snapshot with a membership that cannot be"));
    }
    let at = LogStart { index: LogIndex(index), term: Term(term) };
    message.set_snapshot(convert::snapshot_to_raft(at, &membership));
    Ok(())
}

fn position(input: &mut Decoder, what: &'static str) -> Result<u64, DecodeError> {
    match input.var(what)? {
        value if value <= MAX_POSITION => Ok(value),
        value => Err(DecodeError::Invalid { what, value }),
    }
}

impl ReadContext {
    pub(super) fn to_bytes(self) -> Bytes {
        let mut out = Encoder::with_capacity(20);
        out.u64(self.node.0).u32(self.start_number).u64(self.counter);
        out.into_bytes()
    }

    pub(super) fn from_bytes(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(bytes.clone());
        let context = ReadContext {
            node: NodeId(input.u64("read node")?),
            start_number: input.u32("read start number")?,
            counter: input.u64("read counter")?,
        };
        input.finish()?;
        Ok(context)
    }
}
