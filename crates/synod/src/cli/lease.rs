//! `synod lease grant|revoke|keep-alive|timetolive|list`.

use std::io::Write;
use std::time::Duration;

use clap::{Args, Subcommand};
use synod::LeaseId;
use synod::client::{Kv, Remote};

use super::connect::{Cluster, block_on};
use super::failure::Failure;
use super::{Outcome, parse};

/// Leases: keys that go away unless somebody keeps them alive
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  synod lease grant 60                 then: synod put KEY VALUE --lease ID
  synod lease keep-alive ID")]
pub struct Lease {
    #[command(subcommand)]
    command: LeaseCommand,
}

#[derive(Subcommand, Debug)]
enum LeaseCommand {
    /// Grant a lease; prints its id
    #[command(after_help = "Example:\n  synod lease grant 60")]
    Grant {
        /// Time to live, seconds
        seconds: i64,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// End a lease; its keys are deleted
    #[command(after_help = "Example:\n  synod lease revoke 694d8a1b2c3d4e5f")]
    Revoke {
        /// Its id
        #[arg(value_parser = parse::lease_id)]
        id: LeaseId,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// Keep a lease alive until Ctrl-C
    #[command(after_help = "Example:\n  synod lease keep-alive 694d8a1b2c3d4e5f --once")]
    KeepAlive {
        /// Its id
        #[arg(value_parser = parse::lease_id)]
        id: LeaseId,
        /// Just once
        #[arg(long)]
        once: bool,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// Show how long a lease has left
    #[command(
        name = "timetolive",
        after_help = "Example:\n  synod lease timetolive 694d8a1b2c3d4e5f --keys"
    )]
    TimeToLive {
        /// Its id
        #[arg(value_parser = parse::lease_id)]
        id: LeaseId,
        /// Also print its keys
        #[arg(long)]
        keys: bool,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// List all leases
    #[command(after_help = "Example:\n  synod lease list")]
    List {
        #[command(flatten)]
        cluster: Cluster,
    },
}

impl Lease {
    pub fn run(self) -> Outcome {
        block_on(async move {
            match self.command {
                LeaseCommand::Grant { seconds, cluster } => {
                    let (_, lease) = cluster.connect()?.lease_grant(LeaseId::NONE, seconds).await?;
                    writeln!(std::io::stdout(), "{} ttl {}s", lease.id, lease.ttl_seconds)?;
                    Ok(())
                }
                LeaseCommand::Revoke { id, cluster } => {
                    cluster.connect()?.lease_revoke(id).await?;
                    writeln!(std::io::stdout(), "{id} revoked")?;
                    Ok(())
                }
                LeaseCommand::KeepAlive { id, once, cluster } => {
                    keep_alive(&cluster.connect()?, id, once).await
                }
                LeaseCommand::TimeToLive { id, keys, cluster } => {
                    time_to_live(&cluster.connect()?, id, keys).await
                }
                LeaseCommand::List { cluster } => {
                    let (_, leases) = cluster.connect()?.lease_list().await?;
                    let mut out = std::io::stdout().lock();
                    for lease in leases {
                        writeln!(out, "{lease}")?;
                    }
                    Ok(())
                }
            }
        })
    }
}

async fn keep_alive(kv: &Remote, id: LeaseId, once: bool) -> Outcome {
    loop {
        let (_, ttl_seconds) = kv.lease_keep_alive(id).await?;
        if ttl_seconds <= 0 {
            return Err(gone(id));
        }
        writeln!(std::io::stdout(), "{id} ttl {ttl_seconds}s")?;
        if once {
            return Ok(());
        }
        // Two may be lost before the lease is.
        tokio::time::sleep(Duration::from_secs(ttl_seconds.unsigned_abs()) / 3).await;
    }
}

async fn time_to_live(kv: &Remote, id: LeaseId, keys: bool) -> Outcome {
    let (_, left) = kv.lease_time_to_live(id, keys).await?;
    if left.remaining_seconds < 0 {
        return Err(gone(id));
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{id} granted {}s left {}s", left.granted_seconds, left.remaining_seconds)?;
    for key in left.keys {
        out.write_all(&key)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn gone(id: LeaseId) -> Failure {
    Failure::Failed(format!("there is no lease {id}; it has ended, grant a new one"))
}
