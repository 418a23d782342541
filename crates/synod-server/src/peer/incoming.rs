//! The peer port: accepts, greets, and reads frames until the connection ends or misbehaves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use synod_base::NodeId;
use synod_base::limits::MAX_PEER_FRAME_BYTES;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::PeerEvent;
use super::frame::{FrameReadError, FrameReader, put_frame};
use super::hello::{Hello, HelloAnswer, HelloRefusal, Local, MAX_HELLO_BYTES};
use crate::log_limit::LogLimit;

/// An accepted connection, as the node's loop knows it.
#[derive(Debug)]
pub(crate) struct Connection {
    from: NodeId,
    closed: Notify,
}

impl Connection {
    /// Ends the connection: it sent what no peer may send, or a newer one replaces it.
    pub(crate) fn close(&self) {
        self.closed.notify_one();
    }
}

/// The peer port of one node. Cheap to clone; one `run` per socket.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    local: Local,
    events: mpsc::Sender<PeerEvent>,
    /// The newest connection from each peer. A peer that lost its old one without a farewell must
    /// not leave it here for ever.
    newest: Mutex<BTreeMap<NodeId, Arc<Connection>>>,
    slots: Arc<Semaphore>,
    complaints: Mutex<LogLimit>,
    hello_timeout: Duration,
}

impl Listener {
    /// Greets in the name of `local`, and sends what comes to `events`.
    pub(crate) fn new(local: Local, events: mpsc::Sender<PeerEvent>) -> Self {
        Self::with_hello_timeout(local, events, HELLO_TIMEOUT)
    }

    /// As [`Listener::new`], with another patience for a dialler's greeting.
    pub(super) fn with_hello_timeout(
        local: Local,
        events: mpsc::Sender<PeerEvent>,
        hello_timeout: Duration,
    ) -> Self {
        Listener {
            shared: Arc::new(Shared {
                local,
                events,
                newest: Mutex::default(),
                slots: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
                complaints: Mutex::new(LogLimit::new()),
                hello_timeout,
            }),
        }
    }

    /// Accepts for ever; the runtime ends it with itself.
    pub(crate) async fn run(self, socket: TcpListener) {
        loop {
            let stream = match socket.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, most likely: others must close before this can work.
                    self.shared.complain(&format!("cannot accept: {error}"));
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(slot) = self.shared.slots.clone().try_acquire_owned() else {
                self.shared.complain("too many peer connections");
                continue;
            };
            let shared = self.shared.clone();
            tokio::spawn(async move {
                let from = stream.peer_addr().map(|a| a.to_string()).unwrap_or_default();
                if let Err(why) = shared.serve(stream).await {
                    shared.complain(&format!("connection from {from}: {why}"));
                }
                drop(slot);
            });
        }
    }
}

impl Shared {
    async fn serve(&self, stream: TcpStream) -> Result<(), String> {
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        let mut reader = FrameReader::new(stream, MAX_HELLO_BYTES);
        let greeted = timeout(self.hello_timeout, self.greet(&mut reader)).await;
        let connection = match greeted {
            Err(_) => return Err("no greeting in time".into()),
            Ok(Err(why)) => return Err(why),
            Ok(Ok(None)) => return Ok(()),
            Ok(Ok(Some(connection))) => connection,
        };
        if let Some(older) = self.newest().insert(connection.from, connection.clone()) {
            older.close();
        }
        reader.allow(MAX_PEER_FRAME_BYTES);
        let ended = self.read_frames(reader, &connection).await;
        let mut newest = self.newest();
        if newest.get(&connection.from).is_some_and(|c| Arc::ptr_eq(c, &connection)) {
            newest.remove(&connection.from);
        }
        drop(newest);
        match ended {
            // A peer that went away says so to its own log.
            Ok(()) | Err(FrameReadError::Io(_) | FrameReadError::Torn) => Ok(()),
            Err(bad) => Err(bad.to_string()),
        }
    }

