//! Membership as bytes and as a well-formed thing: the codec of a change, and what every membership
//! must satisfy before it may reach the protocol.
//!
//! The rules are those of joint consensus (Raft dissertation, section 4.3). The types stand in
//! [`crate::core`]; counting majorities in [`crate::quorum`].

use synod_base::{DecodeError, Decoder, Encoder, NodeId};
use thiserror::Error;

use crate::core::{MemberChange, Membership, MembershipChange};

/// Why a membership cannot be that of any group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum MembershipError {
    /// A group without voters can decide nothing.
    #[error("there is no voter")]
    NoVoter,
    /// The id 0 means "nobody".
    #[error("{0} contains the id 0")]
    Nobody(&'static str),
    /// Lists are ascending, so that equal memberships have equal bytes.
    #[error("{0} is not strictly ascending")]
    NotAscending(&'static str),
    /// A node has two parts that exclude each other.
    #[error("node {0} is both a voter and a learner")]
    VoterAndLearner(NodeId),
    /// Only an outgoing voter can be waiting to become a learner.
    #[error("node {0} waits to become a learner but is no outgoing voter")]
    NotOutgoing(NodeId),
    /// Parts that only a joint configuration has.
    #[error("it is not joint but says what to do on leaving")]
    NotJoint,
}

impl Membership {
    /// Whether this is a membership that a group can have; a peer's is checked before it is used.
    pub fn validate(&self) -> Result<(), MembershipError> {
        let lists = [
            ("voters", &self.voters),
            ("outgoing voters", &self.voters_outgoing),
            ("learners", &self.learners),
            ("next learners", &self.learners_next),
        ];
        for (name, list) in lists {
            if list.contains(&NodeId::NONE) {
                return Err(MembershipError::Nobody(name));
            }
            if !list.is_sorted_by(|a, b| a < b) {
                return Err(MembershipError::NotAscending(name));
            }
        }
        if self.voters.is_empty() {
            return Err(MembershipError::NoVoter);
        }
        for learner in &self.learners {
            if self.voters.contains(learner) || self.voters_outgoing.contains(learner) {
                return Err(MembershipError::VoterAndLearner(*learner));
            }
        }
        for next in &self.learners_next {
            if self.voters.contains(next) || self.learners.contains(next) {
                return Err(MembershipError::VoterAndLearner(*next));
            }
            if !self.voters_outgoing.contains(next) {
                return Err(MembershipError::NotOutgoing(*next));
            }
        }
        if !self.is_joint() && (self.auto_leave || !self.learners_next.is_empty()) {
            return Err(MembershipError::NotJoint);
        }
        Ok(())
    }

    /// Whether two majorities are needed: a change of several members is under way.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.voters_outgoing.is_empty()
    }
}

impl MembershipChange {
    /// A change without a context of the host.
    #[must_use]
    pub fn of(changes: Vec<MemberChange>) -> Self {
        MembershipChange { changes, ..Self::default() }
    }

    /// Appends the changes and the host's context.
    pub fn encode(&self, out: &mut Encoder) {
        out.var(self.changes.len() as u64);
        for change in &self.changes {
            let (tag, node) = match change {
                MemberChange::AddVoter(node) => (ADD_VOTER, node),
                MemberChange::AddLearner(node) => (ADD_LEARNER, node),
                MemberChange::Remove(node) => (REMOVE, node),
            };
            out.u8(tag).u64(node.0);
        }
        out.bytes(&self.context);
    }

