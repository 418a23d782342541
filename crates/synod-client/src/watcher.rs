//! `Watcher`: an open watch, whoever serves it. Dropping it ends the watch.

use synod_node::{RequestError, WatchDelivery, WatchKind};

use crate::embedded::WatchStream;
use crate::error::ClientError;
use crate::kv::WatchBatch;
use crate::remote::RemoteWatch;

/// An open watch.
#[derive(Debug)]
pub struct Watcher {
    source: Source,
}

#[derive(Debug)]
enum Source {
    Embedded(WatchStream),
    // Boxed: it holds a whole stream, and a watcher is moved about.
    Remote(Box<RemoteWatch>),
}

impl Watcher {
    pub(crate) fn embedded(stream: WatchStream) -> Self {
        Watcher { source: Source::Embedded(stream) }
    }

    pub(crate) fn remote(watch: RemoteWatch) -> Self {
        Watcher { source: Source::Remote(Box::new(watch)) }
    }

    /// The next batch. An error is the watch's end. Cancel-safe: a batch is given or not taken.
    pub async fn next(&mut self) -> Result<WatchBatch, ClientError> {
        match &mut self.source {
            Source::Embedded(stream) => embedded_next(stream).await,
            Source::Remote(watch) => watch.next().await,
        }
    }
}

async fn embedded_next(stream: &mut WatchStream) -> Result<WatchBatch, ClientError> {
    loop {
        let delivery = stream.next().await.ok_or(RequestError::Stopped)?;
        let WatchDelivery { header, kind, .. } = delivery;
        match kind {
            WatchKind::Created => {}
            WatchKind::Events { events, .. } => return Ok(WatchBatch { header, events }),
            WatchKind::Progress => return Ok(WatchBatch { header, events: Vec::new() }),
            WatchKind::Canceled { compact_revision, reason } => {
                return Err(ClientError::WatchCanceled { compact_revision, reason });
            }
        }
    }
}
