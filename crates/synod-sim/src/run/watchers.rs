//! Watchers: each follows a range from a revision on, over broken connections and compactions, some of
//! them slowly.

use bytes::Bytes;
use synod_base::{NodeId, Revision};
use synod_node::{StreamId, WatchKind, WatchSpec};
use synod_state::kv::KeyRange;

use super::{Alarm, Run};
use crate::etcd::client;
use crate::history::{Violation, WatchLog, WatchSeen};

#[derive(Debug)]
pub(super) struct Watcher {
    host: NodeId,
    stream: StreamId,
    open: bool,
    slow: bool,
    next: Revision,
    log: WatchLog,
}

impl Watcher {
    /// What it saw, at the end.
    pub(super) fn into_log(self) -> WatchLog {
        WatchLog { complete: self.open, ..self.log }
    }
}

impl Run {
    pub(super) fn add_watchers(&mut self) {
        for number in 0..3 {
            let ranges = [KeyRange::prefix(""), KeyRange::one("k0"), KeyRange::prefix("k")];
            let start = Revision(self.rng.i64(2..40));
            let range = ranges[number].clone();
            let log = WatchLog { range, start, deliveries: Vec::new(), complete: false };
            let (host, slow) = (self.some_host(), self.rng.bool());
            let stream = StreamId(0);
            self.watchers.push(Watcher { host, stream, open: false, slow, next: start, log });
            self.alarm_in(3_000, Alarm::Watcher(number));
        }
    }

    pub(super) fn open_watch(&mut self, number: usize) {
        if self.watchers[number].open {
            return;
        }
        self.next_stream += 1;
        let stream = StreamId(self.next_stream);
        let watcher = &mut self.watchers[number];
        watcher.stream = stream;
        let spec = WatchSpec {
            range: watcher.log.range.clone(),
            start_revision: watcher.next,
            prev_kv: true,
            ..WatchSpec::default()
        };
        let host = watcher.host;
        if self.world.watch(host, stream, client::watch_create(&spec)) {
            self.watchers[number].open = true;
            if self.rng.bool() {
                self.world.watch(host, stream, client::watch_progress());
            }
        } else {
            self.watchers[number].host = self.some_host();
            self.alarm_in(200, Alarm::Watcher(number));
        }
    }

    pub(super) fn watchers_lose(&mut self, host: NodeId) {
        for number in 0..self.watchers.len() {
            let watcher = &mut self.watchers[number];
            if watcher.host == host && watcher.open {
                watcher.open = false;
                watcher.log.deliveries.push(WatchSeen::Resumed(watcher.next));
                self.watchers[number].host = self.some_host();
                self.alarm_in(200, Alarm::Watcher(number));
            }
        }
    }

    /// The watcher has taken what lay in its stream.
    pub(super) fn watcher_takes(&mut self, number: usize, stream: StreamId, bytes: usize) {
        let watcher = &self.watchers[number];
        if watcher.stream == stream && watcher.open {
            self.world.drained(watcher.host, stream, bytes);
        }
    }

    pub(super) fn on_watch_message(
        &mut self,
        host: NodeId,
        stream: StreamId,
        message: Bytes,
        bytes: usize,
    ) {
        let listens = |w: &Watcher| w.open && w.host == host && w.stream == stream;
        let Some(number) = self.watchers.iter().position(listens) else { return };
        let (header, kind) = match client::watch_message(host, message) {
            Ok(message) => message,
            Err(client::Unreadable(what)) => {
                return self.world.violations.push(Violation { promise: "etcd-api", what });
            }
        };
        let watcher = &mut self.watchers[number];
        match &kind {
            WatchKind::Events { events, .. } => {
                if let Some(last) = events.last() {
                    watcher.next = last.event.kv.mod_revision.next();
                }
            }
            WatchKind::Canceled { compact_revision, .. } => {
                watcher.open = false;
                watcher.next = watcher.next.max(*compact_revision);
            }
            WatchKind::Progress => watcher.next = watcher.next.max(header.next()),
            WatchKind::Created => {}
        }
        let (next, slow) = (watcher.next, watcher.slow);
        let canceled = matches!(kind, WatchKind::Canceled { .. });
        watcher.log.deliveries.push(WatchSeen::Delivery(header, kind));
        if canceled {
            self.watchers[number].log.deliveries.push(WatchSeen::Resumed(next));
            self.alarm_in(200, Alarm::Watcher(number));
        } else {
            let most = if slow { 3_000 } else { 2 };
            self.alarm_in(most, Alarm::Drained(number, stream, bytes));
        }
    }
}
