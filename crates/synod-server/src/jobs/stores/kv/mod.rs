//! `kv://..`: ranges of keys of a replicated store, as inputs and outputs of jobs.
//!
//! What names mean is in `name.rs`, how a range is cut in `cutting.rs`, how a piece is read in
//! `reading.rs`, who may write output in `claiming.rs`, how it is written in `writing.rs`. Reads are repeated
//! while the store has no leader or is not reachable, within a limit: a read at a revision is the same
//! whenever it is done.

mod claiming;
mod cutting;
mod name;
mod pairs;
mod reading;
mod writing;

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use synod_base::Revision;
use synod_client::{Advice, ClientError, Consistency, Header, Kv, Session};
use synod_jobs::input::{InputFile, InputStore};
use synod_jobs::{Framing, InputFormat, JobError, Progress};
use synod_node::RequestError;
use synod_state::kv::{RangeRequest, RangeResult, Refusal};
use tokio::runtime::Handle;
use tokio::time::Instant;

use name::KeysName;
pub(in crate::jobs) use name::SCHEME;

/// The key ranges that one job reads.
pub(in crate::jobs) struct KeyRanges<K: Kv> {
    open: Open<K>,
    /// The store, once it was needed.
    kv: OnceLock<(K, Handle)>,
    /// The revision of every range that has none of its own, once the first one was cut.
    frozen: Mutex<Option<Revision>>,
    /// What shows that the jobs of this process live that are writing, by their names.
    claims: Mutex<BTreeMap<String, Session<K>>>,
}

/// Gives a store, and the runtime that its client needs, for the name that is to be read.
type Open<K> = Box<dyn Fn(&Path) -> Result<(K, Handle), JobError> + Send + Sync>;

impl<K: Kv> KeyRanges<K> {
    pub(in crate::jobs) fn new(
        open: impl Fn(&Path) -> Result<(K, Handle), JobError> + Send + Sync + 'static,
    ) -> Self {
        let (kv, frozen, claims) = (OnceLock::new(), Mutex::default(), Mutex::default());
        KeyRanges { open: Box::new(open), kv, frozen, claims }
    }

    fn store(&self, name: &Path) -> Result<(K, Handle), JobError> {
        if let Some(found) = self.kv.get() {
            return Ok(found.clone());
        }
        // If two do it at once one of the clients is not used.
        let opened = (self.open)(name)?;
        Ok(self.kv.get_or_init(|| opened).clone())
    }
}

impl<K: Kv> InputStore for KeyRanges<K> {
    fn list(
        &self,
        name: &Path,
        format: &InputFormat,
        progress: &Progress,
    ) -> Result<Vec<InputFile>, JobError> {
        let KeysName { range, revision } = KeysName::parse(name)?;
        let (kv, runtime) = self.store(name)?;
        let mut frozen = self.frozen.lock().unwrap_or_else(PoisonError::into_inner);
        let per_piece = cutting::Most::of(format);
        let cut = cutting::cut(&kv, range, revision.or(*frozen), per_piece, progress);
        let (at, pieces) = runtime.block_on(cut).map_err(|error| told(name, &error))?;
        progress.check_cancelled()?;
        if revision.is_none() {
            *frozen = Some(at);
        }
        Ok(pieces)
    }

    fn open(&self, input: &InputFile, range: Range<u64>) -> Result<Box<dyn Read + Send>, JobError> {
        assert_eq!(range.start, 0, "a key range is read from its beginning");
        let KeysName { range, revision } = KeysName::parse(&input.path)?;
        let revision = revision.ok_or_else(|| JobError::BadSpec {
            what: format!("{}: a piece of a key range has a revision", input.path.display()),
        })?;
        let store = self.store(&input.path)?;
        Ok(Box::new(reading::PairReader::new(store, input.path.clone(), range, revision)))
    }

    fn check_unchanged(&self, _: &InputFile) -> Result<(), JobError> {
        // What was at a revision stays.
        Ok(())
    }

    fn framing(&self) -> Option<Framing> {
        Some(Framing::Pairs)
    }
}

/// Reads; tries again for a while if that may help.
async fn read<K: Kv>(kv: &K, request: RangeRequest) -> Result<(Header, RangeResult), ClientError> {
    let began = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match kv.range(request.clone(), Consistency::Linearizable).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let may_pass = matches!(
            error.advice(),
            Advice::Retry | Advice::Wait | Advice::GoElsewhere | Advice::ReadFirst
        );
        if !may_pass || is_too_large(&error) || began.elapsed() >= PATIENCE {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether this client did not take the answer because of its size: fewer keys may do.
fn is_too_large(error: &ClientError) -> bool {
    matches!(error, ClientError::Status { message, .. } if message.contains("too large"))
}

/// What a person should read.
fn told(name: &Path, error: &ClientError) -> JobError {
    let (what, permanent) = match error {
        ClientError::Request(RequestError::Refused(Refusal::Compacted { compacted })) => (
            format!(
                "the store has forgotten the revision that is read, and all before {}: keep history \
                 for as long as the job takes, or leave the revision out",
                compacted.0
            ),
            true,
        ),
        ClientError::Request(RequestError::Refused(Refusal::FutureRevision { current })) => {
            (format!("the store is at revision {} only", current.0), true)
        }
        error => (format!("the store cannot be read: {error}"), error.advice() == Advice::Fix),
    };
    JobError::Store { name: name.to_owned(), what, permanent }
}

/// A read is tried again for so long.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between tries at first; twice as long each time
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
