//! `synod server`: one node, told by flags and a settings file. A flag outdoes the file.

mod settings;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use synod::jobs::size::parse_memory;
use synod::server::{InitialState, ReadyInfo, ServerOptions};

use super::failure::Failure;
use super::{Outcome, parse};
use settings::{JobMemory, Settings};

pub const DEFAULT_CLIENT: &str = "127.0.0.1:2379";
pub const DEFAULT_PEER: &str = "127.0.0.1:2380";
pub const DEFAULT_DATA: &str = "synod-data";
const DEFAULT_NAME: &str = "n1";

/// Run one node
#[derive(Args, Debug)]
#[command(
    name = "server",
    after_help = "Examples:
  synod server                                   alone, on 127.0.0.1:2379
  synod server --name n1 --listen-client 127.0.0.1:2379 --listen-peer 127.0.0.1:2380 \\
    --initial-cluster n1=127.0.0.1:2380,n2=127.0.0.1:2390,n3=127.0.0.1:2400
  synod server --config n1.toml                  its keys are the flags' names with _ for -"
)]
pub struct ServerCommand {
    /// Settings file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
    /// Stop when standard input ends: the parent process is gone
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
}

/// The settings, as flags; absent ones are left to the file and the defaults.
#[derive(Args, Debug, Default)]
pub struct Flags {
    /// This node's name, unique in the cluster [default: n1]
    #[arg(long)]
    name: Option<String>,
    /// Data folder [default: synod-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where clients connect [default: 127.0.0.1:2379]
    #[arg(long, value_name = "HOST:PORT,..", value_delimiter = ',')]
    listen_client: Option<Vec<String>>,
    /// Where the other nodes connect [default: 127.0.0.1:2380]
    #[arg(long, value_name = "HOST:PORT,..", value_delimiter = ',')]
    listen_peer: Option<Vec<String>>,
    /// What clients are told to connect to [default: where it listens]
    #[arg(long, value_name = "HOST:PORT,..", value_delimiter = ',')]
    advertise_client: Option<Vec<String>>,
    /// What the other nodes are told to connect to [default: as in the initial cluster]
    #[arg(long, value_name = "HOST:PORT,..", value_delimiter = ',')]
    advertise_peer: Option<Vec<String>>,
    /// All first members, this one included; only the first start looks at it [default: this one]
    #[arg(long, value_name = "NAME=HOST:PORT,..")]
    initial_cluster: Option<String>,
    /// `existing` joins a running cluster, after `synod member add` [default: new]
    #[arg(long, value_name = "STATE")]
    initial_cluster_state: Option<ClusterState>,
    /// Tells clusters apart that have the same names and addresses
    #[arg(long, value_name = "TOKEN")]
    initial_cluster_token: Option<String>,
    /// Refuse writes when the disk has less free than this, bytes
    #[arg(long, value_name = "BYTES")]
    disk_reserve_bytes: Option<u64>,
    /// Client connections open at once
    #[arg(long, value_name = "N")]
    max_client_connections: Option<usize>,
    /// How long a joining node looks for its cluster, ms
    #[arg(long, value_name = "MS")]
    join_timeout_ms: Option<u64>,
    /// Whether it takes part in MapReduce jobs, which read and write files with its rights [default:
    /// true]
    #[arg(long, value_name = "BOOL")]
    jobs: Option<bool>,
    /// Tasks of jobs at a time [default: one per core, which workers of one machine share]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    job_slots: Option<u32>,
    /// Memory that the tasks of jobs may take here together, whatever a job asks for [default: a half of the
    /// machine's, or of what this process may have of it]
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    job_memory: Option<u64>,
    /// Whether jobs may run programs with its rights [default: only if it listens on loopback alone]
    #[arg(long, value_name = "BOOL")]
    job_commands: Option<bool>,
    /// How much of the free disk each job may fill with what its reduces will want of maps on other machines,
    /// fetched while maps run; 0 fetches nothing before it is needed [default: 10]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(..=100))]
    job_ahead_percent: Option<u8>,
    /// Listen beyond loopback although nothing is encrypted and nobody is asked who they are
    #[arg(long)]
    insecure: bool,
}

/// Whether the first start founds a cluster or joins one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterState {
    /// All first members start together
    New,
    /// Join a running cluster
    Existing,
}

