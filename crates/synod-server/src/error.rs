//! Why a server does not start, or stopped. Each message says what the operator can do.

use std::io;
use std::path::PathBuf;

use synod_base::NodeId;
use synod_node::StopReason;
use thiserror::Error;

/// Options that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OptionsError {
    /// An empty name.
    #[error("a member needs a name")]
    NoName,
    /// Nowhere to listen.
    #[error("a server needs at least one address for clients and one for peers")]
    NoListenAddress,
    /// The initial cluster does not name this member.
    #[error("the initial cluster ({}) has no member '{name}'; add it, or correct the name",
        names.join(", "))]
    NotInInitialCluster {
        /// This member.
        name: String,
        /// Those that are named.
        names: Vec<String>,
    },
    /// Two members cannot share an address.
    #[error("the initial cluster names peer address {url} twice")]
    PeerUrlTwice {
        /// Which.
        url: String,
    },
    /// Less memory for jobs than their tasks need.
    #[error(
        "{given_bytes} bytes of memory are too little for {slots} tasks of jobs at a time: give them \
        {least_bytes} (--job-memory), or run fewer (--job-slots, --slots of a worker)"
    )]
    TooLittleJobMemory {
        /// As given.
        given_bytes: u64,
        /// Tasks at a time.
        slots: u32,
        /// What they need.
        least_bytes: u64,
    },
    /// Not an address.
    #[error("cannot use address '{address}': {why}")]
    BadAddress {
        /// As given.
        address: String,
        /// What is wrong.
        why: String,
    },
    /// Open to other machines.
    #[error(
        "{address} can be reached from other machines, but nothing is encrypted or authenticated; \
         listen on 127.0.0.1, or accept the risk with --insecure"
    )]
    InsecureAddress {
        /// As given.
        address: String,
    },
}

/// Why a data folder cannot be used.
#[derive(Debug, Error)]
pub enum FolderError {
    /// The operating system refused.
    #[error("cannot use data folder {path}: {source}; {}", advice_on_folder(source))]
    Unusable {
        /// The folder, or the file in it.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// Another process has it.
    #[error("data folder {path} is used by another process{}; stop it, or choose another folder",
        pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Locked {
        /// Which folder.
        path: PathBuf,
        /// Who, if it said so.
        pid: Option<u32>,
    },
    /// Its identity file does not say what it should.
    #[error(
        "{path} is damaged: {why}; put a copy of that file back, or give the \
        member up: {ANEW}"
    )]
    DamagedIdentity {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// There is data, but nobody knows whose.
    #[error(
        "data folder {path} holds data but no identity.toml; put a copy of that file back, or \
        give the member up: {ANEW}"
    )]
    LostIdentity {
        /// Which folder.
        path: PathBuf,
    },
    /// Written by a newer Synod.
    #[error(
        "data folder {path} has format version {found}, this program knows up to {known}; use \
        a newer program"
    )]
    NewerFormat {
        /// Which folder.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// It belongs to another member.
    #[error(
        "data folder {path} belongs to member '{stored}', not '{given}'; start it with that \
        name, or choose another folder"
    )]
    OtherName {
        /// Which folder.
        path: PathBuf,
        /// Its member.
        stored: String,
        /// The one asked for.
        given: String,
    },
    /// It belongs to another cluster.
    #[error(
        "data folder {path} belongs to cluster '{stored}', not '{given}'; start it with that \
        cluster token, or choose another folder"
    )]
    OtherCluster {
        /// Which folder.
        path: PathBuf,
        /// Its cluster's token.
        stored: String,
        /// The one asked for.
        given: String,
    },
}

/// Why a member could not join.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JoinError {
    /// Nobody to ask.
    #[error("a member that joins needs at least one other member in the initial cluster")]
    NobodyToAsk,
    /// Nobody knew it in time.
    #[error(
        "no running member knows {urls} as a peer address yet ({last}); run `member add` first"
    )]
    NotFound {
        /// The addresses it looked for.
        urls: String,
        /// What the last one asked said.
        last: String,
    },
    /// It took part before, and its folder no longer says how.
    #[error(
        "{peer} knows this member ({member}) as one that has run before, but its data folder is new: \
        what it acknowledged and voted is lost, so it must not take part under its old id. {ANEW}"
    )]
    RanBefore {
        /// Who said so.
        peer: String,
        /// The member.
        member: NodeId,
    },
    /// The cluster went on without it.
    #[error(
        "{peer} runs the cluster that this member ({member}) is to found, and no longer lists it: it \
        was removed. {ANEW}"
    )]
    Removed {
        /// Who said so.
        peer: String,
        /// The member.
        member: NodeId,
    },
}

/// How a member that lost what it had becomes one again.
const ANEW: &str = "Remove it with `member remove` if it is still listed, add it anew with `member add`, \
    and start it with an empty data folder and --initial-cluster-state existing";

/// Why a server does not start, or stopped.
#[derive(Debug, Error)]
pub enum ServerError {
    /// Options that cannot work.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The port is taken.
    #[error("address {address} is already in use; stop what uses it, or choose another port")]
    AddressInUse {
        /// Which.
        address: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; {}", advice_on_address(source))]
    Listen {
        /// Which.
        address: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// It could not join.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The store cannot be opened.
    #[error("cannot open the store: {0}")]
    Engine(#[from] synod_storage::engine::EngineError),
    /// What the folder holds does not fit together.
    #[error("cannot start from what the data folder holds: {0}")]
    Boot(#[from] synod_node::BootError),
    /// The log failed while it ran. What was not synced was not acknowledged.
    #[error("the write-ahead log failed, stopping: {0}")]
    Log(#[from] synod_storage::wal::WalError),
    /// The node stopped itself.
    #[error("the node stopped: {0}")]
    Stopped(#[from] StopReason),
    /// No threads, timers or signals to be had.
    #[error("the operating system refused: {0}")]
    Runtime(#[source] io::Error),
    /// A bug. What was not acknowledged may be lost, nothing else.
    #[error("the server's thread panicked; its log says where")]
    Panicked,
}

fn advice_on_folder(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "give this user the right to read and write it, or choose another folder"
        }
        io::ErrorKind::StorageFull => "make room on its disk, or choose another folder",
        io::ErrorKind::ReadOnlyFilesystem => "its disk is read-only, choose another folder",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "a file is in its place, choose another folder"
        }
        _ => "see to that, or choose another folder",
    }
}

fn advice_on_address(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "ports below 1024 are for root, choose a higher one",
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address, choose one of its own or 127.0.0.1"
        }
        _ => "choose another address",
    }
}
