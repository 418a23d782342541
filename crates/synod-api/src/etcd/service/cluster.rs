//! `etcdserverpb.Cluster`.

use synod_client::NodeHandle;
use synod_proto::etcdserverpb as pb;
use synod_proto::etcdserverpb::cluster_server::Cluster;
use tonic::{Request, Response, Status};

use crate::etcd::cluster;

/// The members.
#[derive(Clone, Debug)]
pub struct ClusterService {
    node: NodeHandle,
}

impl ClusterService {
    /// Over this node.
    #[must_use]
    pub fn new(node: NodeHandle) -> Self {
        ClusterService { node }
    }
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        let request = cluster::member_add_request(request.into_inner());
        Ok(Response::new(cluster::member_add_response(self.node.request(request).await)?))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        let request = cluster::member_remove_request(request.get_ref());
        Ok(Response::new(cluster::member_remove_response(self.node.request(request).await)?))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        let request = cluster::member_update_request(request.into_inner());
        Ok(Response::new(cluster::member_update_response(self.node.request(request).await)?))
    }

    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        let request = cluster::member_list_request(request.get_ref());
        Ok(Response::new(cluster::member_list_response(self.node.request(request).await)?))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        let request = cluster::member_promote_request(request.get_ref());
        Ok(Response::new(cluster::member_promote_response(self.node.request(request).await)?))
    }
}
