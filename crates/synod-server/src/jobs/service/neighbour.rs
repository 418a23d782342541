//! Notices at once that a worker's process has ended, where a lease would take seconds to.
//!
//! The workers stand in a ring by their ids, and each holds idle TCP connections to the ports of the next
//! two. When a process ends, its system closes the connection and refuses a new one: then a neighbour
//! ends the lease that the dead one has left. Nothing relies on it: a machine that is gone refuses
//! nothing, and its lease ends by itself. Nor can it do harm: whoever lives and loses its lease registers
//! again. A port that never answered (another network, a filter) proves nothing when it refuses.

use std::io::ErrorKind;
use std::time::Duration;

use synod_base::LeaseId;
use synod_client::{ClientError, Kv};
use synod_jobs::cluster::{View, WorkerId};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::jobs::moments::Moments;

/// One of the next in the ring.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Neighbour {
    id: WorkerId,
    /// `host:port`.
    address: String,
    node: String,
}

/// Whom this worker minds: the next ones behind it, so that two may die together and both are noticed.
pub(super) fn neighbours_of(id: &WorkerId, view: &View) -> [Option<Neighbour>; MINDED] {
    let behind = view.workers.iter().filter(|(other, _)| *other > id);
    let before = view.workers.iter().take_while(|(other, _)| *other < id);
    let mut ring = behind.chain(before).map(|(id, worker)| Neighbour {
        id: id.clone(),
        address: worker.record.address.clone(),
        node: worker.record.node.clone(),
    });
    [(); MINDED].map(|()| ring.next())
}

/// Minds whoever is this neighbour, until the sender is gone.
pub(super) async fn mind<K: Kv>(
    kv: K,
    mut neighbour: watch::Receiver<Option<Neighbour>>,
    moments: Moments,
) {
    loop {
        let now = neighbour.borrow_and_update().clone();
        let ended = async {
            match &now {
                Some(neighbour) => {
                    until_its_process_ends(neighbour, &moments).await;
                    end_lease(&kv, neighbour).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = ended => {}
            changed = neighbour.changed() => if changed.is_err() { return },
        }
    }
}

/// Resolves when a port that has taken connections refuses them, twice in a row.
async fn until_its_process_ends(neighbour: &Neighbour, moments: &Moments) {
    let (mut has_answered, mut refused) = (false, 0);
    while refused < REFUSALS {
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&neighbour.address)).await {
            Ok(Ok(stream)) => {
                (has_answered, refused) = (true, 0);
                moments.minds(&neighbour.node);
                until_it_closes(stream).await;
            }
            Ok(Err(error)) if has_answered && error.kind() == ErrorKind::ConnectionRefused => {
                refused += 1;
            }
            _ => {
                refused = 0;
                tokio::time::sleep(UNREACHABLE_PAUSE).await;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn until_it_closes(mut stream: TcpStream) {
    // Nobody has asked it anything, but whatever it says is no reason to go.
    let mut ignored = [0; 64];
    while let Ok(1..) = stream.read(&mut ignored).await {}
}

/// Goes on until it is done: right now the store may be electing a leader for the same reason.
async fn end_lease<K: Kv>(kv: &K, neighbour: &Neighbour) {
    loop {
        match try_end_lease(kv, &neighbour.id).await {
            Ok(ended) => {
                if ended {
                    let node = &neighbour.node;
                    tracing::warn!(
                        "jobs: the process of worker {node} has ended; its tasks go to others"
                    );
                }
                return;
            }
            Err(error) => tracing::debug!("jobs: cannot end the lease of a dead worker: {error}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn try_end_lease<K: Kv>(kv: &K, id: &WorkerId) -> Result<bool, ClientError> {
    let (_, registration) = kv.get(id.key()).await?;
    let Some(lease) = registration.map(|kv| kv.lease).filter(|lease| *lease != LeaseId::NONE)
    else {
        return Ok(false);
    };
    match kv.lease_revoke(lease).await {
        Ok(_) => Ok(true),
        Err(error) if error.is_lease_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

/// How many neighbours each worker has.
pub(super) const MINDED: usize = 2;
/// One refusal may be a port that is just opened anew.
const REFUSALS: u32 = 2;
/// Between connections.
const PAUSE: Duration = Duration::from_millis(100);
/// Before a port that cannot be reached is tried again.
const UNREACHABLE_PAUSE: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
