//! What operators ask of a cluster beside its keys: members, leases, compaction, the state of each
//! endpoint.

use synod_base::{LeaseId, LogIndex, NodeId, Revision, Term};
use synod_node::{Header, Member};
use synod_proto::etcdserverpb as pb;
use synod_proto::etcdserverpb::cluster_client::ClusterClient;
use synod_proto::etcdserverpb::maintenance_client::MaintenanceClient;

use super::{Remote, Repeat, kv_client, lease_client};
use crate::error::ClientError;
use crate::kv::Answer;
use crate::wire;

/// What one endpoint says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointStatus {
    /// Who answers, its revision and term.
    pub header: Header,
    /// Its software's version.
    pub version: String,
    /// The leader it knows, or `NodeId::NONE`.
    pub leader: NodeId,
    /// Its term.
    pub term: Term,
    /// Highest position known to be committed.
    pub commit_index: LogIndex,
    /// Highest position applied.
    pub applied_index: LogIndex,
    /// Bytes on disk: of state and log if it is a Synod, of the database file if it is an etcd.
    pub disk_bytes: i64,
    /// It does not vote.
    pub is_learner: bool,
    /// What is wrong with it, if anything.
    pub errors: Vec<String>,
}

impl Remote {
    /// The members (linearizable).
    pub async fn member_list(&self) -> Answer<Vec<Member>> {
        let message = pb::MemberListRequest { linearizable: true };
        let call = |channel| async move { ClusterClient::new(channel).member_list(message).await };
        let answer = self.send(Repeat::Harmless, call).await?.into_inner();
        Ok((wire::header(answer.header), members(answer.members)))
    }

    /// Adds a member that will listen for peers at `peer_urls`; the new one and all members.
    pub async fn member_add(
        &self,
        peer_urls: Vec<String>,
        learner: bool,
    ) -> Answer<(Member, Vec<Member>)> {
        let message = pb::MemberAddRequest { peer_urls, is_learner: learner };
        let call = |channel| {
            let message = message.clone();
            async move { ClusterClient::new(channel).member_add(message).await }
        };
        let answer = self.send(Repeat::OnlyIfNotApplied, call).await?.into_inner();
        let unexpected = ClientError::UnexpectedAnswer { request: "member add" };
        let added = wire::member(answer.member.ok_or(unexpected)?);
        Ok((wire::header(answer.header), (added, members(answer.members))))
    }

    /// Removes a member; all members afterwards.
    pub async fn member_remove(&self, id: NodeId) -> Answer<Vec<Member>> {
        let message = pb::MemberRemoveRequest { id: id.0 };
        let call =
            |channel| async move { ClusterClient::new(channel).member_remove(message).await };
        let answer = self.send(Repeat::OnlyIfNotApplied, call).await?.into_inner();
        Ok((wire::header(answer.header), members(answer.members)))
    }

    /// Makes a learner a voter; all members afterwards.
    pub async fn member_promote(&self, id: NodeId) -> Answer<Vec<Member>> {
        let message = pb::MemberPromoteRequest { id: id.0 };
        let call =
            |channel| async move { ClusterClient::new(channel).member_promote(message).await };
        let answer = self.send(Repeat::OnlyIfNotApplied, call).await?.into_inner();
        Ok((wire::header(answer.header), members(answer.members)))
    }

    /// Forgets the history before `revision`: reads and watches that begin before it are refused from
    /// now on. The bytes leave the servers' disks soon after.
    pub async fn compact(&self, revision: Revision) -> Answer<()> {
        let message = pb::CompactionRequest { revision: revision.0, physical: false };
        let call = |channel| async move { kv_client(channel).compact(message).await };
        let answer = self.send(Repeat::OnlyIfNotApplied, call).await?.into_inner();
        Ok((wire::header(answer.header), ()))
    }

    /// All leases.
    pub async fn lease_list(&self) -> Answer<Vec<LeaseId>> {
        let call = |channel| async move {
            lease_client(channel).lease_leases(pb::LeaseLeasesRequest {}).await
        };
        let answer = self.send(Repeat::Harmless, call).await?.into_inner();
        let leases = answer.leases.into_iter().map(|lease| LeaseId(lease.id)).collect();
        Ok((wire::header(answer.header), leases))
    }

    /// What endpoint number `index` (in the order given to [`Remote::new`]) says of itself.
    pub async fn endpoint_status(&self, index: usize) -> Result<EndpointStatus, ClientError> {
        let call = |channel| async move {
            MaintenanceClient::new(channel).status(pb::StatusRequest {}).await
        };
        let answer = self.send_once(index, Repeat::Harmless, call).await?.into_inner();
        Ok(EndpointStatus {
            header: wire::header(answer.header),
            version: answer.version,
            leader: NodeId(answer.leader),
            term: Term(answer.raft_term),
            commit_index: LogIndex(answer.raft_index),
            applied_index: LogIndex(answer.raft_applied_index),
            disk_bytes: answer.db_size,
            is_learner: answer.is_learner,
            errors: answer.errors,
        })
    }
}

fn members(members: Vec<pb::Member>) -> Vec<Member> {
    members.into_iter().map(wire::member).collect()
}
