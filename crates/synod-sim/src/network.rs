//! The virtual network: which frames arrive, when, and how often.
//!
//! Every frame is a message of its own (nothing keeps their order), may be lost, late, or delivered
//! twice, and a partition cuts single directions between single hosts.

use std::collections::BTreeSet;

use fastrand::Rng;
use synod_base::NodeId;

use crate::history::TrueTime;

/// How a network treats its frames.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Lost frames, per 10,000.
    pub loss: u32,
    /// Duplicated frames, per 10,000.
    pub duplicates: u32,
    /// Shortest delay, nanoseconds.
    pub min_delay: u64,
    /// Longest ordinary delay, nanoseconds.
    pub max_delay: u64,
    /// Frames that take up to a hundred times longer, per 10,000.
    pub stragglers: u32,
}

impl Weather {
    /// A quiet local network.
    pub const CALM: Weather =
        Weather { loss: 0, duplicates: 0, min_delay: 100_000, max_delay: 500_000, stragglers: 0 };
}

/// What the network has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetworkCounts {
    /// Frames delivered.
    pub delivered: u64,
    /// Lost at random.
    pub lost: u64,
    /// Delivered twice.
    pub duplicated: u64,
    /// Held up.
    pub delayed: u64,
    /// Overtaken by a later frame of the same direction.
    pub reordered: u64,
    /// Cut off by a partition.
    pub cut: u64,
}

/// The network between the hosts.
#[derive(Debug)]
pub struct Network {
    rng: Rng,
    /// How it treats frames now.
    pub weather: Weather,
    cuts: BTreeSet<(NodeId, NodeId)>,
    newest_arrival: std::collections::BTreeMap<(NodeId, NodeId), TrueTime>,
    /// What it has done.
    pub counts: NetworkCounts,
}

impl Network {
    /// A network in this weather.
    #[must_use]
    pub fn new(rng: Rng, weather: Weather) -> Self {
        Network {
            rng,
            weather,
            cuts: BTreeSet::new(),
            newest_arrival: std::collections::BTreeMap::new(),
            counts: NetworkCounts::default(),
        }
    }

    /// Cuts one direction.
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        self.cuts.insert((from, to));
    }

    /// Ends all partitions.
    pub fn mend(&mut self) {
        self.cuts.clear();
    }

    /// Whether frames pass in this direction.
    #[must_use]
    pub fn passes(&self, from: NodeId, to: NodeId) -> bool {
        !self.cuts.contains(&(from, to))
    }

    /// When copies of a frame sent now arrive: none, one or two times.
    pub fn arrivals(&mut self, now: TrueTime, from: NodeId, to: NodeId) -> Vec<TrueTime> {
        if !self.passes(from, to) {
            self.counts.cut += 1;
            return Vec::new();
        }
        if self.chance(self.weather.loss) {
            self.counts.lost += 1;
            return Vec::new();
        }
        let copies = if self.chance(self.weather.duplicates) { 2 } else { 1 };
        self.counts.duplicated += copies - 1;
        (0..copies).map(|_| self.one_arrival(now, from, to)).collect()
    }

    fn one_arrival(&mut self, now: TrueTime, from: NodeId, to: NodeId) -> TrueTime {
        let mut delay = self.rng.u64(self.weather.min_delay..=self.weather.max_delay);
        if self.chance(self.weather.stragglers) {
            delay *= self.rng.u64(2..=100);
            self.counts.delayed += 1;
        }
        let at = now + delay;
        let newest = self.newest_arrival.entry((from, to)).or_default();
        if at < *newest {
            self.counts.reordered += 1;
        }
        *newest = at.max(*newest);
        at
    }

    fn chance(&mut self, per_ten_thousand: u32) -> bool {
        per_ten_thousand > 0 && self.rng.u32(0..10_000) < per_ten_thousand
    }
}
