//! `synod member list|add|remove|promote`.

use std::io::Write;

use clap::{Args, Subcommand};
use synod::NodeId;
use synod::client::Member;

use super::connect::{Cluster, block_on};
use super::{Outcome, output, parse};

/// Who belongs to the cluster
#[derive(Args, Debug)]
#[command(
    name = "member",
    after_help = "Examples:
  synod member list
  synod member add n2 127.0.0.1:2390       then start n2 as it says"
)]
pub struct MemberCommand {
    #[command(subcommand)]
    command: Change,
}

#[derive(Subcommand, Debug)]
enum Change {
    /// List the members
    #[command(after_help = "Example:\n  synod member list")]
    List {
        #[command(flatten)]
        cluster: Cluster,
    },
    /// Add a member before it is started for the first time
    #[command(after_help = "Example:\n  synod member add n2 127.0.0.1:2390")]
    Add {
        /// The name it will be started with
        name: String,
        /// Where it will listen for its peers
        #[arg(required = true, value_name = "HOST:PORT")]
        peer_urls: Vec<String>,
        /// It gets the data but does not vote, until it is promoted
        #[arg(long)]
        learner: bool,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// Remove a member; its data folder is of no use afterwards
    #[command(after_help = "Example:\n  synod member remove 8e9e05c52164694d")]
    Remove {
        /// Its id
        #[arg(value_parser = parse::member_id)]
        id: NodeId,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// Make a learner a voter
    #[command(after_help = "Example:\n  synod member promote 8e9e05c52164694d")]
    Promote {
        /// Its id
        #[arg(value_parser = parse::member_id)]
        id: NodeId,
        #[command(flatten)]
        cluster: Cluster,
    },
}

impl MemberCommand {
    pub fn run(self) -> Outcome {
        block_on(async move {
            let members = match self.command {
                Change::List { cluster } => cluster.connect()?.member_list().await?.1,
                Change::Add { name, peer_urls, learner, cluster } => {
                    let peer_urls: Vec<String> =
                        peer_urls.iter().map(|url| with_scheme(url)).collect();
                    let added = cluster.connect()?.member_add(peer_urls.clone(), learner).await?;
                    let (_, (member, members)) = added;
                    print_how_to_start(&member, &name, &members)?;
                    return Ok(());
                }
                Change::Remove { id, cluster } => cluster.connect()?.member_remove(id).await?.1,
                Change::Promote { id, cluster } => cluster.connect()?.member_promote(id).await?.1,
            };
            print_members(&members)?;
            Ok(())
        })
    }
}

fn with_scheme(url: &str) -> String {
    if url.contains("://") { url.to_owned() } else { format!("http://{url}") }
}

fn print_how_to_start(added: &Member, name: &str, members: &[Member]) -> std::io::Result<()> {
    let mut all = Vec::new();
    for member in members {
        let name = match member.name.as_str() {
            _ if member.id == added.id => name.to_owned(),
            // It was added a moment ago and has not told its name yet; any name will do.
            "" => member.id.to_string(),
            name => name.to_owned(),
        };
        all.extend(member.peer_urls.iter().map(|url| format!("{name}={url}")));
    }
    let client = added.peer_urls.first().and_then(|url| port_below(url));
    let client = client.unwrap_or_else(|| "HOST:PORT".to_owned());
    let mut out = std::io::stdout().lock();
    let voters = members.iter().filter(|member| !member.is_learner).count();
    let majority = voters / 2 + 1;
    writeln!(out, "member {} added; {majority} of {voters} voters must run now", added.id)?;
    writeln!(out, "start it with:")?;
    writeln!(
        out,
        "synod server --name {name} --data {name}-data --listen-client {client} --listen-peer {} \
         --initial-cluster-state existing --initial-cluster {}",
        added.peer_urls.join(","),
        all.join(",")
    )
}

/// By custom a node's client port is the one below its peer port.
fn port_below(peer_url: &str) -> Option<String> {
    let address = peer_url.split_once("://").map_or(peer_url, |(_, rest)| rest);
    let (host, port) = address.rsplit_once(':')?;
    let port = port.trim_end_matches('/').parse::<u16>().ok()?.checked_sub(1)?;
    Some(format!("{host}:{port}"))
}

fn print_members(members: &[Member]) -> std::io::Result<()> {
    let heading = ["ID", "NAME", "PEERS", "CLIENTS", "ROLE"].map(str::to_owned).to_vec();
    let rows = members.iter().map(|member| {
        let started = !member.name.is_empty();
        vec![
            member.id.to_string(),
            if started { member.name.clone() } else { "(not started)".to_owned() },
            member.peer_urls.join(","),
            member.client_urls.join(","),
            if member.is_learner { "learner" } else { "voter" }.to_owned(),
        ]
    });
    let table: Vec<Vec<String>> = std::iter::once(heading).chain(rows).collect();
    output::print_table(&mut std::io::stdout().lock(), &table)
}
