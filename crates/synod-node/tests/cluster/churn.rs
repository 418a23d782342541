//! Members that come and go at random, the leader too, while nodes crash, lose the network and lose
//! frames: nothing acknowledged is lost, and in the end everything works and is equal.

use std::cell::RefCell;
use std::time::Duration;

use synod_base::disk::Crash;
use synod_base::{NodeId, Revision};
use synod_node::{Request, RequestToken, Response, Start};

use crate::world::World;
use crate::{put, seconds};

const STEPS: u32 = 60;

struct Churn {
    world: World,
    rng: fastrand::Rng,
    writes: Vec<(RequestToken, String)>,
    additions: Vec<RequestToken>,
    down: Option<NodeId>,
    counter: u64,
}

impl Churn {
    fn new(seed: u64) -> Self {
        let mut world = World::with_sizes(3, 8 << 10, 256 << 10);
        let rng = RefCell::new(fastrand::Rng::with_seed(seed));
        world.passes = Some(Box::new(move |_, _, _| rng.borrow_mut().u32(..50) > 0));
        let rng = fastrand::Rng::with_seed(seed.wrapping_mul(31) + 1);
        Churn { world, rng, writes: vec![], additions: vec![], down: None, counter: 3 }
    }

    /// Any node that is up.
    fn anyone(&mut self) -> NodeId {
        let world = &self.world;
        let up: Vec<_> = world.machines.keys().copied().filter(|id| world.is_up(*id)).collect();
        up[self.rng.usize(..up.len())]
    }

    fn step(&mut self) {
        let (at, whom) = (self.anyone(), self.anyone());
        match self.rng.u32(..12) {
            0 if self.down.is_none() && self.up() > 2 => {
                self.world.crash(at, Crash::LoseUnsynced);
                self.down = Some(at);
            }
            1 | 2 => self.restart(),
            3 => {
                self.counter += 1;
                let peer_urls = vec![format!("http://10.0.1.{}:2380", self.counter)];
                let add = Request::MemberAdd { peer_urls, learner: true };
                self.additions.push(self.world.request(at, add));
            }
            4 | 5 => {
                self.world.request(at, Request::MemberPromote { id: whom });
            }
            6 if self.up() > 3 => {
                self.world.request(at, Request::MemberRemove { id: whom });
            }
            7 => {
                self.world.request(at, Request::MoveLeader { to: whom });
            }
            8 => {
                self.world.cut.clear();
                if self.rng.bool() {
                    self.world.cut.insert(whom);
                }
            }
            _ => {
                for _ in 0..5 {
                    let key = format!("k{}", self.writes.len());
                    let write = put(&key, vec![b'v'; 512]);
                    self.writes.push((self.world.request(at, write), key));
                }
            }
        }
        let span = Duration::from_millis(20 * self.rng.u64(1..40));
        self.world.advance(span);
        self.start_added();
    }

    fn up(&self) -> usize {
        self.world.machines.keys().filter(|id| self.world.is_up(**id)).count()
    }

    fn restart(&mut self) {
        if let Some(id) = self.down.take() {
            self.world.start(id);
        }
    }

    /// Members that were added get a machine.
    fn start_added(&mut self) {
        for token in std::mem::take(&mut self.additions) {
            match self.world.reply(token) {
                None => self.additions.push(token),
                Some(Ok((_, Response::Members { subject: Some(member), .. }))) => {
                    let id = member.id;
                    self.world.add_machine(id, Start::Join);
                }
                Some(_) => {}
            }
        }
    }

    /// Everything works again; what must hold then?
    fn heal_and_check(mut self, seed: u64) -> (usize, usize) {
        self.world.cut.clear();
        self.world.passes = None;
        self.restart();
        self.world.advance(seconds(20));
        self.start_added();
        let world = &mut self.world;
        let newest = |world: &World| {
            let up = world.machines.keys().copied().filter(|id| world.is_up(*id));
            let leads = |id: &NodeId| world.node(*id).status().leader == *id;
            up.filter(leads).max_by_key(|id| world.node(*id).status().term)
        };
        world.until("a leader", |world| newest(world).is_some());
        let leader = newest(world).unwrap();
        let acknowledged: Vec<_> = self
            .writes
            .iter()
            .filter(|(token, _)| matches!(world.reply(*token), Some(Ok(_))))
            .collect();
        for (_, key) in &acknowledged {
            assert!(world.read(leader, key).is_some(), "seed {seed}: {key} is lost");
        }
        world.write(leader, "last", "v");
        let members: Vec<_> = world.node(leader).members().into_iter().map(|m| m.id).collect();
        let live: Vec<_> =
            members.into_iter().filter(|id| world.machines.contains_key(id)).collect();
        for id in &live {
            let (id, leader) = (*id, leader);
            world.until("all members to be equal", |world| {
                world.is_up(id) && world.applied(id) == world.applied(leader)
            });
            let hash = |id| world.node(id).kv().hash(Revision(0)).unwrap();
            assert_eq!(hash(id), hash(leader), "seed {seed}: {id} and {leader} differ");
        }
        (acknowledged.len(), live.len())
    }
}

#[test]
fn nothing_acknowledged_is_lost_however_members_come_and_go() {
    let mut acknowledged = 0;
    for seed in 0..20 {
        let mut churn = Churn::new(seed);
        for _ in 0..STEPS {
            churn.step();
        }
        acknowledged += churn.heal_and_check(seed).0;
    }
    assert!(acknowledged > 500, "only {acknowledged} writes were acknowledged");
}
