//! The gRPC services: async glue between tonic and a node, nothing is decided here.
//!
//! A request is one call of a conversion, one message to the node's inbox, one conversion back; no
//! task is spawned for it. Streams are driven by whoever polls their responses. Metadata
//! `hasleader` is not looked at yet: a watch on a node that lost its leader stays open and
//! continues when there is one. Deadlines (`grpc-timeout`) are for the server that carries these
//! routes.

mod cluster;
mod election;
mod health;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod watch;

use synod_base::limits::MAX_REQUEST_BYTES;
use synod_client::NodeHandle;
use synod_proto::etcdserverpb::cluster_server::ClusterServer;
use synod_proto::etcdserverpb::kv_server::KvServer;
use synod_proto::etcdserverpb::lease_server::LeaseServer;
use synod_proto::etcdserverpb::maintenance_server::MaintenanceServer;
use synod_proto::etcdserverpb::watch_server::WatchServer;
use synod_proto::grpc::health::v1::health_server::HealthServer;
use synod_proto::v3electionpb::election_server::ElectionServer;
use synod_proto::v3lockpb::lock_server::LockServer;
use tonic::service::Routes;

pub use cluster::ClusterService;
pub use election::ElectionService;
pub use health::HealthService;
pub use kv::KvService;
pub use lease::LeaseService;
pub use lock::LockService;
pub use maintenance::MaintenanceService;
pub use watch::WatchService;

/// Largest message that is decoded, in bytes: above `MAX_REQUEST_BYTES` by as much as etcd allows,
/// so that a request that is too large gets our own answer. What declares more is refused unread.
pub const MAX_DECODED_BYTES: usize = MAX_REQUEST_BYTES + 512 * 1024;

/// All services over one node. Methods and services that are not here answer UNIMPLEMENTED.
#[must_use]
pub fn routes(node: &NodeHandle) -> Routes {
    macro_rules! limited {
        ($server:ident, $service:ident) => {
            $server::new($service::new(node.clone()))
                .max_decoding_message_size(MAX_DECODED_BYTES)
                .max_encoding_message_size(usize::MAX)
        };
    }
    Routes::new(limited!(KvServer, KvService))
        .add_service(limited!(WatchServer, WatchService))
        .add_service(limited!(LeaseServer, LeaseService))
        .add_service(limited!(ClusterServer, ClusterService))
        .add_service(limited!(MaintenanceServer, MaintenanceService))
        .add_service(limited!(LockServer, LockService))
        .add_service(limited!(ElectionServer, ElectionService))
        .add_service(limited!(HealthServer, HealthService))
        .prepare()
}

#[cfg(test)]
mod tests;
