//! Unary gRPC calls with as little work as there can be: messages that were encoded before, frames
//! straight into HTTP/2. The generator shares the machine with the servers, so each cycle it saves is
//! one that it does not take from them. Both systems are called through this same code.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Uri};
use prost::Message;
use thiserror::Error;
use tokio::net::TcpStream;

/// Why a call has no answer.
#[derive(Debug, Error)]
pub enum CallError {
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    #[error("connection: {0}")]
    Connection(#[from] h2::Error),
    #[error("gRPC status {code}: {message}")]
    Status { code: String, message: String },
    #[error("an answer that is not one gRPC message")]
    NotOneMessage,
    #[error("an answer that does not decode: {0}")]
    Message(#[from] prost::DecodeError),
}

/// A message as gRPC frames it: not compressed, its length, itself.
pub fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(FRAME_HEADER_BYTES + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).expect("requests are small"));
    message.encode(&mut frame).expect("the buffer grows");
    frame.freeze()
}

/// A connection; a clone uses the same one.
#[derive(Clone)]
pub struct Connection {
    sender: SendRequest<Bytes>,
    authority: String,
}

impl Connection {
    /// Connects. Its frames are moved by a task of the runtime that this is called in.
    pub async fn open(endpoint: SocketAddr) -> Result<Self, CallError> {
        let connect = TcpStream::connect(endpoint);
        let stream = match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
            Ok(stream) => stream?,
            Err(_) => return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        };
        stream.set_nodelay(true)?;
        let mut builder = h2::client::Builder::new();
        builder.initial_connection_window_size(WINDOW_BYTES).initial_window_size(WINDOW_BYTES);
        builder.enable_push(false);
        let (sender, connection) = builder.handshake(stream).await?;
        // Its end is what the calls on it say.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Connection { sender, authority: endpoint.to_string() })
    }

    /// A method to call on this connection.
    pub fn method(&self, path: &'static str) -> MethodUri {
        let mut parts = hyper::http::uri::Parts::default();
        parts.scheme = Some(hyper::http::uri::Scheme::HTTP);
        parts.authority = Some(self.authority.parse().expect("an address is an authority"));
        parts.path_and_query = Some(PathAndQuery::from_static(path));
        MethodUri(Uri::from_parts(parts).expect("nothing is missing"))
    }

    /// Sends a framed request and waits for its answer.
    pub async fn call<M: Message + Default>(
        &mut self,
        method: &MethodUri,
        frame: Bytes,
    ) -> Result<M, CallError> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = method.0.clone();
        let headers = request.headers_mut();
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        std::future::poll_fn(|context| self.sender.poll_ready(context)).await?;
        let (answer, mut body) = self.sender.send_request(request, false)?;
        body.send_data(frame, true)?;
        let (head, mut body) = answer.await?.into_parts();
        if head.headers.contains_key(STATUS) {
            check_status(&head.headers)?;
        }
        let mut data = Bytes::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            body.flow_control().release_capacity(chunk.len())?;
            data = if data.is_empty() { chunk } else { [data, chunk].concat().into() };
        }
        check_status(&body.trailers().await?.unwrap_or_default())?;
        Ok(M::decode(unframe(data)?)?)
    }
}

/// Where a method is called.
pub struct MethodUri(Uri);

fn check_status(headers: &HeaderMap) -> Result<(), CallError> {
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    match text(STATUS) {
        Some(code) if code == "0" => Ok(()),
        code => Err(CallError::Status {
            code: code.unwrap_or_default().into_owned(),
            message: text("grpc-message").unwrap_or_default().into_owned(),
        }),
    }
}

fn unframe(mut data: Bytes) -> Result<Bytes, CallError> {
    let header = data.first_chunk::<FRAME_HEADER_BYTES>().ok_or(CallError::NotOneMessage)?;
    let [flags, length @ ..] = *header;
    if flags != 0 || data.len() - FRAME_HEADER_BYTES != u32::from_be_bytes(length) as usize {
        return Err(CallError::NotOneMessage);
    }
    Ok(data.split_off(FRAME_HEADER_BYTES))
}

const FRAME_HEADER_BYTES: usize = 5;
const STATUS: &str = "grpc-status";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Answers are never held back by a window.
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use synod_proto::etcdserverpb::PutRequest;

    use super::*;

    #[test]
    fn what_was_framed_is_unframed_and_nothing_else() {
        let put = PutRequest { key: Bytes::from_static(b"k"), ..PutRequest::default() };
        let framed = frame(&put);
        assert_eq!(PutRequest::decode(unframe(framed.clone()).unwrap()).unwrap(), put);
        assert!(unframe(framed.slice(..framed.len() - 1)).is_err());
        assert!(unframe(Bytes::new()).is_err());
    }

    #[test]
    fn only_status_zero_is_success() {
        let mut headers = HeaderMap::new();
        assert!(check_status(&headers).is_err());
        headers.insert(STATUS, HeaderValue::from_static("0"));
        assert!(check_status(&headers).is_ok());
        headers.insert(STATUS, HeaderValue::from_static("14"));
        let error = check_status(&headers).unwrap_err();
        assert_eq!(error.to_string(), "gRPC status 14: ");
    }
}
