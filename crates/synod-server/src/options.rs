//! `ServerOptions`: everything a server is told before it starts, as plain data. Parsing flags and
//! files into it is the binary's business; checking that it makes sense is done here, before a port
//! opens or a file is touched.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use synod_node::member::host_and_port;

use crate::error::OptionsError;
use crate::jobs::JobsOptions;

/// Whether the first start founds a cluster or joins one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum InitialState {
    /// All members of `initial_cluster` start together for the first time.
    #[default]
    New,
    /// This member was added to a running cluster (`member add`) and asks it for its id.
    Existing,
}

/// What a server is told. Only the first start of a data folder looks at `initial_cluster` and
/// `initial_state`; later ones know their cluster from the folder.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where everything is kept. Created if missing.
    pub data: PathBuf,
    /// This member's name; unique in the cluster.
    pub name: String,
    /// Where clients connect: `host:port` or `http://host:port`; port 0 picks a free one.
    pub listen_client: Vec<String>,
    /// Where peers connect.
    pub listen_peer: Vec<String>,
    /// URLs that clients are told; empty: where it listens.
    pub advertise_client: Vec<String>,
    /// URLs that peers are told; empty: this name's entry in `initial_cluster`, else where it listens.
    pub advertise_peer: Vec<String>,
    /// Name and peer URL of every first member, this one included; empty: this one alone. A member
    /// with several peer URLs has several entries.
    pub initial_cluster: Vec<(String, String)>,
    /// Found or join.
    pub initial_state: InitialState,
    /// Tells clusters apart whose members have the same names and addresses.
    pub cluster_token: String,
    /// Listen beyond loopback although nothing is encrypted and nobody is asked who they are.
    pub insecure: bool,
    /// Refuse writes when the data folder's file system has less than this free, in bytes.
    pub disk_reserve_bytes: u64,
    /// Client connections open at once; one more is closed at once.
    pub max_client_connections: usize,
    /// A client that connects asks something within this time, or is disconnected.
    pub first_request_timeout: Duration,
    /// How long a member that joins looks for itself in the running cluster.
    pub join_timeout: Duration,
    /// Whether and how it takes part in MapReduce jobs.
    pub jobs: JobsOptions,
    /// Heartbeats, elections, request timeouts.
    pub timing: synod_node::Timing,
}

impl ServerOptions {
    /// A server of this name, alone, on free loopback ports.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>, name: impl Into<String>) -> Self {
        ServerOptions {
            data: data.into(),
            name: name.into(),
            listen_client: vec!["127.0.0.1:0".into()],
            listen_peer: vec!["127.0.0.1:0".into()],
            advertise_client: Vec::new(),
            advertise_peer: Vec::new(),
            initial_cluster: Vec::new(),
            initial_state: InitialState::New,
            cluster_token: DEFAULT_CLUSTER_TOKEN.into(),
            insecure: false,
            disk_reserve_bytes: 64 * 1024 * 1024,
            max_client_connections: 10_000,
            first_request_timeout: Duration::from_secs(10),
            join_timeout: Duration::from_secs(30),
            jobs: JobsOptions::default(),
            timing: synod_node::Timing::default(),
        }
    }

    /// Refuses what cannot work whatever the machine looks like.
    pub(crate) fn check(&self) -> Result<(), OptionsError> {
        if self.name.is_empty() {
            return Err(OptionsError::NoName);
        }
        if self.listen_client.is_empty() || self.listen_peer.is_empty() {
            return Err(OptionsError::NoListenAddress);
        }
        if !self.initial_cluster.is_empty()
            && !self.initial_cluster.iter().any(|(name, _)| *name == self.name)
        {
            let names = self.initial_cluster.iter().map(|(name, _)| name.clone()).collect();
            return Err(OptionsError::NotInInitialCluster { name: self.name.clone(), names });
        }
        let mut urls: Vec<&str> =
            self.initial_cluster.iter().map(|(_, url)| host_and_port(url)).collect();
        urls.sort_unstable();
        if let Some(twice) = urls.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(OptionsError::PeerUrlTwice { url: twice[0].to_owned() });
        }
        for url in self.initial_cluster.iter().map(|(_, url)| url).chain(&self.advertise_peer) {
            check_url(url)?;
        }
        self.jobs.check()
    }

    /// The peer URLs that this member is known by; empty if only its listeners can tell.
    pub(crate) fn told_peer_urls(&self) -> Vec<String> {
        if !self.advertise_peer.is_empty() {
            return self.advertise_peer.clone();
        }
        let own = self.initial_cluster.iter().filter(|(name, _)| *name == self.name);
        own.map(|(_, url)| url.clone()).collect()
    }
}

