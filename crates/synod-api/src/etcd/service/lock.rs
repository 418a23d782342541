//! `v3lockpb.Lock`: the client crate's lock, with the waiting done here. A caller that goes away
//! while it waits leaves the line.

use synod_base::LeaseId;
use synod_client::{Embedded, Kv, NodeHandle, lock};
use synod_proto::v3lockpb as pb;
use synod_proto::v3lockpb::lock_server::Lock;
use tonic::{Request, Response, Status};

use crate::etcd::Rejection;
use crate::etcd::header::header;
use crate::etcd::kv;

/// Time to live of a lease granted to a caller that brings none, in seconds: etcd's default.
const DEFAULT_SESSION_TTL_SECONDS: i64 = 60;

/// Locks.
#[derive(Clone, Debug)]
pub struct LockService {
    kv: Embedded,
}

impl LockService {
    /// Over this node.
    #[must_use]
    pub fn new(node: NodeHandle) -> Self {
        LockService { kv: Embedded::new(node) }
    }
}

/// The caller's lease, or a new one, which nobody keeps alive.
pub(super) async fn session(kv: &Embedded, lease: i64) -> Result<LeaseId, Rejection> {
    if lease != 0 {
        return Ok(LeaseId(lease));
    }
    let (_, granted) = kv.lease_grant(LeaseId::NONE, DEFAULT_SESSION_TTL_SECONDS).await?;
    Ok(granted.id)
}

#[tonic::async_trait]
impl Lock for LockService {
    async fn lock(
        &self,
        request: Request<pb::LockRequest>,
    ) -> Result<Response<pb::LockResponse>, Status> {
        let request = request.into_inner();
        kv::must_fit(&request)?;
        let lease = session(&self.kv, request.lease).await?;
        let held = lock::lock(&self.kv, &request.name, lease).await.map_err(Rejection::from)?;
        Ok(Response::new(pb::LockResponse { header: header(&held.header), key: held.key }))
    }

    async fn unlock(
        &self,
        request: Request<pb::UnlockRequest>,
    ) -> Result<Response<pb::UnlockResponse>, Status> {
        let key = request.into_inner().key;
        let delete = synod_proto::etcdserverpb::DeleteRangeRequest { key, ..Default::default() };
        let request = kv::delete_range_request(delete)?;
        let response = kv::delete_range_response(self.kv.node().request(request).await)?;
        Ok(Response::new(pb::UnlockResponse { header: response.header }))
    }
}
