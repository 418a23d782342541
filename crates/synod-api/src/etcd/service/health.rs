//! `grpc.health.v1.Health`: a node serves when it knows a leader.
//!
//! `Watch` would need a clock to look again; the protocol lets a server leave it out, clients then
//! take an open connection for health.

use futures_util::stream;
use synod_client::NodeHandle;
use synod_proto::grpc::health::v1 as pb;
use synod_proto::grpc::health::v1::health_check_response::ServingStatus;
use synod_proto::grpc::health::v1::health_server::Health;
use tonic::{Request, Response, Status};

use crate::etcd::Rejection;
use crate::etcd::maintenance::{is_serving, status_request};

/// The services that can be asked for; the empty name means the server as a whole.
const SERVICES: [&str; 9] = [
    "",
    "etcdserverpb.KV",
    "etcdserverpb.Watch",
    "etcdserverpb.Lease",
    "etcdserverpb.Cluster",
    "etcdserverpb.Maintenance",
    "v3lockpb.Lock",
    "v3electionpb.Election",
    "grpc.health.v1.Health",
];

const WATCH_UNSUPPORTED: Rejection =
    Rejection::Unsupported("synod: Health.Watch is not supported; use Health.Check");

/// gRPC's standard health check.
#[derive(Clone, Debug)]
pub struct HealthService {
    node: NodeHandle,
}

impl HealthService {
    /// Over this node.
    #[must_use]
    pub fn new(node: NodeHandle) -> Self {
        HealthService { node }
    }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<pb::HealthCheckRequest>,
    ) -> Result<Response<pb::HealthCheckResponse>, Status> {
        if !SERVICES.contains(&request.get_ref().service.as_str()) {
            return Err(Rejection::UnknownService.into());
        }
        let serving = is_serving(self.node.request(status_request()).await)?;
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        Ok(Response::new(pb::HealthCheckResponse { status: status.into() }))
    }

    type WatchStream = stream::Empty<Result<pb::HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        _: Request<pb::HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(WATCH_UNSUPPORTED.into())
    }
}
