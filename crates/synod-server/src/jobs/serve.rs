//! Serves the map outputs of this worker, and what its attempts have said:
//! `GET /jobs/v1/<job>/map/<task>/<attempt>?partitions=<first>-<last>`, with `&ahead` if no reduce waits for
//! it yet, and `GET /jobs/v1/<job>/log/<task>/<attempt>`.
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

use super::fetch::READ_TIMEOUT;
use super::folders::folder_of;
use super::task_log::read_log;

/// Under which map outputs are served.
const PREFIX: &str = "/jobs/v1/";
/// Ends the query of who fetches ahead.
const AHEAD: &str = "&ahead";
/// Outputs that are read at once; more wait, then are told to come back.
const MAX_READERS: usize = 64;
/// For which no reduce waits yet: they keep no reduce from its one.
const MAX_AHEAD_READERS: usize = 32;
/// How long they wait: less than the other side does.
const READER_PATIENCE: Duration = Duration::from_secs(10);
/// How long one waits who asks while this process lacks file descriptors, say. Nothing is wrong with the
/// output, but who has asked three times in vain takes it for lost.
const LACK_PAUSE: Duration = READER_PATIENCE;
const _: () = assert!(READER_PATIENCE.as_secs() + LACK_PAUSE.as_secs() <= READ_TIMEOUT.as_secs());
/// Bytes read and sent at once.
const PIECE_BYTES: usize = 256 << 10;

/// The path of a partition of a map output, for the reduce that wants it now.
pub(super) fn path_of(job: &JobId, map: TaskId, attempt: u32, partition: u32) -> String {
    format!("{PREFIX}{job}/map/{map}/{attempt}?partitions={partition}-{partition}")
}

