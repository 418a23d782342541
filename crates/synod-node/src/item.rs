//! The payload of a log entry: a batch of items, each under the id of its proposal.
//!
//! One loop turn of the leader becomes one entry (design D1/D3), so the cost of an entry is shared by
//! all commands that arrived meanwhile.

use bytes::Bytes;
use synod_base::limits::MAX_ENTRY_BYTES;
use synod_base::{DecodeError, Decoder, Encoder, NodeId, ProposalId};
use synod_state::kv::Command;

use crate::frame::{decode_proposal_id, encode_proposal_id};
use crate::member::Member;
use crate::queue::ITEM_OVERHEAD_BYTES;

/// One replicated change.
#[derive(Clone, PartialEq, Debug)]
pub enum Item {
    /// Of the key-value state.
    Kv(Command),
    /// A member tells its name and where clients reach it; made by each node after its start.
    Attributes {
        /// Who.
        member: NodeId,
        /// Its name.
        name: String,
        /// URLs.
        client_urls: Vec<String>,
    },
    /// A member moves.
    PeerUrls {
        /// Who.
        member: NodeId,
        /// Where it listens for peers from now on.
        peer_urls: Vec<String>,
    },
    /// A change of membership. Forwarded as an item; the leader makes a membership entry of it, so it
    /// never stands in a normal one.
    Change(ChangeOp),
}

/// A change of membership, as clients ask for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChangeOp {
    /// A new member, learner or voter as it says.
    Add(Member),
    /// A member leaves.
    Remove(NodeId),
    /// A learner becomes a voter.
    Promote(NodeId),
}

impl ChangeOp {
    /// Appends the operation.
    pub fn encode(&self, out: &mut Encoder) {
        match self {
            ChangeOp::Add(member) => {
                out.u8(0);
                member.encode(out);
            }
            ChangeOp::Remove(node) => {
                out.u8(1).u64(node.0);
            }
            ChangeOp::Promote(node) => {
                out.u8(2).u64(node.0);
            }
        }
    }

    /// Reads what [`ChangeOp::encode`] wrote.
    pub fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(match input.u8("change kind")? {
            0 => ChangeOp::Add(Member::decode(input)?),
            1 => ChangeOp::Remove(NodeId(input.u64("member")?)),
            2 => ChangeOp::Promote(NodeId(input.u64("member")?)),
            v => return Err(DecodeError::Invalid { what: "change kind", value: u64::from(v) }),
        })
    }
}

impl Item {
    /// The item as bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Encoder::new();
        match self {
            Item::Kv(command) => {
                out.u8(0);
                command.encode(&mut out);
            }
            Item::Attributes { member, name, client_urls } => {
                out.u8(1).u64(member.0).str(name);
                encode_urls(client_urls, &mut out);
            }
            Item::PeerUrls { member, peer_urls } => {
                out.u8(2).u64(member.0);
                encode_urls(peer_urls, &mut out);
            }
            Item::Change(op) => {
                out.u8(3);
                op.encode(&mut out);
            }
        }
        out.into_bytes()
    }

    /// Reads what [`Item::encode`] wrote.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(bytes);
        let item = match input.u8("item kind")? {
            0 => Item::Kv(Command::decode(&mut input)?),
            1 => Item::Attributes {
                member: NodeId(input.u64("member")?),
                name: input.str("name")?,
                client_urls: decode_urls(&mut input)?,
            },
            2 => Item::PeerUrls {
                member: NodeId(input.u64("member")?),
                peer_urls: decode_urls(&mut input)?,
            },
            3 => Item::Change(ChangeOp::decode(&mut input)?),
            v => return Err(DecodeError::Invalid { what: "item kind", value: u64::from(v) }),
        };
        input.finish()?;
        Ok(item)
    }
}

fn encode_urls(urls: &[String], out: &mut Encoder) {
    out.var(urls.len() as u64);
    for url in urls {
        out.str(url);
    }
}

fn decode_urls(input: &mut Decoder) -> Result<Vec<String>, DecodeError> {
    let count = input.count("url count")?;
    (0..count).map(|_| input.str("url")).collect()
}

/// Packs encoded items into as few entry payloads as the entry limit allows, in order.
#[must_use]
pub fn pack(items: &[(ProposalId, Bytes)]) -> Vec<Bytes> {
    let mut payloads = Vec::new();
    let mut out = Encoder::with_capacity(payload_hint(items));
    for (id, item) in items {
        if !out.is_empty() && out.len() + item.len() + ITEM_OVERHEAD_BYTES > MAX_ENTRY_BYTES {
            payloads.push(std::mem::take(&mut out).into_bytes());
        }
        encode_proposal_id(*id, &mut out);
        out.bytes(item);
    }
    if !out.is_empty() {
        payloads.push(out.into_bytes());
    }
    payloads
}

/// Takes a payload apart again; the items are slices of it.
pub fn unpack(payload: Bytes) -> Result<Vec<(ProposalId, Bytes)>, DecodeError> {
    let mut input = Decoder::new(payload);
    let mut items = Vec::new();
    while input.remaining() > 0 {
        items.push((decode_proposal_id(&mut input)?, input.bytes("item")?));
    }
    Ok(items)
}

fn payload_hint(items: &[(ProposalId, Bytes)]) -> usize {
    let total: usize = items.iter().map(|(_, item)| item.len() + ITEM_OVERHEAD_BYTES).sum();
    total.min(MAX_ENTRY_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(counter: u64) -> ProposalId {
        ProposalId { node: NodeId(1), start_number: 1, counter }
    }

    #[test]
    fn items_come_back_in_order_over_several_payloads() {
        let big = Bytes::from(vec![7u8; MAX_ENTRY_BYTES / 2]);
        let items: Vec<_> = (0..5).map(|n| (id(n), big.clone())).collect();
        let payloads = pack(&items);
        assert!(payloads.len() >= 3);
        let back: Vec<_> = payloads.into_iter().flat_map(|p| unpack(p).unwrap()).collect();
        assert_eq!(back, items);
    }

    #[test]
    fn every_item_round_trips() {
        for item in [
            Item::Attributes {
                member: NodeId(9),
                name: "n1".into(),
                client_urls: vec!["http://127.0.0.1:2379".into()],
            },
            Item::PeerUrls { member: NodeId(9), peer_urls: vec![] },
            Item::Change(ChangeOp::Add(Member { id: NodeId(3), ..Member::default() })),
            Item::Change(ChangeOp::Promote(NodeId(3))),
            Item::Kv(Command::LeaseRevoke { id: synod_base::LeaseId(4) }),
        ] {
            assert_eq!(Item::decode(item.encode()), Ok(item));
        }
    }
}
