//! Reads an object from a place on, piece by piece, the next piece while the last one is consumed.
//!
//! Each piece is asked for under the condition that the object still has the ETag it had when the job was
//! planned, so what is read is one state of it. A piece that breaks off is asked for again by the client, for
//! half a minute.

use std::io::{self, Read};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::AmazonS3;
use object_store::path::Path as Key;
use object_store::{Error, GetOptions, GetRange, ObjectMeta, ObjectStore};
use synod_jobs::JobError;
use synod_jobs::input::InputFile;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::{not_here, told};

/// Bytes of a piece: two of them are held.
const PIECE_BYTES: u64 = 4 << 20;
/// So much more is read behind the end of a range: the rest of a record, mostly.
const BEHIND_BYTES: u64 = 64 << 10;
/// A piece that has not come after this never will.
const PIECE_LIMIT: Duration = Duration::from_secs(180);

pub(super) struct ObjectReader {
    runtime: Handle,
    source: Arc<Source>,
    /// Where the range ends, and the piece behind it that is read with it.
    end: u64,
    /// Where the piece begins that comes after `next`.
    at: u64,
    next: Option<JoinHandle<Result<Bytes, JobError>>>,
    piece: Bytes,
}

/// What is read.
struct Source {
    store: Arc<AmazonS3>,
    name: PathBuf,
    key: Key,
    bytes: u64,
    modified: (i64, i64),
    e_tag: Option<String>,
}

impl ObjectReader {
    pub(super) fn new(
        (store, runtime): (Arc<AmazonS3>, Handle),
        input: &InputFile,
        key: Key,
        range: Range<u64>,
    ) -> ObjectReader {
        let InputFile { path, bytes, modified, version, .. } = input.clone();
        let source = Source { store, name: path, key, bytes, modified, e_tag: version };
        let end = range.end.saturating_add(BEHIND_BYTES).min(bytes);
        let source = Arc::new(source);
        let mut reader =
            ObjectReader { runtime, source, end, at: range.start, next: None, piece: Bytes::new() };
        reader.ask();
        reader
    }

    /// Asks for the next piece, if it is within the range.
    fn ask(&mut self) {
        let end = self.end.min(self.at + PIECE_BYTES);
        if self.at < end {
            let piece = self.source.clone().read(self.at..end);
            self.next = Some(self.runtime.spawn(piece));
            self.at = end;
        }
    }
}

impl Read for ObjectReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            if self.next.is_none() && self.at < self.source.bytes {
                // A long record goes on behind the range.
                self.end = self.source.bytes.min(self.at + PIECE_BYTES);
                self.ask();
            }
            let Some(next) = self.next.take() else { return Ok(0) };
            let gone = |_| io::Error::other("the process is about to stop");
            self.piece = self.runtime.block_on(next).map_err(gone)?.map_err(JobError::into_io)?;
            self.ask();
        }
        let read = self.piece.len().min(into.len());
        into[..read].copy_from_slice(&self.piece.split_to(read));
        Ok(read)
    }
}

impl Drop for ObjectReader {
    fn drop(&mut self) {
        if let Some(next) = &self.next {
            next.abort();
        }
    }
}

impl Source {
    async fn read(self: Arc<Self>, range: Range<u64>) -> Result<Bytes, JobError> {
        let wanted = range.end - range.start;
        let options = GetOptions {
            if_match: self.e_tag.clone(),
            range: Some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        let read = async {
            let found = self.store.get_opts(&self.key, options).await?;
            let meta = found.meta.clone();
            Ok::<_, Error>((meta, found.bytes().await?))
        };
        let late = |_| self.failed(format!("nothing came for {} s", PIECE_LIMIT.as_secs()));
        let (meta, bytes) = match tokio::time::timeout(PIECE_LIMIT, read).await.map_err(late)? {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Err(self.changed("it is gone")),
            Err(Error::Precondition { .. }) => return Err(self.changed("its ETag is another one")),
            Err(error) => return Err(not_here(told(&self.name, &error))),
        };
        self.compare(&meta)?;
        if bytes.len() as u64 != wanted {
            return Err(self.failed(format!("{} bytes came instead of {wanted}", bytes.len())));
        }
        Ok(bytes)
    }

    /// For stores that do not look at conditions, or have no ETags.
    fn compare(&self, meta: &ObjectMeta) -> Result<(), JobError> {
        if meta.size != self.bytes {
            return Err(self.changed(&format!("it had {} bytes and has {}", self.bytes, meta.size)));
        }
        if meta.e_tag != self.e_tag {
            return Err(self.changed("its ETag is another one"));
        }
        if self.e_tag.is_none() && meta.last_modified.timestamp() != self.modified.0 {
            return Err(self.changed("its modification time moved"));
        }
        Ok(())
    }

    fn changed(&self, what: &str) -> JobError {
        JobError::InputChanged { path: self.name.clone(), what: what.to_owned() }
    }

    fn failed(&self, what: String) -> JobError {
        JobError::Store { name: self.name.clone(), what, permanent: false }
    }
}
