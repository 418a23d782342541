//! Three servers in one process, talking over real sockets.
// Helpers beside the tests may unwrap, too.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{PATIENCE, get, kv_client, put, try_put};
use synod_proto::etcdserverpb::MemberAddRequest;
use synod_proto::etcdserverpb::cluster_client::ClusterClient;
use synod_server::{InitialState, Listeners, Server, ServerError, ServerOptions};
use tempfile::TempDir;

struct Cluster {
    dirs: Vec<TempDir>,
    options: Vec<ServerOptions>,
    servers: Vec<Option<Server>>,
}

/// Three nodes on free ports, all ready.
fn three() -> Cluster {
    let dirs: Vec<TempDir> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut options: Vec<ServerOptions> = dirs
        .iter()
        .enumerate()
        .map(|(i, dir)| ServerOptions::new(dir.path(), format!("n{}", i + 1)))
        .collect();
    let listeners: Vec<Listeners> = options.iter().map(|o| Listeners::bind(o).unwrap()).collect();
    let initial: Vec<(String, String)> = options
        .iter()
        .zip(&listeners)
        .map(|(o, l)| (o.name.clone(), format!("http://{}", l.peer_addresses()[0])))
        .collect();
    for (options, listeners) in options.iter_mut().zip(&listeners) {
        options.initial_cluster = initial.clone();
        // A restart listens where the others look for it.
        options.listen_peer = vec![listeners.peer_addresses()[0].to_string()];
    }
    let servers = options
        .iter()
        .zip(listeners)
        .map(|(o, l)| Some(Server::start_on(o.clone(), l).unwrap()))
        .collect();
    let cluster = Cluster { dirs, options, servers };
    for server in cluster.servers.iter().flatten() {
        assert!(server.wait_ready(PATIENCE));
    }
    cluster
}

impl Cluster {
    fn server(&self, i: usize) -> &Server {
        self.servers[i].as_ref().unwrap()
    }

    fn restart(&mut self, i: usize) {
        assert!(self.servers[i].is_none());
        self.servers[i] = Some(Server::start(self.options[i].clone()).unwrap());
        assert!(self.server(i).wait_ready(PATIENCE));
    }
}

#[tokio::test]
async fn what_one_node_takes_every_node_has_also_when_one_is_down() {
    let mut cluster = three();
    for i in 0..3 {
        put(&mut kv_client(cluster.server(i)).await, &format!("k{i}"), "v").await;
    }
    for i in 0..3 {
        let mut kv = kv_client(cluster.server(i)).await;
        for k in 0..3 {
            assert_eq!(get(&mut kv, &format!("k{k}")).await.as_deref(), Some("v"));
        }
    }
    for down in 0..3 {
        cluster.servers[down].take().unwrap().stop().unwrap();
        let mut kv = kv_client(cluster.server((down + 1) % 3)).await;
        let key = format!("without{down}");
        let written = async {
            while try_put(&mut kv, &key, "v").await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, written).await.expect("writes resume");
        cluster.restart(down);
        let mut kv = kv_client(cluster.server(down)).await;
        assert_eq!(get(&mut kv, &key).await.as_deref(), Some("v"));
    }
    assert_eq!(cluster.dirs.len(), 3);
}

#[tokio::test]
async fn one_node_grows_to_two_in_place() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let first = common::lone_server(dirs[0].path());
    put(&mut kv_client(&first).await, "a", "1").await;
    let mut options = ServerOptions::new(dirs[1].path(), "n2");
    let listeners = Listeners::bind(&options).unwrap();
    let own_url = format!("http://{}", listeners.peer_addresses()[0]);
    options.initial_state = InitialState::Existing;
    options.initial_cluster = vec![
        ("n1".into(), format!("http://{}", first.info().peer_addresses[0])),
        ("n2".into(), own_url.clone()),
    ];
    let address = first.info().client_addresses[0];
    let mut members = ClusterClient::connect(format!("http://{address}")).await.unwrap();
    let add = MemberAddRequest { peer_urls: vec![own_url], ..MemberAddRequest::default() };
    members.member_add(add).await.unwrap();
    let second = Server::start_on(options, listeners).unwrap();
    assert!(second.wait_ready(PATIENCE));
    assert_eq!(second.info().cluster, first.info().cluster);
    assert_eq!(get(&mut kv_client(&second).await, "a").await.as_deref(), Some("1"));
    put(&mut kv_client(&second).await, "b", "2").await;
    assert_eq!(get(&mut kv_client(&first).await, "b").await.as_deref(), Some("2"));
}

#[test]
fn a_member_that_was_not_added_cannot_join() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let first = common::lone_server(dirs[0].path());
    let mut options = ServerOptions::new(dirs[1].path(), "n2");
    options.initial_state = InitialState::Existing;
    options.join_timeout = Duration::ZERO;
    options.advertise_peer = vec!["http://127.0.0.1:1".into()];
    options.initial_cluster = vec![
        ("n1".into(), format!("http://{}", first.info().peer_addresses[0])),
        ("n2".into(), "http://127.0.0.1:1".into()),
    ];
    let refused = Server::start(options);
    assert!(matches!(refused, Err(ServerError::Join(_))), "{refused:?}");
}
