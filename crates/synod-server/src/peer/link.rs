//! The way to one peer: a bounded buffer of frames, and a task that keeps a connection for it.
//!
//! The node's loop writes to the socket itself as far as the socket takes it, so that frames are on
//! their way before the loop waits for its own disk. The task connects, writes the rest when the
//! socket has room again, and notices when the connection ends. Frames are lost when there is no
//! connection or the buffer is full; consensus expects that and is told.
//!
//! Two may know where the peer is: the member table, and the peer itself, whose greeting says so. The
//! one behind may be either of them, so while there is no connection both addresses are tried in turn.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use synod_base::NodeId;
use synod_base::limits::MAX_PEER_FRAME_BYTES;
use synod_node::member::host_and_port;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::PeerEvent;
use super::frame::{FrameReader, put_frame};
use super::hello::{Hello, HelloAnswer, Local, MAX_HELLO_ANSWER_BYTES};
use super::incoming::HELLO_TIMEOUT;
use crate::log_limit::LogLimit;

/// The way to one peer.
#[derive(Debug)]
pub(super) struct Link {
    peer: NodeId,
    state: Mutex<LinkState>,
    /// There is something to write that the socket did not take.
    stalled: Notify,
    /// An address changed: do not wait out the pause.
    readdress: Notify,
    /// Our own address changed: greet the peer again.
    regreet: Notify,
}

#[derive(Debug)]
struct LinkState {
    address: String,
    /// Where the peer said it is, if that is another address.
    greeted_from: Option<String>,
    /// Where we can be dialled.
    own_url: String,
    stream: Option<Arc<TcpStream>>,
    /// Encoded frames that the socket has not taken. Starts within a frame only while connected.
    unsent: BytesMut,
}

/// What became of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Queued {
    /// It is on its way.
    Yes,
    /// There was no room.
    Dropped,
}

impl Link {
    /// A way to `peer`, not yet connected.
    pub(super) fn new(peer: NodeId, address: &str, own_url: &str) -> Arc<Self> {
        Arc::new(Link {
            peer,
            state: Mutex::new(LinkState {
                address: host_and_port(address).to_owned(),
                greeted_from: None,
                own_url: own_url.to_owned(),
                stream: None,
                unsent: BytesMut::new(),
            }),
            stalled: Notify::new(),
            readdress: Notify::new(),
            regreet: Notify::new(),
        })
    }

    /// Where to dial from now on.
    pub(super) fn set_address(&self, address: &str) {
        let mut state = self.state();
        if state.address != host_and_port(address) {
            state.address = host_and_port(address).to_owned();
            drop(state);
            self.readdress.notify_one();
        }
    }

    /// Where else to try as long as there is no connection.
    pub(super) fn set_greeted_from(&self, address: &str) {
        let mut state = self.state();
        let address = host_and_port(address);
        if state.address != address && state.greeted_from.as_deref() != Some(address) {
            state.greeted_from = Some(address.to_owned());
            drop(state);
            self.readdress.notify_one();
        }
    }

    /// Where the peer finds us from now on.
    pub(super) fn set_own_url(&self, url: &str) {
        let mut state = self.state();
        if state.own_url != url {
            url.clone_into(&mut state.own_url);
            drop(state);
            self.regreet.notify_one();
        }
    }

    /// Adds a frame; `flush` sends it.
    pub(super) fn queue(&self, body: &Bytes) -> Queued {
        let mut state = self.state();
        let limit = if state.stream.is_some() { MAX_UNSENT_BYTES } else { MAX_EARLY_BYTES };
        if body.len() > MAX_PEER_FRAME_BYTES || state.unsent.len() + body.len() > limit {
            return Queued::Dropped;
        }
        put_frame(&mut state.unsent, body);
        Queued::Yes
    }

    /// Hands the socket as much as it takes, without waiting.
    pub(super) fn flush(&self) {
        let mut state = self.state();
        let Some(stream) = state.stream.clone() else { return };
        while !state.unsent.is_empty() {
            match stream.try_write(&state.unsent) {
                Ok(written) => state.unsent.advance(written),
                Err(error) => {
                    if error.kind() != io::ErrorKind::WouldBlock {
                        state.stream = None;
                    }
                    drop(state);
                    self.stalled.notify_one();
                    return;
                }
            }
        }
        if state.unsent.capacity() > IDLE_BUFFER_BYTES {
            state.unsent = BytesMut::new();
        }
    }

    /// Whether there is a connection now.
    pub(super) fn is_connected(&self) -> bool {
        self.state().stream.is_some()
    }

