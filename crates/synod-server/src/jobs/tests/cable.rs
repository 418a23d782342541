//! A cable in front of a worker's port, for one direction of harm at a time: nobody gets through, answers
//! break off, a bit of an answer turns over.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What is wrong with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    None,
    /// Connections are closed as soon as they stand.
    Refuse,
    /// An answer breaks off behind so many bytes.
    CutAfter(u64),
    /// A bit of an answer's byte at this place is turned over.
    Flip(u64),
}

/// A cable to a port.
pub struct Cable {
    address: SocketAddr,
    damage: Arc<Mutex<Damage>>,
    connections: Arc<AtomicU64>,
    harmed: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Cable {
    /// In front of this address.
    pub async fn lay(to: SocketAddr) -> Cable {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let damage = Arc::new(Mutex::new(Damage::None));
        let connections = Arc::new(AtomicU64::new(0));
        let harmed = Arc::new(AtomicU64::new(0));
        let (now, count, harms) = (damage.clone(), connections.clone(), harmed.clone());
        let task = tokio::spawn(async move {
            let mut streams = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = socket.accept().await {
                streams.spawn(carry(stream, to, now.clone(), harms.clone(), count.clone()));
            }
        });
        Cable { address, damage, connections, harmed, task }
    }

    /// What others connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on the port refuses connections, and those that stood are closed, as when a process ends.
    pub fn unplug(&self) {
        self.task.abort();
    }

    pub fn damage(&self, damage: Damage) {
        *self.damage.lock().unwrap_or_else(PoisonError::into_inner) = damage;
    }

    /// Answers that were harmed.
    pub fn harmed(&self) -> u64 {
        self.harmed.load(Ordering::Relaxed)
    }

    /// Connections over which something was asked.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(
    mut client: TcpStream,
    to: SocketAddr,
    damage: Arc<Mutex<Damage>>,
    harmed: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
) {
    let now = || *damage.lock().unwrap_or_else(PoisonError::into_inner);
    if now() == Damage::Refuse {
        return;
    }
    let Ok(mut server) = TcpStream::connect(to).await else { return };
    // As on both ends of it: else small pieces wait for each other.
    if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
        return;
    }
    let (mut up, mut down) = (vec![0; 4_096], vec![0; 4_096]);
    let (mut carried, mut asked) = (0, false);
    loop {
        tokio::select! {
            read = client.read(&mut up) => match read {
                Ok(bytes) if bytes > 0 => {
                    if !std::mem::replace(&mut asked, true) {
                        connections.fetch_add(1, Ordering::Relaxed);
                    }
                    // Each answer is counted from its beginning.
                    carried = 0;
                    if now() == Damage::Refuse || server.write_all(&up[..bytes]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
            read = server.read(&mut down) => match read {
                Ok(bytes) if bytes > 0 => {
                    let piece = &mut down[..bytes];
                    let before = piece.to_vec();
                    let Some(whole) = harm(piece, carried, now()) else { return };
                    if !whole || before != piece {
                        harmed.fetch_add(1, Ordering::Relaxed);
                    }
                    carried += bytes as u64;
                    let (now, last) = if whole { (piece.len(), false) } else { (0, true) };
                    if client.write_all(&piece[..now]).await.is_err() || last {
                        return;
                    }
                }
                _ => return,
            },
        }
    }
}

/// Harms a piece of an answer that begins at `from`. `None`: the connection ends; false: so it does, and
/// the piece is not sent.
fn harm(piece: &mut [u8], from: u64, damage: Damage) -> Option<bool> {
    match damage {
        Damage::None => Some(true),
        Damage::Refuse => None,
        Damage::CutAfter(at) => Some(from + piece.len() as u64 <= at),
        Damage::Flip(at) => {
            let place = at.checked_sub(from).and_then(|place| usize::try_from(place).ok());
            if let Some(byte) = place.and_then(|place| piece.get_mut(place)) {
                *byte ^= 1;
            }
            Some(true)
        }
    }
}
