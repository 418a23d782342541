//! The services as clients meet them: gRPC frames in and out, without a network, over a loop that
//! holds the real key-value machine and the real watches.

mod node_loop;
mod ownership;
mod streams;
mod unary;

use std::future::Future;

use tonic::Status;

use node_loop::{TestNode, start};

/// Runs a test on one thread, as the server does.
fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(test);
}

/// What a client sees of an error.
fn seen<T>(result: Result<T, Status>) -> (tonic::Code, String) {
    let Err(status) = result else { panic!("refused") };
    (status.code(), status.message().to_owned())
}