impl ServerCommand {
    pub fn run(self) -> Outcome {
        let settings = match &self.config {
            Some(path) => Settings::read(path).map_err(Failure::WrongUse)?,
            None => Settings::default(),
        };
        let options = settings.overridden(self.flags).into_options()?;
        if self.stop_with_stdin {
            stop_when_stdin_ends();
        }
        serve(options)
    }
}

/// Runs a node in this thread until it is told to stop. Prints a line with the word `ready`.
pub fn serve(options: ServerOptions) -> Outcome {
    refuse_the_world(&options)?;
    start_log();
    synod::server::run(options, |ready| print_ready(&ready))?;
    Ok(())
}

/// Warnings and worse on stderr; SYNOD_LOG (for example `info` or `synod_server=debug`) says else.
pub fn start_log() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("SYNOD_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // It fails if there is a log already, and then there is one.
    drop(log.try_init());
}

fn print_ready(ready: &ReadyInfo) {
    let addresses: Vec<String> = ready.client_addresses.iter().map(ToString::to_string).collect();
    let mut out = std::io::stdout().lock();
    // Nobody may be reading; the node serves all the same.
    drop(writeln!(out, "synod {} ready: clients at {}", ready.name, addresses.join(",")));
    drop(out.flush());
}

/// Without TLS a node serves only this machine, unless the operator insists.
fn refuse_the_world(options: &ServerOptions) -> Outcome {
    let mut addresses = options.listen_client.iter().chain(&options.listen_peer);
    let Some(open) = addresses.find(|address| parse::is_loopback(address) == Some(false)) else {
        return Ok(());
    };
    if options.insecure {
        eprintln!(
            "synod: WARNING: {open} can be reached from other machines; nothing is encrypted and \
             nobody is asked who they are (--insecure)"
        );
        return Ok(());
    }
    Err(Failure::WrongUse(format!(
        "{open} can be reached from other machines, but this version has no TLS and no credentials \
         yet; listen on 127.0.0.1, or accept the risk with --insecure"
    )))
}

/// Asks this process to stop, as SIGTERM does, when its parent is gone.
pub fn stop_when_stdin_ends() {
    std::thread::spawn(|| {
        // Whatever ends the reading, there is no parent any more.
        drop(std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()));
        if rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM)
            .is_err()
        {
            std::process::exit(1);
        }
    });
}

impl Settings {
    /// With the flags that were given in the place of the file's.
    fn overridden(self, flags: Flags) -> Settings {
        Settings {
            name: flags.name.or(self.name),
            data: flags.data.or(self.data),
            listen_client: flags.listen_client.or(self.listen_client),
            listen_peer: flags.listen_peer.or(self.listen_peer),
            advertise_client: flags.advertise_client.or(self.advertise_client),
            advertise_peer: flags.advertise_peer.or(self.advertise_peer),
            initial_cluster: flags.initial_cluster.or(self.initial_cluster),
            initial_cluster_state: flags.initial_cluster_state.or(self.initial_cluster_state),
            initial_cluster_token: flags.initial_cluster_token.or(self.initial_cluster_token),
            disk_reserve_bytes: flags.disk_reserve_bytes.or(self.disk_reserve_bytes),
            max_client_connections: flags.max_client_connections.or(self.max_client_connections),
            join_timeout_ms: flags.join_timeout_ms.or(self.join_timeout_ms),
            jobs: flags.jobs.or(self.jobs),
            job_slots: flags.job_slots.or(self.job_slots),
            job_memory: flags.job_memory.map(JobMemory).or(self.job_memory),
            job_commands: flags.job_commands.or(self.job_commands),
            job_ahead_percent: flags.job_ahead_percent.or(self.job_ahead_percent),
            insecure: Some(flags.insecure || self.insecure.unwrap_or(false)),
        }
    }

