//! Writes the output of a job: its files become objects, `_SUCCESS` last.
//!
//! A job claims its output by an object `_temporary` that holds its name and that only one can create; it is
//! removed at the end. An object is there as a whole or not at all: small files are put, large ones are
//! uploaded in parts, and an upload that fails or is cancelled is aborted. One whose process is killed is
//! never seen, but stored until the bucket's own rules remove it. A file that an earlier try has
//! uploaded is known by its checksum and left alone.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3;
use object_store::path::Path as Key;
use object_store::{
    Attribute, Attributes, Error, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode,
    PutMultipartOptions, PutOptions, PutPayload,
};
use synod_jobs::cluster::JobId;
use synod_jobs::commit::{Manifest, SUCCESS, TEMPORARY};
use synod_jobs::{JobError, JobSpec, OutputStore, Progress, Publication};
use tokio::runtime::Handle;

use super::name::ObjectName;
use super::{Buckets, told};

/// Files up to this size are put at once, larger ones in parts of this size, or larger if they are too many.
const PART_BYTES: u64 = 8 << 20;
/// Parts of one upload, at most. The protocol allows 10,000.
const MOST_PARTS: u64 = 5_000;
/// Parts that are on their way at the same time.
const PARTS_AT_ONCE: usize = 4;
/// What an object remembers: the job that has published all, and a file's checksum.
const JOB: Attribute = Attribute::Metadata(std::borrow::Cow::Borrowed("synod-job"));
const CRC32C: Attribute = Attribute::Metadata(std::borrow::Cow::Borrowed("synod-crc32c"));

impl OutputStore for Buckets {
    fn check(&self, spec: &JobSpec) -> Result<(), JobError> {
        ObjectName::parse(&spec.output).map(drop)
    }

    fn check_absent(&self, output: &Path) -> Result<(), JobError> {
        self.place(output)?.check_absent(&[])
    }

    fn claim(&self, output: &Path, job: Option<&JobId>) -> Result<String, JobError> {
        let place = self.place(output)?;
        let mark = match job {
            Some(job) => job.to_string(),
            None => format!("local-{:016x}", fastrand::u64(..)),
        };
        place.check_free()?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match place.put(&place.object.beneath(TEMPORARY)?, mark.clone().into_bytes(), options) {
            Ok(()) => {}
            // An earlier coordinator of this job has made it, and its successor may rely on it.
            Err(Error::AlreadyExists { .. }) if place.mark()?.as_ref() == Some(&mark) => {
                return place.check_free().map(|()| mark);
            }
            Err(Error::AlreadyExists { .. }) => return Err(place.exists()),
            Err(error) => return Err(place.told(&error)),
        }
        // Somebody may have claimed what is above or beneath in the same moment, and looked before this
        // mark was there. Then both give way, or this one.
        if let Err(error) = place.check_free() {
            place.delete(TEMPORARY)?;
            return Err(error);
        }
        Ok(mark)
    }

    fn publish(&self, files: &Publication<'_>, progress: &Progress) -> Result<(), JobError> {
        let place = self.place(files.output)?;
        if place.published(files.mark)?.is_none() {
            place.check_mark(files.mark)?;
            let parts = files.manifest.parts.iter();
            let parts = parts.map(|part| (&part.name, part.bytes, Some(part.crc32c)));
            let side = files.manifest.side_files.iter();
            let side = side.map(|side| (&side.name, side.bytes, None));
            // A name that cannot be is found before anything is sent.
            let named = parts.chain(side).map(|(name, bytes, crc32c)| {
                Ok((name, place.object.beneath(name)?, bytes, crc32c))
            });
            for (name, key, bytes, crc32c) in named.collect::<Result<Vec<_>, JobError>>()? {
                let crc32c = crc32c.map(|crc32c| format!("{crc32c:08x}"));
                place.upload(&files.folder.join(name), (key, bytes), crc32c, progress)?;
            }
            progress.check_cancelled()?;
            place.check_mark(files.mark)?;
            let success_key = place.object.beneath(SUCCESS)?;
            let success = files.folder.join(SUCCESS);
            let text =
                std::fs::read(&success).map_err(|error| JobError::io("read", &success, error))?;
            let attributes = Attributes::from_iter([(JOB, files.mark.to_owned())]);
            let options = PutOptions { attributes, ..PutOptions::default() };
            place.put(&success_key, text, options).map_err(|error| place.told(&error))?;
        }
        place.delete(TEMPORARY)
    }

    fn published(&self, output: &Path, mark: &str) -> Result<Option<Manifest>, JobError> {
        self.place(output)?.published(mark)
    }

