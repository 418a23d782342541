//! Finds the objects that a name stands for, as they are now.
//!
//! A listing gives a thousand keys at a time and each one's ETag, which is what freezes an object. As in
//! folders of files, names that begin with `_` or `.` are left out; unlike there, all that lies beneath a
//! name is read, because a store has no folders within folders.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use glob::{MatchOptions, Pattern};
use object_store::aws::AmazonS3;
use object_store::path::Path as Key;
use object_store::{Error, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt};
use synod_jobs::input::codec::{Codec, codec_of};
use synod_jobs::input::{InputFile, unfold};
use synod_jobs::{InputFormat, JobError, Progress};

use super::name::ObjectName;
use super::told;

/// Objects whose first bytes are asked for at the same time.
const LOOKS: usize = 16;
/// How many first bytes tell how an object is compressed.
const FIRST_BYTES: u64 = 8;

/// The frozen objects of a name, in bytewise order of their keys.
pub(super) async fn list(
    store: &AmazonS3,
    name: &Path,
    object: &ObjectName,
    format: &InputFormat,
    progress: &Progress,
) -> Result<Vec<InputFile>, JobError> {
    let mut found = Vec::new();
    let itself = if object.is_folder { None } else { head(store, name, object).await? };
    if let Some(meta) = itself {
        found.push(meta);
    } else if object.is_pattern() {
        found = matches(store, name, object, progress).await?;
        if found.is_empty() {
            return Err(JobError::NothingMatches { pattern: name.to_owned() });
        }
    } else {
        found = beneath(store, name, &object.key, progress).await?;
        if found.is_empty() {
            return Err(JobError::InputMissing { path: name.to_owned() });
        }
        found.retain(|meta| !is_hidden(&meta.location, &object.key));
    }
    found.sort_by(|a, b| a.location.as_ref().cmp(b.location.as_ref()));
    let freeze = async |meta| {
        progress.step()?;
        freeze(store, object, meta, format).await
    };
    let frozen = found.into_iter().map(freeze);
    futures_util::stream::iter(frozen).buffered(LOOKS).try_collect().await
}

/// What one request says about an object; nothing if there is none.
async fn head(
    store: &AmazonS3,
    name: &Path,
    object: &ObjectName,
) -> Result<Option<ObjectMeta>, JobError> {
    match store.head(&object.location()).await {
        Ok(meta) => Ok(Some(meta)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(told(name, &error)),
    }
}

/// All objects whose keys begin with `folder` and a slash.
async fn beneath(
    store: &AmazonS3,
    name: &Path,
    folder: &str,
    progress: &Progress,
) -> Result<Vec<ObjectMeta>, JobError> {
    let folder = Key::parse(folder).expect("part of a sound key");
    let folder = Some(&folder).filter(|folder| !folder.as_ref().is_empty());
    let mut listed = store.list(folder);
    let mut found = Vec::new();
    while let Some(meta) = listed.next().await {
        progress.step()?;
        found.push(meta.map_err(|error| told(name, &error))?);
    }
    Ok(found)
}

async fn matches(
    store: &AmazonS3,
    name: &Path,
    object: &ObjectName,
    progress: &Progress,
) -> Result<Vec<ObjectMeta>, JobError> {
    let bad = |why: String| JobError::BadSpec {
        what: format!("input pattern {}: {why}", name.display()),
    };
    let patterns = unfold(&object.key).map_err(bad)?;
    let patterns = patterns.iter().map(|pattern| Pattern::new(pattern));
    let patterns: Vec<Pattern> =
        patterns.collect::<Result<_, _>>().map_err(|error| bad(error.to_string()))?;
    let options = MatchOptions { require_literal_separator: true, ..MatchOptions::default() };
    let mut found = beneath(store, name, object.fixed_folder(), progress).await?;
    found.retain(|meta| {
        let key = meta.location.as_ref();
        // What matches may be a folder: then all beneath it is meant.
        let itself = (!object.is_folder).then_some(key.len());
        let ends = key.match_indices('/').map(|(at, _)| at).chain(itself);
        let mut matched = ends.map(|end| &key[..end]).filter(|begin| {
            let last = begin.rsplit('/').next().unwrap_or_default();
            !last.starts_with(['_', '.'])
                && patterns.iter().any(|pattern| pattern.matches_with(begin, options))
        });
        matched.next().is_some_and(|begin| !is_hidden(&meta.location, begin))
    });
    Ok(found)
}

/// Whether a key has a name that begins with `_` or `.` beneath a folder.
fn is_hidden(key: &Key, folder: &str) -> bool {
    let beneath = key.as_ref().get(folder.len()..).unwrap_or_default();
    beneath.split('/').any(|name| name.starts_with(['_', '.']))
}

async fn freeze(
    store: &AmazonS3,
    object: &ObjectName,
    meta: ObjectMeta,
    format: &InputFormat,
) -> Result<InputFile, JobError> {
    let path: PathBuf = object.name_of(&meta.location);
    let named = Codec::ALL
        .into_iter()
        .any(|codec| path.extension().is_some_and(|extension| extension == codec.extension()));
    let mut codec = None;
    if !format.keep_compressed && meta.size > 0 {
        // Without such a name it does not matter what is in it.
        let mut first = Bytes::from_static(b"-");
        if named {
            let range = Some(GetRange::Bounded(0..FIRST_BYTES.min(meta.size)));
            let if_match = meta.e_tag.clone();
            let options = GetOptions { range, if_match, ..GetOptions::default() };
            let look = async { store.get_opts(&meta.location, options).await?.bytes().await };
            first = look.await.map_err(|error| told(&path, &error))?;
        }
        codec = codec_of(&path, &first)?;
    }
    let (seconds, nanos) =
        (meta.last_modified.timestamp(), meta.last_modified.timestamp_subsec_nanos());
    Ok(InputFile {
        path,
        bytes: meta.size,
        modified: (seconds, nanos.into()),
        codec,
        version: meta.e_tag,
        whole: false,
    })
}
