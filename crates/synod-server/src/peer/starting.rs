//! The peer port before there is a node behind it: whoever asks is told so at once. Without an answer,
//! members that start for the first time together would wait for each other.

use std::convert::Infallible;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::future::select_all;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::frame::{FrameReader, put_frame};
use super::hello::{HelloAnswer, HelloRefusal, MAX_HELLO_BYTES};

/// Answers everybody until it is dropped.
pub(crate) async fn refuse_all(sockets: Vec<TcpListener>) -> Infallible {
    let accept = sockets.iter().map(|socket| Box::pin(accept_all(socket)));
    select_all(accept).await.0
}

async fn accept_all(socket: &TcpListener) -> Infallible {
    let mut answering = JoinSet::new();
    loop {
        match socket.accept().await {
            Ok((stream, _)) if answering.len() < MAX_ANSWERING => {
                answering.spawn(timeout(ANSWER_TIMEOUT, refuse(stream)));
            }
            // Too many: closed without an answer.
            Ok(_) => {}
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
        while answering.try_join_next().is_some() {}
    }
}

async fn refuse(stream: TcpStream) {
    let mut reader = FrameReader::new(stream, MAX_HELLO_BYTES);
    // Whatever it says; read, so that closing is no reset that takes the answer with it.
    if let Ok(Some(_)) = reader.next().await {
        let mut out = BytesMut::new();
        put_frame(&mut out, &HelloAnswer::Refused(HelloRefusal::Starting).encode());
        // It may have gone.
        drop(reader.stream_mut().write_all(&out).await);
    }
}

/// Connections answered at once.
const MAX_ANSWERING: usize = 128;

/// One that says nothing within this time is closed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
