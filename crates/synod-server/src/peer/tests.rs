//! Real sockets on loopback: what the peer port takes, what it refuses, and that frames arrive.

use std::time::Duration;

use bytes::BytesMut;
use synod_base::ClusterId;
use synod_base::limits::MAX_PEER_FRAME_BYTES;
use synod_node::Member;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::frame::{FrameReader, put_frame};
use super::hello::{Hello, HelloAnswer, HelloRefusal};
use super::*;
use crate::error::JoinError;

const OWN_URL: &str = "http://127.0.0.1:1";
const PATIENCE: Duration = Duration::from_secs(20);

struct Port {
    address: String,
    events: mpsc::Receiver<PeerEvent>,
}

fn local(node: u64) -> Local {
    Local { cluster: ClusterId(1), node: NodeId(node) }
}

/// A peer port of node `node`.
async fn open_port(node: u64) -> Port {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let (sender, events) = mpsc::channel(64);
    tokio::spawn(Listener::new(local(node), sender).run(socket));
    Port { address, events }
}

impl Port {
    async fn event(&mut self) -> PeerEvent {
        timeout(PATIENCE, self.events.recv()).await.expect("an event in time").unwrap()
    }

    async fn expect_frames(&mut self, bodies: &[&[u8]]) {
        for expected in bodies {
            let PeerEvent::Frame { from, body, .. } = self.event().await else { panic!() };
            assert_eq!(from, NodeId(1));
            assert!(body == *expected);
        }
    }
}

fn hello(cluster: u64, from: u64, to: u64) -> Hello {
    Hello::Peer {
        cluster: ClusterId(cluster),
        from: NodeId(from),
        to: NodeId(to),
        peer_url: "http://127.0.0.1:9".into(),
    }
}

async fn greet(stream: &mut TcpStream, hello: &Hello) -> HelloAnswer {
    timeout(PATIENCE, link::exchange(stream, hello)).await.unwrap().unwrap()
}

/// The other side closes without another word.
async fn closes(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    let ended = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("closed in time");
    // With bytes of ours unread the close is a reset.
    ended.is_err() || rest.is_empty()
}

#[tokio::test(flavor = "current_thread")]
async fn a_node_of_another_cluster_or_for_another_node_is_turned_away_and_told_why() {
    let port = open_port(2).await;
    for (hello, refusal) in [
        (hello(7, 1, 2), HelloRefusal::OtherCluster(ClusterId(1))),
        (hello(1, 1, 3), HelloRefusal::OtherNode(NodeId(2))),
        (hello(1, 2, 2), HelloRefusal::OtherNode(NodeId(2))),
    ] {
        let mut stream = TcpStream::connect(&port.address).await.unwrap();
        assert_eq!(greet(&mut stream, &hello).await, HelloAnswer::Refused(refusal));
        assert!(closes(&mut stream).await);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn bytes_that_are_no_greeting_end_the_connection_and_nothing_else() {
    let mut port = open_port(2).await;
    let mut huge = Vec::from((u32::MAX - 1).to_le_bytes());
    huge.extend([0; 4]);
    let mut nonsense = BytesMut::new();
    put_frame(&mut nonsense, b"not a hello");
    for bytes in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), huge, nonsense.to_vec()] {
        let mut stream = TcpStream::connect(&port.address).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let mut rest = Vec::new();
        drop(timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("closed in time"));
    }
    // It still serves.
    let mut stream = TcpStream::connect(&port.address).await.unwrap();
    assert_eq!(greet(&mut stream, &hello(1, 1, 2)).await, HelloAnswer::Welcome);
    assert!(matches!(port.event().await, PeerEvent::Greeted { from: NodeId(1), .. }));
}

#[tokio::test(flavor = "current_thread")]
async fn a_connection_that_never_says_who_it_is_is_closed() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (sender, _events) = mpsc::channel(64);
    let impatient = Duration::from_millis(20);
    tokio::spawn(Listener::with_hello_timeout(local(2), sender, impatient).run(socket));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&[9, 0]).await.unwrap();
    assert!(closes(&mut stream).await);
}

