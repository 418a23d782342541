//! Linearizability of each key, from values and times alone: no revision is looked at, so this
//! checker shares no assumption with `order`.
//!
//! Wing and Gong's search with Lowe's memory and just-in-time rule: walk the calls and returns in
//! time order; when an operation returns, it must have taken effect, perhaps after others that are
//! under way. A request whose outcome is unknown is optional and stays under way for ever.
//! Thousands of those are affordable because a value that nobody ever saw needs no name: all puts
//! of such values, and all unknown requests that do the same, are one class with a count.
//! Configurations that differ only in having used more of the optional ones are dropped.
//!
//! Requests that touch several keys are taken apart, key by key (`project`): the atomicity over
//! keys is `order`'s business.

use std::collections::BTreeMap;

use bytes::Bytes;
use synod_base::LeaseId;

use self::project::{Act, Cond, Step};
use crate::history::{Operation, TrueTime, Violation};

mod project;

/// Checks every key that a workload touched.
#[must_use]
pub fn check(operations: &[Operation]) -> Vec<Violation> {
    let keys = project::keys(operations);
    keys.iter().filter_map(|key| check_key(key, &project::steps(operations, key))).collect()
}

/// More configurations than this for one key are not searched; that is reported, never passed over.
const MAX_CONFIGURATIONS: usize = 4_000_000;

fn check_key(key: &Bytes, steps: &[Step<Bytes>]) -> Option<Violation> {
    let search = Search::new(steps);
    match search.run() {
        Verdict::Linear => None,
        Verdict::Stuck(at) => {
            let what = format!("no order of the requests on {key:?} explains {:?}", steps[at]);
            Some(Violation::new("not-linearizable", what))
        }
        Verdict::Undecided => {
            let what = format!("{key:?} has more orders than can be searched");
            Some(Violation::new("linearizability-undecided", what))
        }
    }
}

/// A value by number.
type Value = u32;

/// Some value that nobody ever saw.
const UNSEEN: Value = 0;

/// One key at one moment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
struct State {
    value: Option<Value>,
    lease: LeaseId,
}

/// Optional steps that do the same.
struct Class {
    alternatives: Vec<Vec<Act<Value>>>,
    /// When each of them was called, ascending.
    calls: Vec<TrueTime>,
}

struct Required {
    /// Its place in the given steps.
    number: usize,
    alternatives: Vec<Vec<Act<Value>>>,
    changes: bool,
    /// Its bit while it is under way.
    slot: u32,
}

#[derive(Clone, Copy)]
enum Moment {
    Call(usize),
    Return(usize, TrueTime),
}

struct Search {
    required: Vec<Required>,
    classes: Vec<Class>,
    moments: Vec<Moment>,
    /// Which required steps are under way at each moment, itself included.
    under_way: Vec<Vec<usize>>,
}

#[derive(Clone)]
struct Configuration {
    moment: usize,
    state: State,
    /// Which steps under way have taken effect, by slot.
    done: u128,
    /// How many of each class have.
    used: BTreeMap<usize, u32>,
}

enum Verdict {
    Linear,
    Stuck(usize),
    Undecided,
}

impl Search {
    fn new(steps: &[Step<Bytes>]) -> Self {
        let names = names(steps);
        let mut required = Vec::new();
        let mut classes: BTreeMap<Vec<Vec<Act<Value>>>, Vec<TrueTime>> = BTreeMap::new();
        let mut times = Vec::new();
        for (number, step) in steps.iter().enumerate() {
            let named = |acts: &Vec<Act<Bytes>>| acts.iter().map(|act| act.named(&names)).collect();
            let alternatives: Vec<Vec<Act<Value>>> = step.alternatives.iter().map(named).collect();
            let Some(returned) = step.returned else {
                classes.entry(alternatives).or_default().push(step.called);
                continue;
            };
            let changes = alternatives.iter().flatten().any(Act::changes);
            let place = required.len();
            // At the same time, calls come first: who cannot be told apart is taken as concurrent.
            times.push((step.called, 0, Moment::Call(place)));
            times.push((returned, 1, Moment::Return(place, returned)));
            required.push(Required { number, alternatives, changes, slot: 0 });
        }
        times.sort_by_key(|(time, order, _)| (*time, *order));
        let mut classes: Vec<Class> = classes
            .into_iter()
            .map(|(alternatives, calls)| Class { alternatives, calls })
            .collect();
        classes.iter_mut().for_each(|class| class.calls.sort_unstable());
        let moments: Vec<Moment> = times.into_iter().map(|(_, _, moment)| moment).collect();
        let under_way = give_slots(&mut required, &moments);
        Search { required, classes, moments, under_way }
    }

    /// Depth first, the likeliest order first: a correct history is walked almost straight.
    fn run(&self) -> Verdict {
        let start =
            Configuration { moment: 0, state: State::default(), done: 0, used: BTreeMap::new() };
        let mut open = vec![start];
        let mut seen = Seen::default();
        let mut furthest = 0;
        while let Some(mut configuration) = open.pop() {
            let Some(moment) = self.moments.get(configuration.moment) else {
                return Verdict::Linear;
            };
            furthest = furthest.max(configuration.moment);
            match *moment {
                Moment::Call(_) => {
                    self.settle(&mut configuration);
                    configuration.moment += 1;
                    open.push(configuration);
                }
                Moment::Return(place, now) => {
                    let bit = 1 << self.required[place].slot;
                    if configuration.done & bit != 0 {
                        configuration.done &= !bit;
                        configuration.moment += 1;
                        open.push(configuration);
                    } else if seen.is_new(&configuration) {
                        self.expand(&configuration, place, now, &mut open);
                    }
                }
            }
            if seen.configurations > MAX_CONFIGURATIONS {
                return Verdict::Undecided;
            }
        }
        match self.moments[furthest] {
            Moment::Call(place) | Moment::Return(place, _) => {
                Verdict::Stuck(self.required[place].number)
            }
        }
    }

