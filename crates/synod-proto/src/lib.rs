//! The etcd v3 schema (and gRPC's health check), as Rust types, clients and servers.
//!
//! Generated from `proto/`, which was written for Synod: names, field numbers and types are etcd's
//! interface, the comments are ours. The packages are etcd's, so full method names are, too.
//! Unknown fields are skipped, as protobuf wants, so newer clients are understood. The Auth service
//! is not here. Nothing in this crate decides anything; `synod-api` turns messages into requests.

#![allow(missing_docs, reason = "fields that speak for themselves have no comment in the schema")]
#![allow(clippy::all, clippy::large_futures, reason = "generated code")]

/// Keys, values, events.
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}

/// The services KV, Watch, Lease, Cluster and Maintenance.
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

/// The service Lock.
pub mod v3lockpb {
    tonic::include_proto!("v3lockpb");
}

/// The service Election.
pub mod v3electionpb {
    tonic::include_proto!("v3electionpb");
}

/// gRPC's own services.
pub mod grpc {
    /// The service Health.
    pub mod health {
        /// Its only version.
        pub mod v1 {
            tonic::include_proto!("grpc.health.v1");
        }
    }
}
