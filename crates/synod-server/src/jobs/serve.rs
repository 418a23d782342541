//! Serves the map outputs of this worker, and what its attempts have said:
//! `GET /jobs/v1/<job>/map/<task>/<attempt>?partitions=<first>-<last>` and
//! `GET /jobs/v1/<job>/log/<task>/<attempt>`.
//!
//! Job, task and attempt are names of ours or refused, so no path from outside reaches the file
//! system. Files are read on blocking threads, a piece at a time: a slow reader holds no thread.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use synod_jobs::JobError;
use synod_jobs::cluster::shuffle::map_file_name;
use synod_jobs::cluster::{JobId, TaskId, TaskKind};
use synod_jobs::run::file::read_index;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::body::Body;

use super::folders::folder_of;
use super::task_log::read_log;

/// Under which map outputs are served.
const PREFIX: &str = "/jobs/v1/";
/// Outputs that are read at once; more wait, then are told to come back.
const MAX_READERS: usize = 64;
/// Of many partitions at once, for which no reduce waits yet: they keep no reduce from its one.
const MAX_AHEAD_READERS: usize = 32;
/// How long they wait: less than the other side does.
const READER_PATIENCE: Duration = Duration::from_secs(10);
/// How long one waits who asks while this process lacks file descriptors, say.
const LACK_PAUSE: Duration = Duration::from_secs(1);
/// Bytes read and sent at once.
const PIECE_BYTES: usize = 256 << 10;

/// The path of neighbouring partitions of a map output, of one at least.
pub(super) fn path_of(job: &JobId, map: TaskId, attempt: u32, partitions: Range<u32>) -> String {
    let (first, last) = (partitions.start, partitions.end.saturating_sub(1));
    format!("{PREFIX}{job}/map/{map}/{attempt}?partitions={first}-{last}")
}

/// The map outputs of this worker. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct JobFiles {
    folder: Arc<PathBuf>,
    readers: Arc<Semaphore>,
    ahead_readers: Arc<Semaphore>,
}

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Output { job: JobId, map: TaskId, attempt: u32, partitions: RangeInclusive<u32> },
    Log { job: JobId, task: TaskId, attempt: u32 },
}

impl JobFiles {
    /// Those in this folder, which holds a folder for each job.
    pub(crate) fn new(folder: PathBuf) -> Self {
        let [readers, ahead_readers] =
            [MAX_READERS, MAX_AHEAD_READERS].map(|most| Arc::new(Semaphore::new(most)));
        JobFiles { folder: Arc::new(folder), readers, ahead_readers }
    }

    /// Whether a request is for here.
    pub(crate) fn wants(request: &Parts) -> bool {
        request.uri.path().starts_with(PREFIX)
    }

    /// Answers it.
    pub(crate) async fn answer(&self, request: &Parts) -> Response<Body> {
        if request.method != Method::GET {
            return refuse(StatusCode::METHOD_NOT_ALLOWED);
        }
        let query = request.uri.query().unwrap_or_default();
        let Some(wanted) = parse(request.uri.path(), query) else {
            return refuse(StatusCode::BAD_REQUEST);
        };
        let readers = match &wanted {
            Wanted::Output { partitions, .. } if partitions.start() < partitions.end() => {
                &self.ahead_readers
            }
            _ => &self.readers,
        };
        let permit = tokio::time::timeout(READER_PATIENCE, readers.clone().acquire_owned());
        let Ok(Ok(permit)) = permit.await else {
            return refuse(StatusCode::SERVICE_UNAVAILABLE);
        };
        match wanted {
            Wanted::Output { job, map, attempt, partitions } => {
                let path = folder_of(&self.folder, &job).join(map_file_name(map, attempt));
                answer_output(path, partitions, permit).await
            }
            Wanted::Log { job, task, attempt } => {
                answer_log(folder_of(&self.folder, &job), task, attempt).await
            }
        }
    }
}

async fn answer_log(folder: PathBuf, task: TaskId, attempt: u32) -> Response<Body> {
    let read = tokio::task::spawn_blocking(move || read_log(&folder, task, attempt)).await;
    let log = match read {
        Ok(Ok(Some(log))) => log,
        Ok(Ok(None)) => return refuse(StatusCode::NOT_FOUND),
        Ok(Err(error)) => {
            tracing::warn!("jobs: cannot read a task's log: {error}");
            return refuse(StatusCode::INTERNAL_SERVER_ERROR);
        }
        Err(_) => return refuse(StatusCode::INTERNAL_SERVER_ERROR),
    };
    let mut response = Response::new(Body::new(Full::new(Bytes::from(log))));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    // What a task says is text, whatever it looks like.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn answer_output(
    path: PathBuf,
    partitions: RangeInclusive<u32>,
    permit: OwnedSemaphorePermit,
) -> Response<Body> {
    let opened = tokio::task::spawn_blocking(move || open(&path, &partitions)).await;
    let (file, left) = match opened {
        Ok(Ok(Some(opened))) => opened,
        Ok(Ok(None)) => return refuse(StatusCode::NOT_FOUND),
        Ok(Err(error)) => {
            tracing::warn!("jobs: cannot serve a map output: {error}");
            if error.is_lack() {
                // Nothing is wrong with the output. Who asks tries again, and not too soon.
                tokio::time::sleep(LACK_PAUSE).await;
                return refuse(StatusCode::SERVICE_UNAVAILABLE);
            }
            return refuse(StatusCode::GONE);
        }
        Err(_) => return refuse(StatusCode::INTERNAL_SERVER_ERROR),
    };
    let pieces = Pieces { file, left, _permit: permit };
    let stream = futures_util::stream::try_unfold(pieces, |mut pieces| async move {
        let read = tokio::task::spawn_blocking(move || pieces.next().map(|p| (p, pieces)));
        let (piece, pieces) = read.await.map_err(io::Error::other)??;
        Ok::<_, io::Error>(piece.map(|bytes| (Frame::data(bytes), pieces)))
    });
    let mut response = Response::new(Body::new(StreamBody::new(stream)));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(left));
    response
}

