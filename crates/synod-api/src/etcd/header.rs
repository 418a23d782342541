//! `ResponseHeader`, the first field of every reply.

use synod_node::Header;
use synod_proto::etcdserverpb as pb;

/// The header of a reply.
#[must_use]
pub fn header(header: &Header) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader {
        cluster_id: header.cluster.0,
        member_id: header.member.0,
        revision: header.revision.0,
        raft_term: header.term.0,
    })
}

/// The header of an answer within a transaction's answer: etcd fills in the revision only.
#[must_use]
pub(crate) fn inner_header(header: &Header) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { revision: header.revision.0, ..pb::ResponseHeader::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_base::{ClusterId, NodeId, Revision, Term};

    #[test]
    fn every_field_of_a_header_arrives() {
        let node = Header {
            cluster: ClusterId(1),
            member: NodeId(2),
            revision: Revision(3),
            term: Term(4),
        };
        let wire = pb::ResponseHeader { cluster_id: 1, member_id: 2, revision: 3, raft_term: 4 };
        assert_eq!(header(&node), Some(wire));
        let inner = pb::ResponseHeader { revision: 3, ..pb::ResponseHeader::default() };
        assert_eq!(inner_header(&node), Some(inner));
    }
}
