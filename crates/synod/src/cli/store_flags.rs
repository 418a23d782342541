//! The flags that say where the stores are that a job in this process reads from.

use std::path::PathBuf;

use clap::Args;
use synod::jobs::Stores;
use synod::server::local_stores;

/// What names the replicated store if no flag does.
pub const ENDPOINTS_VARIABLE: &str = "SYNOD_ENDPOINTS";

/// Where the stores are.
#[derive(Args, Debug)]
pub struct StoreFlags {
    /// The store that kv:// names mean if the job runs here; on a cluster it is the cluster's own
    #[arg(long, env = ENDPOINTS_VARIABLE, value_delimiter = ',', value_name = "HOST:PORT,..")]
    store: Vec<String>,
    /// Folder for part files until they are published, if the output is kv:// or s3://; on a cluster one
    /// that all its nodes see
    #[arg(long, value_name = "DIR")]
    pub staging: Option<PathBuf>,
}

impl StoreFlags {
    /// What one job may read.
    pub fn stores(&self) -> Stores {
        local_stores(&self.store)
    }
}
