//! Client APIs as functions: decoded requests in, domain requests out; domain replies in, messages
//! out.
//!
//! `etcd` is the first. Its conversions are pure, so the simulator uses them, too; only
//! `etcd::service` is async, and no more than glue. Sockets, TLS and HTTP belong to `synod-server`.

pub mod etcd;
