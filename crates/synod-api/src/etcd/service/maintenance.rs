//! `etcdserverpb.Maintenance`. Hash, Snapshot and Downgrade are refused with the reason.

use futures_util::stream;
use synod_client::NodeHandle;
use synod_proto::etcdserverpb as pb;
use synod_proto::etcdserverpb::maintenance_server::Maintenance;
use tonic::{Request, Response, Status};

use crate::etcd::maintenance::{self, status_request};

/// For operators.
#[derive(Clone, Debug)]
pub struct MaintenanceService {
    node: NodeHandle,
}

impl MaintenanceService {
    /// Over this node.
    #[must_use]
    pub fn new(node: NodeHandle) -> Self {
        MaintenanceService { node }
    }
}

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    async fn alarm(
        &self,
        request: Request<pb::AlarmRequest>,
    ) -> Result<Response<pb::AlarmResponse>, Status> {
        let request = request.get_ref();
        let reply = self.node.request(maintenance::alarm_request(request)?).await;
        Ok(Response::new(maintenance::alarm_response(request, reply)?))
    }

    async fn status(
        &self,
        _: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        let reply = self.node.request(status_request()).await;
        Ok(Response::new(maintenance::status_response(reply)?))
    }

    async fn defragment(
        &self,
        _: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        let reply = self.node.request(status_request()).await;
        Ok(Response::new(maintenance::defragment_response(reply)?))
    }

    async fn hash(
        &self,
        _: Request<pb::HashRequest>,
    ) -> Result<Response<pb::HashResponse>, Status> {
        Err(maintenance::HASH_UNSUPPORTED.into())
    }

    async fn hash_kv(
        &self,
        request: Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        let request = maintenance::hash_kv_request(request.get_ref());
        Ok(Response::new(maintenance::hash_kv_response(self.node.request(request).await)?))
    }

    type SnapshotStream = stream::Empty<Result<pb::SnapshotResponse, Status>>;

    async fn snapshot(
        &self,
        _: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(maintenance::SNAPSHOT_UNSUPPORTED.into())
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        let request = maintenance::move_leader_request(request.get_ref());
        Ok(Response::new(maintenance::move_leader_response(self.node.request(request).await)?))
    }

    async fn downgrade(
        &self,
        _: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        Err(maintenance::DOWNGRADE_UNSUPPORTED.into())
    }
}