/// A file, positioned at a section, and the bytes to send of it.
struct Pieces {
    file: File,
    left: u64,
    _permit: OwnedSemaphorePermit,
}

impl Pieces {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.left == 0 {
            return Ok(None);
        }
        let take = self.left.min(PIECE_BYTES as u64) as usize;
        let mut piece = vec![0; take];
        self.file.read_exact(&mut piece)?;
        self.left -= take as u64;
        Ok(Some(piece.into()))
    }
}

/// The file at the sections of these partitions, and their bytes, which lie together; `None` if there is no
/// such file, or partition.
fn open(path: &Path, partitions: &RangeInclusive<u32>) -> Result<Option<(File, u64)>, JobError> {
    if !path.is_file() {
        return Ok(None);
    }
    let index = read_index(path)?;
    let (first, last) = (*partitions.start() as usize, *partitions.end() as usize);
    let Some(sections) = index.sections.get(first..=last) else { return Ok(None) };
    let Some(begin) = sections.first().map(|section| section.offset) else { return Ok(None) };
    let io = |error| JobError::io("open", path, error);
    let mut file = File::open(path).map_err(io)?;
    file.seek(SeekFrom::Start(begin)).map_err(io)?;
    Ok(Some((file, sections.iter().map(|section| section.bytes).sum())))
}

fn parse(path: &str, query: &str) -> Option<Wanted> {
    let mut parts = path.strip_prefix(PREFIX)?.split('/');
    let job = parts.next()?.parse().ok()?;
    let what = parts.next()?;
    let task: TaskId = parts.next()?.parse().ok()?;
    let attempt = number(parts.next()?)?;
    if parts.next().is_some() {
        return None;
    }
    match what {
        "map" if task.kind == TaskKind::Map => {
            let (first, last) = query.strip_prefix("partitions=")?.split_once('-')?;
            let partitions = number(first)?..=number(last)?;
            let is_some = !partitions.is_empty() && *partitions.end() < u32::MAX;
            is_some.then_some(Wanted::Output { job, map: task, attempt, partitions })
        }
        "log" if query.is_empty() => Some(Wanted::Log { job, task, attempt }),
        _ => None,
    }
}

fn number(text: &str) -> Option<u32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn refuse(status: StatusCode) -> Response<Body> {
    let reason = status.canonical_reason().unwrap_or("refused");
    let mut response = Response::new(Body::new(Full::new(Bytes::from(format!("{reason}\n")))));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_formed_names_are_looked_up() {
        let job: JobId = "ab-1".parse().unwrap();
        let path = path_of(&job, TaskId::map(3), 2, 9..12);
        let (path, query) = path.split_once('?').unwrap();
        let (map, reduce) = (TaskId::map(3), TaskId::reduce(3));
        let output = Wanted::Output { job: job.clone(), map, attempt: 2, partitions: 9..=11 };
        assert_eq!(parse(path, query), Some(output));
        let log = Wanted::Log { job, task: reduce, attempt: 2 };
        assert_eq!(parse("/jobs/v1/ab-1/log/r000003/2", ""), Some(log));
        for (path, query) in [
            ("/jobs/v1/../map/m000003/2", "partitions=9-9"),
            ("/jobs/v1/%2e%2e/map/m000003/2", "partitions=9-9"),
            ("/jobs/v1/ab-1/map/r000003/2", "partitions=9-9"),
            ("/jobs/v1/ab-1/map/../2", "partitions=9-9"),
            ("/jobs/v1/ab-1/map/m000003/+2", "partitions=9-9"),
            ("/jobs/v1/ab-1/map/m000003/2/3", "partitions=9-9"),
            ("/jobs/v1/ab-1/map/m000003/2", "partitions=-9-9"),
            ("/jobs/v1/ab-1/map/m000003/2", "partitions=9"),
            ("/jobs/v1/ab-1/map/m000003/2", "partitions=9-8"),
            ("/jobs/v1/ab-1/map/m000003/2", "partitions=9-4294967295"),
            ("/jobs/v1/ab-1/map/m000003/2", "partitions=9-99999999999"),
            ("/jobs/v1/ab-1/map/m000003/2", ""),
            ("/jobs/v1/", "partitions=9-9"),
            ("/jobs/v1/ab-1/log/r000003/2", "partitions=9-9"),
            ("/jobs/v1/ab-1/log/../2", ""),
            ("/jobs/v1/ab-1/log/r000003/2/..", ""),
            ("/jobs/v1/ab-1/other/r000003/2", ""),
        ] {
            assert_eq!(parse(path, query), None, "{path}?{query}");
        }
    }
}