#[tokio::test(flavor = "current_thread")]
async fn a_frame_that_is_too_long_or_damaged_ends_its_connection() {
    let mut port = open_port(2).await;
    let too_long = u32::try_from(MAX_PEER_FRAME_BYTES + 1).unwrap().to_le_bytes();
    let mut long = too_long.to_vec();
    long.extend([0; 4]);
    let mut damaged = BytesMut::new();
    put_frame(&mut damaged, b"frame");
    damaged[8] ^= 1;
    for bytes in [long, damaged.to_vec()] {
        let mut stream = TcpStream::connect(&port.address).await.unwrap();
        assert_eq!(greet(&mut stream, &hello(1, 1, 2)).await, HelloAnswer::Welcome);
        assert!(matches!(port.event().await, PeerEvent::Greeted { .. }));
        stream.write_all(&bytes).await.unwrap();
        assert!(closes(&mut stream).await);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn the_loop_can_close_a_connection_whose_frame_it_could_not_read() {
    let mut port = open_port(2).await;
    let mut stream = TcpStream::connect(&port.address).await.unwrap();
    greet(&mut stream, &hello(1, 1, 2)).await;
    assert!(matches!(port.event().await, PeerEvent::Greeted { .. }));
    let mut bytes = BytesMut::new();
    put_frame(&mut bytes, b"nonsense to the node");
    stream.write_all(&bytes).await.unwrap();
    let PeerEvent::Frame { body, connection, .. } = port.event().await else { panic!() };
    assert_eq!(body, "nonsense to the node");
    connection.close();
    assert!(closes(&mut stream).await);
}

#[tokio::test(flavor = "current_thread")]
async fn a_newer_connection_of_a_peer_replaces_the_older() {
    let port = open_port(2).await;
    let mut first = TcpStream::connect(&port.address).await.unwrap();
    greet(&mut first, &hello(1, 1, 2)).await;
    let mut second = TcpStream::connect(&port.address).await.unwrap();
    greet(&mut second, &hello(1, 1, 2)).await;
    assert!(closes(&mut first).await);
}

#[tokio::test(flavor = "current_thread")]
async fn frames_sent_before_and_after_connecting_arrive_in_order() {
    let mut port = open_port(2).await;
    let (sender, mut events) = mpsc::channel(64);
    let mut transport = Transport::new(local(1), OWN_URL.into(), sender);
    let frame = |text: &'static str| (NodeId(2), Bytes::from_static(text.as_bytes()));
    assert_eq!(transport.send([frame("nowhere")].into_iter()), [NodeId(2)]);
    transport.learn(NodeId(2), &port.address);
    assert!(transport.send([frame("one"), frame("two")].into_iter()).is_empty());
    assert!(matches!(port.event().await, PeerEvent::Greeted { from: NodeId(1), .. }));
    port.expect_frames(&[b"one", b"two"]).await;
    let large = Bytes::from(vec![5; MAX_PEER_FRAME_BYTES]);
    assert!(transport.send([(NodeId(2), large.clone()), frame("end")].into_iter()).is_empty());
    port.expect_frames(&[&large, b"end"]).await;
    assert!(events.try_recv().is_err());
}

#[tokio::test(flavor = "current_thread")]
async fn a_peer_that_is_gone_is_reported_and_dialled_again() {
    let mut port = open_port(2).await;
    let (sender, mut events) = mpsc::channel(64);
    let mut transport = Transport::new(local(1), OWN_URL.into(), sender);
    // Nobody listens at the discard port; then the member table says where the peer is.
    transport.learn(NodeId(2), "127.0.0.1:9");
    let event = timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
    assert!(matches!(event, PeerEvent::Unreachable(NodeId(2))));
    let member = Member {
        id: NodeId(2),
        peer_urls: vec![format!("http://{}", port.address)],
        ..Member::default()
    };
    transport.add_members(std::slice::from_ref(&member));
    assert!(matches!(port.event().await, PeerEvent::Greeted { .. }));
    // A removed member is not dialled any more, and frames to it are lost.
    transport.drop_removed(&[]);
    assert_eq!(transport.send([(NodeId(2), Bytes::new())].into_iter()), [NodeId(2)]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_peer_that_does_not_read_costs_a_bounded_buffer() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let (sender, _events) = mpsc::channel(64);
    let mut transport = Transport::new(local(1), OWN_URL.into(), sender);
    transport.learn(NodeId(2), &address);
    let (stream, _) = socket.accept().await.unwrap();
    let mut reader = FrameReader::new(stream, MAX_PEER_FRAME_BYTES);
    reader.next().await.unwrap().unwrap();
    let mut welcome = BytesMut::new();
    put_frame(&mut welcome, &HelloAnswer::Welcome.encode());
    reader.stream_mut().write_all(&welcome).await.unwrap();
    let large = Bytes::from(vec![0; MAX_PEER_FRAME_BYTES]);
    let mut taken = 0;
    // While not connected such a frame is too large to keep; then the buffer takes some.
    timeout(PATIENCE, async {
        loop {
            let lost = transport.send([(NodeId(2), large.clone())].into_iter());
            taken += usize::from(lost.is_empty());
            if taken > 0 && !lost.is_empty() {
                break;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the buffer fills");
    assert!(taken < 8, "{taken}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_member_that_joins_finds_itself_by_its_address() {
    let mut port = open_port(2).await;
    let asked = vec!["http://127.0.0.1:9".to_owned(), port.address.clone()];
    let joining =
        tokio::spawn(async move { join_cluster(&["http://h:5".into()], &asked, PATIENCE).await });
    let member = |id: u64, url: &str| Member {
        id: NodeId(id),
        peer_urls: vec![url.into()],
        ..Member::default()
    };
    for members in [vec![member(2, "h:4")], vec![member(2, "h:4"), member(3, "h:5")]] {
        let PeerEvent::Join(answer) = port.event().await else { panic!() };
        answer.send(JoinAnswer { cluster: ClusterId(1), members }).unwrap();
    }
    let (answer, own) = joining.await.unwrap().unwrap();
    assert_eq!((answer.cluster, own.id), (ClusterId(1), NodeId(3)));
}

#[tokio::test(flavor = "current_thread")]
async fn a_member_that_nobody_knows_gives_up_and_says_so() {
    let asked = ["127.0.0.1:9".to_owned()];
    let refused = join_cluster(&["h:5".into()], &asked, Duration::ZERO).await;
    assert!(matches!(refused, Err(JoinError::NotFound { .. })), "{refused:?}");
    let refused = join_cluster(&["h:5".into()], &[], Duration::ZERO).await;
    assert_eq!(refused.unwrap_err(), JoinError::NobodyToAsk);
}

/// A peer port that answers whoever asks with this table.
async fn port_listing(members: Vec<Member>) -> String {
    let mut port = open_port(2).await;
    let address = port.address.clone();
    tokio::spawn(async move {
        while let Some(event) = port.events.recv().await {
            let PeerEvent::Join(answer) = event else { panic!("{event:?}") };
            let members = members.clone();
            answer.send(JoinAnswer { cluster: ClusterId(1), members }).unwrap();
        }
    });
    address
}

fn member(id: u64, client_url: Option<&str>) -> Member {
    Member {
        id: NodeId(id),
        peer_urls: vec![format!("h:{id}")],
        client_urls: client_url.iter().map(|&url| url.to_owned()).collect(),
        ..Member::default()
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_member_that_one_of_the_others_has_seen_running_does_not_start_anew() {
    let lags = port_listing(vec![member(2, Some("c")), member(3, None)]).await;
    let knows = port_listing(vec![member(2, Some("c")), member(3, Some("c"))]).await;
    let others = [lags.clone(), knows.clone()];
    let ran_before = JoinError::RanBefore { peer: knows, member: NodeId(3) };
    let joined = join_cluster(&["h:3".into()], &others, Duration::from_secs(3)).await;
    assert_eq!(joined.unwrap_err(), ran_before);
    let founds =
        async |cluster, own, others| check_founder(ClusterId(cluster), NodeId(own), others).await;
    assert_eq!(founds(1, 3, &others).await, Err(ran_before));
    assert_eq!(founds(1, 3, &others[..1]).await, Ok(()));
    let removed = JoinError::Removed { peer: lags, member: NodeId(4) };
    assert_eq!(founds(1, 4, &others).await, Err(removed));
    // Another cluster, a node that has not been brought up, and one that is away say nothing.
    assert_eq!(founds(7, 3, &others).await, Ok(()));
    let silent = [port_listing(Vec::new()).await, "127.0.0.1:9".to_owned()];
    assert_eq!(founds(1, 3, &silent).await, Ok(()));
}

#[tokio::test(flavor = "current_thread")]
async fn a_member_that_is_added_anew_at_its_old_address_joins_although_one_still_lists_its_old_id()
{
    let at_3 = |id, client| Member { peer_urls: vec!["h:3".into()], ..member(id, client) };
    let lags = port_listing(vec![member(2, Some("c")), at_3(3, Some("c"))]).await;
    let knows = port_listing(vec![member(2, Some("c")), at_3(9, None)]).await;
    for others in [[lags.clone(), knows.clone()], [knows.clone(), lags.clone()]] {
        let (_, joined) = join_cluster(&["h:3".into()], &others, PATIENCE).await.unwrap();
        assert_eq!(joined.id, NodeId(9));
    }
    // While the one that knows is away, it waits for it.
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    drop(socket);
    let others = [lags, address.clone()];
    let comes_back = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        relay(&address, knows).await;
    };
    let own = ["h:3".to_owned()];
    let (joined, ()) = tokio::join!(join_cluster(&own, &others, PATIENCE), comes_back);
    assert_eq!(joined.unwrap().1.id, NodeId(9));
}

/// Listens there, and passes connections on.
async fn relay(address: &str, to: String) {
    let socket = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = socket.accept().await {
            let mut onward = TcpStream::connect(&to).await.unwrap();
            tokio::spawn(
                async move { tokio::io::copy_bidirectional(&mut from, &mut onward).await },
            );
        }
    });
}

#[tokio::test(flavor = "current_thread")]
async fn a_port_without_a_node_behind_it_says_so_at_once() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(refuse_all(vec![socket]));
    for hello in [Hello::Join, hello(1, 1, 2)] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let answer = greet(&mut stream, &hello).await;
        assert_eq!(answer, HelloAnswer::Refused(HelloRefusal::Starting));
        assert!(closes(&mut stream).await);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_member_that_has_moved_is_found_where_it_says_it_is() {
    let mut port = open_port(2).await;
    let at_port = format!("http://{}", port.address);
    // Either the member table or the greeting is behind.
    for (table, greeting) in [("h:9", at_port.as_str()), (at_port.as_str(), "h:9")] {
        let (table, greeting) = (table.replace("h:", NOBODY), greeting.replace("h:", NOBODY));
        let (sender, mut events) = mpsc::channel(64);
        let mut transport = Transport::new(local(1), OWN_URL.into(), sender);
        let moved = Member { id: NodeId(2), peer_urls: vec![table], ..Member::default() };
        transport.add_members(std::slice::from_ref(&moved));
        transport.learn(NodeId(2), &greeting);
        // The table is read again at every change in it.
        transport.add_members(&[moved]);
        assert!(matches!(port.event().await, PeerEvent::Greeted { from: NodeId(1), .. }));
        drop(transport);
        while timeout(PATIENCE, events.recv()).await.expect("its task ends").is_some() {}
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_node_that_has_moved_says_so_to_those_it_is_connected_to() {
    let mut port = open_port(2).await;
    let (sender, _events) = mpsc::channel(64);
    let mut transport = Transport::new(local(1), OWN_URL.into(), sender);
    transport.learn(NodeId(2), &port.address);
    let greeted_with = async |port: &mut Port| match port.event().await {
        PeerEvent::Greeted { from: NodeId(1), peer_url } => peer_url,
        other => panic!("{other:?}"),
    };
    assert_eq!(greeted_with(&mut port).await, OWN_URL);
    let moved = Member { id: NodeId(1), peer_urls: vec!["http://h:7".into()], ..Member::default() };
    transport.add_members(&[moved]);
    assert_eq!(greeted_with(&mut port).await, "http://h:7");
}

/// Where nobody listens.
const NOBODY: &str = "http://127.0.0.1:";
