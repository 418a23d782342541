//! What `/metrics` shows. Counted where things happen, without a lookup per event: every labelled
//! metric is made once and kept.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use synod_node::{Header, NodeStatus};

use crate::jobs::JobMetrics;
use crate::node_loop::RequestKind;

/// All metrics of one server.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Vec<RequestMetrics>,
    /// One log write: append and sync.
    pub(crate) log_write_seconds: Histogram,
    /// Records of the log, by the write that carried them: how well group commit groups.
    pub(crate) log_records: Counter,
    /// Turns of the node's loop.
    pub(crate) turns: Counter,
    /// Requests that went to the node to be replicated.
    pub(crate) proposals: Counter,
    /// Frames from peers.
    pub(crate) peer_frames_received: Counter,
    /// Frames to peers.
    pub(crate) peer_frames_sent: Counter,
    /// Frames to peers that found no room or no connection.
    pub(crate) peer_frames_dropped: Counter,
    /// Times that this node saw another leader than before.
    pub(crate) leader_changes: Counter,
    /// Client connections now.
    pub(crate) connections: Gauge,
    /// Client connections turned away because there were too many.
    pub(crate) connections_refused: Counter,
    /// Requests that wait for their answer.
    pub(crate) requests_waiting: Gauge,
    /// What this node sees of jobs.
    pub(crate) jobs: JobMetrics,
    /// Watch streams now.
    pub(crate) watch_streams: Gauge,
    gauges: NodeGauges,
}

/// One kind of request.
#[derive(Clone)]
struct RequestMetrics {
    seconds: Histogram,
    failed: Counter,
}

/// Read off the node when somebody looks.
#[derive(Default)]
struct NodeGauges {
    revision: Gauge,
    compact_revision: Gauge,
    term: Gauge,
    commit_index: Gauge,
    applied_index: Gauge,
    keys: Gauge,
    disk_bytes: Gauge,
    disk_full: Gauge,
    has_leader: Gauge,
    is_leader: Gauge,
    memory_bytes: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

impl Metrics {
    /// All at zero.
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        let seconds =
            Family::<KindLabel, Histogram>::new_with_constructor(|| Histogram::new(LATENCIES));
        let failed = Family::<KindLabel, Counter>::default();
        registry.register(
            "synod_request_seconds",
            "Time from the node's inbox to the answer, by kind of request",
            seconds.clone(),
        );
        registry.register("synod_requests_failed", "Requests answered by an error", failed.clone());
        let requests = RequestKind::ALL
            .iter()
            .map(|kind| KindLabel { kind: kind.name() })
            .map(|label| RequestMetrics {
                seconds: seconds.get_or_create(&label).clone(),
                failed: failed.get_or_create(&label).clone(),
            })
            .collect();
        let log_write_seconds = Histogram::new(LATENCIES);
        registry.register(
            "synod_log_write_seconds",
            "Append and sync of one group of log records",
            log_write_seconds.clone(),
        );
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let log_records = counter("synod_log_records", "Records written to the log");
        let turns = counter("synod_loop_turns", "Turns of the node's loop");
        let proposals = counter("synod_proposals", "Requests that change state");
        let peer_frames_received = counter("synod_peer_frames_received", "Frames from peers");
        let peer_frames_sent = counter("synod_peer_frames_sent", "Frames to peers");
        let peer_frames_dropped =
            counter("synod_peer_frames_dropped", "Frames to peers that found no room");
        let leader_changes = counter("synod_leader_changes", "Leader changes seen");
        let connections_refused =
            counter("synod_client_connections_refused", "Connections beyond the limit");
        let connections = Gauge::default();
        registry.register("synod_client_connections", "Client connections", connections.clone());
        let requests_waiting = Gauge::default();
        registry.register("synod_requests_waiting", "Unanswered", requests_waiting.clone());
        let watch_streams = Gauge::default();
        registry.register("synod_watch_streams", "Open watch streams", watch_streams.clone());
        let jobs = JobMetrics::register(&mut registry);
        let gauges = NodeGauges::register(&mut registry);
        Metrics {
            registry,
            requests,
            log_write_seconds,
            log_records,
            turns,
            proposals,
            peer_frames_received,
            peer_frames_sent,
            peer_frames_dropped,
            leader_changes,
            connections,
            connections_refused,
            requests_waiting,
            jobs,
            watch_streams,
            gauges,
        }
    }