/// The addresses behind `host:port` or `http://host:port`; refuses what is open to other machines
/// unless `insecure`.
pub(crate) fn listen_addresses(url: &str, insecure: bool) -> Result<Vec<SocketAddr>, OptionsError> {
    check_url(url)?;
    let resolved = host_and_port(url)
        .to_socket_addrs()
        .map_err(|e| OptionsError::BadAddress { address: url.to_owned(), why: e.to_string() })?;
    let addresses: Vec<SocketAddr> = resolved.collect();
    match addresses.iter().find(|address| !address.ip().is_loopback()) {
        Some(_) if !insecure => Err(OptionsError::InsecureAddress { address: url.to_owned() }),
        _ => Ok(addresses),
    }
}

fn check_url(url: &str) -> Result<(), OptionsError> {
    let bad = |why: &str| OptionsError::BadAddress { address: url.to_owned(), why: why.to_owned() };
    match url.split_once("://") {
        None | Some(("http", _)) => {}
        Some(("https", _)) => return Err(bad("TLS is not supported yet; use http://")),
        Some(_) => return Err(bad("only http:// or plain host:port is understood")),
    }
    match host_and_port(url).rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(()),
        _ => Err(bad("expected host:port")),
    }
}

/// The token of clusters that were not given one.
pub const DEFAULT_CLUSTER_TOKEN: &str = "synod-cluster";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_open_to_other_machines_needs_to_be_asked_for() {
        let refused = listen_addresses("0.0.0.0:0", false);
        assert!(matches!(refused, Err(OptionsError::InsecureAddress { .. })), "{refused:?}");
        assert!(listen_addresses("0.0.0.0:0", true).is_ok());
        assert!(listen_addresses("http://127.0.0.1:0", false).is_ok());
        assert!(listen_addresses("[::1]:0", false).is_ok());
    }

    #[test]
    fn addresses_that_mean_nothing_are_refused_with_a_reason() {
        for url in ["https://127.0.0.1:1", "ftp://127.0.0.1:1", "127.0.0.1", ":1", "a:99999", ""] {
            let refused = listen_addresses(url, true);
            assert!(matches!(refused, Err(OptionsError::BadAddress { .. })), "{url}: {refused:?}");
        }
    }

    #[test]
    fn memory_that_is_too_little_for_the_tasks_of_jobs_is_refused() {
        let mut options = ServerOptions::new("unused", "n1");
        options.jobs.slots = Some(4);
        options.jobs.memory_bytes = Some((4 << 20) - 1);
        let refused = options.check().unwrap_err().to_string();
        assert!(refused.contains("4194304") && refused.contains("--job-memory"), "{refused}");
        options.jobs.memory_bytes = Some(4 << 20);
        assert!(options.check().is_ok());
        options.jobs.memory_bytes = Some(1);
        options.jobs.enabled = false;
        assert!(options.check().is_ok());
    }

    #[test]
    fn a_name_that_is_not_in_the_initial_cluster_is_refused() {
        let mut options = ServerOptions::new("unused", "n4");
        options.initial_cluster = vec![("n1".into(), "127.0.0.1:1".into())];
        assert!(matches!(options.check(), Err(OptionsError::NotInInitialCluster { .. })));
        options.initial_cluster.push(("n4".into(), "http://127.0.0.1:1".into()));
        assert!(matches!(options.check(), Err(OptionsError::PeerUrlTwice { .. })));
        options.initial_cluster[1].1 = "http://127.0.0.1:2".into();
        assert!(options.check().is_ok());
        assert_eq!(options.told_peer_urls(), ["http://127.0.0.1:2"]);
    }
}
