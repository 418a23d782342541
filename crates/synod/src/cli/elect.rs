//! `synod elect`: leads, or follows who leads.

use std::io::Write;

use clap::Args;
use synod::client::{Remote, Session, election};

use super::connect::{Cluster, block_on};
use super::failure::Failure;
use super::signals::StopSignals;
use super::{Outcome, output};

/// Take part in an election until Ctrl-C, or follow one
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  synod elect coordinator host-7       waits to lead, prints its key and value, leads until Ctrl-C
  synod elect coordinator --listen     prints each leader's key and value")]
pub struct Elect {
    /// The election's name
    name: String,
    /// What to say as the leader
    #[arg(required_unless_present = "listen", conflicts_with = "listen")]
    value: Option<String>,
    /// Follow the leaders instead of taking part
    #[arg(long)]
    listen: bool,
    /// Seconds after which another leads if this process dies
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    ttl: i64,
    #[command(flatten)]
    cluster: Cluster,
}

impl Elect {
    pub fn run(self) -> Outcome {
        block_on(async move {
            let kv = self.cluster.connect()?;
            let name = self.name.as_bytes();
            let Some(value) = &self.value else { return listen(&kv, name).await };
            let mut stop = StopSignals::listen()?;
            let session = Session::open(&kv, self.ttl).await?;
            let outcome = lead(&session, name, value, &mut stop).await;
            // Should this fail, the lease ends by itself.
            let closed = session.close().await;
            outcome.and_then(|()| closed.map_err(Failure::from))
        })
    }
}

async fn lead(
    session: &Session<Remote>,
    name: &[u8],
    value: &str,
    stop: &mut StopSignals,
) -> Outcome {
    let leadership = tokio::select! {
        leadership = session.campaign(name, value.as_bytes()) => leadership?,
        () = stop.next() => return Ok(()),
    };
    let key = String::from_utf8_lossy(&leadership.key);
    writeln!(std::io::stdout(), "{key}\n{value}")?;
    tokio::select! {
        () = session.lost() => Err(Failure::Failed("the leadership was lost; start anew".into())),
        () = stop.next() => Ok(()),
    }
}

async fn listen(kv: &Remote, name: &[u8]) -> Outcome {
    let mut observer = election::observe(kv, name).await?;
    loop {
        let (_, leader) = observer.next().await?;
        let mut out = std::io::stdout().lock();
        output::print_key_value(&mut out, &leader, true)?;
        out.flush()?;
    }
}
