//! Clients that write without a pause, and remember what they were told.
//!
//! Every write has a key of its own, so afterwards its fate can be read: an acknowledged one must be
//! there, with the revision of its acknowledgement; one that was refused as not done must not be
//! there; one of unknown outcome may be.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use synod::Revision;
use synod::client::{Consistency, Happened, Kv, Remote, RemoteOptions};
use synod::kv::{KeyRange, PutRequest, RangeRequest};
use tokio::runtime::Runtime;

/// What became of a write, as its client knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Under way, or nobody knows.
    Unknown,
    /// Acknowledged with this revision.
    Acknowledged(Revision),
    /// Refused as not done.
    NotDone,
}

/// Clients at work until dropped or stopped.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    /// The present one; it is in the keys.
    round: AtomicU32,
    record: Mutex<Record>,
}

#[derive(Debug)]
struct Record {
    /// By key, the round first.
    fates: BTreeMap<String, Fate>,
    /// Where the present pause began, see `expect_pause`.
    since: Instant,
    /// When each client was first acknowledged a write that it had sent after `since`.
    resumed: Vec<Option<Instant>>,
}

impl Load {
    /// Starts this many clients, each of which prefers another of the endpoints.
    pub fn start(clients: usize, endpoints: &[String]) -> Load {
        let record =
            Record { fates: BTreeMap::new(), since: Instant::now(), resumed: vec![None; clients] };
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            round: AtomicU32::new(0),
            record: Mutex::new(record),
        });
        let body = {
            let (shared, endpoints) = (shared.clone(), endpoints.to_vec());
            move || {
                runtime().block_on(async {
                    let clients: Vec<_> = (0..clients)
                        .map(|number| {
                            let mut endpoints = endpoints.clone();
                            let places = number % endpoints.len();
                            endpoints.rotate_left(places);
                            tokio::spawn(write_on(shared.clone(), number, remote(&endpoints)))
                        })
                        .collect();
                    for client in clients {
                        client.await.expect("a client does not panic");
                    }
                });
            }
        };
        Load { shared, thread: Some(std::thread::spawn(body)) }
    }

    /// From now on the keys begin with this round's prefix.
    pub fn begin_round(&self, round: u32) {
        self.shared.round.store(round, Ordering::SeqCst);
    }

    /// What has become of the writes of a round so far.
    pub fn fates(&self, round: u32) -> BTreeMap<String, Fate> {
        let prefix = round_prefix(round);
        let record = self.shared.record();
        let round = record.fates.range(prefix.clone()..);
        let round = round.take_while(|(key, _)| key.starts_with(&prefix));
        round.map(|(key, fate)| (key.clone(), *fate)).collect()
    }

    /// How many writes of a round have been acknowledged.
    pub fn acknowledged(&self, round: u32) -> usize {
        let is_acknowledged = |fate: &Fate| matches!(fate, Fate::Acknowledged(_));
        self.fates(round).values().filter(|fate| is_acknowledged(fate)).count()
    }

    /// Watches for acknowledgements of writes that are sent from now on.
    pub fn expect_pause(&self) {
        let mut record = self.shared.record();
        record.since = Instant::now();
        record.resumed.fill(None);
    }

    /// How long after `expect_pause` each client was first acknowledged a write it sent after it.
    pub fn resumed(&self) -> Vec<Option<Duration>> {
        let record = self.shared.record();
        let since = record.since;
        record.resumed.iter().map(|at| at.map(|at| at.duration_since(since))).collect()
    }

    /// Stops the clients, and waits for what they have under way; the fates of all writes.
    pub fn stop(mut self) -> BTreeMap<String, Fate> {
        self.join();
        std::mem::take(&mut self.shared.record().fates)
    }

    fn join(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "a client panicked");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.join();
    }
}

