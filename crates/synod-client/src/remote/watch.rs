//! A watch over gRPC that survives its connection: it opens again, at the next endpoint, from the
//! revision after the last one delivered. So nothing is lost and nothing comes twice.

use std::time::Duration;

use synod_base::Revision;
use synod_node::WatchSpec;
use synod_proto::etcdserverpb::watch_client::WatchClient;
use synod_proto::etcdserverpb::{WatchRequest, WatchResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::metadata::MetadataValue;

use super::{MAX_ANSWER_BYTES, Remote, Repeat, may_go_elsewhere, status};
use crate::error::ClientError;
use crate::kv::WatchBatch;
use crate::wire;

/// Attempts in a row to open the watch again before its reader is told. With the pauses between them
/// this is longer than an election.
const MAX_REOPENS: u32 = 12;

/// Pause after the first failed attempt; doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct RemoteWatch {
    remote: Remote,
    /// With the revision to go on from.
    spec: WatchSpec,
    /// `None` while it must be opened again.
    stream: Option<Stream>,
}

#[derive(Debug)]
struct Stream {
    endpoint: usize,
    answers: Streaming<WatchResponse>,
    /// The server ends the stream when the client's half closes.
    _requests: mpsc::Sender<WatchRequest>,
}

impl RemoteWatch {
    pub async fn open(remote: Remote, spec: WatchSpec) -> Result<Self, ClientError> {
        let mut watch = RemoteWatch { remote, spec, stream: None };
        let tries = watch.remote.endpoint_count().max(2);
        let first = watch.remote.preferred();
        for tried in 0.. {
            match watch.open_at(first + tried).await {
                Ok(()) => break,
                Err(error) if tried + 1 < tries && is_of_connection(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(watch)
    }

    /// The next batch. Cancel-safe: what was not given stays on the stream.
    pub async fn next(&mut self) -> Result<WatchBatch, ClientError> {
        loop {
            let Some(stream) = &mut self.stream else {
                self.reopen().await?;
                continue;
            };
            let answer = match stream.answers.message().await {
                Ok(Some(answer)) => answer,
                Ok(None) => {
                    self.lose_stream();
                    continue;
                }
                Err(status) => {
                    let endpoint = &self.remote.endpoint(stream.endpoint).url;
                    let error = status::to_error(endpoint, &status, true);
                    if !is_of_connection(&error) {
                        return Err(error);
                    }
                    self.lose_stream();
                    continue;
                }
            };
            if answer.canceled {
                return Err(canceled(answer));
            }
            if !answer.created {
                return Ok(self.deliver(answer));
            }
        }
    }

    fn deliver(&mut self, answer: WatchResponse) -> WatchBatch {
        let header = wire::header(answer.header);
        let events: Vec<_> = answer.events.into_iter().map(wire::watch_event).collect();
        // Without events it is a progress report: all up to its revision has been delivered.
        let last = events.last().map_or(header.revision, |last| last.event.kv.mod_revision);
        self.spec.start_revision = self.spec.start_revision.max(last.next());
        WatchBatch { header, events }
    }

    fn lose_stream(&mut self) {
        if let Some(lost) = self.stream.take() {
            // Its endpoint is asked last.
            self.remote.prefer((lost.endpoint + 1) % self.remote.endpoint_count());
        }
    }

    async fn reopen(&mut self) -> Result<(), ClientError> {
        let first = self.remote.preferred();
        let mut pause = FIRST_PAUSE;
        for tried in 0.. {
            match self.open_at(first + tried as usize).await {
                Ok(()) => break,
                Err(error) if tried + 1 < MAX_REOPENS && is_of_connection(&error) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn open_at(&mut self, index: usize) -> Result<(), ClientError> {
        let index = index % self.remote.endpoint_count();
        let spec = &self.spec;
        let needs_leader = self.remote.endpoint_count() > 1;
        let call = |channel| async move {
            let (requests, outbound) = mpsc::channel(1);
            // The channel is new and has room for one.
            drop(requests.try_send(wire::watch_create(spec)));
            let mut request = tonic::Request::new(ReceiverStream::new(outbound));
            if needs_leader {
                // A member cut off from its leader ends the watch instead of falling silent.
                request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
            }
            let mut client = WatchClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
            let mut answers = client.watch(request).await?.into_inner();
            let created = answers.message().await?;
            Ok((created, Stream { endpoint: index, answers, _requests: requests }))
        };
        let (created, stream) = self.remote.send_once(index, Repeat::Harmless, call).await?;
        let created = created.ok_or(ClientError::UnexpectedAnswer { request: "watch" })?;
        if created.canceled {
            return Err(canceled(created));
        }
        if !created.created {
            return Err(ClientError::UnexpectedAnswer { request: "watch" });
        }
        if self.spec.start_revision == Revision(0) {
            self.spec.start_revision = wire::header(created.header).revision.next();
        }
        self.stream = Some(stream);
        self.remote.prefer(index);
        Ok(())
    }
}

fn is_of_connection(error: &ClientError) -> bool {
    may_go_elsewhere(error, Repeat::Harmless)
}

fn canceled(answer: WatchResponse) -> ClientError {
    ClientError::WatchCanceled {
        compact_revision: Revision(answer.compact_revision),
        reason: answer.cancel_reason,
    }
}
