//! The requests of a bench, encoded before the clock runs.

use bytes::Bytes;
use clap::ValueEnum;
use fastrand::Rng;
use synod_proto::etcdserverpb::{PutRequest, RangeRequest, RequestOp, TxnRequest, request_op};

use super::grpc::frame;

/// What the clients do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Load {
    /// Durable puts of random keys.
    Put,
    /// Linearizable gets of keys that exist.
    Get,
    /// Serializable gets of keys that exist.
    Sget,
    /// Four linearizable gets to each put.
    Mixed,
}

impl Load {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Load::Put => "durable put",
            Load::Get => "linearizable get",
            Load::Sget => "serializable get",
            Load::Mixed => "4 lin. gets : 1 put",
        }
    }

    /// As on the command line.
    pub fn key(self) -> &'static str {
        match self {
            Load::Put => "put",
            Load::Get => "get",
            Load::Sget => "sget",
            Load::Mixed => "mixed",
        }
    }
}

/// One call.
pub enum Call {
    Put(Bytes),
    Get(Bytes),
}

/// Every request there may be.
pub struct Requests {
    puts: Vec<Bytes>,
    gets: Vec<Bytes>,
    serializable_gets: Vec<Bytes>,
    value_bytes: usize,
}

impl Requests {
    /// For this many keys with values of this size, which do not compress.
    pub fn new(keys: u32, value_bytes: usize) -> Self {
        let mut random = Rng::with_seed(SEED);
        let put = |number| frame(&put(number, value_bytes, &mut random));
        let get = |serializable| {
            let request = move |number| RangeRequest {
                key: key(number),
                serializable,
                ..RangeRequest::default()
            };
            (0..keys).map(|number| frame(&request(number))).collect()
        };
        Requests {
            puts: (0..keys).map(put).collect(),
            gets: get(false),
            serializable_gets: get(true),
            value_bytes,
        }
    }

    /// The next call of a client with these dice.
    pub fn next(&self, load: Load, random: &mut Rng) -> Call {
        let mut pick = |frames: &[Bytes]| frames[random.usize(..frames.len())].clone();
        match load {
            Load::Put => Call::Put(pick(&self.puts)),
            Load::Get => Call::Get(pick(&self.gets)),
            Load::Sget => Call::Get(pick(&self.serializable_gets)),
            Load::Mixed => {
                let (put, get) = (pick(&self.puts), pick(&self.gets));
                if random.u8(..5) == 0 { Call::Put(put) } else { Call::Get(get) }
            }
        }
    }

    /// Size of every value.
    pub fn value_bytes(&self) -> usize {
        self.value_bytes
    }

    /// Transactions that put every key once.
    pub fn fill(&self) -> impl Iterator<Item = Bytes> {
        let mut random = Rng::with_seed(SEED);
        let count = u32::try_from(self.puts.len()).unwrap_or(u32::MAX);
        (0..count).step_by(PUTS_PER_TXN).map(move |first| {
            let end = count.min(first.saturating_add(PUTS_PER_TXN as u32));
            let operation = |number| {
                let put = put(number, self.value_bytes, &mut random);
                RequestOp { request: Some(request_op::Request::RequestPut(put)) }
            };
            let success = (first..end).map(operation).collect();
            frame(&TxnRequest { success, ..TxnRequest::default() })
        })
    }
}

fn put(number: u32, value_bytes: usize, random: &mut Rng) -> PutRequest {
    let mut value = vec![0; value_bytes];
    random.fill(&mut value);
    PutRequest { key: key(number), value: value.into(), ..PutRequest::default() }
}

fn key(number: u32) -> Bytes {
    format!("bench/{number:08}").into()
}

/// The same keys and values in each run.
const SEED: u64 = 0x0073_796e_6f64;

/// etcd's default limit is 128 operations.
const PUTS_PER_TXN: usize = 100;
