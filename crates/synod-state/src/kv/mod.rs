//! `kv`: etcd's data model as a replicated machine.

mod request;

pub use request::*;
