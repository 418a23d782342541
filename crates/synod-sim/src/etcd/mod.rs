//! The etcd API between the simulated clients and hosts: every request and every answer is encoded,
//! carried as bytes and decoded on the other side, by the same functions that serve real clients
//! (`synod-api`) and that the real client uses (`synod-client`). Only gRPC's own framing is left out.
//!
//! A client keeps what it meant ([`Request`](synod_node::Request)) and reads its answer from bytes
//! alone, so the checkers judge what a client of the API was told, not what the node meant.

pub mod client;
pub mod server;

use bytes::Bytes;

/// A method of the API.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// KV.Range
    Range,
    /// KV.Put
    Put,
    /// KV.DeleteRange
    DeleteRange,
    /// KV.Txn
    Txn,
    /// KV.Compact
    Compact,
    /// Lease.LeaseGrant
    LeaseGrant,
    /// Lease.LeaseRevoke
    LeaseRevoke,
    /// Lease.LeaseKeepAlive, one message of it
    LeaseKeepAlive,
    /// Cluster.MemberList
    MemberList,
    /// Cluster.MemberAdd
    MemberAdd,
    /// Cluster.MemberRemove
    MemberRemove,
    /// Cluster.MemberPromote
    MemberPromote,
    /// Maintenance.MoveLeader
    MoveLeader,
}

/// A call on its way to a host.
#[derive(Clone, Debug)]
pub struct Call {
    /// Of which method.
    pub method: Method,
    /// The request message.
    pub body: Bytes,
}

/// What comes back: the answer's message, or the words of a status that is not OK.
pub type WireAnswer = Result<Bytes, String>;

#[cfg(test)]
mod tests;
