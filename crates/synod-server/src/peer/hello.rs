//! The first exchange on a peer connection: who dials whom, and whether that fits.

use bytes::Bytes;
use synod_base::{ClusterId, DecodeError, Decoder, Encoder, NodeId};
use synod_node::Member;
use thiserror::Error;

/// A node as its peer connections present it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Local {
    /// Its cluster.
    pub(crate) cluster: ClusterId,
    /// Its id.
    pub(crate) node: NodeId,
}

/// What the dialler says first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Hello {
    /// A peer that will send frames.
    Peer {
        /// Its cluster.
        cluster: ClusterId,
        /// Who it is.
        from: NodeId,
        /// Whom it means to reach.
        to: NodeId,
        /// Where it can be dialled.
        peer_url: String,
    },
    /// A new member that asks for the cluster's id and members.
    Join,
}

/// What the dialled node answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum HelloAnswer {
    /// Frames may come.
    Welcome,
    /// Who is there.
    Members(JoinAnswer),
    /// Go away.
    Refused(HelloRefusal),
}

/// The answer to a member that joins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct JoinAnswer {
    /// The cluster.
    pub(crate) cluster: ClusterId,
    /// Its members, as the node that was asked knows them.
    pub(crate) members: Vec<Member>,
}

/// Why a dialler is turned away.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(super) enum HelloRefusal {
    /// Another program, or another version of this one.
    #[error("it speaks peer protocol version {0}, this node speaks {PROTOCOL_VERSION}")]
    Version(u32),
    /// Members of two clusters were pointed at each other.
    #[error(
        "it belongs to cluster {0}: the two nodes were started with different initial clusters \
        or tokens"
    )]
    OtherCluster(ClusterId),
    /// The address leads to another node than the dialler thinks.
    #[error("it is node {0}")]
    OtherNode(NodeId),
    /// Not a hello at all.
    #[error("it did not understand the greeting")]
    Malformed,
    /// Too many connections.
    #[error("it has too many peer connections")]
    TooMany,
    /// There is no node yet.
    #[error("it is starting for the first time itself")]
    Starting,
}

impl Hello {
    /// A frame's body.
    pub(super) fn encode(&self) -> Bytes {
        let mut out = Encoder::new();
        out.u32(MAGIC).u32(PROTOCOL_VERSION);
        match self {
            Hello::Peer { cluster, from, to, peer_url } => {
                out.u8(0).u64(cluster.0).u64(from.0).u64(to.0).str(peer_url);
            }
            Hello::Join => {
                out.u8(1);
            }
        }
        out.into_bytes()
    }

    /// Reads what [`Hello::encode`] wrote.
    pub(super) fn decode(body: Bytes) -> Result<Self, HelloRefusal> {
        let mut input = Decoder::new(body);
        let mut prefix = || Ok::<_, DecodeError>((input.u32("magic")?, input.u32("version")?));
        match prefix() {
            Ok((MAGIC, PROTOCOL_VERSION)) => {}
            Ok((MAGIC, _)) => return Err(HelloRefusal::Version(PROTOCOL_VERSION)),
            _ => return Err(HelloRefusal::Malformed),
        }
        Self::decode_rest(input).map_err(|_| HelloRefusal::Malformed)
    }

    fn decode_rest(mut input: Decoder) -> Result<Self, DecodeError> {
        let hello = match input.u8("hello kind")? {
            0 => Hello::Peer {
                cluster: ClusterId(input.u64("cluster")?),
                from: NodeId(input.u64("from")?),
                to: NodeId(input.u64("to")?),
                peer_url: input.str("peer url")?,
            },
            1 => Hello::Join,
            v => return Err(DecodeError::Invalid { what: "hello kind", value: u64::from(v) }),
        };
        input.finish()?;
        Ok(hello)
    }

    /// Whether a peer's hello fits the node it reached.
    pub(super) fn check(&self, local: &Local) -> Result<(), HelloRefusal> {
        match self {
            Hello::Peer { cluster, .. } if *cluster != local.cluster => {
                Err(HelloRefusal::OtherCluster(local.cluster))
            }
            Hello::Peer { to, from, .. } if *to != local.node || *from == local.node => {
                Err(HelloRefusal::OtherNode(local.node))
            }
            _ => Ok(()),
        }
    }
}

impl HelloAnswer {
    /// A frame's body.
    pub(super) fn encode(&self) -> Bytes {
        let mut out = Encoder::new();
        out.u32(MAGIC);
        match self {
            HelloAnswer::Welcome => out.u8(0),
            HelloAnswer::Members(answer) => {
                out.u8(1).u64(answer.cluster.0).var(answer.members.len() as u64);
                answer.members.iter().for_each(|member| member.encode(&mut out));
                &mut out
            }
            HelloAnswer::Refused(HelloRefusal::Version(ours)) => out.u8(2).u32(*ours),
            HelloAnswer::Refused(HelloRefusal::OtherCluster(ours)) => out.u8(3).u64(ours.0),
            HelloAnswer::Refused(HelloRefusal::OtherNode(ours)) => out.u8(4).u64(ours.0),
            HelloAnswer::Refused(HelloRefusal::Malformed) => out.u8(5),
            HelloAnswer::Refused(HelloRefusal::TooMany) => out.u8(6),
            HelloAnswer::Refused(HelloRefusal::Starting) => out.u8(7),
        };
        out.into_bytes()
    }