    /// Keeps a connection for ever; ended by aborting its task.
    pub(super) async fn run(self: Arc<Self>, local: Local, events: mpsc::Sender<PeerEvent>) {
        let mut pause = MIN_PAUSE;
        let mut complaints = LogLimit::new();
        let mut failures = 0;
        for attempt in 0_u64.. {
            let address = self.state().address_at(attempt);
            let why = match timeout(CONNECT_TIMEOUT, self.connect(&address, local)).await {
                Err(_) => "no answer in time".to_owned(),
                Ok(Err(why)) => why,
                Ok(Ok(stream)) => {
                    tracing::info!(peer = %self.peer, address, "connected to peer");
                    self.attach(stream.clone());
                    let since = tokio::time::Instant::now();
                    let ended = self.keep(&stream).await;
                    // One that breaks again and again is no better than one that cannot be made.
                    if since.elapsed() >= STEADY {
                        pause = MIN_PAUSE;
                        complaints.reset();
                        failures = 0;
                    }
                    ended.err().map_or_else(|| "the peer closed it".to_owned(), |e| e.to_string())
                }
            };
            self.detach();
            failures += 1;
            if failures < WORTH_A_WARNING {
                tracing::info!(peer = %self.peer, address, "no connection to peer yet: {why}");
            } else if let Some(suppressed) = complaints.pass() {
                tracing::warn!(peer = %self.peer, address, suppressed, "no connection to peer: {why}");
            }
            if events.send(PeerEvent::Unreachable(self.peer)).await.is_err() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.readdress.notified() => {}
            }
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    async fn connect(&self, address: &str, local: Local) -> Result<Arc<TcpStream>, String> {
        let text = |e: io::Error| e.to_string();
        let mut stream = TcpStream::connect(address).await.map_err(text)?;
        stream.set_nodelay(true).map_err(text)?;
        set_user_timeout(&stream).map_err(text)?;
        let peer_url = self.state().own_url.clone();
        let hello =
            Hello::Peer { cluster: local.cluster, from: local.node, to: self.peer, peer_url };
        match exchange(&mut stream, &hello).await? {
            HelloAnswer::Welcome => Ok(Arc::new(stream)),
            HelloAnswer::Refused(refusal) => Err(format!("refused: {refusal}")),
            HelloAnswer::Members(_) => Err("it answered another question".into()),
        }
    }

    /// Writes what the loop could not, until the connection ends.
    async fn keep(&self, stream: &TcpStream) -> io::Result<()> {
        self.flush();
        loop {
            tokio::select! {
                () = self.stalled.notified() => {
                    if self.state().stream.is_none() {
                        return Err(io::Error::other("a write failed"));
                    }
                    stream.writable().await?;
                    self.flush();
                }
                () = self.regreet.notified() => {
                    return Err(io::Error::other("this node's own address has changed"));
                }
                readable = stream.readable() => {
                    readable?;
                    // The peer sends nothing here; what can be read is its farewell.
                    match stream.try_read(&mut [0; 64]) {
                        Ok(0) => return Ok(()),
                        Ok(_) => return Err(io::Error::other("it sent bytes it may not send")),
                        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                        Err(e) => return Err(e),
                    }
                }
            }
        }
    }

    fn attach(&self, stream: Arc<TcpStream>) {
        self.state().stream = Some(stream);
    }

    /// What was not sent is lost: it may end, and begin, within a frame.
    fn detach(&self) {
        let mut state = self.state();
        state.stream = None;
        state.unsent = BytesMut::new();
    }

    fn state(&self) -> MutexGuard<'_, LinkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LinkState {
    /// Where to dial at this attempt.
    fn address_at(&self, attempt: u64) -> String {
        match &self.greeted_from {
            Some(greeted_from) if attempt % 2 == 1 => greeted_from.clone(),
            _ => self.address.clone(),
        }
    }
}

/// Says hello and reads the answer. The dialled node sends nothing beyond it.
pub(super) async fn exchange(stream: &mut TcpStream, hello: &Hello) -> Result<HelloAnswer, String> {
    let mut out = BytesMut::new();
    put_frame(&mut out, &hello.encode());
    stream.write_all(&out).await.map_err(|e| e.to_string())?;
    let mut reader = FrameReader::new(&mut *stream, MAX_HELLO_ANSWER_BYTES);
    let body = timeout(HELLO_TIMEOUT, reader.next())
        .await
        .map_err(|_| "no answer to the greeting".to_owned())?
        .map_err(|e| e.to_string())?
        .ok_or("it closed the connection at the greeting")?;
    reader.into_stream().map_err(|e| e.to_string())?;
    HelloAnswer::decode(body).map_err(|e| format!("not a Synod peer port: {e}"))
}

/// A peer that takes nothing for this long is gone: without this the kernel would keep sending into
/// a healed partition at ever longer intervals, up to minutes.
fn set_user_timeout(stream: &TcpStream) -> io::Result<()> {
    let millis = u32::try_from(UNACKNOWLEDGED_TIMEOUT.as_millis()).expect("a few seconds");
    rustix::net::sockopt::set_tcp_user_timeout(stream, millis)?;
    Ok(())
}

/// Bytes that may wait for a slow connection: a few of the largest frames. More is dropped.
const MAX_UNSENT_BYTES: usize = 4 * MAX_PEER_FRAME_BYTES;

/// Bytes that may wait for the first connection, so that the first election need not be repeated.
const MAX_EARLY_BYTES: usize = 256 * 1024;

/// A larger buffer is given back when it is empty.
const IDLE_BUFFER_BYTES: usize = 1024 * 1024;

/// A connection that lasted so long was a good one.
const STEADY: Duration = Duration::from_secs(1);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(3);
const MIN_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Failed attempts in a row before the log gets a warning: peers that start together, or anew, miss
/// each other once or twice.
const WORTH_A_WARNING: u32 = 3;