    /// Answers the hello. `None` if that was all there was to do.
    async fn greet(
        &self,
        reader: &mut FrameReader<TcpStream>,
    ) -> Result<Option<Arc<Connection>>, String> {
        let Some(body) = reader.next().await.map_err(|e| e.to_string())? else {
            return Ok(None);
        };
        let hello = Hello::decode(body).and_then(|hello| {
            hello.check(&self.local)?;
            Ok(hello)
        });
        match hello {
            Err(refusal) => {
                let why = describe(&refusal);
                answer(reader, &HelloAnswer::Refused(refusal)).await?;
                Err(why.to_owned())
            }
            Ok(Hello::Join) => {
                let (sender, members) = oneshot::channel();
                self.tell(PeerEvent::Join(sender)).await?;
                let members = members.await.map_err(|_| "the node stopped".to_owned())?;
                answer(reader, &HelloAnswer::Members(members)).await?;
                Ok(None)
            }
            Ok(Hello::Peer { from, peer_url, .. }) => {
                answer(reader, &HelloAnswer::Welcome).await?;
                self.tell(PeerEvent::Greeted { from, peer_url }).await?;
                Ok(Some(Arc::new(Connection { from, closed: Notify::new() })))
            }
        }
    }

    async fn read_frames(
        &self,
        mut reader: FrameReader<TcpStream>,
        connection: &Arc<Connection>,
    ) -> Result<(), FrameReadError> {
        let window = Arc::new(Semaphore::new(WINDOW_BYTES));
        loop {
            let body = tokio::select! {
                () = connection.closed.notified() => return Ok(()),
                body = reader.next() => match body? {
                    Some(body) => body,
                    None => return Ok(()),
                },
            };
            let bytes = u32::try_from(body.len().max(MIN_FRAME_COST_BYTES))
                .expect("a frame is within its limit");
            let room = tokio::select! {
                () = connection.closed.notified() => return Ok(()),
                room = window.clone().acquire_many_owned(bytes) => room,
            };
            let Ok(room) = room else { return Ok(()) };
            let event = PeerEvent::Frame {
                from: connection.from,
                body,
                connection: connection.clone(),
                room,
            };
            if self.tell(event).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn tell(&self, event: PeerEvent) -> Result<(), String> {
        self.events.send(event).await.map_err(|_| "the node stopped".to_owned())
    }

    fn newest(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, Arc<Connection>>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complain(&self, what: &str) {
        let passed = self.complaints.lock().unwrap_or_else(PoisonError::into_inner).pass();
        if let Some(suppressed) = passed {
            tracing::warn!(suppressed, "peer port: {what}");
        }
    }
}

/// The same refusals, seen from the side that refuses.
fn describe(refusal: &HelloRefusal) -> &'static str {
    match refusal {
        HelloRefusal::Version(_) => "it speaks another version of the peer protocol",
        HelloRefusal::OtherCluster(_) => {
            "it belongs to another cluster (other initial members or another token)"
        }
        HelloRefusal::OtherNode(_) => "it looks for another node",
        HelloRefusal::Malformed => "it does not speak the peer protocol",
        HelloRefusal::TooMany => "too many connections",
        HelloRefusal::Starting => "this node is starting for the first time",
    }
}

async fn answer(reader: &mut FrameReader<TcpStream>, answer: &HelloAnswer) -> Result<(), String> {
    let mut out = BytesMut::new();
    put_frame(&mut out, &answer.encode());
    reader.stream_mut().write_all(&out).await.map_err(|e| e.to_string())
}

/// A dialler says who it is within this time, or is gone.
pub(super) const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// Accepted connections at once. A cluster has a handful of members with one connection each.
const MAX_CONNECTIONS: usize = 128;

/// Frames of one connection that wait for the node's loop, in bytes; then TCP slows the sender down.
const WINDOW_BYTES: usize = 2 * MAX_PEER_FRAME_BYTES;

/// What a frame costs of the window at least.
const MIN_FRAME_COST_BYTES: usize = 256;

/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
