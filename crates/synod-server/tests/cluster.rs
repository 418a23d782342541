//! Three servers in one process, talking over real sockets.
// Helpers beside the tests may unwrap, too.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::time::Duration;

use common::{PATIENCE, get, kv_client, put, try_put};
use synod_proto::etcdserverpb::cluster_client::ClusterClient;
use synod_proto::etcdserverpb::{MemberAddRequest, MemberListRequest, MemberRemoveRequest};
use synod_server::{InitialState, JoinError, Listeners, Server, ServerError, ServerOptions};
use tempfile::TempDir;
use tonic::transport::Channel;

struct Cluster {
    dirs: Vec<TempDir>,
    options: Vec<ServerOptions>,
    servers: Vec<Option<Server>>,
}

/// Three nodes on free ports, all ready.
fn three() -> Cluster {
    let mut cluster = three_folders();
    let starting = cluster.options.iter().cloned().map(|options| {
        // At once: members that start for the first time look whether the others run already.
        std::thread::spawn(move || Server::start(options))
    });
    let starting: Vec<_> = starting.collect();
    for (server, starting) in cluster.servers.iter_mut().zip(starting) {
        *server = Some(starting.join().unwrap().unwrap());
    }
    for i in 0..3 {
        assert!(cluster.server(i).wait_ready(PATIENCE));
    }
    cluster
}

/// Three nodes that have not been started, with ports that were free a moment ago.
fn three_folders() -> Cluster {
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
    Cluster { dirs, options, servers: vec![None, None, None] }
}

impl Cluster {
    fn server(&self, i: usize) -> &Server {
        self.servers[i].as_ref().unwrap()
    }

    async fn members(&self, i: usize) -> ClusterClient<Channel> {
        let address = self.server(i).info().client_addresses[0];
        ClusterClient::connect(format!("http://{address}")).await.unwrap()
    }

    /// Until `observer` knows where clients reach `member`: it has run.
    async fn wait_published(&self, observer: usize, member: usize) {
        let id = self.server(member).info().node.0;
        let mut members = self.members(observer).await;
        let published = async {
            loop {
                let list = members.member_list(MemberListRequest::default()).await.unwrap();
                let list = list.into_inner().members;
                if list.iter().any(|m| m.id == id && !m.client_urls.is_empty()) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, published).await.expect("it publishes its addresses");
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

#[tokio::test]
async fn a_member_that_lost_its_folder_is_refused_until_it_is_added_anew() {
    let mut cluster = three();
    cluster.wait_published(0, 1).await;
    let id = cluster.server(1).info().node.0;
    cluster.servers[1].take().unwrap().stop().unwrap();
    fs::remove_dir_all(cluster.dirs[1].path()).unwrap();
    for state in [InitialState::New, InitialState::Existing] {
        cluster.options[1].initial_state = state;
        let refused = Server::start(cluster.options[1].clone());
        let why = refused.expect_err("it has run before").to_string();
        let told =
            ["has run before", "member remove", "member add", "--initial-cluster-state existing"];
        assert!(told.iter().all(|part| why.contains(part)), "{state:?}: {why}");
    }

    let mut members = cluster.members(0).await;
    members.member_remove(MemberRemoveRequest { id }).await.unwrap();
    cluster.options[1].initial_state = InitialState::New;
    match Server::start(cluster.options[1].clone()) {
        Err(ServerError::Join(JoinError::Removed { member, .. })) => assert_eq!(member.0, id),
        other => panic!("{other:?}"),
    }
    let peer_urls = vec![cluster.options[1].initial_cluster[1].1.clone()];
    let add = MemberAddRequest { peer_urls, ..MemberAddRequest::default() };
    members.member_add(add).await.unwrap();
    put(&mut kv_client(cluster.server(0)).await, "a", "1").await;
    cluster.options[1].initial_state = InitialState::Existing;
    cluster.restart(1);
    assert_ne!(cluster.server(1).info().node.0, id);
    assert_eq!(get(&mut kv_client(cluster.server(1)).await, "a").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn first_starts_that_came_to_nothing_are_done_again_beside_those_that_run() {
    let mut cluster = three_folders();
    // Alone it can neither acknowledge nor publish anything; its second start has the same to lose.
    cluster.servers[0] = Some(Server::start(cluster.options[0].clone()).unwrap());
    cluster.servers[0].take().unwrap().stop().unwrap();
    fs::remove_dir_all(cluster.dirs[0].path()).unwrap();
    // This one was cut short by a crash.
    cluster.servers[1] = Some(Server::start(cluster.options[1].clone()).unwrap());
    cluster.servers[1].take().unwrap().stop().unwrap();
    let path = cluster.dirs[1].path().join("identity.toml");
    let identity = fs::read_to_string(&path).unwrap();
    assert!(identity.contains("\"started\""), "{identity}");
    fs::write(&path, identity.replace("\"started\"", "\"starting\"")).unwrap();
    for i in [2, 1] {
        cluster.servers[i] = Some(Server::start(cluster.options[i].clone()).unwrap());
    }
    for i in [2, 1] {
        assert!(cluster.server(i).wait_ready(PATIENCE));
    }
    put(&mut kv_client(cluster.server(1)).await, "a", "1").await;
    cluster.restart(0);
    assert_eq!(get(&mut kv_client(cluster.server(0)).await, "a").await.as_deref(), Some("1"));
}

#[test]
fn a_lone_founder_that_lost_its_folder_founds_another_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = ServerOptions::new(dir.path(), "n1");
    options.advertise_peer = vec!["http://127.0.0.1:1".into()];
    let start = || Server::start(options.clone()).unwrap().info().cluster;
    let first = start();
    assert_eq!(start(), first);
    fs::remove_dir_all(dir.path()).unwrap();
    // Members that were added meanwhile would take their founder back, and lose what it acknowledged.
    assert_ne!(start(), first);
}
