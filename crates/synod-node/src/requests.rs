//! Clients' requests: what each one needs before it can be answered, and the answers.
//!
//! Writes become proposals; linearizable reads wait at the barrier; serializable reads are answered at
//! once from what this node has applied; questions about leases go to the leader's clock.

use synod_base::limits::{MAX_REQUEST_BYTES, MAX_WAITING_PROPOSALS};
use synod_base::{Instant, LeaseId, NodeId};
use synod_consensus::Role;
use synod_state::kv::{Command, RangeRequest, TxnRequest, validate, validate_range, validate_txn};

use crate::frame::{Frame, LeaseAnswer, LeaseAsk};
use crate::item::Item;
use crate::node::Node;
use crate::proposals::{granted_lease, makes_room};
use crate::questions::LeaseQuestion;
use crate::request::{LeaseTimeToLive, Request, RequestError, RequestToken, Response};

/// Who wants to know about a lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeaseAsker {
    /// A client of this node.
    Here(LeaseQuestion),
    /// A client of another node.
    Peer {
        /// Which node.
        node: NodeId,
        /// Its number for the question.
        question: u64,
    },
}

/// What waits at the read barrier.
#[derive(Clone, PartialEq, Debug)]
pub enum Read {
    /// A range.
    Range(RequestToken, RangeRequest),
    /// A transaction that only reads.
    Txn(RequestToken, TxnRequest),
    /// All leases.
    Leases(RequestToken),
    /// The member table.
    Members(RequestToken),
    /// A renewal of, or a look at, a lease; only a leader's barrier holds these.
    Lease {
        /// Who asks.
        asker: LeaseAsker,
        /// What.
        ask: LeaseAsk,
    },
    /// The leader's answer about a lease, for a client that also wants its keys: this node must have
    /// applied what the leader had.
    LeaseKeys(LeaseQuestion, LeaseAnswer),
}

impl Read {
    /// The client of this node that waits, if it is one.
    #[must_use]
    pub fn token(&self) -> Option<RequestToken> {
        match self {
            Read::Range(token, _)
            | Read::Txn(token, _)
            | Read::Leases(token)
            | Read::Members(token)
            | Read::Lease { asker: LeaseAsker::Here(LeaseQuestion { token, .. }), .. }
            | Read::LeaseKeys(LeaseQuestion { token, .. }, _) => Some(*token),
            Read::Lease { asker: LeaseAsker::Peer { .. }, .. } => None,
        }
    }
}

impl Node {
    /// A client asks; exactly one reply with this token will come.
    pub fn on_request(&mut self, now: Instant, token: RequestToken, request: Request) {
        if self.stopped.is_some() {
            return self.reply(token, Err(RequestError::Stopped));
        }
        if self.is_moving_in() && request != Request::Status {
            // Others may have room, and lead.
            let is_write = matches!(request, Request::Write(_));
            let error = if is_write { RequestError::DiskFull } else { RequestError::NoLeader };
            return self.reply(token, Err(error));
        }
        let deadline = now + self.config.timing.request_timeout;
        if let Err(error) = self.take_request(deadline, token, request) {
            self.reply(token, Err(error));
        }
    }

    fn take_request(
        &mut self,
        deadline: Instant,
        token: RequestToken,
        request: Request,
    ) -> Result<(), RequestError> {
        match request {
            Request::Write(command) => return self.write(deadline, token, command),
            Request::Range { request, linearizable } => {
                validate_range(&request)?;
                self.read(deadline, Read::Range(token, request), linearizable)?;
            }
            Request::ReadTxn { request, linearizable } => {
                validate_txn(&request)?;
                self.read(deadline, Read::Txn(token, request), linearizable)?;
            }
            Request::LeaseList => self.read(deadline, Read::Leases(token), true)?,
            Request::MemberList { linearizable } => {
                self.read(deadline, Read::Members(token), linearizable)?;
            }
            Request::LeaseKeepAlive { id } => {
                self.ask_lease(deadline, token, LeaseAsk::KeepAlive(id), false)?;
            }
            Request::LeaseTimeToLive { id, keys } => {
                self.ask_lease(deadline, token, LeaseAsk::Remaining(id), keys)?;
            }
            Request::HashKv { revision } => return self.start_hash(deadline, token, revision),
            Request::Status => {
                let status = Response::Status(self.status());
                self.reply(token, Ok((self.header(), status)));
            }
            Request::MemberAdd { .. }
            | Request::MemberRemove { .. }
            | Request::MemberUpdate { .. }
            | Request::MemberPromote { .. }
            | Request::MoveLeader { .. } => {
                return self.change_members(deadline, token, request);
            }
        }
        Ok(())
    }

