//! `synod etcd`: etcd's own flags, so that Synod can stand in for the `etcd` binary. A flag that is not
//! known here is refused by name: better than to run otherwise than the operator believes.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use synod::server::ServerOptions;

use super::failure::Failure;
use super::server::{ClusterState, initial_state, serve};
use super::{Outcome, parse};

/// Run one node with etcd's own flags; also when this binary is called `etcd`
#[derive(Args, Debug)]
#[command(
    after_help = "Each flag may also come from the environment, as with etcd: ETCD_NAME, ETCD_DATA_DIR, ..

Example:
  synod etcd --name infra0 --data-dir infra0.etcd --listen-client-urls http://127.0.0.1:2379 \\
    --advertise-client-urls http://127.0.0.1:2379"
)]
pub struct Etcd {
    /// This member's name
    #[arg(long, env = "ETCD_NAME", default_value = "default")]
    name: String,
    /// Data folder [default: NAME.etcd]
    #[arg(long, env = "ETCD_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where clients connect
    #[arg(
        long,
        env = "ETCD_LISTEN_CLIENT_URLS",
        value_name = "URL,..",
        value_delimiter = ',',
        default_value = "http://localhost:2379"
    )]
    listen_client_urls: Vec<String>,
    /// What clients are told to connect to
    #[arg(
        long,
        env = "ETCD_ADVERTISE_CLIENT_URLS",
        value_name = "URL,..",
        value_delimiter = ',',
        default_value = "http://localhost:2379"
    )]
    advertise_client_urls: Vec<String>,
    /// Where the other members connect
    #[arg(
        long,
        env = "ETCD_LISTEN_PEER_URLS",
        value_name = "URL,..",
        value_delimiter = ',',
        default_value = "http://localhost:2380"
    )]
    listen_peer_urls: Vec<String>,
    /// What the other members are told to connect to
    #[arg(
        long,
        env = "ETCD_INITIAL_ADVERTISE_PEER_URLS",
        value_name = "URL,..",
        value_delimiter = ',',
        default_value = "http://localhost:2380"
    )]
    initial_advertise_peer_urls: Vec<String>,
    /// All first members [default: NAME=the peer URLs]
    #[arg(long, env = "ETCD_INITIAL_CLUSTER", value_name = "NAME=URL,..")]
    initial_cluster: Option<String>,
    /// Found a cluster, or join one
    #[arg(long, env = "ETCD_INITIAL_CLUSTER_STATE", value_name = "STATE", default_value = "new")]
    initial_cluster_state: ClusterState,
    /// Tells clusters apart that have the same names and addresses
    #[arg(
        long,
        env = "ETCD_INITIAL_CLUSTER_TOKEN",
        value_name = "TOKEN",
        default_value = "etcd-cluster"
    )]
    initial_cluster_token: String,
    /// Not etcd's: listen beyond loopback although nothing is encrypted
    #[arg(long)]
    insecure: bool,
}

impl Etcd {
    pub fn run(self) -> Outcome {
        serve(self.into_options()?)
    }

    fn into_options(self) -> Result<ServerOptions, Failure> {
        let data = self.data_dir.unwrap_or_else(|| format!("{}.etcd", self.name).into());
        let mut options = ServerOptions::new(data, self.name.clone());
        options.initial_cluster = match self.initial_cluster {
            Some(cluster) => parse::initial_cluster(&cluster).map_err(Failure::WrongUse)?,
            None => {
                let urls = self.initial_advertise_peer_urls.iter();
                urls.map(|url| (self.name.clone(), url.clone())).collect()
            }
        };
        options.listen_client = self.listen_client_urls;
        options.listen_peer = self.listen_peer_urls;
        options.advertise_client = self.advertise_client_urls;
        options.advertise_peer = self.initial_advertise_peer_urls;
        options.initial_state = initial_state(Some(self.initial_cluster_state));
        options.cluster_token = self.initial_cluster_token;
        options.insecure = self.insecure;
        Ok(options)
    }
}

/// etcd takes `-name` for `--name`.
pub fn two_dashes(argument: OsString) -> OsString {
    let is_long = |text: &str| {
        let mut letters = text.strip_prefix('-').unwrap_or_default().chars();
        letters.next().is_some_and(|first| first.is_ascii_lowercase()) && letters.next().is_some()
    };
    match argument.to_str() {
        Some(text) if is_long(text) => format!("-{text}").into(),
        _ => argument,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_dash_is_as_good_as_two() {
        for (given, want) in [("-name", "--name"), ("--name", "--name"), ("-h", "-h"), ("x", "x")] {
            assert_eq!(two_dashes(given.into()), want);
        }
    }
}