    /// Pushes what one more step can lead to; the last pushed is tried first.
    fn expand(
        &self,
        from: &Configuration,
        returning: usize,
        now: TrueTime,
        open: &mut Vec<Configuration>,
    ) {
        for (number, class) in self.classes.iter().enumerate() {
            let used = from.used.get(&number).copied().unwrap_or(0);
            let called = class.calls.partition_point(|call| *call <= now);
            if called <= used as usize {
                continue;
            }
            for state in after(&class.alternatives, from.state).filter(|s| *s != from.state) {
                let mut next = Configuration { state, ..from.clone() };
                next.used.insert(number, used + 1);
                self.settle(&mut next);
                open.push(next);
            }
        }
        let others = self.under_way[from.moment].iter().filter(|place| **place != returning);
        for &place in others.chain([&returning]) {
            let step = &self.required[place];
            if from.done & (1 << step.slot) != 0 {
                continue;
            }
            for state in after(&step.alternatives, from.state) {
                let mut next = Configuration { state, ..from.clone() };
                next.done |= 1 << step.slot;
                self.settle(&mut next);
                open.push(next);
            }
        }
    }

    /// Steps under way that only look, and may look now, do: that never hinders another.
    fn settle(&self, configuration: &mut Configuration) {
        for &place in &self.under_way[configuration.moment] {
            let step = &self.required[place];
            if !step.changes && after(&step.alternatives, configuration.state).next().is_some() {
                configuration.done |= 1 << step.slot;
            }
        }
    }
}

/// Configurations that were expanded.
#[derive(Default)]
struct Seen {
    used: BTreeMap<(usize, State, u128), Vec<BTreeMap<usize, u32>>>,
    configurations: usize,
}

impl Seen {
    /// Whether no configuration was seen that is the same and has used no more.
    fn is_new(&mut self, configuration: &Configuration) -> bool {
        let Configuration { moment, state, done, used } = configuration;
        let known = self.used.entry((*moment, *state, *done)).or_default();
        let no_more = |a: &BTreeMap<usize, u32>, b: &BTreeMap<usize, u32>| {
            a.iter().all(|(class, count)| b.get(class).is_some_and(|other| count <= other))
        };
        if known.iter().any(|earlier| no_more(earlier, used)) {
            return false;
        }
        known.retain(|earlier| !no_more(used, earlier));
        known.push(used.clone());
        self.configurations += 1;
        true
    }
}

/// Numbers for the values that somebody saw or asked about; all others are [`UNSEEN`].
fn names(steps: &[Step<Bytes>]) -> BTreeMap<Bytes, Value> {
    let mut names = BTreeMap::new();
    for act in steps.iter().flat_map(|step| step.alternatives.iter().flatten()) {
        act.each_seen(&mut |value| {
            let number = names.len() as Value + 1;
            names.entry(value.clone()).or_insert(number);
        });
    }
    names
}

/// Gives each required step a bit that no other has while it is under way.
fn give_slots(required: &mut [Required], moments: &[Moment]) -> Vec<Vec<usize>> {
    let mut free: Vec<u32> = (0..u128::BITS).rev().collect();
    let mut now: Vec<usize> = Vec::new();
    let mut under_way = Vec::with_capacity(moments.len());
    for moment in moments {
        match *moment {
            Moment::Call(place) => {
                required[place].slot = free.pop().expect("a workload has at most 128 clients");
                now.push(place);
                under_way.push(now.clone());
            }
            Moment::Return(place, _) => {
                under_way.push(now.clone());
                now.retain(|other| *other != place);
                free.push(required[place].slot);
            }
        }
    }
    under_way
}

/// The states that the alternatives lead to from here, as far as they are possible.
fn after(alternatives: &[Vec<Act<Value>>], state: State) -> impl Iterator<Item = State> + use<'_> {
    alternatives.iter().filter_map(move |acts| acts.iter().try_fold(state, State::after))
}

impl State {
    fn after(self, act: &Act<Value>) -> Option<State> {
        match act {
            Act::Need(cond) => self.holds(cond).then_some(self),
            Act::NotAll(conds) => (!conds.iter().all(|cond| self.holds(cond))).then_some(self),
            Act::Put { value, lease } => {
                let kept = value.is_none() || lease.is_none();
                let possible = !kept || self.value.is_some();
                possible.then(|| State {
                    value: value.or(self.value),
                    lease: lease.unwrap_or(self.lease),
                })
            }
            Act::Delete => Some(State::default()),
            Act::EndLease(lease) if self.value.is_some() && self.lease == *lease => {
                Some(State::default())
            }
            Act::EndLease(_) => Some(self),
        }
    }

    fn holds(self, cond: &Cond<Value>) -> bool {
        match cond {
            Cond::Present => self.value.is_some(),
            Cond::Absent => self.value.is_none(),
            Cond::Is(value) => self.value == Some(*value),
            Cond::Other(value) => self.value.is_some_and(|mine| mine != *value),
        }
    }
}

#[cfg(test)]
mod tests;