    /// Reads what [`HelloAnswer::encode`] wrote.
    pub(super) fn decode(body: Bytes) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(body);
        match input.u32("magic")? {
            MAGIC => {}
            v => return Err(DecodeError::Invalid { what: "magic", value: u64::from(v) }),
        }
        let answer = match input.u8("answer kind")? {
            0 => HelloAnswer::Welcome,
            1 => {
                let cluster = ClusterId(input.u64("cluster")?);
                let mut members = Vec::new();
                for _ in 0..input.count("members")? {
                    members.push(Member::decode(&mut input)?);
                }
                HelloAnswer::Members(JoinAnswer { cluster, members })
            }
            2 => HelloAnswer::Refused(HelloRefusal::Version(input.u32("version")?)),
            3 => HelloAnswer::Refused(HelloRefusal::OtherCluster(ClusterId(input.u64("cluster")?))),
            4 => HelloAnswer::Refused(HelloRefusal::OtherNode(NodeId(input.u64("node")?))),
            5 => HelloAnswer::Refused(HelloRefusal::Malformed),
            6 => HelloAnswer::Refused(HelloRefusal::TooMany),
            7 => HelloAnswer::Refused(HelloRefusal::Starting),
            v => return Err(DecodeError::Invalid { what: "answer kind", value: u64::from(v) }),
        };
        input.finish()?;
        Ok(answer)
    }
}

/// A hello is at most this long.
pub(super) const MAX_HELLO_BYTES: usize = 4 * 1024;

/// The answer is at most this long: it may list members.
pub(super) const MAX_HELLO_ANSWER_BYTES: usize = 256 * 1024;

/// Raised when nodes could misunderstand each other.
const PROTOCOL_VERSION: u32 = 1;

/// "SYNO", little-endian.
const MAGIC: u32 = 0x4f4e_5953;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hellos_and_answers_come_back_as_they_went_out() {
        let peer = Hello::Peer {
            cluster: ClusterId(1),
            from: NodeId(2),
            to: NodeId(3),
            peer_url: "http://h:1".into(),
        };
        for hello in [peer, Hello::Join] {
            assert_eq!(Hello::decode(hello.encode()), Ok(hello));
        }
        let members = vec![Member { id: NodeId(7), name: "n".into(), ..Member::default() }];
        for answer in [
            HelloAnswer::Welcome,
            HelloAnswer::Members(JoinAnswer { cluster: ClusterId(9), members }),
            HelloAnswer::Refused(HelloRefusal::Version(4)),
            HelloAnswer::Refused(HelloRefusal::OtherCluster(ClusterId(4))),
            HelloAnswer::Refused(HelloRefusal::OtherNode(NodeId(4))),
            HelloAnswer::Refused(HelloRefusal::Malformed),
            HelloAnswer::Refused(HelloRefusal::TooMany),
            HelloAnswer::Refused(HelloRefusal::Starting),
        ] {
            assert_eq!(HelloAnswer::decode(answer.encode()), Ok(answer));
        }
    }

    #[test]
    fn a_hello_of_another_version_or_program_is_told_apart() {
        let mut newer = Hello::Join.encode().to_vec();
        newer[4] = 9;
        newer.push(1);
        assert_eq!(Hello::decode(newer.into()), Err(HelloRefusal::Version(PROTOCOL_VERSION)));
        let http = Bytes::from_static(b"GET / HTTP/1.1\r\n");
        assert_eq!(Hello::decode(http), Err(HelloRefusal::Malformed));
        let good = Hello::Join.encode();
        assert_eq!(Hello::decode(good.slice(..8)), Err(HelloRefusal::Malformed));
    }

    #[test]
    fn a_hello_for_another_cluster_or_node_is_refused() {
        let local = Local { cluster: ClusterId(1), node: NodeId(2) };
        let hello = |cluster, from, to| Hello::Peer {
            cluster: ClusterId(cluster),
            from: NodeId(from),
            to: NodeId(to),
            peer_url: String::new(),
        };
        assert_eq!(hello(1, 3, 2).check(&local), Ok(()));
        let cluster = Err(HelloRefusal::OtherCluster(ClusterId(1)));
        assert_eq!(hello(5, 3, 2).check(&local), cluster);
        assert_eq!(hello(1, 3, 4).check(&local), Err(HelloRefusal::OtherNode(NodeId(2))));
        assert_eq!(hello(1, 2, 2).check(&local), Err(HelloRefusal::OtherNode(NodeId(2))));
    }
}
