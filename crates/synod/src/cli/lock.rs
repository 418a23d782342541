//! `synod lock`: holds a lock, for a command or until Ctrl-C.

use std::future::Future;
use std::io::Write;
use std::process::Command;

use clap::Args;
use synod::client::lock::{self, LockHeld};
use synod::client::{Remote, Session};

use super::Outcome;
use super::child::{code_of, terminate};
use super::connect::{Cluster, block_on};
use super::failure::Failure;
use super::signals::{self, StopSignals};

/// Hold a lock while a command runs, or until Ctrl-C
#[derive(Args, Debug)]
#[command(after_help = "The command finds its fencing token in SYNOD_LOCK_TOKEN and its key in
SYNOD_LOCK_KEY. Its exit code becomes ours (128 and the signal's number if a signal ended it). If
the lock is lost, it is told to end (SIGTERM), and our exit code is 1. Ctrl-C while we wait for the
lock: 130.

Examples:
  synod lock backup ./backup.sh --full
  synod lock backup                    prints its key and token, holds it until Ctrl-C")]
pub struct Lock {
    /// The lock's name
    name: String,
    /// What to run while it is held
    #[arg(trailing_var_arg = true, value_name = "CMD")]
    command: Vec<std::ffi::OsString>,
    /// Seconds after which the lock is free if this process dies
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    ttl: i64,
    #[command(flatten)]
    cluster: Cluster,
}

impl Lock {
    pub fn run(self) -> Outcome {
        block_on(async move {
            let mut stop = StopSignals::listen()?;
            let kv = self.cluster.connect()?;
            let session = Session::open(&kv, self.ttl).await?;
            let outcome = self.hold(&kv, &session, &mut stop).await;
            // Should this fail, the lease ends by itself.
            let closed = session.close().await;
            outcome.and_then(|()| closed.map_err(Failure::from))
        })
    }

    async fn hold(
        &self,
        kv: &Remote,
        session: &Session<Remote>,
        stop: &mut StopSignals,
    ) -> Outcome {
        let held = tokio::select! {
            held = session.lock(self.name.as_bytes()) => held?,
            () = stop.next() => return Err(Failure::Code(INTERRUPTED)),
        };
        let lost = async {
            tokio::select! {
                () = session.lost() => {}
                _ = lock::lost(kv, &held) => {}
            }
        };
        match self.command.split_first() {
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments);
                run_while_held(command, &held, lost, stop).await
            }
            None => {
                let key = String::from_utf8_lossy(&held.key);
                writeln!(std::io::stdout(), "{key} token {}", held.revision)?;
                tokio::select! {
                    () = lost => Err(Failure::Failed("the lock was lost; take it anew".into())),
                    () = stop.next() => Ok(()),
                }
            }
        }
    }
}

/// What shells say of a process that SIGINT ended.
const INTERRUPTED: u8 = 130;

async fn run_while_held(
    mut command: Command,
    held: &LockHeld,
    lost: impl Future<Output = ()>,
    stop: &mut StopSignals,
) -> Outcome {
    let mut ended = signals::children()?;
    command
        .env("SYNOD_LOCK_KEY", String::from_utf8_lossy(&held.key).as_ref())
        .env("SYNOD_LOCK_TOKEN", held.revision.to_string());
    let mut child = command.spawn().map_err(|error| {
        let program = command.get_program().to_string_lossy().into_owned();
        Failure::Failed(format!("cannot run `{program}`: {error}; check its path"))
    })?;
    let mut lost = std::pin::pin!(lost);
    let mut is_lost = false;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        tokio::select! {
            _ = ended.recv() => {}
            // On Ctrl-C the terminal has told the command already; once more does no harm.
            () = stop.next() => terminate(&child),
            () = &mut lost, if !is_lost => {
                is_lost = true;
                terminate(&child);
            }
        }
    };
    if is_lost {
        return Err(Failure::Failed("the lock was lost; the command was told to end".into()));
    }
    match code_of(status) {
        0 => Ok(()),
        code => Err(Failure::Code(code)),
    }
}