    fn write(
        &mut self,
        deadline: Instant,
        token: RequestToken,
        mut command: Command,
    ) -> Result<(), RequestError> {
        if let Command::LeaseGrant { id, .. } = &mut command
            && *id == LeaseId::NONE
        {
            *id = self.new_lease_id();
        }
        validate(&command)?;
        if self.is_full() && !makes_room(&command) {
            return Err(RequestError::DiskFull);
        }
        let grants = granted_lease(&command);
        let item = Item::Kv(command).encode();
        if item.len() > MAX_REQUEST_BYTES {
            return Err(RequestError::TooLarge);
        }
        self.proposals.push(token, deadline, item, grants)
    }

    fn new_lease_id(&mut self) -> LeaseId {
        loop {
            let id = LeaseId(self.rng.i64(1..i64::MAX));
            if self.kv.lease(id).is_none() {
                return id;
            }
        }
    }

    fn read(
        &mut self,
        deadline: Instant,
        read: Read,
        linearizable: bool,
    ) -> Result<(), RequestError> {
        // A restarted node that has not caught up with itself would show an older state than it did before.
        if !linearizable && self.caught_up_with_itself() {
            self.finish_read(Instant::ZERO, read);
        } else if self.has_room_for_reads() {
            self.barrier.push(deadline, read);
        } else {
            return Err(RequestError::Overloaded);
        }
        Ok(())
    }

    fn ask_lease(
        &mut self,
        deadline: Instant,
        token: RequestToken,
        ask: LeaseAsk,
        keys: bool,
    ) -> Result<(), RequestError> {
        if self.questions.len() >= MAX_WAITING_PROPOSALS {
            return Err(RequestError::Overloaded);
        }
        self.questions.push(LeaseQuestion { token, ask, keys, deadline });
        Ok(())
    }

    pub(crate) fn has_room_for_reads(&self) -> bool {
        self.barrier.len() < MAX_WAITING_PROPOSALS
    }

    /// Answers what has passed the barrier.
    pub(crate) fn finish_reads(&mut self, now: Instant) {
        for read in self.barrier.take_ready(self.applied.position.index) {
            // Whoever has passed a barrier here has seen everything that was ever answered.
            self.behind_itself = None;
            self.finish_read(now, read);
        }
    }

    /// Whether everything that was applied before the last restart is applied again. The engine may have
    /// lost batches that were not durable; their entries stand in the log, but which of those are
    /// committed only the leader knows. Until then a serializable read waits for a barrier, so that
    /// what one node shows never goes back.
    fn caught_up_with_itself(&mut self) -> bool {
        if self.behind_itself.is_some_and(|last| self.applied.position.index >= last) {
            self.behind_itself = None;
        }
        self.behind_itself.is_none()
    }