    fn clean(
        &self,
        output: &Path,
        mark: &str,
        progress: &Progress,
    ) -> Result<Option<Manifest>, JobError> {
        let place = self.place(output)?;
        let ours = place.mark()?.as_deref() == Some(mark);
        let found = match place.published(mark) {
            // What is there is somebody else's.
            Err(JobError::OutputExists { .. }) => return Ok(None),
            found => found?,
        };
        if ours && found.is_none() {
            place.delete_direct_but(TEMPORARY, progress)?;
            // A coordinator that was replaced may have stood between its last look at the mark and this. Of
            // what it says is complete, parts are gone.
            if place.published(mark)?.is_some() {
                place.delete(SUCCESS)?;
            }
        }
        if ours {
            place.delete(TEMPORARY)?;
        }
        Ok(found)
    }
}

impl Buckets {
    fn place<'a>(&self, output: &'a Path) -> Result<Place<'a>, JobError> {
        let object = ObjectName::parse(output)?;
        let (store, runtime) = self.bucket(output, &object)?;
        Ok(Place { output, object, store, runtime })
    }
}

/// Where the objects of an output are.
struct Place<'a> {
    output: &'a Path,
    object: ObjectName,
    store: Arc<AmazonS3>,
    runtime: Handle,
}

impl Place<'_> {
    /// Fails if anything is there but these names.
    fn check_absent(&self, but: &[&str]) -> Result<(), JobError> {
        let but = but.iter().map(|name| self.object.beneath(name));
        let but: Vec<Key> = but.collect::<Result<_, _>>()?;
        let location = self.object.location();
        let look = async {
            if !self.object.key.is_empty() {
                match self.store.head(&location).await {
                    Err(Error::NotFound { .. }) => {}
                    found => return found.map(|_| true),
                }
            }
            let folder = Some(&location).filter(|_| !self.object.key.is_empty());
            let mut found = self.store.list(folder);
            while let Some(meta) = found.next().await {
                if !but.contains(&meta?.location) {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        match self.runtime.block_on(look).map_err(|error| self.told(&error))? {
            true => Err(self.exists()),
            false => Ok(()),
        }
    }

    /// Fails if there is anything but a mark, or if this lies within the output of another job.
    fn check_free(&self) -> Result<(), JobError> {
        self.check_absent(&[TEMPORARY])?;
        for above in self.object.above() {
            let key = above.beneath(TEMPORARY)?;
            match self.runtime.block_on(self.store.head(&key)) {
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(self.told(&error)),
                Ok(_) => {
                    let above = above.location();
                    return Err(self.failed(format!(
                        "it lies within s3://{}/{above}, the output of another job that is being \
                         written, or was when that was killed: take another one, or remove \
                         s3://{}/{key} if nobody writes there any more",
                        self.object.bucket, self.object.bucket
                    )));
                }
            }
        }
        Ok(())
    }

    /// Whose output this is.
    fn mark(&self) -> Result<Option<String>, JobError> {
        let key = self.object.beneath(TEMPORARY)?;
        let read = async { self.store.get(&key).await?.bytes().await };
        match self.runtime.block_on(read) {
            Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.told(&error)),
        }
    }

    fn check_mark(&self, mark: &str) -> Result<(), JobError> {
        if self.mark()?.as_deref() == Some(mark) {
            return Ok(());
        }
        let what = "its _temporary is gone or another job's: somebody else has used this output";
        Err(self.failed(what.to_owned()))
    }

    fn published(&self, mark: &str) -> Result<Option<Manifest>, JobError> {
        let key = self.object.beneath(SUCCESS)?;
        let read = async {
            let found = self.store.get(&key).await?;
            let job = found.attributes.get(&JOB).map(|job| job.to_string());
            Ok::<_, Error>((job, found.bytes().await?))
        };
        match self.runtime.block_on(read) {
            Ok((Some(job), text)) if job == mark => {
                let manifest = serde_json::from_slice(&text);
                Ok(Some(manifest.map_err(|error| self.failed(format!("{SUCCESS}: {error}")))?))
            }
            Ok(_) => Err(self.exists()),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.told(&error)),
        }
    }

    fn put(&self, key: &Key, bytes: Vec<u8>, options: PutOptions) -> Result<(), Error> {
        let put = self.store.put_opts(key, bytes.into(), options);
        self.runtime.block_on(put).map(drop)
    }

    /// Makes an object of a file, unless it is there.
    fn upload(
        &self,
        file: &Path,
        (key, bytes): (Key, u64),
        crc32c: Option<String>,
        progress: &Progress,
    ) -> Result<(), JobError> {
        progress.check_cancelled()?;
        progress.note_move();
        if let Some(crc32c) = &crc32c
            && self.is_there(&key, bytes, crc32c)?
        {
            return Ok(());
        }
        let known = crc32c.clone();
        let read = |error| JobError::io("read", file, error);
        let mut input = File::open(file).map_err(read)?;
        let found = input.metadata().map_err(read)?.len();
        if found != bytes {
            let what = format!("{} has {found} bytes and not {bytes}", file.display());
            return Err(self.failed(what));
        }
        let attributes = Attributes::from_iter(crc32c.map(|crc32c| (CRC32C, crc32c)));
        if bytes <= PART_BYTES {
            let mut all = Vec::new();
            input.read_to_end(&mut all).map_err(read)?;
            let options = PutOptions { attributes, ..PutOptions::default() };
            return self.put(&key, all, options).map_err(|error| self.told(&error));
        }
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        let begun = self.runtime.block_on(self.store.put_multipart_opts(&key, options));
        let mut upload = begun.map_err(|error| self.told(&error))?;
        let part_bytes = PART_BYTES.max(bytes.div_ceil(MOST_PARTS));
        let sent = self.send_parts(&mut *upload, input.take(bytes), part_bytes, file, progress);
        let done = sent.and_then(|()| {
            let done = self.runtime.block_on(upload.complete());
            match (done.map_err(|error| self.told(&error)), known) {
                (Ok(_), _) => Ok(()),
                // Its answer may have been lost, and who asks again is told that there is no such upload.
                (Err(_), Some(crc32c)) if self.is_there(&key, bytes, &crc32c)? => Ok(()),
                (Err(error), _) => Err(error),
            }
        });
        done.inspect_err(|_| {
            // It failed already; what cannot be aborted is never seen.
            drop(self.runtime.block_on(upload.abort()));
        })
    }

    /// The parts of an upload, some of them at a time. The file is read on this thread.
    fn send_parts(
        &self,
        upload: &mut dyn MultipartUpload,
        mut input: impl Read,
        part_bytes: u64,
        file: &Path,
        progress: &Progress,
    ) -> Result<(), JobError> {
        let mut sending = VecDeque::new();
        let wait = |part: tokio::task::JoinHandle<Result<(), Error>>| {
            let ended = self.runtime.block_on(part);
            let gone = |_| self.failed("the process is about to stop".to_owned());
            ended.map_err(gone)?.map_err(|error| self.told(&error))?;
            progress.note_move();
            Ok(())
        };
        loop {
            progress.check_cancelled()?;
            let mut part = Vec::new();
            let read = (&mut input).take(part_bytes).read_to_end(&mut part);
            if read.map_err(|error| JobError::io("read", file, error))? == 0 {
                return sending.into_iter().try_for_each(wait);
            }
            sending.push_back(self.runtime.spawn(upload.put_part(PutPayload::from(part))));
            if sending.len() >= PARTS_AT_ONCE
                && let Some(first) = sending.pop_front()
            {
                wait(first)?;
            }
        }
    }

    /// Whether an earlier try has uploaded this file.
    fn is_there(&self, key: &Key, bytes: u64, crc32c: &str) -> Result<bool, JobError> {
        let look = object_store::GetOptions { head: true, ..Default::default() };
        match self.runtime.block_on(self.store.get_opts(key, look)) {
            Ok(found) => {
                let known = found.attributes.get(&CRC32C).is_some_and(|known| **known == *crc32c);
                Ok(known && found.meta.size == bytes)
            }
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.told(&error)),
        }
    }

    /// Removes an object, if it is there.
    fn delete(&self, name: &str) -> Result<(), JobError> {
        let key = self.object.beneath(name)?;
        match self.runtime.block_on(self.store.delete(&key)) {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.told(&error)),
        }
    }

    fn delete_direct_but(&self, kept: &str, progress: &Progress) -> Result<(), JobError> {
        let kept = self.object.beneath(kept)?;
        let location = self.object.location();
        let folder = Some(&location).filter(|_| !self.object.key.is_empty());
        let delete = async {
            let found: Vec<_> = self.store.list(folder).try_collect().await?;
            let ours = |key: &Key| {
                let mut beneath = key.prefix_match(&location).into_iter().flatten();
                *key != kept && beneath.next().is_some() && beneath.next().is_none()
            };
            let keys = found.into_iter().map(|meta| meta.location).filter(ours);
            let keys = futures_util::stream::iter(keys.map(Ok).collect::<Vec<_>>()).boxed();
            let mut gone = self.store.delete_stream(keys);
            while let Some(deleted) = gone.next().await {
                deleted?;
                progress.note_move();
                if progress.check_cancelled().is_err() {
                    break;
                }
            }
            Ok(())
        };
        self.runtime.block_on(delete).map_err(|error: Error| self.told(&error))?;
        progress.check_cancelled()
    }

    fn exists(&self) -> JobError {
        JobError::OutputExists { path: self.output.to_owned() }
    }

    fn told(&self, error: &Error) -> JobError {
        told(self.output, error)
    }

    fn failed(&self, what: String) -> JobError {
        JobError::Store { name: self.output.to_owned(), what, permanent: true }
    }
}