    fn into_options(self) -> Result<ServerOptions, Failure> {
        let data = self.data.unwrap_or_else(|| DEFAULT_DATA.into());
        let name = self.name.unwrap_or_else(|| DEFAULT_NAME.to_owned());
        let mut options = ServerOptions::new(data, name);
        options.listen_client = self.listen_client.unwrap_or_else(|| vec![DEFAULT_CLIENT.into()]);
        options.listen_peer = self.listen_peer.unwrap_or_else(|| vec![DEFAULT_PEER.into()]);
        options.advertise_client = self.advertise_client.unwrap_or_default();
        options.advertise_peer = self.advertise_peer.unwrap_or_default();
        if let Some(cluster) = self.initial_cluster {
            options.initial_cluster =
                parse::initial_cluster(&cluster).map_err(Failure::WrongUse)?;
        }
        options.initial_state = initial_state(self.initial_cluster_state);
        if let Some(token) = self.initial_cluster_token {
            options.cluster_token = token;
        }
        if let Some(bytes) = self.disk_reserve_bytes {
            options.disk_reserve_bytes = bytes;
        }
        if let Some(connections) = self.max_client_connections {
            options.max_client_connections = connections;
        }
        if let Some(milliseconds) = self.join_timeout_ms {
            options.join_timeout = Duration::from_millis(milliseconds);
        }
        options.jobs.enabled = self.jobs.unwrap_or(true);
        if self.job_slots == Some(0) {
            return Err(Failure::WrongUse("job_slots is 0; jobs = false takes none".into()));
        }
        options.jobs.slots = self.job_slots;
        options.jobs.memory_bytes = self.job_memory.map(|JobMemory(bytes)| bytes);
        options.jobs.commands = self.job_commands;
        if let Some(percent) = self.job_ahead_percent {
            if percent > 100 {
                return Err(Failure::WrongUse("job_ahead_percent is more than 100".into()));
            }
            options.jobs.ahead_percent = percent;
        }
        options.insecure = self.insecure.unwrap_or(false);
        Ok(options)
    }
}

/// `new` unless it is said otherwise.
pub fn initial_state(state: Option<ClusterState>) -> InitialState {
    match state {
        Some(ClusterState::Existing) => InitialState::Existing,
        Some(ClusterState::New) | None => InitialState::New,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_outdoes_the_file() {
        let file = "name = \"a\"\nlisten_client = [\"127.0.0.1:1\"]\ninsecure = true\n";
        let settings = Settings::parse(file).unwrap();
        let flags = Flags { name: Some("b".into()), ..Flags::default() };
        let options = settings.overridden(flags).into_options().unwrap();
        assert_eq!((options.name.as_str(), options.insecure), ("b", true));
        assert_eq!(options.listen_client, ["127.0.0.1:1"]);
        assert_eq!(options.listen_peer, [DEFAULT_PEER]);
    }

    #[test]
    fn jobs_are_on_unless_switched_off_and_commands_are_left_to_the_addresses() {
        let options = |file: &str, flags| {
            Settings::parse(file).unwrap().overridden(flags).into_options().map(|o| o.jobs)
        };
        let jobs = options("", Flags::default()).ok().unwrap();
        assert_eq!((jobs.enabled, jobs.slots, jobs.commands), (true, None, None));
        let file = "jobs = true\njob_slots = 3\njob_commands = true\n";
        let flags = Flags { jobs: Some(false), job_commands: Some(false), ..Flags::default() };
        let jobs = options(file, flags).ok().unwrap();
        assert_eq!((jobs.enabled, jobs.slots, jobs.commands), (false, Some(3), Some(false)));
        assert!(options("job_slots = 0\n", Flags::default()).is_err());
        let ahead =
            |file: &str| options(file, Flags::default()).ok().map(|jobs| jobs.ahead_percent);
        assert_eq!(ahead(""), Some(10));
        assert_eq!(ahead("job_ahead_percent = 0\n"), Some(0));
        assert_eq!(ahead("job_ahead_percent = 101\n"), None);
        let memory = |file: &str, job_memory| {
            let flags = Flags { job_memory, ..Flags::default() };
            options(file, flags).ok().unwrap().memory_bytes
        };
        assert_eq!(memory("", None), None);
        assert_eq!(memory("job_memory = \"512M\"\n", None), Some(512 << 20));
        assert_eq!(memory("job_memory = \"512M\"\n", Some(9 << 20)), Some(9 << 20));
    }

    #[test]
    fn a_world_wide_address_needs_to_be_insisted_on() {
        let mut options = ServerOptions::new("unused", "n1");
        options.listen_peer = vec!["0.0.0.0:2380".into()];
        assert!(matches!(refuse_the_world(&options), Err(Failure::WrongUse(_))));
        options.insecure = true;
        assert!(refuse_the_world(&options).is_ok());
    }
}
