//! Reads one piece of a key range as a stream of pairs, the next page while the last one is consumed.

use std::io::{self, Read};
use std::path::PathBuf;

use synod_base::Revision;
use synod_client::{ClientError, Kv};
use synod_jobs::framing::pair_into;
use synod_state::kv::{KeyRange, RangeRequest};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::cutting::behind;
use super::{is_too_large, read, told};

/// Bytes of keys and values that a page should have.
const PAGE_BYTES: usize = 1 << 20;
/// Keys of the first page; nobody knows yet how large values are.
const FIRST_KEYS: i64 = 32;
/// Keys of any page, at most: values may be much larger than those before.
const MOST_KEYS: i64 = 2_000;

/// Pairs of keys and values, framed as [`pair_into`] does it.
pub(super) struct PairReader {
    runtime: Handle,
    name: PathBuf,
    /// What is being fetched; none at the end.
    next: Option<JoinHandle<Result<Fetched, ClientError>>>,
    page: Vec<u8>,
    at: usize,
    /// Fetches what comes behind a page.
    fetch: Box<dyn Fn(Ask) -> JoinHandle<Result<Fetched, ClientError>> + Send>,
}

/// Where a page begins, and of how many keys it may be.
struct Ask {
    range: KeyRange,
    keys: i64,
}

struct Fetched {
    pairs: Vec<u8>,
    next: Option<Ask>,
}

impl PairReader {
    pub(super) fn new<K: Kv>(
        (kv, runtime): (K, Handle),
        name: PathBuf,
        range: KeyRange,
        revision: Revision,
    ) -> PairReader {
        let spawner = runtime.clone();
        let fetch = move |ask| spawner.spawn(page(kv.clone(), revision, ask));
        let next = Some(fetch(Ask { range, keys: FIRST_KEYS }));
        PairReader { runtime, name, next, page: Vec::new(), at: 0, fetch: Box::new(fetch) }
    }

    /// Waits for the next page.
    fn turn(&mut self, next: JoinHandle<Result<Fetched, ClientError>>) -> io::Result<()> {
        let gone = |_| io::Error::other("the process is about to stop");
        let fetched = self.runtime.block_on(next).map_err(gone)?;
        let fetched = fetched.map_err(|error| told(&self.name, &error).into_io())?;
        self.next = fetched.next.map(&self.fetch);
        (self.page, self.at) = (fetched.pairs, 0);
        Ok(())
    }
}

impl Read for PairReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.page.len() {
            let Some(next) = self.next.take() else { return Ok(0) };
            self.turn(next)?;
        }
        let rest = &self.page[self.at..];
        let read = rest.len().min(into.len());
        into[..read].copy_from_slice(&rest[..read]);
        self.at += read;
        Ok(read)
    }
}

impl Drop for PairReader {
    fn drop(&mut self) {
        if let Some(next) = &self.next {
            next.abort();
        }
    }
}

/// Reads one page; a smaller one if the answer was too large to be taken.
async fn page<K: Kv>(kv: K, revision: Revision, ask: Ask) -> Result<Fetched, ClientError> {
    let Ask { range, mut keys } = ask;
    let found = loop {
        let request =
            RangeRequest { range: range.clone(), revision, limit: keys, ..RangeRequest::default() };
        match read(&kv, request).await {
            Ok((_, found)) => break found,
            Err(error) if is_too_large(&error) && keys > 1 => keys /= 2,
            Err(error) => return Err(error),
        }
    };
    let bytes = found.kvs.iter().map(|kv| kv.key.len() + kv.value.len() + 2).sum();
    let mut pairs = Vec::with_capacity(bytes);
    for kv in &found.kvs {
        pair_into(&mut pairs, &kv.key, &kv.value);
    }
    let fitting = keys.saturating_mul(PAGE_BYTES as i64) / (bytes as i64).max(1);
    let keys = fitting.clamp(1, (keys * 4).min(MOST_KEYS));
    let next = found.kvs.last().filter(|_| found.more).map(|last| {
        let range = KeyRange { key: behind(&last.key), range_end: range.range_end };
        Ask { range, keys }
    });
    Ok(Fetched { pairs, next })
}
