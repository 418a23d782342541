//! What a process does between two events: turns of its node, log writes and syncs, and everything that
//! comes out of them. The same steps, in the same order, as the real executor's (`synod-server`).

use synod_base::NodeId;
use synod_base::disk::Crash;
use synod_node::{LogBatch, Reply, RequestToken, StopReason, WatchDelivery};
use synod_storage::engine::Engine;
use synod_storage::wal::LogRecord;

use super::{Happening, News, World};
use crate::etcd::server;
use crate::history::Violation;

/// Turns of one node without time passing after which it is called a livelock.
const MAX_TURNS: u32 = 10_000;

/// The node's own invariants are checked at every so many events: a check walks the whole log.
const CHECK_EVERY: u64 = 64;

/// How long making the engine durable takes.
const PERSIST_NANOS: u64 = 5_000_000;

/// How long until a full disk is tried again.
const RETRY_NANOS: u64 = 100_000_000;

impl World {
    pub(super) fn synced(&mut self, id: NodeId) {
        let generation = self.hosts.get(&id).map_or(0, |host| host.generation);
        if self.put_off(id, &mut Some(Happening::Synced { host: id, generation })) {
            return;
        }
        let mut frames = Vec::new();
        if let Some(process) = self.hosts.get_mut(&id).and_then(|host| host.process.as_mut()) {
            if let Err(error) = process.wal.sync() {
                let reason = StopReason::Storage(error.to_string());
                return self.end(id, reason);
            }
            for batch in process.syncing.drain(..) {
                process.node.on_log_durable(batch.number);
                frames.extend(batch.send_after);
            }
            if let Err(error) = process.wal.prepare_spare(16 * 1024)
                && !matches!(error, synod_storage::wal::WalError::NoSpace)
            {
                let reason = StopReason::Storage(error.to_string());
                return self.end(id, reason);
            }
        }
        self.note(b"sync", id.0);
        self.send(id, frames);
        self.drive(id);
    }

    pub(super) fn persisted(&mut self, id: NodeId, ticket: u64) {
        if let Some(host) = self.hosts.get_mut(&id)
            && let Some(process) = &mut host.process
            && host.engine.persist().is_ok()
        {
            process.node.on_engine_persisted(ticket);
            self.wake_soon(id);
        }
    }

    pub(super) fn retry_log(&mut self, id: NodeId) {
        let Some(process) = self.hosts.get_mut(&id).and_then(|host| host.process.as_mut()) else {
            return;
        };
        let refused = std::mem::take(&mut process.refused);
        self.append(id, refused.into());
        self.drive(id);
    }

    /// Turns of a node until it wants nothing more now.
    pub(super) fn drive(&mut self, id: NodeId) {
        for _ in 0..MAX_TURNS {
            let now = self.now;
            let Some(host) = self.hosts.get_mut(&id) else { return };
            if host.paused_until > now {
                let until = host.paused_until;
                return self.wake_at(id, until);
            }
            let local = host.clock.at(now);
            let Some(process) = &mut host.process else { return };
            let mut effects = process.turn(local);
            if self.counts.events.is_multiple_of(CHECK_EVERY) {
                process.node.check();
            }
            let idle = effects.is_empty();
            let busy = process.node.next_deadline() <= local;
            let generation = host.generation;
            self.watch_applied(id);
            self.send(id, std::mem::take(&mut effects.send));
            for (token, reply) in effects.replies {
                self.answer(id, token, reply);
            }
            for delivery in effects.watch {
                self.deliver_watch(id, delivery);
            }
            if let Some(ticket) = effects.persist_engine {
                let done = Happening::Persisted { host: id, generation, ticket };
                self.schedule(now + PERSIST_NANOS, done);
            }
            self.append(id, effects.log);
            if let Some(reason) = effects.stopped {
                return self.end(id, reason);
            }
            if idle && !busy {
                return self.schedule_wake(id);
            }
        }
        let what = format!("{id} turned {MAX_TURNS} times without time passing");
        self.violations.push(Violation { promise: "progress", what });
    }

    fn answer(&mut self, id: NodeId, token: RequestToken, reply: Reply) {
        self.note(b"reply", token.0 ^ u64::from(reply.is_ok()) << 63);
        let process = self.hosts.get_mut(&id).and_then(|host| host.process.as_mut());
        match process.and_then(|process| process.front.answer(token, reply)) {
            Some(answer) => self.news.push(News::Answer(id, token, answer)),
            None => {
                let what = format!("{id} answers {token:?}, which does not wait (any more)");
                self.violations.push(Violation { promise: "one-answer", what });
            }
        }
    }

    fn deliver_watch(&mut self, host: NodeId, delivery: WatchDelivery) {
        let (stream, bytes) = (delivery.stream, delivery.bytes);
        let message = server::watch_response(delivery);
        self.news.push(News::Watch { host, stream, message, bytes });
    }

    fn append(&mut self, id: NodeId, batches: Vec<LogBatch>) {
        let now = self.now;
        for batch in batches {
            let Some(host) = self.hosts.get_mut(&id) else { return };
            let Some(process) = &mut host.process else { return };
            let generation = host.generation;
            let votes = batch.records.iter().any(|r| matches!(r, LogRecord::HardState { .. }));
            if votes && host.vote_crashes > 0 {
                host.vote_crashes -= 1;
                self.news.push(News::LostPower(id));
                return self.crash(id, Crash::LoseUnsynced);
            }
            match process.append(batch) {
                Ok(true) => {
                    process.node.on_disk_full(false);
                    let nanos = self.rng.u64(host.sync_nanos / 4..=host.sync_nanos);
                    host.sync_ends = host.sync_ends.max(now) + nanos;
                    let at = host.sync_ends;
                    self.schedule(at, Happening::Synced { host: id, generation });
                }
                Ok(false) => {
                    process.node.on_disk_full(true);
                    if process.refused.len() == 1 {
                        self.counts.disk_full += 1;
                        let again = Happening::RetryLog { host: id, generation };
                        self.schedule(now + RETRY_NANOS, again);
                    }
                }
                Err(error) => {
                    return self.end(id, StopReason::Storage(error.to_string()));
                }
            }
        }
    }

    /// A process ends by itself: as a crash of the process alone.
    fn end(&mut self, id: NodeId, reason: StopReason) {
        if let Some(host) = self.hosts.get_mut(&id) {
            host.crash(Crash::KeepEverything, &mut self.rng);
        }
        self.note(b"end", id.0);
        self.news.push(News::Ended(id, reason));
    }

    /// Hands out what the replica has applied since the last look.
    fn watch_applied(&mut self, id: NodeId) {
        let Some(host) = self.hosts.get_mut(&id) else { return };
        let Some(process) = &host.process else { return };
        let kv = process.node.kv();
        let revision = kv.revision();
        if revision < host.seen {
            let what = format!("{id} went from revision {} back to {revision}", host.seen);
            self.violations.push(Violation { promise: "revision-back", what });
        }
        if revision == host.seen {
            return;
        }
        // A replay after a restart may hold a compaction, too. Clients compact only what the oracle has
        // seen long since, so what is left of the history is all that can be new.
        let from = host.seen.next().max(kv.compacted_revision());
        match kv.history(from, usize::MAX) {
            Ok(Ok(page)) => self.news.push(News::Applied(id, page.events)),
            refused => {
                let what = format!("{id} does not show its history from {from}: {refused:?}");
                self.violations.push(Violation { promise: "history", what });
            }
        }
        host.seen = revision;
        self.note(b"applied", revision.0.unsigned_abs());
    }
}