/// The path of neighbouring partitions of a map output, of one at least, for reduces to come.
pub(super) fn path_ahead_of(
    job: &JobId,
    map: TaskId,
    attempt: u32,
    partitions: Range<u32>,
) -> String {
    let (first, last) = (partitions.start, partitions.end.saturating_sub(1));
    format!("{PREFIX}{job}/map/{map}/{attempt}?partitions={first}-{last}{AHEAD}")
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
    Output { job: JobId, map: TaskId, attempt: u32, partitions: RangeInclusive<u32>, ahead: bool },
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
        let readers = self.readers_of(&wanted).clone();
        let permit = tokio::time::timeout(READER_PATIENCE, readers.acquire_owned());
        let Ok(Ok(permit)) = permit.await else {
            return refuse(StatusCode::SERVICE_UNAVAILABLE);
        };
        match wanted {
            Wanted::Output { job, map, attempt, partitions, .. } => {
                let path = folder_of(&self.folder, &job).join(map_file_name(map, attempt));
                answer_output(path, partitions, permit).await
            }
            Wanted::Log { job, task, attempt } => {
                answer_log(folder_of(&self.folder, &job), task, attempt).await
            }
        }
    }

    /// Among whom it is read.
    fn readers_of(&self, wanted: &Wanted) -> &Arc<Semaphore> {
        match wanted {
            Wanted::Output { ahead: true, .. } => &self.ahead_readers,
            Wanted::Output { .. } | Wanted::Log { .. } => &self.readers,
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
                // Who asks tries again, and not too soon. Meanwhile others may read.
                drop(permit);
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
            let partitions = query.strip_prefix("partitions=")?;
            let (partitions, ahead) = match partitions.strip_suffix(AHEAD) {
                Some(partitions) => (partitions, true),
                None => (partitions, false),
            };
            let (first, last) = partitions.split_once('-')?;
            let partitions = number(first)?..=number(last)?;
            let is_some = !partitions.is_empty() && *partitions.end() < u32::MAX;
            is_some.then_some(Wanted::Output { job, map: task, attempt, partitions, ahead })
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
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    #[test]
    fn only_well_formed_names_are_looked_up() {
        let job: JobId = "ab-1".parse().unwrap();
        let (map, reduce) = (TaskId::map(3), TaskId::reduce(3));
        let asked = |path: String| {
            let (path, query) = path.split_once('?').unwrap();
            parse(path, query)
        };
        let output = |partitions, ahead| {
            Some(Wanted::Output { job: job.clone(), map, attempt: 2, partitions, ahead })
        };
        assert_eq!(asked(path_of(&job, map, 2, 9)), output(9..=9, false));
        assert_eq!(asked(path_ahead_of(&job, map, 2, 9..12)), output(9..=11, true));
        let log = Wanted::Log { job: job.clone(), task: reduce, attempt: 2 };
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
            ("/jobs/v1/ab-1/map/m000003/2", "&ahead"),
            ("/jobs/v1/ab-1/map/m000003/2", "partitions=9-9&"),
            ("/jobs/v1/ab-1/map/m000003/2", "partitions=9-9&ahead&ahead"),
            ("/jobs/v1/ab-1/log/r000003/2", "&ahead"),
            ("/jobs/v1/", "partitions=9-9"),
            ("/jobs/v1/ab-1/log/r000003/2", "partitions=9-9"),
            ("/jobs/v1/ab-1/log/../2", ""),
            ("/jobs/v1/ab-1/log/r000003/2/..", ""),
            ("/jobs/v1/ab-1/other/r000003/2", ""),
        ] {
            assert_eq!(parse(path, query), None, "{path}?{query}");
        }
    }

    #[tokio::test]
    async fn who_fetches_ahead_keeps_no_reduce_waiting_not_even_with_a_share_of_one_partition() {
        let folder = tempfile::tempdir().unwrap();
        let files = JobFiles::new(folder.path().to_owned());
        let (job, map): (JobId, _) = ("ab-1".parse().unwrap(), TaskId::map(3));
        let answered = async |path: String| {
            let (parts, ()) = hyper::Request::get(path).body(()).unwrap().into_parts();
            files.answer(&parts).await.status()
        };
        let free = || (files.readers.available_permits(), files.ahead_readers.available_permits());
        let (reduces, ahead) = (MAX_READERS as u32, MAX_AHEAD_READERS as u32);
        // With none of the others' permits left each finds out that there is no such file.
        let taken = files.readers.try_acquire_many(reduces).unwrap();
        assert_eq!(answered(path_ahead_of(&job, map, 2, 9..10)).await, StatusCode::NOT_FOUND);
        drop(taken);
        let taken = files.ahead_readers.try_acquire_many(ahead).unwrap();
        assert_eq!(answered(path_of(&job, map, 2, 9)).await, StatusCode::NOT_FOUND);
        drop(taken);
        assert_eq!(free(), (MAX_READERS, MAX_AHEAD_READERS), "and gives its own back");
    }

    #[test]
    fn who_asks_a_process_without_file_descriptors_comes_back_and_meanwhile_others_may_read() {
        const INSIDE: &str = "SYNOD_TEST_WITHOUT_DESCRIPTORS";
        if std::env::var_os(INSIDE).is_some() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            runtime.unwrap().block_on(asks_without_descriptors());
            return;
        }
        // The limit is a process's: here it is another one of this program.
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let name = "jobs::serve::tests::who_asks_a_process_without_file_descriptors_comes_back_and_meanwhile_\
                    others_may_read";
        command.args(["--exact", name, "--nocapture"]).env(INSIDE, "1");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
    }

    async fn asks_without_descriptors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m000003-2.run");
        std::fs::write(&path, "it is no run").unwrap();
        let readers = Arc::new(Semaphore::new(1));
        let ask = || {
            let permit = readers.clone().try_acquire_owned().unwrap();
            tokio::spawn(answer_output(path.clone(), 0..=0, permit))
        };
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..limit }).unwrap();
        let asked = ask();
        while readers.available_permits() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(!asked.is_finished(), "it is kept waiting, others are not");
        setrlimit(Resource::Nofile, limit).unwrap();
        assert_eq!(ask().await.unwrap().status(), StatusCode::GONE);
        assert_eq!(asked.await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