    /// A request was answered.
    pub(crate) fn answered(&self, kind: RequestKind, took: Duration, failed: bool) {
        let metrics = &self.requests[kind as usize];
        metrics.seconds.observe(took.as_secs_f64());
        if failed {
            metrics.failed.inc();
        }
    }

    /// The text format of Prometheus, with the node as it is now.
    pub(crate) fn render(&self, node: Option<(&Header, &NodeStatus)>) -> String {
        if let Some((header, status)) = node {
            self.gauges.set(header, status);
        }
        if let Some(bytes) = resident_memory_bytes() {
            self.gauges.memory_bytes.set(bytes);
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("writing to a string does not fail");
        text
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl NodeGauges {
    fn register(registry: &mut Registry) -> Self {
        let gauges = NodeGauges::default();
        let all: [(&str, &str, &Gauge); 11] = [
            ("synod_revision", "Revision of the store", &gauges.revision),
            ("synod_compact_revision", "First readable revision", &gauges.compact_revision),
            ("synod_term", "Term", &gauges.term),
            ("synod_commit_index", "Highest committed position", &gauges.commit_index),
            ("synod_applied_index", "Highest applied position", &gauges.applied_index),
            ("synod_keys", "Keys alive now", &gauges.keys),
            ("synod_disk_bytes", "Bytes of state and log on disk", &gauges.disk_bytes),
            ("synod_disk_full", "1 while writes are refused for lack of room", &gauges.disk_full),
            ("synod_has_leader", "1 if a leader is known", &gauges.has_leader),
            ("synod_is_leader", "1 if this node leads", &gauges.is_leader),
            ("process_resident_memory_bytes", "Memory in use", &gauges.memory_bytes),
        ];
        for (name, help, gauge) in all {
            registry.register(name, help, gauge.clone());
        }
        gauges
    }

    fn set(&self, header: &Header, status: &NodeStatus) {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.revision.set(header.revision.0);
        self.compact_revision.set(status.compact_revision.0);
        self.term.set(number(status.term.0));
        self.commit_index.set(number(status.commit_index.0));
        self.applied_index.set(number(status.applied_index.0));
        self.keys.set(number(status.key_count));
        self.disk_bytes.set(number(status.disk_bytes));
        self.disk_full.set(i64::from(status.disk_full));
        self.has_leader.set(i64::from(status.leader != synod_base::NodeId::NONE));
        self.is_leader.set(i64::from(status.leader == header.member));
    }
}

/// Memory of this process, where the operating system tells.
fn resident_memory_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Upper bounds in seconds, from a fast sync to a hopeless wait.
const LATENCIES: [f64; 14] =
    [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_holds_what_was_counted() {
        let metrics = Metrics::new();
        metrics.answered(RequestKind::Put, Duration::from_micros(150), false);
        metrics.answered(RequestKind::Put, Duration::from_micros(150), true);
        let header = Header { revision: synod_base::Revision(41), ..Header::default() };
        let text = metrics.render(Some((&header, &status())));
        for line in [
            "synod_request_seconds_count{kind=\"put\"} 2",
            "synod_requests_failed_total{kind=\"put\"} 1",
            "synod_request_seconds_bucket{le=\"0.0002\",kind=\"put\"} 2",
            "synod_revision 41",
            "synod_keys 7",
            "synod_disk_bytes 9",
            "synod_has_leader 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(text.contains("process_resident_memory_bytes "));
    }

    fn status() -> NodeStatus {
        NodeStatus {
            leader: synod_base::NodeId::NONE,
            term: synod_base::Term(1),
            commit_index: synod_base::LogIndex(1),
            applied_index: synod_base::LogIndex(1),
            is_learner: false,
            disk_bytes: 9,
            state_bytes: 1,
            key_count: 7,
            compact_revision: synod_base::Revision(1),
            disk_full: false,
        }
    }
}
