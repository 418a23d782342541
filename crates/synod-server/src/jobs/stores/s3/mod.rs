//! `s3://..`: objects in stores that speak S3's protocol, as inputs and outputs of jobs.
//!
//! What names mean is in `name.rs`, how objects are found in `listing.rs`, how one is read in `reading.rs`,
//! how output is written in `writing.rs`. Where the store is, and who asks, is said by the usual
//! variables of the environment (`AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID`, ..) of the
//! process that reads or writes: on a cluster that is each node.

mod http;
mod listing;
mod name;
mod reading;
mod writing;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::ClientConfigKey;
use object_store::{BackoffConfig, Error, RetryConfig};
use synod_jobs::input::{InputFile, InputStore};
use synod_jobs::{InputFormat, JobError, Progress};
use tokio::runtime::Handle;

use name::ObjectName;
pub(in crate::jobs) use name::SCHEME;

/// The buckets that one job reads and writes.
pub(in crate::jobs) struct Buckets {
    runtime: Runtime,
    /// Those that were needed.
    open: Mutex<BTreeMap<String, Arc<AmazonS3>>>,
}

/// Gives the runtime that clients run on.
type Runtime = Box<dyn Fn() -> io::Result<Handle> + Send + Sync>;

impl Buckets {
    pub(in crate::jobs) fn new(
        runtime: impl Fn() -> io::Result<Handle> + Send + Sync + 'static,
    ) -> Self {
        Buckets { runtime: Box::new(runtime), open: Mutex::default() }
    }

    /// The client of the bucket that a name is in.
    fn bucket(
        &self,
        name: &Path,
        object: &ObjectName,
    ) -> Result<(Arc<AmazonS3>, Handle), JobError> {
        let runtime = (self.runtime)().map_err(|error| JobError::io("read", name, error))?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = open.get(&object.bucket) {
            return Ok((found.clone(), runtime));
        }
        let backoff = BackoffConfig { max_backoff: LONGEST_PAUSE, ..BackoffConfig::default() };
        let retry = RetryConfig { backoff, max_retries: TRIES, retry_timeout: PATIENCE };
        let found = AmazonS3Builder::from_env();
        let allowed = AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp);
        let endpoint = found.get_config_value(&AmazonS3ConfigKey::Endpoint);
        if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"))
            && found.get_config_value(&allowed).as_deref() != Some("true")
        {
            let what = "AWS_ENDPOINT_URL begins with http://: if keys and data may go there without TLS, \
                        set AWS_ALLOW_HTTP=true";
            return Err(failed(name, what.to_owned()));
        }
        let client = found
            .with_bucket_name(&object.bucket)
            .with_http_connector(http::Http)
            .with_retry(retry)
            .build();
        let client = Arc::new(client.map_err(|error| told(name, &error))?);
        open.insert(object.bucket.clone(), client.clone());
        Ok((client, runtime))
    }
}

impl InputStore for Buckets {
    fn list(
        &self,
        name: &Path,
        format: &InputFormat,
        progress: &Progress,
    ) -> Result<Vec<InputFile>, JobError> {
        let object = ObjectName::parse(name)?;
        let (store, runtime) = self.bucket(name, &object)?;
        runtime.block_on(listing::list(&store, name, &object, format, progress))
    }

    fn open(&self, input: &InputFile, range: Range<u64>) -> Result<Box<dyn Read + Send>, JobError> {
        let object = ObjectName::parse(&input.path)?;
        let bucket = self.bucket(&input.path, &object).map_err(not_here)?;
        Ok(Box::new(reading::ObjectReader::new(bucket, input, object.location(), range)))
    }

    fn check_unchanged(&self, _: &InputFile) -> Result<(), JobError> {
        // Each piece was asked for as what it was when the job was planned.
        Ok(())
    }
}

fn failed(name: &Path, what: String) -> JobError {
    JobError::Store { name: name.to_owned(), what, permanent: true }
}

/// What a person should read.
fn told(name: &Path, error: &Error) -> JobError {
    let text = error.to_string();
    let denied = "access is denied: look at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and at what \
                  that key may do";
    let (what, permanent) = match error {
        _ if text.contains("NoSuchBucket") => ("there is no such bucket".to_owned(), true),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => (denied.to_owned(), true),
        Error::Precondition { .. } => {
            let what = "its ETag is another one".to_owned();
            return JobError::InputChanged { path: name.to_owned(), what };
        }
        Error::InvalidPath { .. } => (format!("{text}: such keys cannot be read"), true),
        // Without a key the client asks the machine it runs on, as those that are rented have one.
        _ if std::env::var_os("AWS_ACCESS_KEY_ID").is_none() => {
            let hint = "neither AWS_ACCESS_KEY_ID is set nor can this machine get a key";
            (format!("the store cannot be used ({hint}): {text}"), false)
        }
        _ => (format!("the store cannot be used: {text}"), false),
    };
    JobError::Store { name: name.to_owned(), what, permanent }
}

/// What a task that reads fails with where the store cannot be used: it could when the job was planned, so
/// another worker, whose environment is its own, may well be able to.
fn not_here(error: JobError) -> JobError {
    match error {
        JobError::Store { name, what, .. } => JobError::Store { name, what, permanent: false },
        error => error,
    }
}

/// A request is tried again for so long,
const PATIENCE: Duration = Duration::from_secs(30);
/// not more often than anybody could within that time,
const TRIES: usize = 1_000;
/// with pauses up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