    fn finish_read(&mut self, now: Instant, read: Read) {
        let (token, reply) = match read {
            Read::Range(token, request) => match self.kv.range(&request) {
                Ok(Ok(range)) => (token, Ok(Response::Range(range))),
                Ok(Err(refusal)) => (token, Err(refusal.into())),
                Err(error) => {
                    self.stop_on(error);
                    (token, Err(RequestError::Stopped))
                }
            },
            Read::Txn(token, request) => match self.kv.read_txn(&request) {
                Ok(Ok(txn)) => (token, Ok(Response::Txn(txn))),
                Ok(Err(refusal)) => (token, Err(refusal.into())),
                Err(error) => {
                    self.stop_on(error);
                    (token, Err(RequestError::Stopped))
                }
            },
            Read::Leases(token) => {
                let ids = self.kv.leases().map(|(id, _)| id).collect();
                (token, Ok(Response::LeaseList(ids)))
            }
            Read::Members(token) => {
                (token, Ok(Response::Members { members: self.members(), subject: None }))
            }
            Read::Lease { asker, ask } => return self.finish_lease_read(now, asker, ask),
            Read::LeaseKeys(question, answer) => return self.answer_lease(question, answer),
        };
        let reply = reply.map(|response| (self.header(), response));
        self.reply(token, reply);
    }

    /// A question about a lease has passed the leader's barrier: it led after the question came, so the
    /// time it grants now will be respected by every later leader.
    fn finish_lease_read(&mut self, now: Instant, asker: LeaseAsker, ask: LeaseAsk) {
        if self.leading.is_none() {
            // Leadership went meanwhile: the question goes to the next leader.
            if let LeaseAsker::Here(question) = asker {
                self.questions.push(question);
            }
            return;
        }
        let (LeaseAsk::KeepAlive(id) | LeaseAsk::Remaining(id)) = ask;
        let granted = self.kv.lease(id).map(|lease| lease.ttl_seconds);
        let answer: LeaseAnswer = granted.and_then(|granted| match ask {
            LeaseAsk::KeepAlive(_) => {
                self.lease_clock.start(now, id, granted).then_some((granted, granted))
            }
            LeaseAsk::Remaining(_) => {
                self.lease_clock.remaining_seconds(now, id).map(|left| (granted, left))
            }
        });
        match asker {
            LeaseAsker::Here(question) => self.answer_lease(question, answer),
            LeaseAsker::Peer { node, question } => {
                self.send_frame(node, &Frame::AnswerLease { question, answer });
            }
        }
    }

    /// The leader's answer goes to the client of this node.
    pub(crate) fn answer_lease(&mut self, question: LeaseQuestion, answer: LeaseAnswer) {
        let response = match question.ask {
            LeaseAsk::KeepAlive(_) => {
                Response::LeaseKeepAlive { ttl_seconds: answer.map_or(0, |(granted, _)| granted) }
            }
            LeaseAsk::Remaining(id) => {
                let keys = self.kv.lease(id).filter(|_| question.keys && answer.is_some());
                Response::LeaseTimeToLive(LeaseTimeToLive {
                    remaining_seconds: answer.map_or(-1, |(_, left)| left),
                    granted_seconds: answer.map_or(0, |(granted, _)| granted),
                    keys: keys
                        .map(|lease| lease.keys.iter().cloned().collect())
                        .unwrap_or_default(),
                })
            }
        };
        self.reply(question.token, Ok((self.header(), response)));
    }

    /// Errors for everything whose time is over.
    pub(crate) fn answer_overdue(&mut self, now: Instant) {
        for (token, error) in self.proposals.take_overdue(now) {
            self.reply(token, Err(error));
        }
        for token in self.questions.take_overdue(now) {
            self.reply(token, Err(self.no_quorum()));
        }
        for read in self.barrier.take_overdue(now) {
            if let Some(token) = read.token() {
                self.reply(token, Err(self.no_quorum()));
            }
        }
        for token in self.take_overdue_hashes(now) {
            self.reply(token, Err(RequestError::ReadTimedOut));
        }
        for token in self.take_overdue_moves(now) {
            self.reply(token, Err(RequestError::TimedOut));
        }
    }

    fn no_quorum(&self) -> RequestError {
        let led = self.view.role == Role::Leader || self.view.leader != NodeId::NONE;
        if led { RequestError::ReadTimedOut } else { RequestError::NoLeader }
    }
}