impl Shared {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn write_on(shared: Arc<Shared>, client: usize, remote: Remote) {
    let mut number = 0_u64;
    while !shared.stop.load(Ordering::SeqCst) {
        number += 1;
        let round = shared.round.load(Ordering::SeqCst);
        let key = format!("{}{client:02}/{number:08}", round_prefix(round));
        shared.record().fates.insert(key.clone(), Fate::Unknown);
        let sent = Instant::now();
        let value = value_of(&key);
        let put =
            PutRequest { key: key.clone().into(), value: value.into(), ..PutRequest::default() };
        match remote.put(put).await {
            Ok((header, _)) => {
                let mut record = shared.record();
                let now = Instant::now();
                record.fates.insert(key, Fate::Acknowledged(header.revision));
                if sent >= record.since && record.resumed[client].is_none() {
                    record.resumed[client] = Some(now);
                }
            }
            Err(error) => {
                if error.happened() == Happened::No {
                    shared.record().fates.insert(key, Fate::NotDone);
                }
                // Nobody serves it now; without a break it would ask thousands of times a second.
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
}

/// Compares what is in the store with what the clients were told; the first thing that does not fit.
/// The fates must be older than the read: what was acknowledged while it was under way need not be in
/// it.
pub fn check_against(
    fates: &BTreeMap<String, Fate>,
    stored: &BTreeMap<String, Stored>,
) -> Result<(), String> {
    for (key, fate) in fates {
        match (fate, stored.get(key)) {
            (Fate::Acknowledged(revision), None) => {
                return Err(format!("{key}, acknowledged at {revision:?}, is lost"));
            }
            (Fate::Acknowledged(revision), Some(found)) if found.mod_revision != *revision => {
                return Err(format!("{key}, acknowledged at {revision:?}, is {found:?}"));
            }
            (Fate::NotDone, Some(_)) => {
                return Err(format!("{key} was refused as not done, but is there"));
            }
            (Fate::Acknowledged(_) | Fate::Unknown, _) | (Fate::NotDone, None) => {}
        }
    }
    match stored.iter().find(|(key, found)| found.value != value_of(key)) {
        Some((key, found)) => Err(format!("{key} was never written as {found:?}")),
        None => Ok(()),
    }
}

/// A key as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    pub value: String,
    pub mod_revision: Revision,
}

/// All keys with a prefix, read linearizably through these endpoints, page by page.
pub fn read_all(endpoints: &[String], prefix: &str) -> BTreeMap<String, Stored> {
    runtime().block_on(async {
        let remote = remote(endpoints);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("written as text");
        let mut stored = BTreeMap::new();
        let mut range = KeyRange::prefix(prefix.to_owned());
        loop {
            let request =
                RangeRequest { range: range.clone(), limit: PAGE_KEYS, ..RangeRequest::default() };
            let (_, page) = read(&remote, request).await;
            for kv in &page.kvs {
                let found = Stored { value: text(&kv.value), mod_revision: kv.mod_revision };
                stored.insert(text(&kv.key), found);
            }
            match page.kvs.last() {
                Some(last) if page.more => range.key = [&last.key[..], &[0]].concat().into(),
                _ => return stored,
            }
        }
    })
}

/// A read may be repeated, and while a leader is being elected it must be.
async fn read(
    remote: &Remote,
    request: RangeRequest,
) -> (synod::client::Header, synod::kv::RangeResult) {
    let started = Instant::now();
    loop {
        match remote.range(request.clone(), Consistency::Linearizable).await {
            Ok(answer) => return answer,
            Err(error) => {
                assert!(started.elapsed() < super::PATIENCE, "cannot read: {error}");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
}

/// What every key of a round begins with.
pub fn round_prefix(round: u32) -> String {
    format!("load/{round:04}/")
}

/// A runtime in this thread.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made")
}

/// A client; call it inside a runtime.
pub fn remote(endpoints: &[String]) -> Remote {
    Remote::new(endpoints, RemoteOptions::default()).expect("the endpoints are addresses")
}

/// What is written to a key.
pub fn value_of(key: &str) -> String {
    format!("value of {key} {}", "x".repeat(64))
}

const RETRY_PAUSE: Duration = Duration::from_millis(10);
const PAGE_KEYS: i64 = 5_000;
