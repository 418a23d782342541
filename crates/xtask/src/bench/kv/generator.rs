//! The load: many clients, each with one request under way, on one thread.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fastrand::Rng;
use hdrhistogram::Histogram;
use synod_proto::etcdserverpb::{PutResponse, RangeResponse, TxnResponse};
use tokio::task::LocalSet;

use super::grpc::{CallError, Connection, MethodUri};
use super::requests::{Call, Load, Requests};
use crate::bench::process::own_cpu;

/// How many ask at once, through how many connections.
#[derive(Clone, Copy)]
pub struct Crowd {
    pub clients: usize,
    pub connections: usize,
}

/// What one load did.
pub struct Outcome {
    /// Of operations that succeeded, in nanoseconds.
    pub latency: Histogram<u64>,
    pub errors: u64,
    /// The first of them.
    pub first_error: Option<String>,
    pub took: Duration,
    /// Processor time of the generator.
    pub own_cpu: Duration,
}

impl Outcome {
    /// Operations that succeeded, per second.
    pub fn rate(&self) -> f64 {
        self.latency.len() as f64 / self.took.as_secs_f64()
    }
}

/// Puts every key once.
pub async fn fill(endpoints: &[SocketAddr], requests: &Requests) -> Result<()> {
    let mut connection = Connection::open(endpoints[0]).await?;
    let method = connection.method(TXN);
    for frame in requests.fill() {
        let txn = connection.call::<TxnResponse>(&method, frame);
        let answer = tokio::time::timeout(CALL_TIMEOUT, txn).await;
        answer.context("no answer while filling")?.context("filling")?;
    }
    Ok(())
}

/// Loads the endpoints for `warm_up` and then for `held`, which alone counts. Call it in a runtime of one
/// thread.
pub async fn run(
    endpoints: &[SocketAddr],
    crowd: Crowd,
    requests: &Rc<Requests>,
    load: Load,
    (warm_up, held): (Duration, Duration),
) -> Result<Outcome> {
    let mut connections = Vec::new();
    for number in 0..crowd.connections.max(endpoints.len()) {
        connections.push(Connection::open(endpoints[number % endpoints.len()]).await?);
    }
    let counted = Rc::new(RefCell::new(Counted::new()?));
    let begin = Instant::now() + warm_up;
    let end = begin + held;
    let tasks = LocalSet::new();
    for number in 0..crowd.clients {
        let connection = connections[number % connections.len()].clone();
        let client = Client {
            put: connection.method(PUT),
            range: connection.method(RANGE),
            connection,
            requests: requests.clone(),
            random: Rng::with_seed(number as u64),
            counted: counted.clone(),
        };
        tasks.spawn_local(client.run(load, begin, end));
    }
    drop(connections);
    let clock = async {
        tokio::time::sleep_until(begin.into()).await;
        let cpu = own_cpu();
        tokio::time::sleep_until(end.into()).await;
        own_cpu().saturating_sub(cpu)
    };
    let patience = warm_up + held + CALL_TIMEOUT;
    let loaded = tokio::time::timeout(patience, tasks.run_until(clock)).await;
    let own_cpu = loaded.context("the load does not end")?;
    if tokio::time::timeout(CALL_TIMEOUT, tasks).await.is_err() {
        counted.borrow_mut().error(&"requests without an answer at the end");
    }
    let counted = counted.replace(Counted::new()?);
    if counted.latency.is_empty() {
        bail!("nothing succeeded: {}", counted.first_error.unwrap_or_default());
    }
    let Counted { latency, errors, first_error } = counted;
    Ok(Outcome { latency, errors, first_error, took: held, own_cpu })
}

/// What all clients of one load have seen.
struct Counted {
    latency: Histogram<u64>,
    errors: u64,
    first_error: Option<String>,
}

impl Counted {
    fn new() -> Result<Self> {
        Ok(Counted { latency: new_histogram()?, errors: 0, first_error: None })
    }

    fn error(&mut self, what: &dyn std::fmt::Display) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| what.to_string());
    }
}

/// Latencies in nanoseconds, a microsecond to a minute, to three digits.
pub fn new_histogram() -> Result<Histogram<u64>> {
    let mut histogram = Histogram::new_with_bounds(1_000, 60_000_000_000, 3)?;
    histogram.auto(true);
    Ok(histogram)
}

struct Client {
    connection: Connection,
    put: MethodUri,
    range: MethodUri,
    requests: Rc<Requests>,
    random: Rng,
    counted: Rc<RefCell<Counted>>,
}

impl Client {
    async fn run(mut self, load: Load, begin: Instant, end: Instant) {
        let mut asked = Instant::now();
        loop {
            let answer = self.ask(load).await;
            let answered = Instant::now();
            if answered >= end {
                return;
            }
            if answered >= begin {
                let mut counted = self.counted.borrow_mut();
                match &answer {
                    Ok(()) => {
                        let took = answered - asked;
                        counted.latency.saturating_record(took.as_nanos() as u64);
                    }
                    Err(error) => counted.error(error),
                }
            }
            asked = answered;
            if answer.is_err() {
                // Who refuses is not asked again at once.
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                asked = Instant::now();
            }
        }
    }

    async fn ask(&mut self, load: Load) -> Result<(), CallError> {
        match self.requests.next(load, &mut self.random) {
            Call::Put(frame) => {
                let put: PutResponse = self.connection.call(&self.put, frame).await?;
                put.header.map(drop).ok_or(CallError::NotOneMessage)
            }
            Call::Get(frame) => {
                let range: RangeResponse = self.connection.call(&self.range, frame).await?;
                let found = range.kvs.first().map(|pair| pair.value.len());
                // A get that finds nothing would be cheap.
                let complete = found == Some(self.requests.value_bytes());
                complete.then_some(()).ok_or(CallError::NotOneMessage)
            }
        }
    }
}

/// One linearizable get: whether this endpoint serves.
pub async fn probe(endpoint: SocketAddr, requests: &Requests) -> Result<(), CallError> {
    let mut connection = Connection::open(endpoint).await?;
    let method = connection.method(RANGE);
    let Call::Get(frame) = requests.next(Load::Get, &mut Rng::with_seed(0)) else {
        return Err(CallError::NotOneMessage);
    };
    connection.call::<RangeResponse>(&method, frame).await.map(drop)
}

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const TXN: &str = "/etcdserverpb.KV/Txn";
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);
