//! The Rust SDK: the `Kv` trait (served by the node in this process, by a remote Synod, or by an etcd
//! cluster), and locks, elections, ids and counters over it.

mod cas;
pub mod conformance;
pub mod counter;
pub mod election;
pub mod embedded;
pub mod error;
pub mod id;
pub mod kv;
pub mod lock;
mod queue;
pub mod remote;
pub mod session;
pub mod watcher;
pub mod wire;

pub use embedded::{Embedded, Inbound, NodeHandle, WatchStream};
pub use error::{Advice, ClientError};
pub use kv::{Answer, Consistency, Deleted, Kv, LeaseGranted, WatchBatch};
pub use queue::OwnershipError;
pub use remote::{EndpointStatus, Remote, RemoteOptions};
pub use session::Session;
pub use synod_node::{
    Happened, Header, LeaseTimeToLive, Member, RequestError, WatchEvent, WatchSpec,
};
pub use watcher::Watcher;
