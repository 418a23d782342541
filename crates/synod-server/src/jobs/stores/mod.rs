//! The stores beside files that jobs read from and write to.
//!
//! `kv.rs` and below it: `kv://PREFIX`, a range of keys of a replicated store. On a cluster that is the
//! cluster's own; a job that runs in this process is told where it is. `s3.rs`: `s3://BUCKET/KEY`, objects
//! in a store that speaks S3's protocol.

mod background;
mod kv;
#[cfg(feature = "s3")]
mod s3;

use std::path::Path;
use std::sync::Arc;

use synod_client::{Kv, Remote, RemoteOptions};
use synod_jobs::{JobError, Stores};
use tokio::runtime::Handle;

/// What one job of a cluster may read and write: files, objects, and the keys of `store`, all at the
/// revision that is the present one when the job is planned.
///
/// Calls into it block: they are for threads that are not the runtime's. They use `runtime`, which must
/// run meanwhile.
pub fn stores_of_job<K: Kv>(store: K, runtime: Handle) -> Stores {
    let open = move |_: &Path| Ok((store.clone(), runtime.clone()));
    with_all(kv::KeyRanges::new(open))
}

/// What one job in this process may read: files, and the keys of the store at these endpoints, `host:port`.
/// It is asked only if the job names keys. Calls into it block.
pub fn local_stores(endpoints: &[String]) -> Stores {
    let endpoints = endpoints.to_vec();
    let open = move |name: &Path| {
        let bad = |what: String| JobError::BadSpec { what: format!("{}: {what}", name.display()) };
        if endpoints.is_empty() {
            let what = "nobody has said which store: name it by --store HOST:PORT, or run the job \
                        on its cluster by --endpoints HOST:PORT";
            return Err(bad(what.to_owned()));
        }
        let runtime = background::runtime().map_err(|error| JobError::io("read", name, error))?;
        // The client's connections belong to the runtime.
        let _inside = runtime.enter();
        let remote = Remote::new(&endpoints, RemoteOptions::default());
        Ok((remote.map_err(|error| bad(error.to_string()))?, runtime.clone()))
    };
    with_all(kv::KeyRanges::new(open))
}

fn with_all<K: Kv>(keys: kv::KeyRanges<K>) -> Stores {
    let keys = Arc::new(keys);
    let stores = Stores::local().with(kv::SCHEME, keys.clone()).with_output(kv::SCHEME, keys);
    #[cfg(feature = "s3")]
    let stores = {
        let buckets = Arc::new(s3::Buckets::new(background::runtime));
        stores.with(s3::SCHEME, buckets.clone()).with_output(s3::SCHEME, buckets)
    };
    stores
}
