//! `etcdserverpb.KV`.

use synod_client::NodeHandle;
use synod_proto::etcdserverpb as pb;
use synod_proto::etcdserverpb::kv_server::Kv;
use tonic::{Request, Response, Status};

use crate::etcd::{kv, txn};

/// Reads, writes, transactions, compaction.
#[derive(Clone, Debug)]
pub struct KvService {
    node: NodeHandle,
}

impl KvService {
    /// Over this node.
    #[must_use]
    pub fn new(node: NodeHandle) -> Self {
        KvService { node }
    }
}

#[tonic::async_trait]
impl Kv for KvService {
    async fn range(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<pb::RangeResponse>, Status> {
        let request = kv::range_request(request.into_inner())?;
        Ok(Response::new(kv::range_response(self.node.request(request).await)?))
    }

    async fn put(
        &self,
        request: Request<pb::PutRequest>,
    ) -> Result<Response<pb::PutResponse>, Status> {
        let request = kv::put_request(request.into_inner())?;
        Ok(Response::new(kv::put_response(self.node.request(request).await)?))
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let request = kv::delete_range_request(request.into_inner())?;
        Ok(Response::new(kv::delete_range_response(self.node.request(request).await)?))
    }

    async fn txn(
        &self,
        request: Request<pb::TxnRequest>,
    ) -> Result<Response<pb::TxnResponse>, Status> {
        let request = txn::txn_request(request.into_inner())?;
        Ok(Response::new(txn::txn_response(self.node.request(request).await)?))
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        let request = kv::compact_request(request.get_ref())?;
        Ok(Response::new(kv::compact_response(self.node.request(request).await)?))
    }
}