    /// Reads what [`MembershipChange::encode`] wrote.
    pub fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        let count = input.count("membership changes")?;
        let mut changes = Vec::new();
        for _ in 0..count {
            let tag = input.u8("membership change")?;
            let node = NodeId(input.u64("member id")?);
            if node == NodeId::NONE {
                return Err(DecodeError::Invalid { what: "member id", value: 0 });
            }
            changes.push(match tag {
                ADD_VOTER => MemberChange::AddVoter(node),
                ADD_LEARNER => MemberChange::AddLearner(node),
                REMOVE => MemberChange::Remove(node),
                tag => {
                    let value = u64::from(tag);
                    return Err(DecodeError::Invalid { what: "membership change", value });
                }
            });
        }
        Ok(MembershipChange { changes, context: input.bytes("membership context")? })
    }

    /// Its bytes alone: the payload of a membership entry.
    #[must_use]
    pub fn to_payload(&self) -> bytes::Bytes {
        let mut out = Encoder::with_capacity(16 + self.changes.len() * 9 + self.context.len());
        self.encode(&mut out);
        out.into_bytes()
    }

    /// Reads the payload of a membership entry, to its last byte.
    pub fn from_payload(payload: bytes::Bytes) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(payload);
        let change = Self::decode(&mut input)?;
        input.finish()?;
        Ok(change)
    }
}

const ADD_VOTER: u8 = 1;
const ADD_LEARNER: u8 = 2;
const REMOVE: u8 = 3;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn ids(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn a_change_comes_back_as_it_went_in() {
        let change = MembershipChange {
            changes: vec![
                MemberChange::AddVoter(NodeId(1)),
                MemberChange::AddLearner(NodeId(u64::MAX)),
                MemberChange::Remove(NodeId(3)),
            ],
            context: Bytes::from_static(b"who asked"),
        };
        assert_eq!(MembershipChange::from_payload(change.to_payload()), Ok(change));
        let leave = MembershipChange::default();
        assert_eq!(MembershipChange::from_payload(leave.to_payload()), Ok(leave));
    }

    #[test]
    fn a_cut_unknown_or_overlong_change_is_refused() {
        let change = MembershipChange::of(vec![MemberChange::Remove(NodeId(3))]);
        let payload = change.to_payload();
        for cut in 0..payload.len() {
            assert!(MembershipChange::from_payload(payload.slice(..cut)).is_err(), "cut at {cut}");
        }
        let mut longer = payload.to_vec();
        longer.push(0);
        assert!(MembershipChange::from_payload(longer.into()).is_err());
        let mut unknown = payload.to_vec();
        unknown[1] = 9;
        assert!(MembershipChange::from_payload(unknown.into()).is_err());
        let nobody = MembershipChange::of(vec![MemberChange::AddVoter(NodeId::NONE)]);
        assert!(MembershipChange::from_payload(nobody.to_payload()).is_err());
    }

    #[test]
    fn only_memberships_a_group_can_have_are_valid() {
        let joint = Membership {
            voters: ids(&[1, 2, 3]),
            voters_outgoing: ids(&[1, 2, 4, 6]),
            learners: ids(&[5]),
            learners_next: ids(&[4]),
            auto_leave: true,
        };
        assert_eq!(joint.validate(), Ok(()));
        assert_eq!(Membership::default().validate(), Err(MembershipError::NoVoter));
        let wrong = |change: fn(&mut Membership)| {
            let mut membership = joint.clone();
            change(&mut membership);
            membership.validate().expect_err("it should be refused")
        };
        assert_eq!(wrong(|m| m.voters = ids(&[0, 1])), MembershipError::Nobody("voters"));
        assert_eq!(wrong(|m| m.voters = ids(&[2, 1])), MembershipError::NotAscending("voters"));
        assert_eq!(wrong(|m| m.learners = ids(&[5, 5])), MembershipError::NotAscending("learners"));
        assert_eq!(wrong(|m| m.learners = ids(&[6])), MembershipError::VoterAndLearner(NodeId(6)));
        assert_eq!(wrong(|m| m.learners_next = ids(&[7])), MembershipError::NotOutgoing(NodeId(7)));
        assert_eq!(
            wrong(|m| m.learners_next = ids(&[1])),
            MembershipError::VoterAndLearner(NodeId(1))
        );
        assert_eq!(
            wrong(|m| {
                m.voters_outgoing.clear();
                m.learners_next.clear();
            }),
            MembershipError::NotJoint
        );
    }
}
