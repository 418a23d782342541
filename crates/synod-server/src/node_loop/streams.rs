//! The watch streams that the loop delivers to. A stream whose channel is full or gone is dropped, and
//! the node is told: a client that does not read must not hold anything up.

use std::collections::BTreeMap;

use prometheus_client::metrics::gauge::Gauge;
use synod_node::{StreamId, WatchDelivery, WatchRequest};
use tokio::sync::mpsc;

/// All open streams.
#[derive(Debug)]
pub(super) struct Streams {
    open: BTreeMap<StreamId, mpsc::Sender<WatchDelivery>>,
    count: Gauge,
}

impl Streams {
    /// None yet; `count` follows.
    pub(super) fn new(count: Gauge) -> Self {
        Streams { open: BTreeMap::new(), count }
    }

    /// A new stream.
    pub(super) fn open(&mut self, stream: StreamId, deliveries: mpsc::Sender<WatchDelivery>) {
        self.open.insert(stream, deliveries);
        self.count();
    }

    /// Sees what a stream asks of the node: it may end.
    pub(super) fn on_request(&mut self, request: &WatchRequest) {
        if let WatchRequest::Close { stream } = request {
            self.open.remove(stream);
            self.count();
        }
    }

    /// Delivers, or drops the stream and returns what to tell the node.
    pub(super) fn deliver(&mut self, delivery: WatchDelivery) -> Option<WatchRequest> {
        let stream = delivery.stream;
        // A stream that has just closed may still have deliveries under way.
        let channel = self.open.get(&stream)?;
        if channel.try_send(delivery).is_ok() {
            return None;
        }
        self.open.remove(&stream);
        self.count();
        Some(WatchRequest::Close { stream })
    }

    fn count(&self) {
        self.count.set(i64::try_from(self.open.len()).unwrap_or(i64::MAX));
    }
}
