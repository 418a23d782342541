//! Watch and LeaseKeepAlive: streams both ways.

use pb::watch_request::RequestUnion;
use synod_client::NodeHandle;
use synod_proto::etcdserverpb as pb;
use synod_proto::etcdserverpb::kv_client::KvClient;
use synod_proto::etcdserverpb::lease_client::LeaseClient;
use synod_proto::etcdserverpb::watch_client::WatchClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Code, Streaming};

use super::{TestNode, run, seen, start};
use crate::etcd::service::routes;

struct Watching {
    routes: Routes,
    requests: mpsc::Sender<pb::WatchRequest>,
    responses: Streaming<pb::WatchResponse>,
}

impl Watching {
    async fn start() -> Watching {
        Watching::on(&start(TestNode::default())).await
    }

    async fn on(node: &NodeHandle) -> Watching {
        let routes = routes(node);
        let (requests, receiver) = mpsc::channel(64);
        let mut client = WatchClient::new(routes.clone());
        let responses = client.watch(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Watching { routes, requests, responses }
    }

    async fn ask(&self, union: RequestUnion) {
        let request = pb::WatchRequest { request_union: Some(union) };
        self.requests.send(request).await.unwrap();
    }

    async fn create(&self, create: pb::WatchCreateRequest) {
        self.ask(RequestUnion::CreateRequest(create)).await;
    }

    async fn next(&mut self) -> pb::WatchResponse {
        self.responses.message().await.unwrap().expect("the stream goes on")
    }

    async fn put(&self, key: &'static str, value: &'static str) {
        let put = pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() };
        KvClient::new(self.routes.clone()).put(put).await.unwrap();
    }
}

fn key(key: &'static str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { key: key.into(), ..Default::default() }
}

#[test]
fn a_watch_is_created_first_then_delivers_then_ends_on_request() {
    run(async {
        let mut watching = Watching::start().await;
        watching.create(pb::WatchCreateRequest { prev_kv: true, ..key("k") }).await;
        let created = watching.next().await;
        assert!(created.created && !created.canceled);
        assert_eq!((created.watch_id, created.header.unwrap().revision), (0, 1));
        watching.put("k", "1").await;
        watching.put("other", "1").await;
        watching.put("k", "2").await;
        let first = watching.next().await;
        assert_eq!(first.events[0].kv.as_ref().unwrap().mod_revision, 2);
        assert_eq!(first.events[0].prev_kv, None);
        let second = watching.next().await;
        assert_eq!(second.events[0].kv.as_ref().unwrap().mod_revision, 4);
        assert_eq!(second.events[0].prev_kv.as_ref().unwrap().value, "1");
        watching.ask(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 0 })).await;
        let canceled = watching.next().await;
        assert!(canceled.canceled && !canceled.created && canceled.cancel_reason.is_empty());
    });
}

#[test]
fn many_watches_share_a_stream_and_ids_do_not_repeat() {
    run(async {
        let mut watching = Watching::start().await;
        watching.create(pb::WatchCreateRequest { watch_id: 7, ..key("a") }).await;
        watching.create(key("b")).await;
        watching.create(pb::WatchCreateRequest { watch_id: 7, ..key("c") }).await;
        assert_eq!(watching.next().await.watch_id, 7);
        assert_eq!(watching.next().await.watch_id, 0);
        let refused = watching.next().await;
        assert!(refused.created && refused.canceled);
        assert_eq!(refused.watch_id, -1);
        assert_eq!(refused.cancel_reason, "mvcc: duplicate watch ID provided on the WatchStream");
        watching.put("a", "1").await;
        assert_eq!(watching.next().await.watch_id, 7, "the refusal ended nothing");
    });
}

#[test]
fn a_refusal_at_the_edge_carries_a_header_and_leaves_the_stream_open() {
    run(async {
        let mut watching = Watching::start().await;
        watching.create(pb::WatchCreateRequest { start_revision: -1, ..key("a") }).await;
        let refused = watching.next().await;
        assert!(refused.created && refused.canceled);
        assert_eq!((refused.watch_id, refused.header.unwrap().revision), (-1, 1));
        watching.create(key("a")).await;
        assert!(!watching.next().await.canceled);
    });
}

#[test]
fn a_compacted_start_ends_the_watch_and_says_where_history_begins() {
    run(async {
        let mut watching = Watching::start().await;
        for value in ["1", "2", "3"] {
            watching.put("k", value).await;
        }
        let compact = pb::CompactionRequest { revision: 4, physical: false };
        KvClient::new(watching.routes.clone()).compact(compact).await.unwrap();
        watching.create(pb::WatchCreateRequest { start_revision: 2, ..key("k") }).await;
        assert!(watching.next().await.created);
        let canceled = watching.next().await;
        assert!(canceled.canceled && !canceled.created);
        assert_eq!((canceled.watch_id, canceled.compact_revision), (0, 4));
    });
}

#[test]
fn progress_is_told_for_the_stream_as_a_whole() {
    run(async {
        let mut watching = Watching::start().await;
        watching.create(key("k")).await;
        watching.next().await;
        watching.put("other", "1").await;
        watching.ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})).await;
        let progress = watching.next().await;
        assert_eq!((progress.watch_id, progress.header.unwrap().revision), (-1, 2));
        assert!(progress.events.is_empty() && !progress.created && !progress.canceled);
    });
}

#[test]
fn a_client_that_ends_its_side_keeps_its_watches() {
    run(async {
        let mut watching = Watching::start().await;
        watching.create(key("k")).await;
        watching.next().await;
        watching.requests = mpsc::channel(1).0;
        watching.put("k", "1").await;
        assert_eq!(watching.next().await.events.len(), 1);
    });
}

#[test]
fn a_watch_on_a_node_that_stops_ends_with_unavailable() {
    run(async {
        let (node, mut inbox) = NodeHandle::new(8);
        let mut watching = Watching::on(&node).await;
        drop(inbox.recv().await.expect("the stream was opened"));
        drop(inbox);
        let ended = watching.responses.message().await;
        assert_eq!(seen(ended), (Code::Unavailable, "etcdserver: server stopped".to_owned()));
    });
}

#[test]
fn every_keep_alive_is_answered_in_order_and_an_unknown_lease_with_zero() {
    run(async {
        let mut client = LeaseClient::new(routes(&start(TestNode::default())));
        client.lease_grant(pb::LeaseGrantRequest { ttl: 9, id: 5 }).await.unwrap();
        let ids = [5, 6, 5];
        let requests = tokio_stream::iter(ids.map(|id| pb::LeaseKeepAliveRequest { id }));
        let mut answers = client.lease_keep_alive(requests).await.unwrap().into_inner();
        let mut got = Vec::new();
        while let Some(answer) = answers.message().await.unwrap() {
            got.push((answer.id, answer.ttl));
        }
        assert_eq!(got, [(5, 9), (6, 0), (5, 9)]);
    });
}
