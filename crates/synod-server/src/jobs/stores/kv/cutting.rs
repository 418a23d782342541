//! Cuts a key range into pieces that are inputs of their own.
//!
//! Only keys are read, page by page, all at one revision. How large values are is guessed from a few of
//! each page: it decides how large pieces are and what a progress bar shows, nothing else.

use bytes::Bytes;
use synod_base::Revision;
use synod_client::{ClientError, Kv};
use synod_jobs::input::InputFile;
use synod_jobs::{InputFormat, Progress};
use synod_state::kv::{KeyRange, KeyValue, RangeRequest};

use super::name::KeysName;
use super::read;

/// Keys and values of one piece, about.
const PIECE_BYTES: u64 = 4 << 20;
/// Keys of one piece, at most.
const PIECE_KEYS: u64 = 100_000;
/// Keys asked for at once.
const PAGE_KEYS: i64 = 10_000;
/// Of so many of them the values, too, to guess how large values are.
const SAMPLED_KEYS: usize = 16;

/// What one piece may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    bytes: u64,
    keys: u64,
}

impl Most {
    /// As many keys as the job wants records in a split; else by size.
    pub(super) fn of(format: &InputFormat) -> Most {
        match format.lines_per_split {
            Some(keys) => Most { bytes: u64::MAX, keys: keys.max(1) },
            None => Most { bytes: PIECE_BYTES, keys: PIECE_KEYS },
        }
    }
}

/// The pieces of a range in the order of their keys, none of them empty, and the revision they are read
/// at: the present one unless one is given. Once it is cancelled what it gives means nothing.
pub(super) async fn cut<K: Kv>(
    kv: &K,
    range: KeyRange,
    at: Option<Revision>,
    most: Most,
    progress: &Progress,
) -> Result<(Revision, Vec<InputFile>), ClientError> {
    let mut request = RangeRequest {
        range: range.clone(),
        revision: at.unwrap_or_default(),
        limit: PAGE_KEYS,
        keys_only: true,
        ..RangeRequest::default()
    };
    let mut cutter = Cutter { range, most, pieces: Vec::new(), open: None };
    loop {
        let (header, page) = read(kv, request.clone()).await?;
        if request.revision == Revision(0) {
            // The other pages show the same moment.
            request.revision = header.revision;
        }
        let Some(last) = page.kvs.last().map(|kv| kv.key.clone()) else {
            return Ok((request.revision, cutter.finish(request.revision)));
        };
        let value_bytes = value_bytes(kv, &page.kvs, request.revision).await?;
        for found in &page.kvs {
            cutter.add(&found.key, value_bytes);
        }
        if !page.more || progress.step().is_err() {
            return Ok((request.revision, cutter.finish(request.revision)));
        }
        request.range.key = behind(&last);
    }
}

/// The mean length of some of the values of a page.
async fn value_bytes<K: Kv>(
    kv: &K,
    page: &[KeyValue],
    revision: Revision,
) -> Result<u64, ClientError> {
    let (mut bytes, mut values) = (0, 0);
    for found in page.iter().step_by(page.len().div_ceil(SAMPLED_KEYS).max(1)) {
        let range = KeyRange::one(found.key.clone());
        let (_, sample) =
            read(kv, RangeRequest { range, revision, ..RangeRequest::default() }).await?;
        bytes += sample.kvs.iter().map(|kv| kv.value.len() as u64).sum::<u64>();
        values += 1;
    }
    Ok(bytes / values.max(1))
}

/// The first key behind this one.
pub(super) fn behind(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}

struct Cutter {
    range: KeyRange,
    most: Most,
    /// With their bytes.
    pieces: Vec<(KeyRange, u64)>,
    open: Option<Open>,
}

/// The piece that takes the next key.
struct Open {
    key: Bytes,
    keys: u64,
    bytes: u64,
}

impl Cutter {
    fn add(&mut self, key: &Bytes, value_bytes: u64) {
        let Most { keys, bytes } = self.most;
        if self.open.as_ref().is_some_and(|open| open.keys >= keys || open.bytes >= bytes) {
            self.close(key.clone());
        }
        let open = self.open.get_or_insert_with(|| Open { key: key.clone(), keys: 0, bytes: 0 });
        open.keys += 1;
        open.bytes += key.len() as u64 + value_bytes;
    }

    fn close(&mut self, range_end: Bytes) {
        if let Some(Open { key, bytes, .. }) = self.open.take() {
            self.pieces.push((KeyRange { key, range_end }, bytes.max(1)));
        }
    }

    fn finish(mut self, revision: Revision) -> Vec<InputFile> {
        self.close(self.range.range_end.clone());
        let input = |(range, bytes): (KeyRange, u64)| InputFile {
            path: KeysName::of_piece(&range, revision),
            bytes,
            modified: (0, 0),
            codec: None,
            version: Some(revision.0.to_string()),
            whole: true,
        };
        self.pieces.into_iter().map(input).collect()
    }
}
